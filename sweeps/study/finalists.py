"""Which architectures of a search go into its final stage: those whose best nets lose least when calibrated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from mnistnn.npz import read_arrays
from mnistnn.types import Floats, Ints
from sweeps.paths import StudyPaths
from sweeps.study.lineage import is_final, is_repeat
from sweeps.study.storage import origin_of

__all__ = ["Finalists", "calibrated_loss"]

#: So many of the best trials are looked at more closely; calibration does not lift one from behind all of them.
_MOST: Final = 100
#: Between logits divided by 20 and multiplied by 20 lies whatever a trained net needs.
_SHARPEST: Final = math.log(20.0)
_STEPS: Final = 30


def calibrated_loss(labels: Ints, probs: Floats) -> float:
    """Returns the least cross-entropy that these outputs have under any temperature.

    A net trained with smoothed labels is less sure than it could be, and its plain loss says so; what it gives to an
    average of nets is not touched by that. The loss is convex in the inverse of the temperature, so Newton's method
    finds the least one, and needs no SciPy, which a worker does without. Source: Guo, Pleiss, Sun and Weinberger 2017.

    Shape:
        labels: (N,); probs: (N, classes)
    """
    rows = np.arange(len(labels))
    logits = np.log(np.maximum(probs, np.finfo(np.float32).tiny), dtype=np.float64)  # (N, classes)
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[rows, labels].mean()
    power = 1.0
    for _ in range(_STEPS):
        shares = np.exp(power * logits)
        shares /= shares.sum(axis=1, keepdims=True)
        means = (shares * logits).sum(axis=1)  # (N,)
        slope = means.mean() - right
        bend = ((shares * logits**2).sum(axis=1) - means**2).mean()
        if not bend > 0:  # all outputs are one and the same, or beyond what a float can tell
            break
        # No farther than by half or twice at once: far from the least, the parabola says little.
        step = float(np.clip(power - slope / bend, power / 2, power * 2))
        step = float(np.clip(step, math.exp(-_SHARPEST), math.exp(_SHARPEST)))
        if abs(step - power) <= 1e-6 * power:
            break
        power = step
    return float(np.log(np.exp(power * logits).sum(axis=1)).mean() - power * right)


class Finalists:
    """Ranks a study's trials for its final stage, and remembers what it has read of them.

    Args:
        paths: the study's paths, where trials have left their predictions.
        top: how many architectures go on.
    """

    def __init__(self, paths: StudyPaths, top: int) -> None:
        self._paths, self._top = paths, top
        self._losses: dict[int, float] = {}

    def of(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the best trial of each of the best architectures, the best first.

        Trials with other rates or another optimizer are of one architecture: what is wanted are nets that err
        elsewhere. Repeats are left out, as they are wherever trials are ranked: the best of them is the luckiest.
        """
        able = [trial for trial in trials if _is_able(trial)]
        able.sort(key=lambda trial: (_recorded(trial), origin_of(trial)))
        best: dict[str, tuple[float, int, FrozenTrial]] = {}
        for trial in able[:_MOST]:
            found = self._loss(trial), origin_of(trial), trial
            label = str(trial.user_attrs.get("label", ""))
            if label not in best or found[:2] < best[label][:2]:
                best[label] = found
        return [trial for *_, trial in sorted(best.values(), key=lambda found: found[:2])[: self._top]]

    def _loss(self, trial: FrozenTrial) -> float:
        number = origin_of(trial)
        if number not in self._losses:
            plain, loss = float(trial.user_attrs["val_loss"]), _recorded(trial)
            try:
                arrays = read_arrays(self._paths.trial(number) / "val_probs.npz", ("probs", "labels"))
                loss *= calibrated_loss(arrays["labels"], arrays["probs"]) / plain
            except (OSError, ValueError, KeyError, IndexError, TypeError, ZeroDivisionError):
                pass  # they were cleaned away, or are damaged: what the trial recorded counts
            self._losses[number] = loss
        return self._losses[number]


def _recorded(trial: FrozenTrial) -> float:
    """Returns a trial's validation loss; its mean over plain and shifted images, where the study looks at both."""
    plain = float(trial.user_attrs["val_loss"])
    shifted = trial.user_attrs.get("shifted_val_loss")
    return plain if shifted is None else (plain + float(shifted)) / 2


def _is_able(trial: FrozenTrial) -> bool:
    loss = trial.user_attrs.get("val_loss")
    is_ranked = isinstance(loss, int | float) and math.isfinite(loss) and not (is_final(trial) or is_repeat(trial))
    return trial.state == TrialState.COMPLETE and is_ranked
