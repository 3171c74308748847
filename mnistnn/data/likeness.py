"""What sets of images look like in a few figures, and in which of them one set is unlike another.

Whether a contest's images are such as a net was trained on is seen without labels: is the ink light on dark, is the
ground black and clean, how strong is the ink, how large are the digits, where do they lie, how thick are their lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import Floats, UInt8s

__all__ = ["FIGURES", "Likeness", "Unlike", "unlike"]

#: By how much two sets' means may differ, beyond chance, before anybody is told: in each figure's own unit.
FIGURES: Mapping[str, float] = {
    "blank": 0.005,  # the share of images without ink
    "light": 0.05,  # the share of images with dark ink on light ground
    "ground": 8.0,  # levels of 255
    "noise": 2.0,  # levels of 255, on average over the ground
    "contrast": 40.0,  # the strongest ink, in levels of 255 above the ground, were that black
    "size": 2.0,  # pixels of the digit's longer side
    "height": 3.0,  # pixels by which a digit is taller than wide: swapped rows and columns turn the sign
    "centre": 1.0,  # pixels between a digit's centre of mass and the training images' mean one
    "ink": 0.06,  # the share that ink covers of a square of the digit's longer side
}

_CHANCE = 4.0  # standard errors of a mean that are still chance
_BLOCK = 1000  # images whose intermediate values are in memory at once
_CORE = 0.5  # of the strongest smoothed ink: more than that belongs to the digit
_AROUND = 2  # pixels around a digit that may hold the edges of its lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What a set of images looks like.

    Attributes:
        count: how many images there are.
        centre: the mean centre of mass, row and column in pixels; what `centre` in the figures is measured from.
        means: each figure's mean over the images.
        deviations: its standard deviation over them.
    """

    count: int
    centre: tuple[float, float]
    means: Mapping[str, float]
    deviations: Mapping[str, float]

    @classmethod
    def of(cls, images: UInt8s, *, centre: tuple[float, float] | None = None) -> Likeness:
        """Looks at images.

        Figures of the digits alone (their contrast, size, height, place and ink) leave blank images out, and are NaN if
        all are blank.

        Args:
            images: at least one.
            centre: where digits should lie; by default where these do on average.

        Shape: images: (N, 28, 28) uint8
        """
        parts = [_figures(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        row, column = values.pop("row"), values.pop("column")
        if centre is None:
            centre = (_mean(row), _mean(column))
        values["centre"] = np.hypot(row - centre[0], column - centre[1])
        return cls(
            count=len(images),
            centre=centre,
            means={name: _mean(values[name]) for name in FIGURES},
            deviations={name: _mean((values[name] - _mean(values[name])) ** 2) ** 0.5 for name in FIGURES},
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "count": self.count,
            "centre": list(self.centre),
            "means": dict(self.means),
            "deviations": dict(self.deviations),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Likeness:
        """Rebuilds what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        row, column = map(float, values["centre"])
        means, deviations = ({name: float(values[key][name]) for name in FIGURES} for key in ("means", "deviations"))
        return cls(count=int(values["count"]), centre=(row, column), means=means, deviations=deviations)


@dataclass(frozen=True, slots=True)
class Unlike:
    """A figure in which images are unlike others: its name in `FIGURES`, their mean, and the others'."""

    name: str
    found: float
    usual: float


def unlike(images: UInt8s, training: Likeness) -> list[Unlike]:
    """Returns in which figures images are unlike a net's training images, by more than chance and by enough to matter.

    Means are compared, so one odd image among thousands is no finding. What one fault brings with it is no second one:
    inverted images are measured as their negatives, ink by what a grey ground leaves for it, and how thick lines are is
    asked only of digits of the usual size on clean ground.

    Args:
        images: any number; none are unlike nothing.
        training: what the training images look like.

    Returns:
        The findings, in the order of `FIGURES`.

    Shape: images: (N, 28, 28) uint8
    """
    if not len(images):
        return []
    seen = Likeness.of(images, centre=training.centre)
    found: list[Unlike] = []
    for name, tolerance in FIGURES.items():
        if name == "ink" and {each.name for each in found} & {"noise", "size"}:
            continue
        mean, usual = seen.means[name], training.means[name]
        chance = _CHANCE * training.deviations[name] / math.sqrt(seen.count)
        if abs(mean - usual) > tolerance + chance:  # never where all are blank: NaN
            found.append(Unlike(name, mean, usual))
    return found


def _figures(images: UInt8s) -> dict[str, Floats]:
    """Returns the figures of each image, and its centre of mass instead of a distance. Shape: → (b,) each."""
    x = images.astype(np.float32)  # (b, H, W)
    low, high = x.min(axis=(1, 2)), x.max(axis=(1, 2))
    ground = _frame_median(x)
    light = ground > (low + high) / 2
    x[light] = 255 - x[light]
    ground[light] = 255 - ground[light]
    x -= ground[:, None, None]
    ink = np.maximum(x, 0)
    # Noise is averaged away before it is asked where the digit is; a lone dot never reaches half of what a line does.
    smooth = sum(_moved(ink, 1)) / np.float32(9)
    core = smooth > _CORE * smooth.max(axis=(1, 2), keepdims=True)
    around = np.logical_or.reduce([core, *_moved(core, _AROUND)])
    clean = ~around
    noise = np.where(clean, np.abs(x), 0).sum(axis=(1, 2)) / np.maximum(clean.sum(axis=(1, 2)), 1)
    ink *= core
    mass = ink.sum(axis=(1, 2))
    rows, columns = core.any(axis=2), core.any(axis=1)
    height, width = _extent(rows), _extent(columns)
    size = np.maximum(height, width)
    strongest = ink.max(axis=(1, 2))
    is_blank = mass == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        at = np.arange(x.shape[1], dtype=np.float32)
        row, column = ink.sum(axis=2) @ at / mass, ink.sum(axis=1) @ at / mass
        share = mass / strongest / size**2
    contrast = strongest * (255 / np.maximum(255 - ground, 1))
    digits = {"contrast": contrast, "size": size, "height": height - width, "row": row, "column": column, "ink": share}
    return {
        "blank": is_blank.astype(np.float32),
        "light": light.astype(np.float32),
        "ground": ground,
        "noise": noise,
        **{name: np.where(is_blank, np.nan, values) for name, values in digits.items()},
    }


def _frame_median(x: Floats) -> Floats:
    """Returns the median of the pixels along each image's edges. Shape: (b, H, W) → (b,)."""
    edges = (x[:, 0], x[:, -1], x[:, 1:-1, 0], x[:, 1:-1, -1])
    return np.asarray(np.median(np.concatenate(edges, axis=1), axis=1), np.float32)


def _moved(x: NDArray[Any], reach: int) -> Iterator[NDArray[Any]]:
    """Yields images moved by up to `reach` pixels along each axis, all ways, with zeros coming in."""
    _, height, width = x.shape
    wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach)))
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            yield wide[:, down : down + height, right : right + width]


def _extent(inked: NDArray[np.bool_]) -> Floats:
    """Returns how many pixels lie from the first inked one to the last. Shape: (b, side) → (b,)."""
    first, after = inked.argmax(axis=1), inked.shape[1] - inked[:, ::-1].argmax(axis=1)
    return np.where(inked.any(axis=1), after - first, 0).astype(np.float32)


def _mean(values: Floats) -> float:
    """Returns the mean of what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else math.nan
