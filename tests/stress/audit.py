"""What a study left behind, counted in all of its stores: nothing may hang, be lost, or be there twice."""

from __future__ import annotations

import gc
import itertools
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from mnistnn.data import Dataset
from mnistnn.files import sha256_file
from sweeps.care.replay import replay_trial
from sweeps.study.storage import origin_of
from sweeps.tracking.cursor import pending_events, run_id_of
from sweeps.tracking.store import client, experiment_name, resolve_uri
from sweeps.tracking.wire import rounded
from tests.stress.projects import StressProject

if TYPE_CHECKING:
    from mlflow.entities import Run

__all__ = ["Audit", "audit"]

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


@dataclass
class Audit:
    """The counts; `faults` names whatever is not as it must be, a line each."""

    attempts: int = 0
    trials: int = 0  # chains of attempts
    complete: int = 0
    pruned: int = 0
    resumed: int = 0  # attempts that went on with another's
    epochs: int = 0
    lost_epochs: int = 0  # trained again although their checkpoint was there
    runs: int = 0
    duplicated_runs: int = 0
    orphans: int = 0  # runs without a trial, and runs that hang
    replays: int = 0
    equal_replays: int = 0
    faults: list[str] = field(default_factory=list)


def audit(project: StressProject, data: Dataset, epochs_file: Path | None = None, *, replay: bool = True) -> Audit:
    """Looks through everything that the study `live` of a project left.

    Args:
        project: the project; none of its sweeps may be running.
        data: what was trained on.
        epochs_file: what the probe `epochs` wrote.
        replay: whether to train each trial again, and to compare what comes out.
    """
    found = Audit()
    ended = _chains(project, found)
    _files(project, ended, found)
    _runs(project, ended, found)
    if epochs_file is not None:
        _epochs(epochs_file, found)
    if replay:
        _replays(project, data, ended, found)
    return found


def _chains(project: StressProject, found: Audit) -> dict[int, FrozenTrial]:
    """Returns by origin the attempt that ended each trial."""
    attempts: dict[int, list[FrozenTrial]] = defaultdict(list)
    trials, _ = project.read()
    for trial in trials:
        attempts[origin_of(trial)].append(trial)
        if not trial.state.is_finished():
            found.faults.append(f"attempt {trial.number} is {trial.state.name}")
    ended: dict[int, FrozenTrial] = {}
    for origin, chain in attempts.items():
        last = [trial for trial in chain if not trial.user_attrs.get("requeued")]
        if len(last) > 1:
            found.faults.append(f"trial {origin} ended {len(last)} times")
        elif last:
            ended[origin] = last[0]
            if last[0].state == TrialState.FAIL:
                found.faults.append(f"trial {origin} failed: {last[0].user_attrs.get('reason')}")
        elif len(chain) > 1 or "label" in chain[0].user_attrs:
            found.faults.append(f"trial {origin} has {len(chain)} attempts, and no end")
        histories = [tuple(trial.system_attrs.get("retry_history", ())) for trial in chain]
        twice = [history for history, count in Counter(histories).items() if count > 1]
        if twice:
            found.faults.append(f"trial {origin} was queued again twice after {twice}")
    found.attempts, found.trials = len(trials), len(ended)
    found.complete = sum(trial.state == TrialState.COMPLETE for trial in ended.values())
    found.pruned = sum(trial.state == TrialState.PRUNED for trial in ended.values())
    return ended


def _events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _files(project: StressProject, ended: dict[int, FrozenTrial], found: Audit) -> None:
    for origin, trial in ended.items():
        events = _events(project.paths.trial(origin))
        kinds = Counter(event["kind"] for event in events)
        found.resumed += kinds["resume"]
        # A kill between the record of an end and the word to the study lets another attempt end it once more.
        again = sum(now["kind"] == "end" and then["kind"] == "resume" for now, then in itertools.pairwise(events))
        if (kinds["start"], kinds["end"]) != (1, 1 + again) or events[-1]["kind"] != "end":
            found.faults.append(f"trial {origin} has {kinds['start']} starts and {kinds['end']} ends")
        steps = [event["step"] for event in events if event["kind"] == "epoch"]
        found.epochs += len(steps)
        if steps != list(range(1, len(steps) + 1)) or len(steps) != trial.user_attrs["epochs_run"]:
            found.faults.append(f"trial {origin} recorded epochs {steps} of {trial.user_attrs['epochs_run']}")
        times = [event["time_ms"] for event in events]
        if times != sorted(times) or [event["seq"] for event in events] != list(range(1, len(events) + 1)):
            found.faults.append(f"the events of trial {origin} are out of order")
    for path in project.paths.trials.glob("*/checkpoint*.npz"):
        found.faults.append(f"{path.parent.name}/{path.name} was left behind")


