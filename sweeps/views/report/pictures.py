"""The pictures of a report: those of the study are drawn for it, those of the ensemble lie in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mnistnn.npz import open_plain
from sweeps.paths import StudyPaths
from sweeps.views.report.page import Image

if TYPE_CHECKING:
    import optuna

__all__ = ["ensemble_images", "study_images"]

_LARGEST = 400_000  # bytes; ours have a few ten thousand
_PNG = b"\x89PNG\r\n\x1a\n"


def study_images(study: optuna.Study, paths: StudyPaths, say: Callable[[str], object]) -> list[Image]:
    """Draws the pictures of a study that can be drawn.

    Args:
        study: the study.
        paths: its paths.
        say: takes a line on each that cannot.
    """
    from sweeps.views.pictures import drawn
    from sweeps.views.pictures.catalogue import STUDY
    from sweeps.views.pictures.facts import gather

    found = drawn(STUDY, gather(study, paths), say=say)
    return [Image(title=each.title, caption=each.caption, png=each.png) for each in found]


def ensemble_images(paths: StudyPaths) -> list[Image]:
    """Returns the pictures that were drawn when the ensemble was built, as far as they are there.

    Its confusions are left out: the page has them as a table.
    """
    from sweeps.views.pictures.catalogue import ENSEMBLE

    images = []
    for picture in ENSEMBLE:
        data = b"" if picture.name == "confusion" else _read(paths.ensemble / f"{picture.name}.png")
        if data:
            images.append(Image(title=picture.title, caption=picture.caption, png=data))
    return images


def _read(path: Path) -> bytes:
    """Returns a PNG; nothing if it is not there, or no such."""
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError):
        return b""
    return data if data.startswith(_PNG) and 24 <= len(data) <= _LARGEST else b""
