"""How long members of the final stage take: what their architecture took in the search, then what members show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from optuna.trial import FrozenTrial

from sweeps.errors import StudyError
from sweeps.study.forecast import EPOCH_S, Forecast, epochs_done
from sweeps.study.lineage import FINAL, is_final
from sweeps.study.storage import origin_of

__all__ = ["END_EPOCHS", "SHORTEST", "MemberTimes", "fewer_epochs"]

#: What a member does after its last epoch (statistics, predictions, weights), in epochs.
END_EPOCHS: Final = 0.15
#: Where no more would end in time, this share of the epochs that are aimed at will do: a short member counts, and one
#: that waits with a checkpoint does not.
SHORTEST: Final = 0.5
#: What an image that is only validated on costs of what one costs that is trained on: a way forward, and none back.
_FORWARD: Final = 0.3
#: How much longer than estimated a member's epochs are taken to be before any has ended one, which counts as so many
#: members; then as they spread. One that just misses the end is of no use to this call.
_FIRST_SPREAD, _FIRST_WEIGHT, _CAUTION = 0.05, 3.0, 1.5
#: How much longer than its last epochs a member's next ones may take without its being cut off.
_MARGIN: Final = 1.02


def fewer_epochs(done: int, epochs: int, epoch_s: float, left_s: float, least: float) -> int | None:
    """Returns with how many epochs a member ends in time that does not with those that it was given.

    Args:
        done: its epochs so far.
        epochs: those that it was given.
        epoch_s: the seconds that one takes now.
        left_s: those that are left.
        least: as many it must have to be of use.

    Returns:
        The epochs; None where it needs no other number, or none will do.
    """
    room = done + math.floor(left_s / (_MARGIN * epoch_s) - END_EPOCHS)
    return room if max(done + 1, least) <= room < epochs else None


class MemberTimes:
    """Estimates epochs of a final stage's members.

    Args:
        forecast: knows how long the trials of the search take.
        learnt: how many images a member is trained on.
        images: how many training images there are in all.
        is_shifted: whether the search validates on shifted images too.
    """

    def __init__(self, forecast: Forecast, learnt: int, images: int, *, is_shifted: bool) -> None:
        self._forecast = forecast
        # An epoch of the search goes forward over the images to validate on besides, and again where they are shifted
        # too; a member's does not, for it is judged once, at its end.
        validated = (images - forecast.images) * (2 if is_shifted else 1)
        self._factor = self._first_factor = learnt / (forecast.images + _FORWARD * validated)
        self._own: dict[int, float] = {}  # by the base's number: seconds of its members' epochs
        self._spread = _FIRST_SPREAD

    @property
    def caution(self) -> float:
        """How many times as long as estimated a member may take."""
        return 1 + _CAUTION * self._spread

    def learn(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Learns from the epochs of the members so far; returns the trials without attempts that others go on with."""
        current = [trial for trial in trials if not trial.user_attrs.get("requeued")]
        search = {origin_of(trial): trial for trial in current if not is_final(trial)}
        self._forecast.learn(list(search.values()))
        seen: dict[int, list[float]] = {}
        for trial in current:
            if is_final(trial) and (took := trial.user_attrs.get(EPOCH_S)) and trial.user_attrs[FINAL]["of"] in search:
                seen.setdefault(trial.user_attrs[FINAL]["of"], []).append(math.log(took))
        logs = {number: math.fsum(each) / len(each) for number, each in seen.items()}
        ratios = [log - math.log(self._searched_s(search[number])) for number, log in logs.items()]
        self._factor = math.exp(math.fsum([math.log(self._first_factor), *ratios]) / (1 + len(ratios)))
        errors = [log - logs[number] for number, each in seen.items() for log in each]
        known = _FIRST_WEIGHT * _FIRST_SPREAD**2 + math.fsum(error**2 for error in errors)
        self._spread = math.sqrt(known / (_FIRST_WEIGHT + len(errors)))
        self._own = {number: math.exp(log) for number, log in logs.items()}
        return current

    def epoch_s(self, base: FrozenTrial) -> float:
        """Returns the seconds that an epoch of a member of such an architecture takes."""
        own = self._own.get(origin_of(base))
        return self._searched_s(base) * self._factor if own is None else own

    def epoch_s_of(self, trial: FrozenTrial) -> float:
        """Returns the seconds of an epoch of a trial that waits or runs."""
        if (known := trial.user_attrs.get(EPOCH_S)) is not None:
            return float(known)
        took = self._forecast.epoch_s_of(trial)
        return 0.0 if took is None else took * (self._factor if is_final(trial) else 1.0)

    def rest_s(self, trial: FrozenTrial) -> float:
        """Returns the seconds until a trial that waits or runs has ended."""
        epochs = self._forecast.epochs_of(trial) + END_EPOCHS - epochs_done(trial)
        return max(0.0, epochs) * self.epoch_s_of(trial)

    def _searched_s(self, base: FrozenTrial) -> float:
        """Returns the seconds that an epoch took in the search, on fewer images but with a validation."""
        took = self._forecast.epoch_s_of(base)
        if took is None:
            raise StudyError(f"trial {origin_of(base)} must have its parameters, but has not; `doctor` says more.")
        return max(took, 1e-3)
