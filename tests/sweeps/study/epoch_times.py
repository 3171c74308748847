"""How well the epoch time of a net is known beforehand, and what the first costs should be, on this machine.

    OPENBLAS_NUM_THREADS=1 python -m tests.sweeps.study.epoch_times --data-dir DIR [--nets 36]

draws nets, trains each for a moment, and prints the error of the estimates after so many observed nets, then the costs
to put into `sweeps/study/epoch_time.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from mnistnn.data import Dataset, Split
from mnistnn.network import Network
from mnistnn.training import Trainer
from sweeps.config import StudyConfig, load_study
from sweeps.study.epoch_time import EpochTimeModel
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from sweeps.study.workload import KINDS, Workload

ROOT = Path(__file__).resolve().parents[3]

# Nets of which the steps are timed by turns; more would not fit the memory of a small machine.
_GROUP = 6


@dataclass(frozen=True, slots=True)
class Timed:
    """A net, an epoch of it, and how long that takes when nobody disturbs it, and as it was."""

    label: str
    workload: Workload
    seconds: float
    disturbed: float


def timed_nets(
    configs: Sequence[StudyConfig], count: int, dataset: Dataset, *, epoch_s: float, rounds: int
) -> list[Timed]:
    """Draws nets from each study in turn and times short epochs of them, each beside the same other work."""
    nets = []
    studies = []
    for config in configs:
        space = Space(config)
        sampler = make_sampler(config.model_copy(update={"baselines": []}), space)
        studies.append((space, optuna.create_study(sampler=sampler)))
    for index in range(count):
        space, study = studies[index % len(studies)]
        nets.append((space, space.suggest_with(study.ask())))
    found: list[Timed] = []
    reference = _Reference()
    for start in range(0, count, _GROUP):
        group = [_Net(space, values, dataset, epoch_s, rounds) for space, values in nets[start : start + _GROUP]]
        for _ in range(rounds + 1):
            for net in group:
                net.run_epoch(reference)
        found += [net.timed(reference) for net in group]
    return found


class _Reference:
    """The same work each time, which tells how fast the machine is just now: others may have most of it."""

    def __init__(self) -> None:
        self._a = np.random.default_rng(0).random((512, 512), np.float32)
        self._out, self._long = np.empty_like(self._a), np.zeros(1 << 20, np.float32)
        self.fastest = np.inf

    def seconds(self) -> float:
        began = time.perf_counter()
        for _ in range(15):
            np.matmul(self._a, self._a, out=self._out)
            for _ in range(5):
                np.add(self._long, 1, out=self._long)
        took = time.perf_counter() - began
        self.fastest = min(self.fastest, took)
        return took


class _Net:
    def __init__(self, space: Space, values: dict[str, object], dataset: Dataset, epoch_s: float, rounds: int) -> None:
        recipe = space.recipe(values)
        train, validation = dataset.split(0)
        size = recipe.training.batch_size
        image_s = EpochTimeModel().seconds(space.workload(values, 10_000)) / 10_000
        images = min(len(train) // size, max(3, int(epoch_s / image_s / size))) * size
        network = Network(recipe.network, batch_size=size)
        trainer = Trainer(
            network,
            dataclasses.replace(recipe.training, epochs=rounds + 1),
            Split(train.images, train.labels, train.indices[:images]),
            Split(validation.images, validation.labels, validation.indices[: images // 5]),
        )
        self._fit = trainer.fit()
        self._epochs: list[tuple[float, float]] = []
        self._label, self._workload = space.architecture(values), space.workload(values, images)
        self._workload[KINDS.index("epochs")] = 0  # which is the checkpoint's and the journal's

    def run_epoch(self, reference: _Reference) -> None:
        before = reference.seconds()
        began = time.perf_counter()
        next(self._fit)
        took = time.perf_counter() - began
        self._epochs.append((took, took / (before + reference.seconds()) * 2))

    def timed(self, reference: _Reference) -> Timed:
        seconds, ratios = np.array(self._epochs[1:]).T  # the first one touches all memory
        undisturbed = np.median(ratios) * reference.fastest
        return Timed(self._label, self._workload, float(undisturbed), float(np.median(seconds)))


def errors_after(nets: Sequence[Timed], known: int, *, orders: int = 30) -> np.ndarray:
    """Returns the relative errors of the estimates for nets that were not observed, over several random orders."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(orders):
        order = [nets[index] for index in rng.permutation(len(nets))]
        model = EpochTimeModel()
        model.fit([net.workload for net in order[:known]], [net.seconds for net in order[:known]])
        errors += [abs(model.seconds(net.workload) / net.seconds - 1) for net in order[known:]]
    return np.array(errors)


def first_costs(nets: Sequence[Timed]) -> dict[str, float]:
    """Returns the costs that fit all nets best, none of them below a tenth of what it was."""
    from scipy.optimize import lsq_linear

    model = EpochTimeModel()
    before = model._first
    shares = np.array([net.workload * before / net.seconds for net in nets])
    # A weak pull to what the costs were keeps those that no net here tells apart.
    pull = 0.1 * np.eye(len(KINDS))
    factors = lsq_linear(
        np.vstack([shares, pull]), np.concatenate([np.ones(len(nets)), pull.diagonal()]), bounds=(0.1, np.inf)
    ).x
    return dict(zip(KINDS, (factors * before).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MNIST_DIR"))
    parser.add_argument("--nets", type=int, default=36)
    parser.add_argument("--studies", nargs="+", default=["default", "contest"])
    parser.add_argument("--epoch", type=float, default=0.5, help="seconds of a timed epoch")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    from mnistnn.data import find_dataset

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dataset = find_dataset(given.data_dir, cache=ROOT / "data")
    configs = [load_study(name, root=ROOT) for name in given.studies]
    nets = timed_nets(configs, given.nets, dataset, epoch_s=given.epoch, rounds=given.rounds)
    noise = np.array([net.disturbed / net.seconds - 1 for net in nets])
    print(f"{len(nets)} nets; an epoch took {np.median(noise):.0%} longer than undisturbed (median)")
    print("observed  median error  90 % error")
    for known in range(0, min(16, len(nets)), 5):
        errors = errors_after(nets, known)
        print(f"{known:>8}  {np.median(errors):>12.1%}  {np.quantile(errors, 0.9):>10.1%}")
    print("first costs:")
    for kind, cost in first_costs(nets).items():
        print(f'    "{kind}": {cost:.1e},')


if __name__ == "__main__":
    main()
