"""Digits of image files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.data.images import read_images
from sweeps.single.models import find_model

__all__ = ["Answer", "predict_files"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The likeliest digit of one image. `index` counts from 1 in a file of several images; None in a file of one."""

    path: str
    index: int | None
    digit: int
    probability: float

    def __str__(self) -> str:
        place = self.path if self.index is None else f"{self.path}[{self.index}]"
        return f"{place}  {self.digit}  {self.probability:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def predict_files(
    files: Sequence[Path], model: str | None, *, root: Path, echo: Callable[[str], object]
) -> list[Answer]:
    """Returns one answer for each image of each file. All files are read before the first is answered.

    Args:
        files: pictures, folders of pictures, or files of images.
        model: as in `find_model`.
        root: the project's folder.
        echo: takes a line that says which model answers.

    Raises:
        InputError: a file cannot be read, or there is no such model.
    """
    read = [(path, read_images(path).images) for path in files]
    chosen = find_model(model, root)
    echo(f"model: {chosen.title}")
    answers = []
    for path, images in read:
        for index, probs in enumerate(chosen.predict_proba(images), start=1):
            digit = int(probs.argmax())
            answers.append(Answer(str(path), index if len(images) > 1 else None, digit, float(probs[digit])))
    return answers
