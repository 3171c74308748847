"""Pictures of a study and of its ensemble, by matplotlib, which is imported when one is drawn.

`study_pictures` and `ensemble_pictures` write PNG files into a folder. Who wants figures to show elsewhere takes a
picture's own function, or `drawn`, which goes over all that can be drawn and says what cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mnistnn.files import atomic_write
from sweeps.views.pictures.style import NothingToDraw, to_png

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from mnistnn.data import Dataset
    from sweeps.ensemble.record import EnsembleReport
    from sweeps.paths import StudyPaths

__all__ = ["Drawn", "NothingToDraw", "Picture", "drawn", "ensemble_pictures", "study_pictures"]

Facts = TypeVar("Facts")
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Picture(Generic[Facts]):
    """A kind of picture.

    Attributes:
        name: its file's, without ".png".
        title: what it shows, in a few words.
        caption: how to read it, in a sentence.
        draw: makes it; raises NothingToDraw where there is not enough.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Facts], Figure]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that was made.

    Attributes:
        name: its file's, without ".png".
        title: what it shows, in a few words.
        caption: how to read it, in a sentence.
        png: its bytes.
    """

    name: str
    title: str
    caption: str
    png: bytes


def drawn(
    pictures: Sequence[Picture[Facts]],
    facts: Facts,
    *,
    titled: bool = True,
    say: Say = lambda line: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Drawn]:
    """Yields the pictures that can be drawn.

    Args:
        pictures: which.
        facts: what they are drawn from.
        titled: whether the title stands in the picture, which then can do without a page around it.
        say: takes a line on each that cannot be drawn.
        is_wanted: asked before each picture; False ends it there.
    """
    for picture in pictures:
        if not is_wanted():
            return
        try:
            png = to_png(picture.draw(facts), picture.title if titled else "")
        except NothingToDraw as reason:
            say(f"no picture of {picture.title.lower()}: {reason}")
            continue
        yield Drawn(picture.name, picture.title, picture.caption, png)


def study_pictures(
    study: optuna.Study,
    paths: StudyPaths,
    folder: Path,
    *,
    say: Say = lambda line: None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[Path]:
    """Draws a study.

    Args:
        study: the study; it may be at work.
        paths: its paths.
        folder: where the files go; it is made.
        say: takes a line on each picture that cannot be drawn, as there is not enough for it.
        is_wanted: asked before each picture; False ends it there.

    Returns:
        The files, in the order in which they are to be read.

    Raises:
        OutputError: one cannot be written.
    """
    from sweeps.views.pictures.catalogue import STUDY
    from sweeps.views.pictures.facts import gather

    return [_write(each, folder) for each in drawn(STUDY, gather(study, paths), say=say, is_wanted=is_wanted)]


def ensemble_pictures(
    report: EnsembleReport,
    paths: StudyPaths,
    dataset: Dataset,
    folder: Path,
    *,
    seed: int,
    say: Say = lambda line: None,
    **more: Any,
) -> list[Path]:
    """Draws an ensemble. No test images are opened: what was predicted for them lies beside the report.

    Args:
        report: on the ensemble.
        paths: the study's paths.
        dataset: whose validation images are shown.
        folder: where the files go; it is made.
        seed: the study's, which parts the validation images from the others.
        say: takes a line on each picture that cannot be drawn.
        more: `probs`, the file of the ensemble's predictions, if it is not the study's last ensemble.

    Returns:
        The files, in the order in which they are to be read.

    Raises:
        CheckpointError: a member's predictions are missing or damaged.
        OutputError: a file cannot be written.
    """
    from sweeps.views.pictures.catalogue import ENSEMBLE
    from sweeps.views.pictures.ensemble_facts import gather_ensemble

    facts = gather_ensemble(report, paths, dataset, seed=seed, **more)
    return [_write(each, folder) for each in drawn(ENSEMBLE, facts, say=say)]


def _write(picture: Drawn, folder: Path) -> Path:
    path = folder / f"{picture.name}.png"
    with atomic_write(path) as file:
        file.write(picture.png)
    return path
