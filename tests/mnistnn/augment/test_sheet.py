"""The picture sheet in docs/ shows every augmentation, from the sample alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnistnn.registry import augmentation
from tests.scripts import load_script

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "augmentations.py"


def test_every_augmentation_has_its_rows_and_all_of_them_one() -> None:
    titles = [title.partition("\n")[0] for title, _ in load_script(SCRIPT).rows()]
    assert set(titles) == {"as they are", *augmentation.names(), "all together"}
    assert titles.count("elastic") == 2  # both ends of its smoothness, at its largest amount
    assert titles.count("rotation") == 1  # at no degrees it is the image


def test_the_sheet_is_drawn_from_real_digits() -> None:
    module = load_script(SCRIPT)
    images = module.digits()
    assert images.shape == (len(module.DIGITS), 28, 28)
    figure = module.draw(images)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    across = len(images) * module.DRAWS
    assert len(shown) == len(list(module.rows())) * across
    assert all(np.array_equal(shown[place], images[place // module.DRAWS]) for place in range(across))
    for first in range(across, len(shown), across):
        changed = [not np.array_equal(shown[first + place], shown[place]) for place in range(across)]
        assert sum(changed) > 0.5 * across  # a square may hide nothing but ground
