"""What is known of an ensemble once it is built, as it is saved, shown and tracked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnistnn.errors import CheckpointError
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.carried import Carried
from sweeps.ensemble.evaluate import Interval, Score
from sweeps.ensemble.members import Member
from sweeps.ensemble.methods import MethodScore
from sweeps.ensemble.views import MOST_PIXELS
from sweeps.ensemble.wording import choice_text, images_that_chose, ranked_by
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.records import DAMAGED, from_plain, read_plain, save_plain, to_plain

__all__ = [
    "RECORD",
    "EnsembleReport",
    "Gain",
    "Scored",
    "Scores",
    "load_ensemble",
    "load_report",
    "read_report",
    "save_report",
]

#: The file that says which ensemble a study has.
RECORD = "ensemble.json"

_MOST_TRIALS = 10**9
_MOST_EPOCHS = 1000
_COUNTS = ("validation_images", "test_images")


@dataclass(frozen=True, slots=True)
class Scores:
    """How good predictions are on the validation images, or out-of-fold ones, which chose, and on the test images."""

    val: Score
    test: Score


@dataclass(frozen=True, slots=True)
class Scored:
    """A member, its weight in the average, and its own scores.

    Attributes:
        member: the member.
        weight: its weight.
        scores: its own.
        images: of how many images that chose, those that it was not trained on; None in old records.
    """

    member: Member
    weight: float
    scores: Scores
    images: int | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much the ensemble is better than its best member: accuracy gained and loss lost."""

    accuracy: Interval
    loss: Interval


