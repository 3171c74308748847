"""Digits of any size made into such images as MNIST's: light ink on dark ground, scaled, centred.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits": each digit was scaled into a box of 20×20
pixels with its proportions kept and the edges antialiased, and then moved, by whole pixels, so that its centre of mass
is the centre of 28×28. On MNIST's own images that holds to half a pixel around (14, 14).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import SIDE
from mnistnn.errors import DataError
from mnistnn.types import Floats, Ints, UInt8s

__all__ = ["BLANK", "all_as_mnist", "as_mnist", "has_light_ground", "is_blank"]

_BOX = 20  # pixels that the longer side of a digit has
_CENTRE = SIDE / 2 + 0.5  # of pixel 14: there MNIST's centres of mass lie, not on the edge between 13 and 14
_LARGEST = 320  # pixels a side, to which larger images are brought before anything is computed
_LEAST_INK = 32.0  # levels between ink and ground: less than that is paper
_FULL_INK = 230.0  # MNIST's darkest pixels are no less; thin lines are, once they are scaled down
_NOISE = 5.0  # standard deviations of the ground's noise that are still ground
_FAINT = 0.1  # of the darkest ink: less than that is a line's edge, or what JPEG leaves beside it
_FITS = 5  # of the ground's shading, each without what the last one took for ink
_FIT_SIDE = 64  # pixels a side that the shading is fitted to
_GRID = 96  # cells a side in which it is seen what hangs together
_LEAST_PART = 0.05  # of the main part's ink: the upper stroke of a 5 has more, a speck has less
_AT_EDGE = 0.2  # what the ink of a part counts that an edge cuts off, such as the table beside the paper

BLANK = "an image must show a digit, but this one is blank or too faint; draw or photograph it with more contrast."


def has_light_ground(image: UInt8s) -> bool:
    """Says whether an image shows dark ink on light ground, by what lies along its edges.

    Shape: (H, W) uint8
    """
    low, high = float(image.min()), float(image.max())
    return float(np.median(_frame(image))) > (low + high) / 2


def is_blank(image: UInt8s) -> bool:
    """Says whether nothing in an image can be told from paper.

    Shape: (H, W) uint8
    """
    return float(image.max()) - float(image.min()) < _LEAST_INK


def as_mnist(image: UInt8s) -> UInt8s:
    """Returns the digit of a grey image as MNIST would show it.

    The ground's shading and noise are taken away, dark ink on light ground is inverted (`has_light_ground`), the digit
    is scaled into a box of 20×20 pixels with its proportions kept, and its centre of mass is put in the middle. MNIST's
    own training images come back as they were, all but 15 of the 60,000 (most of these are 19 pixels long).

    Args:
        image: one digit, alone, in shades of grey.

    Shape: (H, W) uint8 → (28, 28) uint8

    Raises:
        DataError: it is no such array, or nothing in it stands out from its ground.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 2:
        raise DataError(
            f"an image must be an array (height, width) of uint8, of 2 pixels a side or more, but got {image.shape} "
            f"of {image.dtype}; convert it."
        )
    image = _shrunk(image)
    ink = image.astype(np.float32)
    if has_light_ground(image):
        np.subtract(255, ink, out=ink)
    ink = _without_ground(ink)
    if ink.max() < _LEAST_INK:
        raise DataError(BLANK)
    placed = _placed(ink)
    peak = float(placed.max())
    if peak < _FULL_INK:
        placed *= 255 / peak
    return np.rint(np.clip(placed, 0, 255)).astype(np.uint8)


def all_as_mnist(images: UInt8s) -> tuple[UInt8s, int]:
    """Returns each digit as MNIST would show it, as `as_mnist` does; what is blank stays as it is.

    Returns:
        The images, and how many were blank.

    Shape: images: (N, H, W) uint8 → (N, 28, 28) uint8; blank ones become zeros where they have another size.
    """
    made, blank = np.zeros((len(images), SIDE, SIDE), np.uint8), 0
    for image, place in zip(images, made, strict=True):
        try:
            place[...] = as_mnist(image)
        except DataError:
            blank += 1
            if image.shape == place.shape:
                place[...] = image
    return made, blank


