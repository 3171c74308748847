"""What the checks look at: a study's trials, who holds them, its folders, and its runs, as they are at one moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from mnistnn.epochs import VALIDATED
from sweeps.care.doctor.told import Told, read_told
from sweeps.config import StudyConfig
from sweeps.errors import ConfigError, TrackingError
from sweeps.paths import StudyPaths
from sweeps.study.liveness import Owner, is_dead, stale_trials
from sweeps.study.locks import is_held
from sweeps.study.storage import origin_of
from sweeps.study.validation import OBJECTIVE
from sweeps.tracking.inspect import RunStore, SeenRun, local_path, open_runs
from sweeps.tracking.store import experiment_name

__all__ = ["METRICS", "Scene", "is_number"]

#: What a run shows of its trial's results, and the trial's attribute that holds it.
METRICS = {
    "epochs_run": "epochs_run",
    "best_epoch": "best_epoch",
    **{f"best_{name}": name for name in VALIDATED},
    "best_objective": OBJECTIVE,
}

_RANKS = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)


@dataclass(slots=True)
class Scene:
    """All that is known of a study.

    Attributes:
        config: as its file says now.
        root: the project.
        paths: the study's paths.
        uri: the tracking store.
        study: its trials' storage.
        is_running: a `run` works on it now.
        say: takes a line of progress.
        moved: folders of artifacts that MLflow's database still has under their old names.
        attempts: all that Optuna holds.
        trials: of each trial the attempt that counts, by the number under which it began.
        busy: the trials that a living worker holds.
        dead: running attempts whose worker is dead.
        store: MLflow's runs, if there are some.
        unseen: why they could not be looked at.
        runs: by their ids.
    """

    config: StudyConfig
    root: Path
    paths: StudyPaths
    uri: str
    study: optuna.Study
    is_running: bool
    say: Callable[[str], None]
    moved: Mapping[Path, Path] = field(default_factory=dict)
    attempts: list[FrozenTrial] = field(default_factory=list)
    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    dead: list[FrozenTrial] = field(default_factory=list)
    store: RunStore | None = None
    unseen: str | None = None
    runs: dict[str, SeenRun] = field(default_factory=dict)
    _told: dict[Path, Told] = field(default_factory=dict)

    def look(self) -> None:
        """Looks at everything again: what was recorded first is read last, so that no run is without its trial."""
        self._look_at_runs()
        self.look_at_trials()

    def look_at_trials(self) -> None:
        """Looks at trials and folders again."""
        self._told.clear()
        with _quiet_queue(self.paths):  # nobody begins a trial now
            held = {int(path.name) for path in self.folders() if is_held(path / "lock")}
            self.attempts = self.study.get_trials(deepcopy=False)
            running = [trial for trial in self.attempts if trial.state == TrialState.RUNNING]
            stale = stale_trials(self.study) if running else None
            self.dead = [
                trial
                for trial in running
                if origin_of(trial) not in held
                and is_dead(self.study, trial, Owner.read(self.paths.trial(origin_of(trial)) / "lock"), stale)
            ]
        dead = {trial.number for trial in self.dead}
        self.busy = held | {origin_of(trial) for trial in running if trial.number not in dead}
        self.trials = {}
        for trial in sorted(self.attempts, key=lambda trial: _RANKS.index(trial.state)):
            if not trial.user_attrs.get("requeued"):
                self.trials.setdefault(origin_of(trial), trial)  # of two, the one that came farther
        self.trials = dict(sorted(self.trials.items()))

    def _look_at_runs(self) -> None:
        try:
            self.store = open_runs(self.uri, experiment_name(self.config.name))
            found = [] if self.store is None else self.store.runs(METRICS)
            self.runs = {run.run_id: self._where_it_is(run) for run in found}
        except TrackingError as error:
            self.lose_sight(str(error))

    def lose_sight(self, reason: str) -> None:
        """Goes on without MLflow, which does not answer."""
        self.store, self.runs, self.unseen = None, {}, reason

    def _where_it_is(self, run: SeenRun) -> SeenRun:
        """Returns the run with the place of its artifacts after the project was moved."""
        folder = local_path(run.place)
        for old, new in self.moved.items():
            if folder is not None and folder.is_relative_to(old):
                return replace(run, place=(new / folder.relative_to(old)).as_uri())
        return run

    @property
    def identity(self) -> str:
        """Names the experiment, as cursors do; "" where there is none yet."""
        return "" if self.store is None else self.store.identity

    def folders(self) -> Iterator[Path]:
        """Yields the trials' folders."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.paths.trials) as entries:
            found = sorted(entry.name for entry in entries if is_number(entry.name))
            yield from (self.paths.trials / name for name in found)

    def others(self) -> Iterator[Path]:
        """Yields the folders of the runs that are no trial's: the study's own, and its ensembles'."""
        yield self.paths.parent
        with contextlib.suppress(OSError):
            yield from sorted(path for path in self.paths.ensemble.iterdir() if path.is_dir())

    def told(self, folder: Path) -> Told:
        """Returns what the folder has recorded."""
        if folder not in self._told:
            self._told[folder] = read_told(folder)
        return self._told[folder]

    def idle(self) -> Iterator[tuple[int, FrozenTrial, Path]]:
        """Yields the trials that nobody holds now: number, the attempt that counts, folder."""
        dead = {trial.number for trial in self.dead}
        for number, trial in self.trials.items():
            if number not in self.busy and trial.number not in dead:
                yield number, trial, self.paths.trial(number)

    def known_config(self) -> StudyConfig:
        """Returns the study as it was begun: its file may say something else by now."""
        with contextlib.suppress(ConfigError, KeyError, TypeError):
            return StudyConfig.from_dict(self.study.user_attrs["config"])
        return self.config


def is_number(name: str) -> bool:
    """Says whether a folder's name is one that a trial's has."""
    return name.isascii() and name.isdigit() and len(name) >= 5


@contextlib.contextmanager
def _quiet_queue(paths: StudyPaths) -> Iterator[None]:
    """Keeps workers from asking for trials meanwhile, as `queue_lock` does, but makes no file."""
    try:
        descriptor = os.open(paths.folder / "queue.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