@dataclass(frozen=True, slots=True)
class EnsembleReport:
    """An ensemble's members and what they are worth.

    Attributes:
        study: the study's name.
        method: how the members were weighed.
        considered: how many of the best trials the method chose from.
        finished: how many trials had finished.
        members: those that count in the average, the best by the loss on the images that chose first.
        scores: the ensemble's.
        val_gain: over the best member (the first) on the images that chose and that it was not trained on.
        test_gain: the same on the test images.
        confusion: test images by label (row) and predicted digit (column).
        test_openings: how often these test images had been opened: in the record up to its own opening, in what
            `build_ensemble` returns so far.
        data: name and digest of the data set, and numbers of images.
        digest: the ensemble's, by its members' weights.
        versions: of Python, NumPy and BLAS.
        commit: of this checkout.
        time: when it was built, in UTC.
        stage: "search" or "final": where the members come from; "mixed" if from both, or from outside.
        temperature: what makes the average as sure as it is right.
        methods: what each way of weighing is worth on images that its weights were not fitted on.
        tta: by how many pixels images are shifted for the views that members average; 0 for none.
        tta_gain: by how much views lower the loss on the images that chose; None without them.
        is_named: whether the trials were named, and not the best taken.
        carried: how the temperature was carried over from the search; None where it was fitted on the images that
            chose.
        run_id: its MLflow run, once it is tracked.
        model: the registered model's name and version ("sweeps-default, version 3"), once it is registered.
        untracked: why it could not be tracked, or None.
    """

    study: str
    method: str
    considered: int
    finished: int
    members: tuple[Scored, ...]
    scores: Scores
    val_gain: Gain
    test_gain: Gain
    confusion: tuple[tuple[int, ...], ...]
    test_openings: int
    data: dict[str, Any]
    digest: str
    versions: dict[str, str]
    commit: str | None
    time: str
    stage: str = "search"
    temperature: float = 1.0
    methods: tuple[MethodScore, ...] = ()
    tta: int = 0
    tta_gain: Interval | None = None
    is_named: bool = False
    carried: Carried | None = None
    run_id: str | None = None
    model: str | None = None
    untracked: str | None = None

    @property
    def best(self) -> Scored:
        """The member with the least loss on the images that chose."""
        return self.members[0]

    @property
    def title(self) -> str:
        """Its name in one line: "ensemble of 5 · mean"."""
        return f"ensemble of {len(self.members)} · {self.method}"

    @property
    def is_blend(self) -> bool:
        """Whether it has members from other studies, or from outside."""
        return not all(each.member.is_own for each in self.members)

    @property
    def chosen_by(self) -> str:
        """What the images are called that chose its members: "validation", "out-of-fold", or "held-out" of both."""
        return images_that_chose(self.stage)

    @property
    def ranked_by(self) -> str:
        """By what its members are sorted, in words."""
        return ranked_by([each.member for each in self.members], self.stage, self.answers)

    @property
    def choice(self) -> str:
        """What its members were chosen from, in words."""
        return choice_text(
            self.study,
            [each.member for each in self.members],
            self.stage,
            self.method,
            considered=self.considered,
            finished=self.finished,
            is_named=self.is_named,
            answers=self.answers,
        )

    @property
    def answers(self) -> float | None:
        """How many members have answered one of the images that chose, on average; None in old records."""
        counts = [each.images for each in self.members if each.images is not None]
        images = int(self.data["validation_images"])
        return sum(counts) / images if images and len(counts) == len(self.members) else None

    def ensemble(self, paths: StudyPaths) -> Ensemble:
        """Returns the ensemble itself, to predict with."""
        members = tuple(scored.member for scored in self.members)
        weights = tuple(scored.weight for scored in self.members)
        return Ensemble(self.study, members, weights, paths, self.temperature, self.tta)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EnsembleReport:
        """Rebuilds what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        from sweeps.config.sections import NAME_PATTERN  # pydantic, which who only predicts need not wait for

        report = from_plain(cls, values)
        if not report.members or not all(0 <= each.member.number < _MOST_TRIALS for each in report.members):
            raise ValueError("no trials' numbers")  # which name folders
        if not all(re.fullmatch(NAME_PATTERN, each.member.study or "x") for each in report.members):
            raise ValueError("no studies' names")  # likewise
        if not all(0 < (each.member.epoch or 1) <= _MOST_EPOCHS for each in report.members):
            raise ValueError("no epochs")  # likewise
        if not 0 <= report.tta <= MOST_PIXELS:
            raise ValueError("no shift")
        if not abs(sum(each.weight for each in report.members) - 1) < 1e-3:  # nor NaN
            raise ValueError("weights that do not sum to one")
        if not 0 < report.temperature < math.inf:
            raise ValueError("no temperature")
        if [len(row) for row in report.confusion] != [len(report.confusion)] * len(report.confusion):
            raise ValueError("a confusion that is not square")
        texts = report.data["digest"], report.data["name"]
        if not all(isinstance(text, str) for text in texts) or not all(
            type(report.data[key]) is int for key in _COUNTS
        ):
            raise ValueError("no data set")
        return report


def save_report(report: EnsembleReport, path: Path) -> None:
    """Writes the report as JSON. Where it was tracked is left out: the tracking has files of its own for that.

    Raises:
        OutputError: it cannot be written.
    """
    save_plain(replace(report, run_id=None, model=None, untracked=None).to_dict(), path)


def read_report(path: Path, name: str) -> EnsembleReport:
    """Reads what `save_report` wrote, of the study called `name`.

    Raises:
        StudyError: there is no such file: no ensemble was built yet.
        CheckpointError: it is damaged.
    """
    try:
        return EnsembleReport.from_dict(read_plain(path))
    except FileNotFoundError:
        raise StudyError(
            f"study {name!r} must have an ensemble, but has none yet; build it with `ensemble {name}`."
        ) from None
    except DAMAGED as error:
        raise CheckpointError(
            f"an ensemble's record must be whole, but {RECORD} of study {name!r} is not ({type(error).__name__}); "
            f"build the ensemble again with `ensemble {name}`."
        ) from error


def load_report(paths: StudyPaths) -> EnsembleReport:
    """Reads the report on the study's ensemble.

    Raises:
        StudyError: none was built yet.
        CheckpointError: it is damaged.
    """
    return read_report(paths.ensemble / RECORD, paths.folder.name)


def load_ensemble(paths: StudyPaths) -> Ensemble:
    """Returns the study's ensemble, to predict with.

    Raises:
        StudyError: none was built yet.
        CheckpointError: its record is damaged.
    """
    return load_report(paths).ensemble(paths)