def _frame(image: NDArray[Any]) -> NDArray[Any]:
    """Returns the pixels along the edges, a thirtieth of the image deep."""
    rows, columns = (max(1, side // 30) for side in image.shape)
    inner = image[rows:-rows]
    parts = (image[:rows], image[-rows:], inner[:, :columns], inner[:, -columns:])
    return np.concatenate([part.ravel() for part in parts])


def _shrunk(image: UInt8s) -> UInt8s:
    if max(image.shape) <= _LARGEST:
        return image
    from PIL import Image

    scale = _LARGEST / max(image.shape)
    height, width = (max(2, round(side * scale)) for side in image.shape)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _without_ground(ink: Floats) -> Floats:
    """Returns how far each pixel stands out from the ground, and zero where that is no more than noise."""
    levels = np.bincount(_frame(ink).astype(np.int64), minlength=256)
    ground = int(levels.argmax())
    if levels[ground] * 2 >= levels.sum():  # drawn, or MNIST's own: one level, and nothing to smooth
        ink = np.maximum(ink - ground, 0)
        if max(ink.shape) > 2 * SIDE:  # where no line is so faint: what JPEG leaves around lines is no part of the box
            ink[ink < _FAINT * float(ink.max())] = 0
        return ink
    shading, noise = _shading(ink)
    ink = np.maximum(ink - shading, 0)
    ink[ink < max(_NOISE * noise, 2 * _FAINT * float(ink.max()))] = 0
    return ink * _belongs(ink)


def _shading(ink: Floats) -> tuple[Floats, float]:
    """Fits a quadratic surface to the ground, as uneven light makes it, and returns it with its noise."""
    rows, columns = ink.shape
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None, :]
    step_y, step_x = -(-rows // _FIT_SIDE), -(-columns // _FIT_SIDE)
    few_y, few_x = np.broadcast_arrays(y[::step_y], x[:, ::step_x])
    terms = _terms(few_y, few_x).reshape(6, -1).T  # (pixels, 6)
    values = ink[::step_y, ::step_x].reshape(-1).astype(np.float64)
    kept = np.ones(len(values), bool)
    for _ in range(_FITS):
        ground = terms[kept]
        # The normal equations have 6 unknowns and 6 rows, and not a row for each pixel.
        surface, *_ = np.linalg.lstsq(ground.T @ ground, ground.T @ values[kept], rcond=None)
        residuals = values - terms @ surface
        noise = 1.4826 * float(np.median(np.abs(residuals[kept] - np.median(residuals[kept]))))
        kept = residuals <= max(2.5 * noise, 1.0)
    one, along_y, along_x, yy, yx, xx = (np.float32(factor) for factor in surface)
    y, x = y.astype(np.float32), x.astype(np.float32)
    return (one + y * (along_y + yy * y)) + x * (along_x + yx * y + xx * x), noise


def _terms(y: Floats, x: Floats) -> Floats:
    return np.stack([np.ones_like(y), y, x, y * y, x * y, x * x])


def _belongs(ink: Floats) -> Floats:
    """Returns 1 where ink belongs to the digit, and 0 where it is a speck or something that the edges cut off."""
    rows, columns = ink.shape
    cell = -(-max(rows, columns) // _GRID)
    padded = np.pad(ink, ((0, -rows % cell), (0, -columns % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, -1, cell).sum(axis=(1, 3))
    parts = _parts(cells > 0)
    masses = np.bincount(parts.ravel(), weights=cells.ravel())
    masses[0] = 0
    at_edge = np.zeros(len(masses), bool)
    for edge in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        at_edge[edge] = True
    main = int(np.argmax(np.where(at_edge, masses * _AT_EDGE, masses)))
    kept = (masses >= _LEAST_PART * masses[main]) & (at_edge[main] | ~at_edge)
    return np.repeat(np.repeat(kept[parts], cell, axis=0), cell, axis=1)[:rows, :columns].astype(np.float32)


def _parts(inked: NDArray[np.bool_]) -> Ints:
    """Returns a number from 1 for each cell's part, which is what touches it, across corners too; 0 for no ink."""
    parts = np.where(inked, np.arange(1, inked.size + 1).reshape(inked.shape), 0)
    while True:  # the largest number wanders through its part; a spiral takes longest, as many steps as it is long
        wide = np.pad(parts, 1)
        across = np.maximum(np.maximum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])
        spread = np.where(inked, np.maximum(np.maximum(across[:-2], across[1:-1]), across[2:]), 0)
        if np.array_equal(spread, parts):
            return np.unique(parts, return_inverse=True)[1].reshape(parts.shape) + int(parts.min() > 0)
        parts = spread


def _placed(ink: Floats) -> Floats:
    """Returns the inked part scaled into the box and moved to the middle of 28×28, in one resampling."""
    from PIL import Image

    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _BOX / max(digit.shape)
    top = _offset(digit.sum(axis=1), scale)
    left = _offset(digit.sum(axis=0), scale)
    # A window of the digit with ground around it, which has the size of the result once it is scaled.
    margin = math.ceil((SIDE - _BOX) / scale) + 1 + math.ceil(_BOX / scale) - min(digit.shape)
    window = np.pad(digit, margin)
    x, y, side = margin - left / scale, margin - top / scale, SIDE / scale
    resized = Image.fromarray(window).resize((SIDE, SIDE), Image.Resampling.HAMMING, box=(x, y, x + side, y + side))
    return np.array(resized, np.float32)


def _offset(mass: Floats, scale: float) -> int:
    """Returns the whole pixels before a digit along one axis, from its ink along that axis."""
    centre = float(np.dot(mass, np.arange(len(mass)) + 0.5) / mass.sum())
    room = SIDE - math.ceil(len(mass) * scale - 1e-9)
    return min(max(round(_CENTRE - centre * scale), 0), room)
