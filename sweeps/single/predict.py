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
    """The likeliest digit of one image.

    Attributes:
        path: the file that it is in; of a folder's pictures each its own.
        index: which it is in a file of several, from 1; None in a file of one.
        digit: the answer.
        probability: how likely the net holds that digit to be.
    """

    path: str
    index: int | None
    digit: int
    probability: float

    def __str__(self) -> str:
        place = self.path if self.index is None else f"{self.path}[{self.index}]"
        place = "".join(
            c if c.isprintable() else "?" for c in place
        )  # a name may hold anything, and a line is an answer
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
    read = [(path, read_images(path)) for path in files]
    chosen = find_model(model, root)
    echo(f"model: {chosen.title}")
    answers = []
    for path, given in read:
        for index, probs in enumerate(chosen.predict_proba(given.images)):
            place = str(path / given.names[index]) if given.names else str(path)
            number = index + 1 if len(given) > 1 and not given.names else None
            digit = int(probs.argmax())
            answers.append(Answer(place, number, digit, float(probs[digit])))
    return answers
