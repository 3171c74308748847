from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.study.budget import Budget
from sweeps.study.claims import FileLock, claim, release
from sweeps.study.storage import load_study
from tests.sweeps.small import make_study, paths_of, small_config


def test_only_one_holds_a_lock(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "a" / "lock"), FileLock(tmp_path / "a" / "lock")
    assert first.acquire()
    first.note("me")
    assert not second.acquire()
    assert first.path.read_text() == "me"
    first.release()
    first.release()
    assert second.acquire()
    second.release()


def test_a_claimed_trial_is_locked(tmp_path: Path, sample: Dataset) -> None:
    config = small_config()
    study, paths = make_study(config, tmp_path, sample), paths_of(config, tmp_path)
    claimed = claim(study, paths, Budget(3))
    assert claimed is not None
    assert not FileLock(paths.trial(0) / "lock").acquire()
    claimed.lock.release()


def test_no_more_are_claimed_than_the_budget_holds(tmp_path: Path, sample: Dataset) -> None:
    config = small_config()
    study, paths = make_study(config, tmp_path, sample), paths_of(config, tmp_path)
    first, second = claim(study, paths, Budget(2)), claim(study, paths, Budget(2))
    assert first is not None
    assert second is not None
    assert claim(study, paths, Budget(2)) is None
    study.tell(second.trial, state=TrialState.FAIL)  # which does not count
    third = claim(study, paths, Budget(2))
    assert third is not None
    study.tell(first.trial, 1.0)
    study.tell(third.trial, state=TrialState.PRUNED)
    assert claim(study, paths, Budget(2)) is None
    for claimed in (first, second, third):
        claimed.lock.release()


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_released_trial_comes_back_with_number_and_parameters(tmp_path: Path, sample: Dataset, storage: str) -> None:
    from sweeps.study.storage import open_storage, open_study

    config, url = small_config(), None if storage == "journal" else f"sqlite:///{tmp_path}/x.db"
    paths = paths_of(config, tmp_path)
    open_study(config, open_storage(url, paths), sample.digest)
    study = load_study(config.name, url, paths)
    claimed = claim(study, paths, Budget(3))
    assert claimed is not None
    drawn = claimed.trial.suggest_float("x", 0, 1)
    claimed.trial.report(0.5, 1)
    claimed.trial.set_user_attr("label", "net")
    release(study, claimed.trial)
    claimed.lock.release()
    again = claim(load_study(config.name, url, paths), paths, Budget(3))
    assert again is not None
    assert again.trial.number == 0
    assert again.trial.suggest_float("x", 0, 1) == drawn
    frozen = load_study(config.name, url, paths).trials[0]
    assert frozen.state == TrialState.RUNNING
    assert frozen.intermediate_values == {1: 0.5}
    again.lock.release()


def test_a_trial_whose_folder_is_still_held_goes_back(tmp_path: Path, sample: Dataset) -> None:
    config = small_config()
    study, paths = make_study(config, tmp_path, sample), paths_of(config, tmp_path)
    held = FileLock(paths.trial(0) / "lock")
    held.acquire()
    assert claim(study, paths, Budget(3)) is None
    assert study.trials[0].state == TrialState.WAITING
    held.release()
    claimed = claim(study, paths, Budget(3))
    assert claimed is not None
    assert claimed.trial.number == 0
    claimed.lock.release()


def _claim_all(root: Path, count: int, queue: multiprocessing.Queue[int]) -> None:
    config = small_config()
    paths = paths_of(config, root)
    study = load_study(config.name, None, paths)
    while (claimed := claim(study, paths, Budget(count))) is not None:
        study.tell(claimed.trial, 1.0)
        claimed.lock.release()
        queue.put(claimed.trial.number)


@pytest.mark.slow
def test_many_processes_together_keep_to_the_budget(tmp_path: Path, sample: Dataset) -> None:
    make_study(small_config(), tmp_path, sample)
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_claim_all, args=(tmp_path, 25, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    numbers = sorted(queue.get(timeout=60) for _ in range(25))
    for worker in workers:
        worker.join(60)
    assert numbers == list(range(25))
    assert queue.empty()
