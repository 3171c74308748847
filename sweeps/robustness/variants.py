"""Variants of images that a net should not fall for, generated from a fixed seed.

Each is a function of images and a generator; the same images and the same seed give the same bytes. What is moved,
turned or enlarged beyond the edges of 28×28 is lost, as it would be in a contest's images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.augment import rotation_maps, scaling_maps, shear_maps, warp
from mnistnn.types import UInt8s

__all__ = ["GROUPS", "SEED", "Group", "Variant", "generate", "moved"]

SEED = 20_170_413
"""What everything random in the variants derives from: the same in every study, so that figures can be compared."""

_SIDE = 28
_BLOCK = 1000  # images that are made at once
_BOX = (4, 24)  # the rows and columns between which MNIST's digits lie
_OCCLUDED = 7  # pixels a side
_SALTED = 0.05  # of the pixels
_MARGIN = 10  # pixels around an image that an affine map may need before the digit is put in its place again
_DIRECTIONS = {
    "up": (-1, 0),
    "down": (1, 0),
    "left": (0, -1),
    "right": (0, 1),
    "up left": (-1, -1),
    "up right": (-1, 1),
    "down left": (1, -1),
    "down right": (1, 1),
}

Make = Callable[[UInt8s, np.random.Generator], UInt8s]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which images are changed: its name within its group, and what makes it of (b, 28, 28) uint8."""

    name: str
    make: Make


@dataclass(frozen=True, slots=True)
class Group:
    """Variants that are told in one line.

    Attributes:
        name: what it is called.
        how: how its images are made, in a few words.
        variants: the ways.
    """

    name: str
    how: str
    variants: tuple[Variant, ...]


def generate(group: Group, variant: Variant, images: UInt8s, *, seed: int = SEED) -> UInt8s:
    """Returns images changed in one way. The first n of them are the same however many there are.

    Args:
        group: the variant's group.
        variant: the way.
        images: the images.
        seed: what is random derives from it and from the names of group and variant.

    Shape: images: (N, 28, 28) uint8 → the same
    """
    name = f"{group.name}/{variant.name}".encode()
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=tuple(name))))
    out = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        rows = slice(start, start + _BLOCK)
        out[rows] = variant.make(images[rows], rng)
    return out


def moved(images: UInt8s, down: int, right: int) -> UInt8s:
    """Returns images moved by whole pixels, less than 28 of them, with zeros coming in. Shape: (N, H, W) → the same."""
    out = np.zeros_like(images)
    _, height, width = images.shape
    to = (slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0)))
    origin = (slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0)))
    out[:, *to] = images[:, *origin]
    return out


def _shift(pixels: int, direction: tuple[int, int]) -> Make:
    down, right = pixels * direction[0], pixels * direction[1]
    return lambda images, rng: moved(images, down, right)


def _turn(degrees: float) -> Make:
    matrix = rotation_maps(np.array([degrees]))[0]
    return lambda images, rng: warp(images, matrix, np.zeros(2))


def _scale(amount: float) -> Make:
    matrix = scaling_maps(np.array([amount]), np.array([amount]))[0]
    return lambda images, rng: warp(images, matrix, np.zeros(2))


