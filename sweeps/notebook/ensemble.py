"""An ensemble of a study's trials, to predict with."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mnistnn.types import Floats, Images, Ints, UInt8s
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.evaluate import Interval
from sweeps.errors import StudyError
from sweeps.notebook.tables import facts_html

if TYPE_CHECKING:
    from sweeps.notebook.study import Study
    from sweeps.notebook.trial import Trial

__all__ = ["StudyEnsemble"]


class StudyEnsemble:
    """An ensemble of a study's trials, to predict with. `Study.ensemble` gives one.

    Attributes:
        method: how the members were weighed.
        weights: how much each member counts; they sum to one.
        val_accuracy: the accuracy on the validation images: `estimate`, and `low` and `high` of its 95 % interval.
            Members of the final stage have out-of-fold images instead. These images chose the members, so this
            flatters; the ensemble's record has the test images' word.
    """

    def __init__(self, study: Study, ensemble: Ensemble, method: str, val_accuracy: Interval) -> None:
        self.method = method
        self.weights = ensemble.weights
        self.val_accuracy = val_accuracy
        self._study = study
        self._ensemble = ensemble

    @property
    def members(self) -> tuple[Trial, ...]:
        """The trials, the best first; a snapshot is told by the trial that it is of.

        Raises:
            StudyError: a member is no trial of this study.
        """
        foreign = [member.name for member in self._ensemble.members if not member.is_own]
        if foreign:
            raise StudyError(
                f"members must be trials of study {self._study.name!r} to be shown as such, but {', '.join(foreign)} "
                "came from elsewhere; the ensemble's table names all of them."
            )
        return tuple(self._study.trial(member.number) for member in self._ensemble.members)

    def predict_proba(self, images: Images) -> Floats:
        """Returns the averaged softmax outputs. A member from outside has no network to answer for any images.

        Shape:
            images: (N, 28, 28) in pixel units 0 to 255, light ink on a dark ground → (N, 10) float32

        Raises:
            DataError: they are no such images, or a member came from outside.
            CheckpointError: a member's weights are missing, damaged, or not those that its trial recorded.

        Example:
            >>> ensemble.predict_proba(images).max(axis=1)
        """
        return self._ensemble.predict_proba(cast("UInt8s", images))

    def predict(self, images: Images) -> Ints:
        """Returns the likeliest digit of each image. Shape: (N, 28, 28) → (N,)."""
        return self._ensemble.predict(cast("UInt8s", images))

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def _title(self) -> str:
        return f"{len(self)} {'member' if len(self) == 1 else 'members'}, {self.method}"

    def __repr__(self) -> str:
        names = ", ".join(member.name for member in self._ensemble.members)
        return f"StudyEnsemble({self._title} of {names})"

    def _repr_html_(self) -> str:
        rows = {
            member.name: f"{weight:.3f} · {member.label}"
            for member, weight in zip(self._ensemble.members, self.weights, strict=True)
        }
        return facts_html(f"ensemble of study {self._study.name}: {self._title}", rows)
