from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.optimize import lsq_linear
from scipy.stats import spearmanr

from mnistnn.data import Dataset
from sweeps.config import load_study
from sweeps.study import epoch_time
from sweeps.study.epoch_time import EpochTimeModel
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from sweeps.study.workload import KINDS
from tests.sweeps.study.epoch_times import timed_nets

ROOT = Path(__file__).resolve().parents[3]
FIRST = np.array([epoch_time._FIRST_COSTS[kind] for kind in KINDS])


@pytest.fixture(scope="module")
def workloads() -> Any:
    """Epochs of 60 nets of the shipped studies."""
    found = []
    for name in ("default", "contest"):
        config = load_study(name, root=ROOT)
        space = Space(config)
        study = optuna.create_study(sampler=make_sampler(config, space))
        found += [space.workload(space.suggest_with(study.ask()), 50_000) for _ in range(30)]
    return np.array(found)[np.random.default_rng(0).permutation(60)]


def a_machine(seed: int, noise: float = 0.05) -> Any:
    """Returns what gives the seconds of workloads on some machine: each cost up to twice or half of a multiple."""
    rng = np.random.default_rng(seed)
    costs = FIRST * 3.0 * 2 ** rng.uniform(-1, 1, len(KINDS))
    return lambda work: work @ costs * np.exp(rng.normal(0, noise, len(work)))


def errors(model: EpochTimeModel, work: Any, seconds: Any) -> Any:
    return np.abs(np.array([model.seconds(one) for one in work]) / seconds - 1)


def test_before_any_trial_the_first_costs_hold(workloads: Any) -> None:
    model = EpochTimeModel()
    assert model.observations == 0
    assert model.seconds(workloads[0]) == pytest.approx(workloads[0] @ FIRST)


def test_the_first_trial_tells_how_fast_the_machine_is(workloads: Any) -> None:
    model = EpochTimeModel()
    model.fit(workloads[:1], workloads[:1] @ FIRST * 7)
    assert [model.seconds(work) for work in workloads] == pytest.approx(workloads @ FIRST * 7)


def test_it_learns_what_is_dear_on_a_machine(workloads: Any) -> None:
    medians = {known: [] for known in (0, 1, 5, 15)}
    for seed in range(10):
        seconds = a_machine(seed)(workloads)
        for known, found in medians.items():
            model = EpochTimeModel()
            model.fit(workloads[:known], seconds[:known])
            found.append(np.median(errors(model, workloads[30:], seconds[30:])))
    after = {known: float(np.mean(found)) for known, found in medians.items()}
    assert after[0] > 0.5
    assert after[1] < 0.3
    assert after[5] < 0.15
    assert after[15] < 0.1
    assert after[15] < after[5] < after[1]


def test_costs_are_never_below_zero(workloads: Any) -> None:
    rng = np.random.default_rng(1)
    model = EpochTimeModel()
    model.fit(workloads[:20], workloads[:20] @ FIRST * rng.uniform(0.2, 5.0, 20))
    assert (model._costs >= 0).all()
    assert all(model.seconds(work) > 0 for work in workloads)


def test_the_factors_are_those_of_least_squares(workloads: Any) -> None:
    seconds = a_machine(3, noise=0.2)(workloads)
    shares = workloads * FIRST / seconds[:, None]
    weights = 0.9 ** np.arange(60)
    count = len(KINDS)
    pull = np.sqrt(epoch_time._STIFFNESS) * (np.eye(count) - 1 / count)
    roots = np.sqrt(weights)
    found = lsq_linear(
        np.vstack([shares * roots[:, None], pull]), np.concatenate([roots, np.zeros(count)]), bounds=(0, np.inf)
    )
    assert epoch_time._factors(shares, weights) == pytest.approx(found.x, abs=0.01)


def test_a_trial_that_was_stalled_does_not_spoil_the_others(workloads: Any) -> None:
    seconds = a_machine(4)(workloads)
    stalled = seconds.copy()
    stalled[3] *= 20
    model = EpochTimeModel()
    model.fit(workloads[:12], stalled[:12])
    assert np.median(errors(model, workloads[30:], seconds[30:])) < 0.35
    calm = EpochTimeModel()
    calm.fit(workloads[:12], seconds[:12])
    assert calm.spread < model.spread


def test_the_latest_trials_count_most(workloads: Any) -> None:
    """The machine has become twice as slow, as others use it now."""
    seconds = workloads @ FIRST
    seconds[20:] *= 2
    model = EpochTimeModel()
    model.fit(workloads[:60], seconds[:60])
    assert np.median(errors(model, workloads[40:], seconds[40:])) < 0.15


def test_what_was_learnt_before_is_forgotten(workloads: Any) -> None:
    model = EpochTimeModel()
    model.fit(workloads[:5], a_machine(5)(workloads)[:5])
    model.fit([], [])
    assert model.seconds(workloads[9]) == EpochTimeModel().seconds(workloads[9])
    assert (model.observations, model.spread) == (0, EpochTimeModel().spread)


@pytest.mark.slow
def test_real_nets_rank_as_they_are_estimated(sample: Dataset) -> None:
    """Loose, as other tests may have half of the machine: `epoch_times.py` prints how well it does on a quiet one."""
    batches = {
        "default": "search.batch_size=[20, 50]",
        "contest": "fixed.batch_size=50",
        "smoke": "search.batch_size=[20, 50]",
    }
    configs = [load_study(name, root=ROOT, overrides=[change]) for name, change in batches.items()]
    nets = timed_nets(configs, 15, sample, epoch_s=0.03, rounds=5)
    model = EpochTimeModel()
    seconds = np.array([net.seconds / net.workload[KINDS.index("images")] for net in nets])
    before = np.array([model.seconds(net.workload) / net.workload[KINDS.index("images")] for net in nets])
    assert spearmanr(before, seconds).statistic > 0.7
    model.fit([net.workload for net in nets[:9]], [net.seconds for net in nets[:9]])
    assert np.median([abs(np.log(model.seconds(net.workload) / net.seconds)) for net in nets[9:]]) < np.log(2.5)
