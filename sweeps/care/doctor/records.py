"""A trial's record of events, made again where lines of it are lost: from Optuna's storage and the trial's folder."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from mnistnn.epochs import VALIDATED
from mnistnn.errors import InputError
from mnistnn.files import atomic_write, sha256_bytes
from sweeps.care.doctor.scene import METRICS, Scene
from sweeps.care.doctor.told import lines_of
from sweeps.errors import StudyError
from sweeps.study.forecast import EPOCH_S_ESTIMATE
from sweeps.study.labels import run_name
from sweeps.study.lineage import kin_tags, shown_label, total_epochs
from sweeps.study.space import Space
from sweeps.study.validation import reported
from sweeps.tracking.cursor import CURSOR, Cursor
from sweeps.tracking.events import EVENTS, Event, parse
from sweeps.tracking.inspect import SeenRun
from sweeps.tracking.notes import trial_note

__all__ = ["DAMAGED", "end_metrics", "restore_record"]

#: The events as they were before damaged lines were taken out.
DAMAGED = f"{EVENTS}.damaged"

_FILES = ("weights.npz", "recipe.json", "val_probs.npz", "history.csv", "traceback.txt")
_EPOCHS = {  # of history.csv, by the names that the events have
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "seconds": "epoch_seconds",
    "images_per_s": "images_per_s",
    "learning_rate": "learning_rate",
    **{name: name for name in VALIDATED},
}


def restore_record(scene: Scene, number: int | None) -> None:
    """Writes the events of a trial's folder, or of the study's own, anew: all that are whole, and those that are lost.

    The run keeps its key, so it is gone on with; and the times that MLflow knows, so that no point comes twice. All of
    it is delivered once more, which changes nothing where it is known.

    Args:
        scene: the study.
        number: the trial's; None means the study's own run.

    Raises:
        StudyError: somebody delivers these events now.
        OutputError, OSError: they cannot be written.
    """
    folder = scene.paths.parent if number is None else scene.paths.trial(number)
    with _undelivered(folder):
        lines = [line for line, _ in lines_of(folder / EVENTS)]
        whole = [event for line in lines if line.endswith(b"\n") and (event := parse(line)) is not None]
        events = _Record(scene, number, folder).complete(whole)
        if len(whole) < len(lines):
            with open(folder / EVENTS, "rb") as old, atomic_write(folder / DAMAGED) as copy:
                shutil.copyfileobj(old, copy)
        (folder / CURSOR).unlink(missing_ok=True)  # first: without it all is sent, with an old one not
        with atomic_write(folder / EVENTS) as file:
            for seq, event in enumerate(events, 1):
                text = json.dumps(event | {"seq": seq}, ensure_ascii=False, separators=(",", ":"))
                file.write(text.encode("utf-8", "replace") + b"\n")


def end_metrics(trial: FrozenTrial) -> dict[str, float]:
    """Returns the results that a trial's run shows, from its attributes."""
    attrs = trial.user_attrs
    known = {name: attrs.get(name) for name in ("epochs_run", "seconds", "peak_mb", "epoch_s")}
    known |= {shown: attrs.get(name) for shown, name in METRICS.items()}
    return {name: float(value) for name, value in known.items() if isinstance(value, int | float)}


