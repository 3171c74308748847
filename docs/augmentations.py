"""Makes docs/augmentations.png again: every augmentation at the ends of its ranges, on digits of the sample.

python docs/augmentations.py; `make screenshots` does it too
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mnistnn.augment import AugmentationSpec, build_augmenters
from mnistnn.data import find_dataset
from mnistnn.domains import Choice, domains_of
from mnistnn.registry import augmentation
from mnistnn.types import UInt8s
from sweeps.views.pictures.style import GREY, SMALL, new_figure, styled, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGITS = (2, 3, 4, 7, 8)  # one image of each, and as many draws
DRAWS = 3
SIDE, GAP, TITLES, MARGIN, HEAD = 0.46, 0.06, 1.5, 0.1, 0.32  # inches
SEED = 1
GREYS = 16  # as many as the sheet needs; more weigh as much again


def main() -> None:
    """Draws the sheet and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "augmentations.png", metavar="FILE")
    chosen = parser.parse_args()
    png = to_png(draw(digits()), "Augmentations, at the ends of their ranges")
    greys = Image.open(io.BytesIO(png)).convert("L").quantize(GREYS, dither=Image.Dither.NONE)
    greys.save(chosen.output, optimize=True)
    print(f"{chosen.output}  {chosen.output.stat().st_size // 1000} kB")


def digits() -> UInt8s:
    """Returns the first image of each of `DIGITS`. Shape: (digits, 28, 28)."""
    with tempfile.TemporaryDirectory() as cache:
        sample = find_dataset(ROOT / "tests" / "data" / "mnist", cache=Path(cache))
        first = [int(np.flatnonzero(sample.train_labels == digit)[0]) for digit in DIGITS]
        return sample.train_images[first]


def rows() -> Iterator[tuple[str, list[AugmentationSpec]]]:
    """Yields what is shown, with a title: each augmentation by the ends of its fields, and all together."""
    yield "as they are", []
    for name in augmentation.names():
        spec_class: Any = augmentation.get(name)
        domains = domains_of(spec_class)
        ends = [
            domain.values if isinstance(domain, Choice) else (domain.low, domain.high) for domain in domains.values()
        ]
        for values in itertools.product(*ends):
            spec = spec_class(**dict(zip(domains, values, strict=True)))
            if not spec.is_idle:  # the lower end of an amount is the image
                shown = ", ".join(f"{field} {value:g}" for field, value in zip(domains, values, strict=True))
                yield f"{name}\n{shown}", [spec]
    defaults = [augmentation.get(name)() for name in augmentation.names()]
    yield "all together\nat their defaults", defaults  # type: ignore[misc]


@styled
def draw(images: UInt8s) -> Figure:
    """Draws a row of images for each of `rows`, `DRAWS` draws of each digit."""
    sheet = list(rows())
    count = len(images) * DRAWS
    width = TITLES + count * (SIDE + GAP) + MARGIN
    height = HEAD + len(sheet) * (SIDE + 2 * GAP) + MARGIN
    figure = new_figure(height, width, layout=None)
    for number, (title, specs) in enumerate(sheet):
        bottom = height - HEAD - (number + 1) * (SIDE + 2 * GAP)
        figure.text(MARGIN / width, (bottom + SIDE / 2) / height, title, va="center", fontsize=SMALL)
        shown = np.repeat(images, DRAWS, axis=0)
        rng = np.random.default_rng(SEED)
        for augmenter in build_augmenters(specs, images.shape[1:], count):
            shown = augmenter(shown, rng)
        for place, image in enumerate(shown):
            left = TITLES + place * (SIDE + GAP)
            axes = figure.add_axes((left / width, bottom / height, SIDE / width, SIDE / height))
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(visible=True, color=GREY, linewidth=0.4)
    return figure


if __name__ == "__main__":
    main()
