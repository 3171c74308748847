from __future__ import annotations

from pathlib import Path

import pytest

from mnistnn.data import Dataset
from mnistnn.errors import OutputError
from mnistnn.files import sha256_file
from mnistnn.training import Trainer
from sweeps.study import checkpoints
from sweeps.study.bench import build_trainer
from sweeps.study.lineage import trial_seed
from sweeps.study.space import Space
from tests.sweeps.small import small_config

CONFIG = small_config(budget__epochs=4)


@pytest.fixture
def fresh(sample: Dataset) -> Trainer:
    return _fresh(sample)


def _fresh(sample: Dataset) -> Trainer:
    space = Space(CONFIG)
    values = space.walk(lambda name, domain: domain.low if hasattr(domain, "low") else domain.values[0])
    train, validation = sample.split(CONFIG.seed)
    return build_trainer(space.recipe(values), trial_seed(CONFIG.seed, 0), train, validation)


def _train(trainer: Trainer, folder: Path, epochs: int) -> None:
    for metrics in trainer.fit():
        checkpoints.save(folder, trainer)
        if metrics.epoch == epochs:
            return


@pytest.mark.parametrize("damaged", [[], [checkpoints.CHECKPOINT], [checkpoints.CHECKPOINT, checkpoints.PREVIOUS]])
def test_what_is_damaged_costs_one_epoch_each(
    tmp_path: Path, sample: Dataset, fresh: Trainer, damaged: list[str]
) -> None:
    _train(fresh, tmp_path, 3)
    for name in damaged:
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 1  # one bit
        (tmp_path / name).write_bytes(content)
    said: list[str] = []
    again = checkpoints.resume(tmp_path, lambda: _fresh(sample), said.append)
    assert again.epoch == {0: 3, 1: 2, 2: 0}[len(damaged)]
    assert len(said) == len(damaged)
    whole = _fresh(sample)
    for trainer in (again, whole):
        for _ in trainer.fit():
            pass
    assert again.network.arena.params.tobytes() == whole.network.arena.params.tobytes()


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, sample: Dataset, fresh: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(fresh, tmp_path, 2)
    kept = sha256_file(tmp_path / checkpoints.CHECKPOINT)

    def full(*_: object) -> str:
        raise OutputError("no space left")

    monkeypatch.setattr(checkpoints, "save_checkpoint", full)
    with pytest.raises(OutputError):
        checkpoints.save(tmp_path, fresh)
    assert sha256_file(tmp_path / checkpoints.PREVIOUS) == kept
    assert checkpoints.resume(tmp_path, lambda: _fresh(sample), print).epoch == 2


def test_after_damage_the_whole_one_stays_until_the_next_is_whole(
    tmp_path: Path, sample: Dataset, fresh: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _train(fresh, tmp_path, 3)
    (tmp_path / checkpoints.CHECKPOINT).write_bytes(b"damaged")
    again = checkpoints.resume(tmp_path, lambda: _fresh(sample), print)
    assert again.epoch == 2

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, again)
    assert checkpoints.resume(tmp_path, lambda: _fresh(sample), print).epoch == 2


def test_the_end_keeps_the_last_state_and_nothing_else(tmp_path: Path, fresh: Trainer) -> None:
    _train(fresh, tmp_path, 2)
    last = sha256_file(tmp_path / checkpoints.CHECKPOINT)
    checkpoints.keep_last(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.FINAL]
    assert sha256_file(tmp_path / checkpoints.FINAL) == last
    checkpoints.keep_last(tmp_path)  # again, after a kill
    assert sha256_file(tmp_path / checkpoints.FINAL) == last
    checkpoints.remove(tmp_path)
    assert (tmp_path / checkpoints.FINAL).exists()