def _affine(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    """Draws a rotation, a shear, two scales and a place for each image, as affNIST's were drawn.

    There a digit got a place among 40×40 pixels at which none of it was lost; here it gets one among 28×28. What does
    not fit at all is centred, and loses what is beyond the edges.
    Source: Tieleman 2013, "affNIST".
    """
    n = len(images)
    draws = rng.random((n, 6))
    angle, slant, high, wide = draws[:, 0], draws[:, 1], draws[:, 2], draws[:, 3]
    maps = (
        shear_maps(0.2 * (2 * slant - 1))
        @ scaling_maps(0.8 + 0.4 * high, 0.8 + 0.4 * wide)
        @ rotation_maps(20 * (2 * angle - 1))
    )
    wide_images = np.pad(images, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    return _placed(warp(wide_images, maps, np.zeros(2)), draws[:, 4], draws[:, 5])


def _placed(large: UInt8s, down: NDArray[np.float64], right: NDArray[np.float64]) -> UInt8s:
    """Cuts 28×28 pixels out of larger images, so that the ink in each is at a place that was drawn for it.

    Args:
        large: the images.
        down: which of the places at which all rows of ink are kept: 0 for the first one, just below 1 for the last.
        right: the same for columns.

    Shape: large: (n, side, side); down, right: (n,) → (n, 28, 28)
    """
    ink = large > 0
    rows, columns = _first_kept(np.any(ink, axis=2), down), _first_kept(np.any(ink, axis=1), right)
    around = np.pad(large, ((0, 0), (_SIDE, _SIDE), (_SIDE, _SIDE)))  # a digit may stand at the far edge of its cut
    at = np.arange(_SIDE) + _SIDE
    each = np.arange(len(large))[:, None, None]
    cut = around[each, (rows[:, None] + at)[:, :, None], (columns[:, None] + at)[:, None]]
    return np.ascontiguousarray(cut)


def _first_kept(inked: NDArray[Any], place: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns where a cut of 28 pixels begins along one axis. Shape: (n, side), (n,) → (n,)."""
    first = inked.argmax(axis=1)
    length = inked.shape[1] - inked[:, ::-1].argmax(axis=1) - first
    room = _SIDE - length
    before = np.where(room >= 0, np.floor(place * (room + 1)), room // 2)  # pixels before the ink; negative: cut off
    return np.asarray(first - before, np.int64)


def _thicken(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    """Lets lines grow by a pixel on each side."""
    from scipy.ndimage import grey_dilation

    return _by_halves(images, lambda fine: grey_dilation(fine, footprint=_disc(2)))


def _thin(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    """Takes half a pixel off each side of lines."""
    from scipy.ndimage import grey_erosion

    return _by_halves(images, lambda fine: grey_erosion(fine, footprint=_disc(1)))


def _by_halves(images: UInt8s, change: Callable[[UInt8s], UInt8s]) -> UInt8s:
    """Returns images changed where each pixel is four, and scaled down again by their mean."""
    n, height, width = images.shape
    fine = change(images.repeat(2, axis=1).repeat(2, axis=2))
    mean = fine.reshape(n, height, 2, width, 2).sum(axis=(2, 4), dtype=np.uint16)
    return np.asarray((mean + 2) // 4, np.uint8)


def _disc(radius: int) -> NDArray[np.bool_]:
    """Returns which pixels lie within a radius. Shape: → (1, 2 · radius + 1, 2 · radius + 1)."""
    at = np.arange(-radius, radius + 1)
    return (at[:, None] ** 2 + at**2 <= radius**2)[None]


def _noise(sigma: float) -> Make:
    def make(images: UInt8s, rng: np.random.Generator) -> UInt8s:
        return _levels(images + rng.normal(0, sigma, images.shape))

    return make


def _salt(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    return np.where(rng.random(images.shape) < _SALTED, np.uint8(255), images)


def _blur(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    from scipy.ndimage import gaussian_filter

    return _levels(gaussian_filter(images.astype(np.float32), (0, 1, 1), mode="constant"))


def _occlude(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    first, last = _BOX[0], _BOX[1] - _OCCLUDED
    corner = rng.integers(first, last, size=(len(images), 2), endpoint=True)
    at = np.arange(_SIDE)
    inside = (at >= corner[:, :, None]) & (at < corner[:, :, None] + _OCCLUDED)  # (n, axis, 28)
    return np.where(inside[:, 0, :, None] & inside[:, 1, None, :], np.uint8(0), images)


def _brighten(images: UInt8s, rng: np.random.Generator) -> UInt8s:
    return _levels(128 + images.astype(np.float32) * (127 / 255))


def _levels(values: NDArray[Any]) -> UInt8s:
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


def _groups() -> Iterator[Group]:
    yield Group("as they are", "unchanged", (Variant("", lambda images, rng: images),))
    for pixels in (2, 4, 6):
        ways = tuple(Variant(name, _shift(pixels, each)) for name, each in _DIRECTIONS.items())
        cut = f", which cuts off what was less than {pixels} px from the edge" if pixels > math.ceil(_BOX[0]) else ""
        yield Group(f"shift {pixels} px", f"moved along one axis or both{cut}", ways)
    for degrees in (10, 20, 30):
        ways = tuple(Variant(name, _turn(sign * degrees)) for name, sign in (("left", 1), ("right", -1)))
        yield Group(f"turn {degrees}°", "rotated about the middle", ways)
    for amount in (0.8, 1.2):
        yield Group(f"scale {amount}", f"{amount} times as large", (Variant("", _scale(amount)),))
    singles: tuple[tuple[str, str, Make], ...] = (
        ("affine", "as affNIST: ±20°, shear ±0.2, each axis 0.8 to 1.2, anywhere that it fits", _affine),
        ("thick", "lines 2 px wider", _thicken),
        ("thin", "lines 1 px narrower", _thin),
        ("noise σ 16", "Gaussian, of 255 levels", _noise(16)),
        ("noise σ 32", "Gaussian, of 255 levels", _noise(32)),
        ("noise σ 64", "Gaussian, of 255 levels", _noise(64)),
        ("salt", f"{100 * _SALTED:.0f} % of the pixels white", _salt),
        ("blur", "Gaussian, σ 1 px", _blur),
        ("occlusion", f"a black square of {_OCCLUDED}×{_OCCLUDED} px over the digit", _occlude),
        ("bright ground", "level 128 instead of 0", _brighten),
    )
    for name, how, make in singles:
        yield Group(name, how, (Variant("", make),))


GROUPS: tuple[Group, ...] = tuple(_groups())
"""All that nets are tried on, in the order in which it is told. The first is the images as they are."""
