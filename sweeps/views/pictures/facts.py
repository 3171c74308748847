"""What the pictures of a study are drawn from, read once from its trials and their events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.study.labels import bare_names
from sweeps.study.lineage import is_final
from sweeps.study.storage import origin_of
from sweeps.study.validation import OBJECTIVE
from sweeps.tracking.events import EVENTS, parse
from sweeps.views.pictures.searched import Parameter, searched_parameters

if TYPE_CHECKING:
    import optuna

    from sweeps.paths import StudyPaths

__all__ = ["METRICS", "STATES", "Parameter", "Span", "StudyFacts", "TrialFacts", "gather"]

#: What each state is called.
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
#: What each metric is called.
METRICS = {
    "val_loss": "validation loss",
    "val_accuracy": "validation accuracy",
    "val_calibrated_loss": "calibrated validation loss",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in which a worker was at a trial: seconds since the epoch, and how it ended.

    Attributes:
        start: when it began.
        end: when it ended.
        state: the trial's, or "stopped" if another attempt went on with it.
    """

    start: float
    end: float
    state: str


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """A trial, over all its attempts.

    Attributes:
        number: under which it began, and which people know it by.
        label: its network in a few words.
        state: "complete", "pruned", "failed", "running" or "waiting".
        value: what it is judged by: of its best epoch; of its last one, if it is not complete; None if it has none.
        val_loss: of its best epoch.
        val_accuracy: of its best epoch.
        params: how many numbers it trained.
        seconds: what its epochs took.
        curve: the value after each epoch.
        choices: its parameters, by the name of a `Parameter`; what it was not asked for is not there.
        spans: when workers were at it.
        is_baseline: whether it is one of the presets that a study begins with.
        is_free: whether all its parameters were drawn from the space, so that it tells something about that.
    """

    number: int
    label: str
    state: str
    value: float | None
    val_loss: float | None
    val_accuracy: float | None
    params: int | None
    seconds: float | None
    curve: tuple[tuple[int, float], ...]
    choices: Mapping[str, Any]
    spans: tuple[Span, ...]
    is_baseline: bool
    is_free: bool

    @property
    def name(self) -> str:
        """Its number as it is shown: #017."""
        return f"#{self.number:03d}"


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study.

    Attributes:
        name: the study's.
        metric: what its trials are judged by.
        shifted: whether that is the mean on plain and on shifted images.
        maximise: whether more of it is better.
        trials: those of the search, by their numbers; each once, whatever its attempts.
        members: those of its final stage, likewise.
        parameters: what was searched, in the order in which it is asked for.
    """

    name: str
    metric: str
    shifted: bool
    maximise: bool
    trials: tuple[TrialFacts, ...]
    parameters: tuple[Parameter, ...]
    members: tuple[TrialFacts, ...] = ()

    def of(self, *states: str) -> list[TrialFacts]:
        """Returns the trials in these states that have a value."""
        return [trial for trial in self.trials if trial.state in states and trial.value is not None]

    @property
    def complete(self) -> list[TrialFacts]:
        """The complete trials."""
        return self.of("complete")

    @property
    def ranked(self) -> list[TrialFacts]:
        """The complete trials, the best first."""
        sign = -1.0 if self.maximise else 1.0
        return sorted(self.complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def best(self) -> TrialFacts | None:
        """The best complete trial."""
        return next(iter(self.ranked), None)

    @property
    def metric_label(self) -> str:
        """The metric in words."""
        words = METRICS.get(self.metric, self.metric)
        return f"{words}, plain and shifted" if self.shifted else words


def gather(study: optuna.Study, paths: StudyPaths | None = None) -> StudyFacts:
    """Reads a study.

    Args:
        study: the study.
        paths: its paths; with them, the attempts are known from the trials' events, else from Optuna alone.
    """
    attempts = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    current = {origin_of(trial): trial for trial in attempts if not trial.user_attrs.get("requeued")}
    earlier: dict[int, list[FrozenTrial]] = {}
    for trial in attempts:
        earlier.setdefault(origin_of(trial), []).append(trial)
    names = {name for trial in current.values() for name in trial.distributions}
    bare = bare_names(sorted(names))
    maximise = study.direction.name == "MAXIMIZE"
    config = study.user_attrs.get("config") or {}
    default = "val_accuracy" if maximise else "val_loss"
    metric = str(config.get("study", {}).get("metric", default))
    trials = {
        number: _trial(number, trial, earlier[number], paths, names, bare, metric)
        for number, trial in sorted(current.items())
    }
    members = {number for number, trial in current.items() if is_final(trial)}
    searched = [trial for number, trial in current.items() if number not in members]
    return StudyFacts(
        name=study.study_name,
        metric=metric,
        shifted=bool(config.get("study", {}).get("validation_shift")),
        maximise=maximise,
        trials=tuple(facts for number, facts in trials.items() if number not in members),
        parameters=tuple(searched_parameters(searched, bare)),
        members=tuple(facts for number, facts in trials.items() if number in members),
    )


def _trial(
    number: int,
    trial: FrozenTrial,
    attempts: Sequence[FrozenTrial],
    paths: StudyPaths | None,
    names: set[str],
    bare: Mapping[str, str],
    metric: str,
) -> TrialFacts:
    known = trial.user_attrs
    overrides = {name: value for name, value in known.get("overrides", {}).items() if name in names}
    curve = [(step, value) for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)]
    value = trial.value if trial.state == TrialState.COMPLETE else known.get(OBJECTIVE, known.get(metric))
    if value is None and curve:
        value = curve[-1][1]
    return TrialFacts(
        number=number,
        label=str(known.get("label", "")),
        state=STATES[trial.state],
        value=_finite(value),
        val_loss=_finite(known.get("val_loss")),
        val_accuracy=_finite(known.get("val_accuracy")),
        params=known.get("params"),
        seconds=_finite(known.get("seconds")),
        curve=tuple(curve),
        choices={bare.get(name, name): each for name, each in (trial.params | overrides).items()},
        spans=_spans(number, attempts, paths),
        is_baseline=known.get("role") == "baseline",
        is_free=not known.get("overrides") and bool(trial.params),
    )


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _spans(number: int, attempts: Sequence[FrozenTrial], paths: StudyPaths | None) -> tuple[Span, ...]:
    if paths is not None and (recorded := _recorded(paths, number)):
        return tuple(recorded)
    spans = []
    for attempt in attempts:
        if attempt.datetime_start is not None:
            start, end = _seconds(attempt.datetime_start), _seconds(attempt.datetime_complete)
            state = "stopped" if attempt.user_attrs.get("requeued") else STATES[attempt.state]
            spans.append(Span(start, max(start, end), state))
    return tuple(spans)


def _seconds(moment: datetime | None) -> float:
    return datetime.now().timestamp() if moment is None else moment.timestamp()


def _recorded(paths: StudyPaths, number: int) -> list[Span]:
    """Returns the attempts that a trial's events tell of. The last may be without an end: it runs, or was killed."""
    try:
        lines = (paths.trial(number) / EVENTS).read_bytes().splitlines()
    except OSError:
        return []
    spans: list[Span] = []
    start = last = None
    for line in lines:
        event = parse(line)
        if event is None or event["kind"] == "tags":  # which may be of a day long after
            continue
        time_s = event["time_ms"] / 1000
        if event["kind"] in ("start", "resume"):
            if start is not None and last is not None:  # it was killed, and nobody could record that
                spans.append(Span(start, last, "stopped"))
            start = time_s
        elif event["kind"] in ("stop", "end") and start is not None:
            ended = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(
                event.get("state", ""), "stopped"
            )
            spans.append(Span(start, time_s, ended))
            start = None
        last = time_s
    if start is not None and last is not None:
        spans.append(Span(start, last, "running"))
    return spans
