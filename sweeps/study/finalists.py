"""Which architectures of a search go into its final stage: those whose best nets are the best by the study's metric.

Where that is the loss, it is the loss after a temperature: the plain one punishes nets for being less sure than they
could be, as smoothed labels make them, which the ensemble's temperature mends.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Final

from optuna.trial import FrozenTrial, TrialState

from mnistnn.epochs import MONITORS
from mnistnn.metrics import calibrated_loss, log_probs
from mnistnn.npz import read_arrays
from sweeps.paths import StudyPaths
from sweeps.study.lineage import is_final, is_repeat
from sweeps.study.storage import origin_of

__all__ = ["Finalists"]

#: So many of the best trials are looked at more closely; calibration does not lift one from behind all of them.
_MOST: Final = 100


class Finalists:
    """Ranks a study's trials for its final stage, and remembers what it has read of them.

    Args:
        paths: the study's paths, where trials have left their predictions.
        metric: the study's.
        top: how many architectures go on.
    """

    def __init__(self, paths: StudyPaths, metric: str, top: int) -> None:
        self._paths, self._metric, self._top = paths, metric, top
        self._losses: dict[int, float] = {}

    def of(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the best trial of each of the best architectures, the best first.

        Trials with other rates or another optimizer are of one architecture: what is wanted are nets that err
        elsewhere. Repeats are left out, as they are wherever trials are ranked: the best of them is the luckiest.
        """
        able = [trial for trial in trials if _is_able(trial)]
        able.sort(key=lambda trial: (self._recorded(trial), origin_of(trial)))
        best: dict[str, tuple[float, int, FrozenTrial]] = {}
        for trial in able[:_MOST]:
            found = self._cost(trial), origin_of(trial), trial
            label = str(trial.user_attrs.get("label", ""))
            if label not in best or found[:2] < best[label][:2]:
                best[label] = found
        return [trial for *_, trial in sorted(best.values(), key=lambda found: found[:2])[: self._top]]

    def _recorded(self, trial: FrozenTrial) -> float:
        """Returns what the study judged a trial by, turned so that less is better."""
        assert trial.value is not None  # for mypy: it is complete
        return -trial.value if MONITORS[self._metric] else trial.value

    def _cost(self, trial: FrozenTrial) -> float:
        """Returns the same, a plain loss as it is after a temperature."""
        if self._metric != "val_loss":
            return self._recorded(trial)
        number = origin_of(trial)
        if number not in self._losses:
            loss = self._recorded(trial)
            # Its mean with the loss on shifted images, whose predictions are not kept, changes by the same share.
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError, TypeError, ZeroDivisionError):
                arrays = read_arrays(self._paths.trial(number) / "val_probs.npz", ("probs", "labels"))
                plain = float(trial.user_attrs["val_loss"])
                loss *= calibrated_loss(arrays["labels"], log_probs(arrays["probs"])) / plain
            self._losses[number] = loss  # as recorded where they were cleaned away, or are damaged
        return self._losses[number]


def _is_able(trial: FrozenTrial) -> bool:
    if trial.state != TrialState.COMPLETE or is_final(trial) or is_repeat(trial):
        return False
    figures = trial.value, trial.user_attrs.get("val_loss")  # the latter has who was trained, and not only told
    return all(isinstance(figure, int | float) and math.isfinite(figure) for figure in figures)
