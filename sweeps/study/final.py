"""The final stage of a study: its best architectures trained longer, one net after another, fitted to the time."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.config import Final, StudyConfig
from sweeps.config.duration import clock
from sweeps.paths import StudyPaths
from sweeps.study.budget import is_asked
from sweeps.study.claims import OutOfTime
from sweeps.study.enqueue import queue
from sweeps.study.finalists import Finalists
from sweeps.study.forecast import EPOCH_S_ESTIMATE, Forecast
from sweeps.study.lineage import FINAL, IMPORTED, is_final
from sweeps.study.member_time import END_EPOCHS, SHORTEST, MemberTimes
from sweeps.study.storage import origin_of

__all__ = ["FinalStage", "Pick", "fit_epochs"]

#: A member has from this to that of the epochs that are aimed at.
_LEAST, _MOST = 0.75, 1.5


@dataclass(frozen=True, slots=True)
class Pick:
    """What the next member of the final stage shall be.

    Attributes:
        base: the trial whose architecture it has.
        epochs: how long it is trained.
    """

    base: FrozenTrial
    epochs: int


def fit_epochs(left_s: float, epoch_s: float, mean_s: float, target: int, most: int | None = None) -> int | None:
    """Returns how many epochs a worker's next member shall have, so that its last one ends with the time.

    The worker trains this one and some others after it, all for as many epochs; of all numbers of members the one is
    taken with which the epochs come nearest to those that are aimed at. Whoever asks again after each member spreads
    what was estimated wrongly over those that are left.

    Args:
        left_s: the seconds that are left.
        epoch_s: those of this member's epoch.
        mean_s: those of the others'.
        target: the epochs that are aimed at.
        most: how many members may be left for this worker; None for any number.

    Returns:
        The epochs; None if even the fewest take too long.
    """
    low, high = math.ceil(_LEAST * target), math.floor(_MOST * target)
    ideal = math.floor((left_s / (target + END_EPOCHS) - epoch_s) / mean_s) + 1
    found, nearest = None, math.inf
    # With the second the epochs are no fewer than those aimed at, and with the third no more, but for rounding.
    for members in (ideal - 1, ideal, ideal + 1):
        members = max(1, members if most is None else min(members, most))
        epochs = left_s / (epoch_s + (members - 1) * mean_s) - END_EPOCHS
        if epochs >= low and abs(math.log(epochs / target)) < nearest:
            nearest = abs(math.log(epochs / target))
            found = min(high, math.floor(epochs))
    return found


class FinalStage:
    """What a study's final stage needs next.

    Args:
        config: the study.
        forecast: knows how long the trials of its search take.
        paths: the study's paths.
        images: how many training images there are in all.
        left_s: the seconds until the study's time is up; None sets no limit.
        workers: how many work at it.
    """

    def __init__(
        self,
        config: StudyConfig,
        forecast: Forecast,
        paths: StudyPaths,
        images: int,
        left_s: float | None = None,
        workers: int = 1,
    ) -> None:
        self._final = config.final or Final()
        self._seed, self._workers = config.seed, workers
        self._finalists = Finalists(paths, config.metric, self._final.top)
        self.images = images - images // self._final.folds
        self._times = MemberTimes(forecast, self.images, images, is_shifted=bool(config.validation_shift))
        self._deadline = None if left_s is None else time.monotonic() + left_s

    @property
    def left_s(self) -> float | None:
        """The seconds until the study's time is up; None where there is no limit."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def next(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """Returns the trial that a worker shall take next: one that waits, else a new member, which waits then.

        Only who holds the study's queue may ask.

        Args:
            study: the study.
            trials: all of its trials.

        Returns:
            The trial; None if there is none now, and may be later.

        Raises:
            OutOfTime: there is no use in starting any.
        """
        current = self._times.learn(trials)
        left_s = self.left_s
        waiting = [trial for trial in current if trial.state == TrialState.WAITING]
        waiting = [trial for trial in waiting if is_final(trial) or is_asked(trial)]
        if left_s is None and waiting:
            return waiting[0]
        bases, begun = self._finalists.of(current), self._begun(current)
        if left_s is not None:
            for trial in waiting:
                if self._times.rest_s(trial) * self._times.caution <= left_s:
                    return trial
        if (pick := self._pick(bases, self._counts(current), left_s, self._room(len(begun)))) is not None:
            return self._queue(study, pick, current)
        if left_s is not None:
            for trial in waiting:  # it comes farther, and waits again
                if self._times.epoch_s_of(trial) <= left_s:
                    return trial
        running = [trial for trial in current if trial.state == TrialState.RUNNING]
        if running and (left_s is None or not bases):  # one may fail, or be the first that is complete
            return None
        raise OutOfTime

    def plan(self, trials: Sequence[FrozenTrial]) -> list[Pick]:
        """Returns the members that workers would train from now on, if all goes as estimated."""
        current = self._times.learn(trials)
        bases, counts, begun = self._finalists.of(current), self._counts(current), len(self._begun(current))
        left_s = self.left_s
        picks: list[Pick] = []
        if left_s is None:
            while (pick := self._pick(bases, counts, None, self._room(begun + len(picks)))) is not None:
                picks.append(pick)
                counts[_label(pick.base)] += 1
            return picks
        busy = [self._times.rest_s(trial) for trial in current if trial.state == TrialState.RUNNING][: self._workers]
        free = [*busy, *[0.0] * (self._workers - len(busy))]
        heapq.heapify(free)
        while free:
            at_s = heapq.heappop(free)
            pick = self._pick(bases, counts, left_s - at_s, self._room(begun + len(picks)))
            if pick is not None:
                picks.append(pick)
                counts[_label(pick.base)] += 1
                heapq.heappush(free, at_s + (pick.epochs + END_EPOCHS) * self._times.epoch_s(pick.base))
        return picks

    def describe(self, trials: Sequence[FrozenTrial]) -> str:
        """Returns the plan in one line, those members counted in that are there already."""
        current = self._times.learn(trials)
        begun, picks = self._begun(current), self.plan(trials)
        epochs = sorted({*(int(trial.user_attrs[FINAL]["epochs"]) for trial in begun), *(p.epochs for p in picks)})
        bases = self._finalists.of(current)
        count = len(begun) + len(picks)
        if not count:
            return "final stage: the time that is left is too short for a member."
        left_s = self.left_s
        parts = [
            f"{'about ' if left_s is not None else ''}{count} member{'s' if count > 1 else ''} of "
            + ", ".join(f"#{origin_of(base):03d} {_label(base)}" for base in bases),
            f"{epochs[0]} to {epochs[-1]} epochs each" if len(epochs) > 1 else f"{epochs[0]} epochs each",
            f"on {self.images:,} images" + ("" if left_s is None else f", in {clock(left_s)}"),
        ]
        return f"final stage: {'; '.join(parts)}"

    # What there is

    def _begun(self, current: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the members that count: those that failed for good are made up for, other studies' are no help."""
        members = [trial for trial in current if is_final(trial) and IMPORTED not in trial.user_attrs]
        return [trial for trial in members if trial.state != TrialState.FAIL]

    def _room(self, begun: int) -> int | None:
        return None if self._final.members is None else max(0, self._final.members - begun)

    def _counts(self, current: Sequence[FrozenTrial]) -> Counter[str]:
        """Returns how many members each architecture has."""
        labels = _labels(current)
        return Counter(labels.get(trial.user_attrs[FINAL]["of"], "") for trial in self._begun(current))

    # What comes next

    def _pick(
        self, bases: Sequence[FrozenTrial], counts: Mapping[str, int], left_s: float | None, room: int | None
    ) -> Pick | None:
        """Returns the next member that ends in time: of the architecture that has the fewest, the best of them first.

        Where too little is left for three quarters of any one's epochs, it is a shorter one of the quickest.

        Args:
            bases: the best trial of each architecture, the best first.
            counts: how many members each architecture has.
            left_s: the seconds that are left for it; None for any time.
            room: how many more there may be; None for any number.
        """
        if room == 0 or not bases:
            return None
        turns = sorted(bases, key=lambda base: counts.get(_label(base), 0))
        if left_s is None:
            return Pick(turns[0], self._final.epochs)
        target, sure_s = self._final.epochs, left_s / self._times.caution
        mean_s = math.fsum(map(self._times.epoch_s, bases)) / len(bases)
        most = None if room is None else math.ceil(room / self._workers)
        for base in turns:
            if (fitted := fit_epochs(sure_s, self._times.epoch_s(base), mean_s, target, most)) is not None:
                return Pick(base, fitted)
        quickest = min(turns, key=self._times.epoch_s)
        epochs = math.floor(sure_s / self._times.epoch_s(quickest) - END_EPOCHS)
        return Pick(quickest, epochs) if epochs >= SHORTEST * target else None

    def _queue(self, study: optuna.Study, pick: Pick, current: Sequence[FrozenTrial]) -> FrozenTrial:
        base = pick.base
        final = {
            "of": origin_of(base),
            "fold": self._fold(base, current),
            "folds": self._final.folds,
            "seed": self._seed,
            "epochs": pick.epochs,
        }
        estimate = round(self._times.epoch_s(base), 3)
        attributes = {"overrides": base.user_attrs.get("overrides", {}), FINAL: final, EPOCH_S_ESTIMATE: estimate}
        number = queue(study, base.params, attributes, params=base.params, distributions=base.distributions)
        return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)

    def _fold(self, base: FrozenTrial, current: Sequence[FrozenTrial]) -> int:
        """Returns the part of the images that a member leaves out: the one that its architecture has left out least.

        Of several such it is the one that others have left out most: only images that two members or more have
        answered can say which of them, and which weights, an ensemble should have.
        """
        own, others = Counter[int](), Counter[int]()
        labels = _labels(current)
        for final in (trial.user_attrs[FINAL] for trial in self._begun(current)):
            if final["folds"] == self._final.folds:
                (own if labels.get(final["of"]) == _label(base) else others)[final["fold"]] += 1
        return min(range(1, self._final.folds + 1), key=lambda fold: (own[fold], -others[fold]))


def _labels(current: Sequence[FrozenTrial]) -> dict[int, str]:
    """Returns trials' architectures by the trials' numbers."""
    return {origin_of(trial): _label(trial) for trial in current}


def _label(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("label", ""))
