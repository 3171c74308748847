"""How long the trials of a study take, learnt from those that ran, and which of them the rest of its time holds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from optuna.trial import FrozenTrial

from sweeps.config import Hyperband, Median, StudyConfig, SuccessiveHalving
from sweeps.config.duration import clock
from sweeps.study.epoch_time import EpochTimeModel
from sweeps.study.lineage import total_epochs
from sweeps.study.storage import origin_of

if TYPE_CHECKING:
    from sweeps.study.space import Space
    from sweeps.study.workload import Workload

__all__ = ["EPOCH_S", "EPOCH_S_ESTIMATE", "Forecast", "duration_text", "epochs_done", "useful_epochs"]

#: The user attributes of a trial that hold the mean seconds of its epochs, as they were and as they were estimated.
EPOCH_S, EPOCH_S_ESTIMATE = "epoch_s", "epoch_s_estimate"

#: What a trial does after its last epoch (predictions, weights, the best epoch's), in epochs.
_END_EPOCHS: Final = 0.1
#: How many spreads an epoch may take longer than estimated. A trial that just misses the end is lost to the study,
#: whole; the seconds that caution leaves over are filled with smaller ones.
_CAUTION: Final = 1.5
#: So many of the latest trials are learnt from: those before them would hardly count.
_LATEST: Final = 60
#: So many trials must have been observed before an estimate keeps any other from starting.
_FEWEST: Final = 3


class Forecast:
    """Estimates epochs of a study's trials, and how far each would come in the time that is left.

    Args:
        config: the study.
        space: its search space.
        images: how many are trained on.
        left_s: the seconds until the study's time is up; None sets no limit.
    """

    def __init__(self, config: StudyConfig, space: Space, images: int, left_s: float | None = None) -> None:
        self.epochs = config.budget.epochs
        self.useful = useful_epochs(config)
        self._space, self.images = space, images
        self._deadline = None if left_s is None else time.monotonic() + left_s
        self._model = EpochTimeModel()
        self._observed: dict[int, float] = {}
        self._workloads: dict[int, Workload] = {}

    @property
    def left_s(self) -> float | None:
        """The seconds until the study's time is up; None where there is no limit."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    @property
    def is_reliable(self) -> bool:
        """Whether so many trials were observed that an estimate may keep another from starting."""
        return self._model.observations >= _FEWEST

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Learns from the latest trials of the study that have ended an epoch."""
        known = [trial for trial in trials if EPOCH_S in trial.user_attrs and "label" in trial.user_attrs][-_LATEST:]
        observed = {origin_of(trial): float(trial.user_attrs[EPOCH_S]) for trial in known}
        if observed == self._observed:
            return
        for trial in known:
            if origin_of(trial) not in self._workloads:
                self._workloads[origin_of(trial)] = self._workload(_values_of(trial, self._space))
        self._observed = observed
        self._model.fit([self._workloads[origin] for origin in observed], list(observed.values()))

    def epoch_s(self, values: Mapping[str, Any]) -> float:
        """Returns the seconds that an epoch of such a trial takes, validation and checkpoint included."""
        return self._model.seconds(self._workload(values))

    def rest_s(self, trial: FrozenTrial) -> float | None:
        """Returns the seconds that a waiting trial still takes; None if its parameters are not known yet."""
        epoch_s = self.epoch_s_of(trial)
        return None if epoch_s is None else (self.epochs_of(trial) + _END_EPOCHS - epochs_done(trial)) * epoch_s

    # How far a trial comes by the end, if all goes as estimated: the number of its epochs, with parts of one.

    @property
    def whole(self) -> float:
        """The reach of a new trial that will end in time, even if it takes somewhat longer."""
        return self._whole(0, self.epochs)

    def whole_of(self, trial: FrozenTrial) -> float:
        """The same of a trial that waits."""
        return self._whole(epochs_done(trial), self.epochs_of(trial))

    def epochs_of(self, trial: FrozenTrial) -> int:
        """Returns how many epochs a trial shall have."""
        return total_epochs(trial, self.epochs)

    def _whole(self, done: int, epochs: int) -> float:
        rest = epochs + _END_EPOCHS - done
        return done + rest * (1 + _CAUTION * self._model.spread)

    def reach(self, values: Mapping[str, Any]) -> float:
        """Returns how far a new trial would come."""
        return self._reach(self.epoch_s(values), 0)

    def reach_of(self, trial: FrozenTrial) -> float:
        """Returns how far a waiting trial would come; one whose parameters are not known yet is given its chance."""
        epoch_s = self.epoch_s_of(trial)
        return math.inf if epoch_s is None else self._reach(epoch_s, epochs_done(trial))

    def useful_reach_of(self, trial: FrozenTrial) -> float:
        """Returns how far a waiting trial must come for its start to be worth it: an epoch at least."""
        return max(self.useful, epochs_done(trial) + 1)

    def _reach(self, epoch_s: float, done: int) -> float:
        left_s = self.left_s
        return math.inf if left_s is None else done + max(0.0, left_s) / epoch_s

    def epoch_s_of(self, trial: FrozenTrial) -> float | None:
        """Returns the seconds of a trial's epoch, observed or estimated; None if its parameters are not known yet."""
        if EPOCH_S in trial.user_attrs:
            return float(trial.user_attrs[EPOCH_S])
        try:
            return self.epoch_s(_values_of(trial, self._space))
        except KeyError:  # enqueued in part: the sampler completes it
            return None

    def _workload(self, values: Mapping[str, Any]) -> Workload:
        return self._space.workload(values, self.images)


def useful_epochs(config: StudyConfig) -> int:
    """Returns how many epochs of a trial are worth starting it: up to the pruner's first look, and half at least.

    What has not come so far says nothing about the trial yet, neither to the pruner nor to the sampler, and its
    checkpoint spares a longer run too little.
    """
    pruner, epochs = config.pruner, config.budget.epochs
    look = 1
    if isinstance(pruner, Median):
        look = pruner.warmup_epochs + 1
    elif isinstance(pruner, SuccessiveHalving | Hyperband):
        look = pruner.min_epochs
    return min(epochs, max(look, (epochs + 1) // 2))


def duration_text(epochs: int, epoch_s: float) -> str:
    """Returns what a trial is thought to take: "about 41 s: 4 epochs of 10 s"."""
    return f"about {_seconds(epochs * epoch_s)}: {epochs} epoch{'s' if epochs > 1 else ''} of {_seconds(epoch_s)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 9.95 else clock(seconds)


def epochs_done(trial: FrozenTrial) -> int:
    """Returns the last epoch that a trial has ended."""
    return max(trial.intermediate_values, default=0)


def _values_of(trial: FrozenTrial, space: Space) -> Mapping[str, Any]:
    """Returns all values of a trial, whether it has asked for them or waits with them.

    Raises:
        KeyError: it does not have all of them yet.
    """
    given = trial.params or trial.system_attrs.get("fixed_params", {})
    return space.values(given, trial.user_attrs.get("overrides", {}))
