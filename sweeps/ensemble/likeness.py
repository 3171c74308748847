"""Whether a contest's images look like those that the nets were trained on, said before anybody trusts the answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mnistnn.data import Dataset, Likeness, all_as_mnist, unlike
from mnistnn.data.likeness import Unlike
from mnistnn.errors import InputError, OutputError
from mnistnn.files import atomic_write
from mnistnn.npz import open_plain
from mnistnn.types import UInt8s

__all__ = ["prepare", "said_of", "training_likeness"]

_MOST = 10_000  # training images that are looked at: their means are then known to a hundredth of what matters
_FORMAT = 2
_LARGEST = 1 << 16  # bytes of a file that says what images look like


def prepare(
    images: UInt8s,
    digest: str,
    cache: Path,
    find: Callable[[], Dataset],
    *,
    as_mnist: bool,
    echo: Callable[[str], object],
) -> UInt8s:
    """Returns images as nets are to see them, and says in which ways these are unlike the training images.

    Args:
        images: the images as they were given.
        digest: that of the data set that the nets were trained on.
        cache: the project's folder for data.
        find: finds the data set, if it is not known what it looks like.
        as_mnist: whether to make the images as MNIST was.
        echo: takes lines.

    Shape: images: (N, 28, 28) uint8 → the same
    """
    if as_mnist:
        images, blank = all_as_mnist(images)
        said = f", but for {blank:,} that are blank" if blank else ""
        echo(f"the images are inverted, scaled and centred as MNIST was made{said}")
    for line in said_of(images, training_likeness(digest, cache, find), as_mnist=as_mnist):
        echo(line)
    return images


def training_likeness(digest: str, cache: Path, find: Callable[[], Dataset]) -> Likeness | None:
    """Returns what a data set's training images look like; it is looked at once, and then known by its digest.

    Args:
        digest: the data set's.
        cache: the project's folder for data.
        find: finds the data set, if it has not been looked at before.

    Returns:
        None if what was found is other data, or nothing was.
    """
    path = cache / "likeness" / f"{digest[:32]}.json"
    if (known := _read(path)) is not None:
        return known
    try:
        dataset = find()
    except InputError:
        return None
    if dataset.digest != digest:
        return None
    images = dataset.train_images
    found = Likeness.of(images[:: -(-len(images) // _MOST)])
    with contextlib.suppress(OutputError), atomic_write(path, "w") as file:  # or it is looked at again
        json.dump({"format": _FORMAT, **found.to_dict()}, file, indent=2)
        file.write("\n")
    return found


def _read(path: Path) -> Likeness | None:
    try:
        with open_plain(path) as file:
            values = json.loads(file.read(_LARGEST))
        return Likeness.from_dict(values) if values["format"] == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def said_of(images: UInt8s, training: Likeness | None, *, as_mnist: bool) -> Iterator[str]:
    """Yields a line for each way in which images are unlike the training images.

    Args:
        images: the images, as the nets are to see them.
        training: what the training images look like, if that is known.
        as_mnist: whether the images have been made as MNIST was.

    Shape: images: (N, 28, 28) uint8
    """
    if training is None:
        yield "the study's training images are not at hand, so it is not known whether these images are like them"
        return
    for each in unlike(images, training):
        if as_mnist and each.name == "blank":  # which making them so has said
            continue
        remedy = "" if as_mnist or each.name in _AS_THEY_ARE else "; --as-mnist makes them as MNIST was made"
        yield f"warning: {_SAID[each.name](each)}{remedy}."


#: What --as-mnist changes nothing of.
_AS_THEY_ARE = ("blank", "height", "ink")

_SAID: dict[str, Callable[[Unlike], str]] = {
    "blank": lambda it: f"{100 * it.found:.1f} % of the images are blank, and their answers are guesses",
    "light": lambda it: f"{100 * it.found:.0f} % of the images show dark ink on light ground, not as in training",
    "ground": lambda it: f"the images' ground has level {it.found:.0f} of 255, but the training images' {it.usual:.0f}",
    "noise": lambda it: (
        f"the images' ground is noisy, by {it.found:.1f} levels on average, but the training images' by {it.usual:.1f}"
    ),
    "contrast": lambda it: (
        f"the images' ink is faint, {it.found:.0f} levels of 255 above its ground, but the training images' "
        f"{it.usual:.0f}"
    ),
    "size": lambda it: f"the digits are {it.found:.1f} pixels long, but those of the training images {it.usual:.1f}",
    "height": lambda it: (
        f"the digits are {abs(it.found):.1f} pixels {'taller than wide' if it.found > 0 else 'wider than tall'} on "
        f"average, but the training images' {abs(it.usual):.1f} pixels {'taller' if it.usual > 0 else 'wider'}: rows "
        "and columns may be swapped, or the images turned"
    ),
    "centre": lambda it: (
        f"the digits lie {it.found:.1f} pixels on average from where digits lie in the training images, those "
        f"themselves {it.usual:.1f}"
    ),
    "ink": lambda it: (
        f"the digits' lines are {'thicker' if it.found > it.usual else 'thinner'} than in the training images: ink "
        f"covers {100 * it.found:.0f} % of a digit's square, there {100 * it.usual:.0f} %"
    ),
}
