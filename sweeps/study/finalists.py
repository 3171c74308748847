"""Which architectures of a search go into its final stage: those whose best nets lose least when calibrated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from optuna.trial import FrozenTrial, TrialState

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
                loss *= calibrated_loss(arrays["labels"], log_probs(arrays["probs"])) / plain
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
