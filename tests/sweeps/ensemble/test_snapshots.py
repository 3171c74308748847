"""What a training was at the ends of its cycles: written by the trial, and taken in by an ensemble that asks for it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from mnistnn.checkpoint import load_model
from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError
from mnistnn.files import sha256_file
from sweeps import Study
from sweeps.care.replay import replay_trial
from sweeps.config import StudyConfig
from sweeps.config.toml import to_toml
from sweeps.ensemble import build_ensemble, load_ensemble, load_report, write_submission
from sweeps.ensemble.choice import choose
from sweeps.ensemble.verify import verify_submission
from sweeps.paths import StudyPaths
from sweeps.study.storage import load_study
from tests.sweeps.small import TABLES, make_bench, make_study, paths_of, run_next, small_config

AWAY = "http://127.0.0.1:9"  # nothing listens there
FILES = ["snapshot-02.npz", "snapshot-02.probs.npz", "snapshot-04.npz", "snapshot-04.probs.npz"]


def _config(**changes: Any) -> StudyConfig:
    return small_config(
        **{
            "budget__trials": 2,
            "budget__epochs": 6,
            "fixed__schedule": {"cosine": {"cycles": 3}},
            "ensemble__top": 2,
            **changes,
        }
    )


def _files(paths: StudyPaths, number: int) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(paths.trial(number).glob("snapshot-*"))}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> tuple[StudyConfig, Path]:
    """A study of two trials with three cycles each; not to be written into."""
    root = tmp_path_factory.mktemp("cycles")
    config = _config()
    study, bench = make_study(config, root, sample), make_bench(config, root, sample)
    for _ in range(2):
        assert run_next(study, bench) == TrialState.COMPLETE
    return config, root


@pytest.fixture
def cycles(ended: tuple[StudyConfig, Path], tmp_path: Path) -> tuple[StudyConfig, Path, StudyPaths]:
    config, root = ended
    shutil.copytree(root, tmp_path / "home")
    return config, tmp_path / "home", paths_of(config, tmp_path / "home")


def test_a_trial_keeps_what_it_was_at_the_end_of_each_cycle(
    cycles: tuple[StudyConfig, Path, StudyPaths], sample: Dataset
) -> None:
    config, _, paths = cycles
    validation = sample.split(config.seed)[1]
    trial = load_study(config.name, None, paths).get_trials()[0]
    assert list(_files(paths, 0)) == FILES
    assert list(trial.user_attrs["snapshots"]) == ["2", "4"]
    for epoch, known in trial.user_attrs["snapshots"].items():
        weights = paths.trial(0) / f"snapshot-0{epoch}.npz"
        assert known["sha256"] == sha256_file(weights)
        with np.load(paths.trial(0) / f"snapshot-0{epoch}.probs.npz") as file:
            np.testing.assert_array_equal(file["indices"], validation.indices)
            probs = load_model(weights).predict_proba(validation.take()[0])
            np.testing.assert_allclose(file["probs"], probs, atol=1e-6)
            assert known["val_loss"] == pytest.approx(trial.intermediate_values[int(epoch)], rel=1e-5)


def test_a_training_that_was_stopped_writes_the_same_snapshots(
    cycles: tuple[StudyConfig, Path, StudyPaths], sample: Dataset, tmp_path: Path
) -> None:
    config, _, paths = cycles
    study = make_study(config, tmp_path, sample)
    steps = -(-len(sample.split(config.seed)[0]) // 100)
    for until in (2 * steps + 3, steps + 1):  # in the epoch after a snapshot, and in the one that ends with another
        asked = itertools.count(1)
        bench = make_bench(config, tmp_path, sample, stop=lambda asked=asked, until=until: next(asked) == until)
        assert run_next(study, bench) == TrialState.WAITING
    assert run_next(study, make_bench(config, tmp_path, sample)) == TrialState.COMPLETE
    assert _files(paths_of(config, tmp_path), 0) == _files(paths, 0)


def test_one_cycle_leaves_none(tmp_path: Path, sample: Dataset) -> None:
    config = _config(fixed__schedule="cosine", budget__epochs=2)
    run_next(make_study(config, tmp_path, sample), make_bench(config, tmp_path, sample))
    paths = paths_of(config, tmp_path)
    assert not _files(paths, 0)
    assert "snapshots" not in load_study(config.name, None, paths).get_trials()[0].user_attrs


def test_snapshots_are_members_where_they_are_asked_for(
    cycles: tuple[StudyConfig, Path, StudyPaths], sample: Dataset
) -> None:
    config, root, paths = cycles

    def build(**more: Any) -> Any:
        return build_ensemble(
            config, root=root, dataset=sample, method="mean", tracking_uri=AWAY, echo=lambda _: None, **more
        )

    assert {each.member.name for each in build().members} == {"#000", "#001"}
    report = build(snapshots=True)
    best = {trial.number: trial.user_attrs["best_epoch"] for trial in load_study(config.name, None, paths).get_trials()}
    expected = {"#000", "#001"} | {f"#00{n}@{e}" for n in (0, 1) for e in (2, 4) if best[n] != e}
    assert {each.member.name for each in report.members} == expected
    assert load_report(paths).members == report.members
    images = sample.split(config.seed)[1].take()[0]
    with np.load(paths.ensemble / "probs.npz") as file:
        np.testing.assert_allclose(load_ensemble(paths).predict_proba(images), file["val"], atol=1e-5)
    np.save(root / "contest.npy", images[:9])
    manifest = write_submission(
        config,
        root=root,
        dataset=sample,
        input=root / "contest.npy",
        output=root / "out.csv",
        echo=lambda _: None,
    )
    found = verify_submission(manifest, root=root, dataset=lambda: sample, echo=lambda _: None)
    assert (found.same_bytes, found.members) == (True, len(expected))


def test_a_replay_makes_lost_snapshots_again(cycles: tuple[StudyConfig, Path, StudyPaths], sample: Dataset) -> None:
    config, root, paths = cycles
    known = _files(paths, 0)
    (paths.trial(0) / FILES[0]).write_bytes(b"damaged")
    (paths.trial(0) / FILES[3]).unlink()
    with pytest.raises(CheckpointError, match="replay small 0 --keep"):
        choose(load_study(config.name, None, paths), config, paths, snapshots=True)
    found = replay_trial(config.name, 0, root=root, dataset=sample, keep=True, progress=False)
    assert sorted(found.kept) == [FILES[0], FILES[3]]
    assert _files(paths, 0) == known


def test_a_notebook_takes_snapshots_in_where_the_study_does(cycles: tuple[StudyConfig, Path, StudyPaths]) -> None:
    config, root, paths = cycles
    (root / "studies" / "small.toml").write_text(to_toml(TABLES), encoding="utf-8")
    study = load_study(config.name, None, paths)
    assert len(Study("small", root=root).ensemble(method="mean")) == 2
    tables = config.to_dict()
    tables["ensemble"]["snapshots"] = True
    study.set_user_attr("config", tables)
    assert len(Study("small", root=root).ensemble(method="mean")) > 2
