from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.study.budget import Budget
from sweeps.study.claims import Claim, OutOfTime, claim, release
from sweeps.study.forecast import Forecast
from sweeps.study.locks import FileLock
from sweeps.study.space import Space
from sweeps.study.storage import load_study
from tests.sweeps.small import end_trial, make_study, paths_of, small_config


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


def timed(filters: tuple[int, ...], **changes: Any) -> StudyConfig:
    """A study of nets from tiny to large."""
    limits = {"macs": 100_000_000, "memory_mb": 4000}
    return small_config(budget={"time": "10m", "epochs": 4}, search__filters=list(filters), limits=limits, **changes)


class Timed:
    """A study in which four trials ended, and whose nets take as long as the filters that they have."""

    def __init__(self, config: StudyConfig, root: Path, dataset: Dataset, left_s: float | None) -> None:
        self.config, self.paths = config, paths_of(config, root)
        self.study = make_study(config, root, dataset)
        self.space = Space(config)
        for filters in 2 * [min(config.search["filters"]), max(config.search["filters"])]:
            end_trial(self.study, self.space, epoch_s=float(filters), filters_1=filters)
        self.forecast = Forecast(config, self.space, 50_000, left_s)
        self.budget = Budget(None, 600.0, queued_only=config.sampler.type == "grid")

    def claim(self) -> Claim | None:
        claimed = claim(self.study, self.paths, self.budget, self.forecast)
        if claimed is not None:
            claimed.lock.release()
        return claimed

    def begin(self) -> int:
        """Returns the filters of the next trial."""
        claimed = self.claim()
        assert claimed is not None
        return int(self.space.suggest_with(claimed.trial)["filters_1"])


def test_the_last_trials_are_small(tmp_path: Path, sample: Dataset) -> None:
    plenty = Timed(timed((2, 128)), tmp_path / "a", sample, 10_000.0)
    assert {plenty.begin() for _ in range(8)} == {2, 128}
    short = Timed(timed((2, 128)), tmp_path / "b", sample, 100.0)
    assert {short.begin() for _ in range(8)} == {2}


def test_what_would_not_come_far_is_not_begun(tmp_path: Path, sample: Dataset) -> None:
    late = Timed(timed((2, 128)), tmp_path, sample, 2.0)
    count = len(late.study.trials)
    with pytest.raises(OutOfTime):
        late.claim()
    assert len(late.study.trials) == count


def test_where_none_ends_one_is_begun_that_comes_half_way(tmp_path: Path, sample: Dataset) -> None:
    late = Timed(timed((128, 256)), tmp_path, sample, 128 * 3.4)
    late.forecast.learn(late.study.trials)
    assert late.begin() == 128
    reach = late.forecast.reach(late.space.values(late.study.trials[-1].params))
    assert 2 <= reach < 4


def test_a_trial_that_waits_and_does_not_fit_stays(tmp_path: Path, sample: Dataset) -> None:
    short = Timed(timed((2, 128)), tmp_path, sample, 60.0)
    params = next(trial.params for trial in short.study.trials if trial.params["filters_1"] == 128)
    short.study.enqueue_trial(params)
    waiting = short.study.trials[-1].number
    assert short.begin() == 2
    assert short.study.trials[waiting].state == TrialState.WAITING
    # A longer run begins with it.
    longer = Forecast(short.config, short.space, 50_000, 10_000.0)
    claimed = claim(short.study, short.paths, short.budget, longer)
    assert claimed is not None
    assert claimed.trial.number == waiting
    claimed.lock.release()


def test_a_trial_that_waits_for_its_last_epochs_fits(tmp_path: Path, sample: Dataset) -> None:
    short = Timed(timed((2, 128)), tmp_path, sample, 200.0)
    known = next(trial for trial in short.study.trials if trial.params["filters_1"] == 128)
    short.study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=known.params,
            distributions=known.distributions,
            intermediate_values={1: 0.3, 2: 0.2, 3: 0.1},
            user_attrs={"label": "net", "epoch_s": 128.0},
            system_attrs={"fixed_params": known.params},
        )
    )
    assert short.begin() == 128


def test_until_some_were_observed_all_may_begin(tmp_path: Path, sample: Dataset) -> None:
    config = timed((128, 256), study={"name": "small", "baselines": ["conv2"]})
    study, paths = make_study(config, tmp_path, sample), paths_of(config, tmp_path)
    forecast = Forecast(config, Space(config), 50_000, 0.01)
    for number in range(3):
        claimed = claim(study, paths, Budget(None, 600.0), forecast)
        assert claimed is not None
        assert claimed.trial.number == number
        claimed.lock.release()


def test_the_end_of_a_grid_begins_with_what_takes_longest(tmp_path: Path, sample: Dataset) -> None:
    config = timed(
        (2, 4, 8, 16, 32, 64), sampler={"type": "grid"}, search__dropout=[0.0], search__optimizer={"adam": {}}
    )
    study, paths, space = make_study(config, tmp_path, sample), paths_of(config, tmp_path), Space(config)
    forecast, budget = Forecast(config, space, 50_000), Budget(None, queued_only=True)
    order = []
    for _ in range(6):
        claimed = claim(study, paths, budget, forecast)
        assert claimed is not None
        order.append(space.suggest_with(claimed.trial)["filters_1"])
        claimed.lock.release()
        if len(order) > 1:
            study.tell(claimed.trial, 1.0)  # all but the first, which another worker is at
    assert order == [2, 4, 64, 32, 16, 8]
    assert claim(study, paths, budget, forecast) is None


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