def _runs(project: StressProject, ended: dict[int, FrozenTrial], found: Audit) -> None:
    uri = resolve_uri(project.tracking_uri, project.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow = client(uri)
        experiment = mlflow.get_experiment_by_name(experiment_name("live"))
        assert experiment is not None
        runs: dict[str, Run] = {
            run.info.run_id: run
            for page in _pages(mlflow, experiment.experiment_id)
            for run in page
            if run.info.lifecycle_stage == "active"
        }
    folders = [project.paths.parent, *(path for path in sorted(project.paths.trials.glob("[0-9]*")))]
    folders = [folder for folder in folders if _events(folder)]
    found.runs = len(runs)
    keys = Counter(run.data.tags["sweeps.key"] for run in runs.values())
    found.duplicated_runs = sum(count - 1 for count in keys.values())
    known = {run_id_of(folder) for folder in folders}
    found.orphans = len(runs.keys() - known) - found.duplicated_runs
    for run_id in sorted(runs.keys() - known):
        found.faults.append(f"run {runs[run_id].info.run_name} belongs to no trial")
    for folder in folders:
        if waiting := pending_events(folder):
            found.faults.append(f"{waiting} events of {folder.name} were not delivered")
        run = runs.get(run_id_of(folder) or "")
        if run is None:
            found.faults.append(f"{folder.name} has no run")
            continue
        trial = None if folder == project.paths.parent else ended.get(int(folder.name))
        wanted = "FINISHED" if trial is None else _STATUS[trial.state.name]
        if run.info.status != wanted:
            found.orphans += run.info.status == "RUNNING"
            found.faults.append(f"run {run.info.run_name} is {run.info.status}, and its trial asks for {wanted}")
        if trial is not None:
            _curve(mlflow, run, folder, found)


def _curve(mlflow: Any, run: Run, folder: Path, found: Audit) -> None:
    """Compares each epoch of each metric with the events."""
    recorded = [event for event in _events(folder) if event["kind"] == "epoch"]
    for name in ("val_loss", "train_loss"):
        history = mlflow.get_metric_history(run.info.run_id, name)
        points = sorted((point.step, point.value, point.timestamp) for point in history)
        wanted = [(event["step"], rounded(event["metrics"][name]), event["time_ms"]) for event in recorded]
        if points != wanted:
            found.faults.append(f"run {run.info.run_name} has {len(points)} points of {name} for {len(wanted)} epochs")


def _pages(mlflow: Any, experiment: str) -> Iterable[list[Run]]:
    token = None
    while True:
        page = mlflow.search_runs([experiment], max_results=1000, page_token=token)
        yield page
        token = page.token
        if not token:
            return


def _epochs(path: Path, found: Audit) -> None:
    saved = Counter(tuple(line.split()[:2]) for line in path.read_text().splitlines())
    if not saved:
        found.faults.append("the probe saw no epoch")
    found.lost_epochs = sum(count - 1 for count in saved.values())
    for (trial, epoch), count in saved.items():
        if count > 1:
            found.faults.append(f"epoch {epoch} of trial {trial} was trained {count} times")


def _replays(project: StressProject, data: Dataset, ended: dict[int, FrozenTrial], found: Audit) -> None:
    """Trains each trial again from its record alone, without a stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # each opens the storage, and leaves the rest to the collector
        for origin, trial in ended.items():
            result = replay_trial(
                "live", origin, root=project.root, dataset=data, storage_url=project.storage, progress=False
            )
            found.replays += 1
            found.equal_replays += result.is_same
            if not result.is_same:
                found.faults.append(f"a replay of trial {origin} differs: {result.text()}")
            if trial.state == TrialState.COMPLETE:
                kept = sha256_file(project.paths.trial(origin) / "weights.npz")
                if not kept == result.replayed_sha256 == trial.user_attrs["weights_sha256"]:
                    found.faults.append(f"the weights of trial {origin} are not those of its replay")
        gc.collect()