class _Record:
    def __init__(self, scene: Scene, number: int | None, folder: Path) -> None:
        self.scene, self.number, self.folder = scene, number, folder
        self.trial = None if number is None else scene.trials[number]
        self.cursor = Cursor.load(folder)

    def complete(self, whole: list[Event]) -> list[Event]:
        """Returns the events in their order, with those that are missing."""
        starts = [event for event in whole if event["kind"] == "start"]
        rest = [event for event in whole if event["kind"] != "start"]
        key = starts[0]["key"] if starts else self._key()
        run = next((run for run in self.scene.runs.values() if run.key == key and not run.is_deleted), None)
        if starts:
            events = [starts[0], *rest]
        else:
            began = [event["time_ms"] for event in rest] or [self._begin_ms]
            events = [self._start(key, min(began) if run is None else run.start_ms), *rest]
        if self.trial is not None:
            self._add_epochs(events, run)
            if self.trial.state.is_finished():
                self._add_files(events)
                self._add_end(events, run)
        return events

    # What is missing

    def _start(self, key: str, time_ms: int) -> Event:
        study = self.scene.config.name
        event: Event = {"kind": "start", "seq": 1, "time_ms": time_ms, "key": key}
        common = self._common()
        if self.trial is None:
            name = self.cursor.name or f"study {study}"
            return event | {"name": name, "params": {}, "metrics": {}, "note": "", **common}
        attrs, number = self.trial.user_attrs, self.number
        label, params = str(attrs.get("label") or ""), self._params()
        name = f"#{number:03d} {label}".strip()
        if label and "learning_rate" in params and "optimizer" in params:
            name = run_name(int(number or 0), shown_label(self.trial, label), params)
        metrics = {"trial_number": number, "params_count": attrs.get("params"), "macs": attrs.get("macs")}
        metrics[EPOCH_S_ESTIMATE] = attrs.get(EPOCH_S_ESTIMATE)
        tags = common["tags"] | {"trial": str(number)} | kin_tags(self.trial)
        if attrs.get("role") == "baseline":
            tags["baseline"] = str(attrs.get("preset") or "baseline")
        return event | {
            "name": name,
            "params": params,
            "metrics": {name: float(value) for name, value in metrics.items() if value is not None},
            "note": trial_note(label or "?", {"record": "made again by doctor"}),
            "tags": tags,
            "inputs": common["inputs"],
        }

    def _add_epochs(self, events: list[Event], run: SeenRun | None) -> None:
        known = {event["step"] for event in events if event["kind"] == "epoch"}
        missing = {step: metrics for step, metrics in self._history().items() if step not in known}
        if not missing:
            return
        times = self._times(run, "train_loss")
        for step, metrics in sorted(missing.items()):
            at = next(
                (i for i, e in enumerate(events) if (e["kind"] == "epoch" and e["step"] > step) or e["kind"] in _LATER),
                len(events),
            )
            elapsed_ms = round(1000 * float(metrics.get("epoch_seconds") or 0.0))
            time_ms = times.get(step, self._between(events, at, elapsed_ms))
            events.insert(at, {"kind": "epoch", "seq": 0, "time_ms": time_ms, "step": step, "metrics": _plain(metrics)})

    def _add_files(self, events: list[Event]) -> None:
        known = {event["file"] for event in events if event["kind"] == "artifact"}
        for name in _FILES:
            if name not in known and (self.folder / name).is_file():
                at = next((i for i, event in enumerate(events) if event["kind"] == "end"), len(events))
                time_ms = self._between(events, at, 0)
                events.insert(at, {"kind": "artifact", "seq": 0, "time_ms": time_ms, "file": name, "folder": ""})

    def _add_end(self, events: list[Event], run: SeenRun | None) -> None:
        assert self.trial is not None
        state = self.trial.state.name
        last = [event for event in events if event["kind"] in ("start", "resume", "stop", "end")][-1]
        if last.get("state") == state:
            return
        ended = self.trial.datetime_complete
        time_ms = self._times(run, "epochs_run").get(0, 0 if ended is None else _ms(ended))
        time_ms = max(time_ms, events[-1]["time_ms"])
        reason = str(self.trial.user_attrs.get("reason") or "")
        metrics = _plain(end_metrics(self.trial))
        events.append(
            {"kind": "end", "seq": 0, "time_ms": time_ms, "state": state, "reason": reason, "metrics": metrics}
        )

    # Where it comes from

    def _key(self) -> str:
        """Returns the key of the run that there is, or one that is always the same."""
        if self.cursor.key:
            return self.cursor.key
        parent = Cursor.load(self.scene.paths.parent).run_id
        runs = [
            run
            for run in self.scene.runs.values()
            if run.key and not run.is_deleted and run.parent and run.parent == parent and run.trial == str(self.number)
        ]
        if runs:
            return min(runs, key=lambda run: run.start_ms).key
        known = self.scene.study.user_attrs.get("folder_id") or self.scene.config.name
        return sha256_bytes(f"{known}/{self.number}".encode())[:24]

    def _times(self, run: SeenRun | None, metric: str) -> dict[int, int]:
        """Returns when MLflow has the steps of a metric: sent with other times, they would stand there twice."""
        store = self.scene.store
        return {} if store is None or run is None else store.times_of(run.run_id, metric)

    def _params(self) -> dict[str, Any]:
        assert self.trial is not None
        config = self.scene.known_config()
        space = Space(config)
        try:
            values = space.values(self.trial.params, self.trial.user_attrs.get("overrides", {}))
            return space.plain(values, total_epochs(self.trial, config.budget.epochs))
        except (InputError, KeyError, ValueError, TypeError):  # it failed before all were chosen
            return dict(self.trial.params)

    def _common(self) -> dict[str, Any]:
        """Returns tags and data sets as another run of this study recorded them."""
        folders = [self.scene.paths.parent, *self.scene.folders()]
        for folder in folders:
            for line, _ in lines_of(folder / EVENTS):
                event = parse(line)
                if event is not None and event["kind"] == "start":
                    own = {name: value for name, value in event["tags"].items() if name not in _OWN_TAGS}
                    return {"tags": own, "inputs": event["inputs"]}
        return {"tags": {"study": self.scene.config.name}, "inputs": []}

    def _history(self) -> dict[int, dict[str, float]]:
        """Returns the metrics of each epoch: those of history.csv, else what Optuna was told."""
        assert self.trial is not None
        found: dict[int, dict[str, float]] = {}
        try:
            with open(self.folder / "history.csv", encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    values = {name: float(row[field]) for field, name in _EPOCHS.items() if row.get(field)}
                    found[int(row["epoch"])] = values
        except (OSError, ValueError, TypeError, KeyError, csv.Error):
            pass
        for step, value in self.trial.intermediate_values.items():
            found.setdefault(step, {reported(self.scene.config, self.trial): float(value)})
        return found

    @property
    def _begin_ms(self) -> int:
        begun = None if self.trial is None else self.trial.datetime_start or self.trial.datetime_complete
        return _ms(begun or datetime.now())

    @staticmethod
    def _between(events: list[Event], at: int, after_ms: int) -> int:
        """Returns a time for an event at a place in the list: some time after the one before, not after the next."""
        time_ms = int(events[at - 1]["time_ms"]) + after_ms
        return min(time_ms, int(events[at]["time_ms"])) if at < len(events) else time_ms


_OWN_TAGS = ("trial", "baseline", "extends", "repeats", "repeat_seed", "stage", "final_of", "fold")  # one trial's
_LATER = ("artifact", "end")  # come behind a trial's epochs


def _plain(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Returns metrics as events have them: JSON knows no infinity."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@contextmanager
def _undelivered(folder: Path) -> Iterator[None]:
    """Keeps others from delivering the events in `folder` meanwhile.

    Raises:
        StudyError: somebody does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / EVENTS, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"events must not be delivered while they are mended, but those in {folder} are; wait for that."
            ) from None
        yield
