"""A small study whose trials are run, and trained again, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from threadpoolctl import threadpool_limits

from mnistnn.data import Dataset, find_dataset
from mnistnn.data.dataset import Split
from mnistnn.files import sha256_file
from sweeps.care.replay import Replay, replay_trial
from sweeps.paths import StudyPaths
from sweeps.study.storage import load_study
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config

#: More than a process has trained when it is killed.
MANY_EPOCHS = 25


class Tiny:
    """A data set of which an epoch takes milliseconds."""

    def __init__(self, sample: Dataset) -> None:
        self._sample = sample
        self.digest = sample.digest

    def split(self, seed: int) -> tuple[Split, Split]:
        train, validation = self._sample.split(seed)
        return (
            Split(train.images, train.labels, train.indices[:200]),
            Split(validation.images, validation.labels, validation.indices[:100]),
        )


class PruneAfter(optuna.pruners.BasePruner):
    """Prunes every trial after its second epoch."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return max(trial.intermediate_values, default=0) == 2


class Lab:
    """A study under `root`, whose trials are run in this process."""

    def __init__(self, root: Path, data: Any, **changes: Any) -> None:
        self.root, self.data = root, data
        self.config = small_config(**{"budget__epochs": 3} | changes)
        self.study = make_study(self.config, root, data)

    @property
    def paths(self) -> StudyPaths:
        return paths_of(self.config, self.root)

    def run(self, *, pruner: Any = None, stop: Callable[[], bool] = lambda: False, **changes: Any) -> TrialState | None:
        self.study = load_study(self.config.name, None, self.paths, sampler=self.study.sampler, pruner=pruner)
        with threadpool_limits(1):  # as a worker has it
            return run_next(self.study, make_bench(self.config, self.root, self.data, stop=stop, **changes))

    def replay(self, number: int = 0, **more: Any) -> Replay:
        options: dict[str, Any] = {"dataset": self.data, "progress": False} | more
        return replay_trial(self.config.name, number, root=self.root, **options)

    def file(self, name: str, number: int = 0) -> Path:
        return self.paths.trial(number) / name

    def files(self) -> dict[str, str]:
        paths = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {str(path): sha256_file(path) for path in paths}

    def events(self, kind: str, number: int = 0) -> list[dict[str, Any]]:
        path = self.file("events.jsonl", number)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [event for event in events if event["kind"] == kind]

    def edit(self, change: Callable[[dict[str, Any]], object], kind: str, number: int = 0) -> None:
        """Changes the events of a kind."""
        path = self.file("events.jsonl", number)
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            if event["kind"] == kind:
                change(event)
        path.write_text("".join(json.dumps(event) + "\n" for event in events))


def work(root: str, data: str) -> None:
    """Runs the next trial, as a process of its own."""
    dataset = find_dataset(Path(data), cache=Path(root) / "cache")
    Lab(Path(root), dataset, budget__epochs=MANY_EPOCHS).run()
