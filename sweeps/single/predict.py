"""Digits of image files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.data.images import ImageFile, read_images
from mnistnn.data.mnist_like import has_light_ground, is_blank
from mnistnn.errors import SizeError
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
        return f"{_shown(self.path, self.index)}  {self.digit}  {self.probability:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def predict_files(
    files: Sequence[Path], model: str | None, *, root: Path, as_mnist: bool = False, echo: Callable[[str], object]
) -> list[Answer]:
    """Returns one answer for each image of each file. All files are read before the first is answered.

    Args:
        files: pictures, folders of pictures, or files of images.
        model: as in `find_model`.
        root: the project's folder.
        as_mnist: invert, scale and centre the images as MNIST was made; pictures may then have any size.
        echo: takes a line that says which model answers, and one for each way in which images are none of MNIST's.

    Raises:
        InputError: a file cannot be read, or there is no such model.
    """
    read = [(path, _read(path, as_mnist)) for path in files]
    for line in _warnings(read):
        echo(line)
    chosen = find_model(model, root)
    echo(f"model: {chosen.title}")
    answers = []
    for path, given in read:
        for index, probs in enumerate(chosen.predict_proba(given.images)):
            place, number = _place(path, given, index)
            digit = int(probs.argmax())
            answers.append(Answer(place, number, digit, float(probs[digit])))
    return answers


def _read(path: Path, as_mnist: bool) -> ImageFile:
    try:
        return read_images(path, as_mnist=as_mnist)
    except SizeError as error:
        raise SizeError(f"{str(error).removesuffix('.')}, or let --as-mnist do that.") from error


def _place(path: Path, given: ImageFile, index: int) -> tuple[str, int | None]:
    """Returns where an image is: its file, and its number in that, if there are several."""
    place = str(path / given.names[index]) if given.names else str(path)
    return place, index + 1 if len(given) > 1 and not given.names else None


def _shown(place: str, number: int | None) -> str:
    """Returns that on one line: a name may hold anything."""
    text = place if number is None else f"{place}[{number}]"
    return "".join(c if c.isprintable() else "?" for c in text)


def _warnings(read: Sequence[tuple[Path, ImageFile]]) -> Iterator[str]:
    """Yields a line for each way in which images are such as no net was trained to tell."""
    blank, light, total = [], [], 0
    for path, given in read:
        total += len(given)
        for index, image in enumerate(given.images):
            if is_blank(image):
                blank.append(_shown(*_place(path, given, index)))
            elif has_light_ground(image):
                light.append(_shown(*_place(path, given, index)))
    if blank:
        yield f"warning: {_these(blank, total)} no digit, or too faint a one; what is said of it means nothing."
    if light:
        yield f"warning: {_these(light, total)} dark ink on light ground, unlike MNIST; --as-mnist inverts it."


def _these(places: Sequence[str], total: int) -> str:
    if len(places) == 1:
        return f"{places[0]} shows"
    return f"{len(places):,} of {total:,} images ({places[0]} the first) show"
