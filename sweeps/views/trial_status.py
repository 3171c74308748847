"""One trial as it stands at this moment: its parameters, its curve, its attempts and its files. Nothing is written."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.config.duration import clock
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Clock
from sweeps.study.lineage import total_epochs
from sweeps.study.liveness import stale_trials
from sweeps.study.lookup import config_of, find_trial
from sweeps.tracking.cursor import pending_events, run_id_of
from sweeps.tracking.events import EVENTS, Event, parse
from sweeps.tracking.parsing import LONGEST_LINE
from sweeps.views.progress import RunningTrial, figures
from sweeps.views.status import AtWork, moment, ruled, waiting_events
from sweeps.views.study_view import worker_of
from sweeps.views.trials import role_of
from sweeps.workers.outlook import Outlook

__all__ = ["TrialStatus", "trial_status"]

_WIDTH = 100  # of paragraphs, where there is no terminal
_RESULTS = ("val_loss", "val_accuracy", "best_epoch", "epochs_run", "seconds", "epoch_s", "params", "macs", "peak_mb")
_CURVE = {
    "train_loss": "{:.4f}",
    "val_loss": "{:.4f}",
    "val_accuracy": "{:.4f}",
    "learning_rate": "{:.2g}",
    "images_per_s": "{:,.0f}",
    "epoch_seconds": "{:.1f}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStatus:
    """How a trial stands.

    Attributes:
        study: its study's name.
        number: the one that it began under.
        name: what its run is called.
        state: RUNNING, WAITING, COMPLETE, PRUNED or FAIL.
        reason: why it is not complete.
        origin: where it comes from if that is not the sampler, in words.
        params: what was chosen.
        results: what came of it.
        trial: Optuna's own.
        worker: who is at it.
        curve: the metrics of each epoch.
        attempts: when it was started, stopped, resumed and ended.
        folder: where its files are.
        files: their sizes.
        run_id: its run in MLflow.
        undelivered: events that MLflow does not have yet.
    """

    study: str
    number: int
    name: str
    state: str
    reason: str | None
    origin: str | None
    params: Mapping[str, Any]
    results: Mapping[str, Any]
    trial: FrozenTrial
    worker: AtWork | None
    curve: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    folder: Path
    files: Mapping[str, int]
    run_id: str | None
    undelivered: int

    @property
    def is_at_work(self) -> bool:
        """Whether a worker is at it, or is still to come to it."""
        return self.state == TrialState.WAITING.name or (self.worker is not None and self.worker.where != "dead")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        worker: dict[str, Any] | None = None
        if self.worker is not None:
            now = self.worker.trial
            worker = {"epoch": now.done, "epochs": now.epochs, "left_s": now.left_s}
            worker |= {"pid": self.worker.pid, "where": self.worker.where}
        return {
            "study": self.study,
            "trial": self.number,
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "from": self.origin,
            "params": dict(self.params),
            "results": dict(self.results),
            "worker": worker,
            "curve": [dict(epoch) for epoch in self.curve],
            "attempts": [dict(attempt) for attempt in self.attempts],
            "folder": str(self.folder),
            "files": dict(self.files),
            "run_id": self.run_id,
            "undelivered": self.undelivered,
        }

    def text(self, width: int | None = None) -> str:
        """Returns it for people, no line longer than `width`."""
        return ruled(self._sections(width or _WIDTH), width)

    def _sections(self, width: int) -> Iterator[tuple[str, list[str]]]:
        yield "trial", [self.name]
        yield "state", [self._state()]
        if text := figures(self.trial):
            best = self.results.get("best_epoch")
            yield "result", [text + (f", after epoch {best}" if best is not None else "")]
        if self.origin:
            yield "from", [self.origin]
        listed = ", ".join(f"{name} {_short(value)}".replace(" ", "\0") for name, value in self.params.items())
        wrapped = [line.replace("\0", " ") for line in textwrap.wrap(listed, max(20, width - 10))]
        yield "params", wrapped or ["not drawn yet"]
        if self.curve:
            yield "curve", _table(self.curve)
        if self.attempts:
            yield "attempts", [_attempt(each) for each in self.attempts]
        sizes = [f"{name} {_size(size)}" for name, size in self.files.items()]
        yield "files", [str(self.folder), *textwrap.wrap(", ".join(sizes), max(20, width - 10))]
        waiting = waiting_events(self.undelivered) if self.undelivered else ""
        yield "mlflow", [", ".join(filter(None, [f"run {self.run_id}" if self.run_id else "no run yet", waiting]))]

    def _state(self) -> str:
        parts = [self.state.lower() if self.reason is None else f"{self.state.lower()}: {self.reason}"]
        if self.worker is not None:
            now = self.worker.trial
            parts.append(f"{now.done} of {now.epochs} epochs")
            if self.worker.where == "dead":
                parts.append("its worker died, and the next `run` goes on with it")
            else:
                parts += [] if now.left_s is None else [f"{clock(now.left_s)} left"]
                parts += ["on another machine" if self.worker.pid is None else f"process {self.worker.pid}"]
        return ", ".join(parts)


def trial_status(study: optuna.Study, paths: StudyPaths, number: int) -> TrialStatus:
    """Looks at a trial.

    Args:
        study: opened to be read.
        paths: its paths.
        number: the trial's.

    Raises:
        StudyError: there is none.
    """
    trial, folder, config = find_trial(study, number), paths.trial(number), config_of(study)
    events = list(_events(folder))
    start = next((event for event in events if event["kind"] == "start"), None)
    attributes = trial.user_attrs
    worker = None
    if trial.state == TrialState.RUNNING:
        stale = stale_trials(study)
        outlook = Outlook(study, Budget(), Clock(0.0), None, config.budget.epochs, paths)
        just_begun = RunningTrial(
            number=number, label="", epochs=total_epochs(trial, config.budget.epochs), done=0, epoch_s=None, left_s=None
        )
        now = next((each for each in outlook.running if each.number == number), just_begun)
        worker = AtWork(trial=now, **worker_of(study, trial, paths, stale))
    return TrialStatus(
        study=study.study_name,
        number=number,
        name=start["name"] if start else f"#{number:03d} {attributes.get('label', '')}".rstrip(),
        state=trial.state.name,
        reason=attributes.get("reason"),
        origin=role_of(trial) or None,
        params=start["params"] if start else trial.params or trial.system_attrs.get("fixed_params", {}),
        results={name: attributes[name] for name in _RESULTS if name in attributes},
        trial=trial,
        worker=worker,
        curve=[{"epoch": event["step"], **_numbers(event["metrics"])} for event in events if event["kind"] == "epoch"],
        attempts=list(_attempts(events)),
        folder=folder,
        files=_files(folder),
        run_id=run_id_of(folder),
        undelivered=pending_events(folder),
    )


def _events(folder: Path) -> Iterator[Event]:
    with contextlib.suppress(OSError), open(folder / EVENTS, "rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            event = parse(line) if line.endswith(b"\n") else None
            if event is not None:
                yield event


def _attempts(events: Sequence[Event]) -> Iterator[dict[str, Any]]:
    """Yields when the trial was started, stopped, resumed and ended, why, and after which epoch."""
    words = {"start": "started", "resume": "resumed", "stop": "stopped", "end": "ended"}
    epoch = 0
    for event in events:
        if event["kind"] == "epoch":
            epoch = event["step"]
        if event["kind"] in words:
            reason = event.get("reason") or event.get("state") or None
            yield {"what": words[event["kind"]], "time": moment(event["time_ms"] / 1000), "epoch": epoch, "why": reason}


def _attempt(attempt: Mapping[str, Any]) -> str:
    after = f" after epoch {attempt['epoch']}" if attempt["epoch"] else ""
    why = f": {attempt['why']}" if attempt["why"] else ""
    return f"{attempt['time']}  {attempt['what']}{after}{why}"


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}  # "nan" among them


def _table(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [name for name in _CURVE if any(name in epoch for epoch in curve)]
    rows = [["epoch", *names]]
    for epoch in curve:
        cells = [_CURVE[name].format(epoch[name]) if name in epoch else "" for name in names]
        rows.append([str(epoch["epoch"]), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _files(folder: Path) -> dict[str, int]:
    sizes = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(OSError):
                sizes[path.name] = path.stat().st_size
    return {name: size for name, size in sizes.items() if not name.startswith(".")}


def _size(count: int) -> str:
    return f"{count} B" if count < 1000 else f"{count / 1000:,.0f} kB"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
