from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset, all_as_mnist
from mnistnn.errors import DataError
from mnistnn.types import UInt8s
from sweeps.ensemble import build_ensemble, load_ensemble, write_submission
from sweeps.ensemble.likeness import said_of, training_likeness
from sweeps.ensemble.verify import verify_submission
from sweeps.paths import Paths
from tests.sweeps.ensemble.conftest import Home

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def built(home: Home, sample: Dataset) -> Home:
    build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    return home


@pytest.fixture(scope="module")
def digits(sample: Dataset) -> UInt8s:
    return np.array(sample.train_images[:200])


def absent() -> Dataset:
    raise AssertionError("the data set was not needed")


def submitted(home: Home, images: UInt8s, folder: Path, **more: Any) -> tuple[Path, list[str]]:
    """Returns the manifest of a submission for images, and what was said."""
    input = folder / "contest.npy"
    np.save(input, images)
    said: list[str] = []
    options: dict[str, Any] = {"dataset": absent, "tracking_uri": AWAY, "echo": said.append, "format": "digits"} | more
    output = folder / "out.txt"
    return write_submission(home.config, root=home.root, input=input, output=output, **options), said


def moved(images: UInt8s) -> UInt8s:
    return np.roll(images, (2, -3), (1, 2))


def test_mnists_own_are_not_warned_of(built: Home, digits: UInt8s, tmp_path: Path) -> None:
    _, said = submitted(built, digits, tmp_path)
    assert said == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda images: 255 - images, "100 % of the images show dark ink on light ground"),
        (moved, "the digits lie "),
        (lambda images: images // 3, "the images' ink is faint, 8"),
        (lambda images: np.maximum(images, 40), "the images' ground has level 40 of 255, but the training images' 0"),
    ],
)
def test_each_way_of_being_unlike_is_one_line(
    built: Home, digits: UInt8s, tmp_path: Path, change: Callable[[UInt8s], UInt8s], expected: str
) -> None:
    _, said = submitted(built, change(digits), tmp_path)
    assert len(said) == 1
    assert said[0].startswith(f"warning: {expected}")
    assert said[0].endswith("; --as-mnist makes them as MNIST was made.")
    assert "\n" not in said[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda images: images.transpose(0, 2, 1), "the digits are 5.2 pixels wider than tall on average"),
        (
            lambda images: np.where(np.arange(len(images))[:, None, None] % 4, images, np.uint8(0)),
            "25.0 % of the images",
        ),
    ],
)
def test_what_as_mnist_cannot_mend_has_no_such_advice(
    built: Home, digits: UInt8s, tmp_path: Path, change: Callable[[UInt8s], UInt8s], expected: str
) -> None:
    _, said = submitted(built, change(digits), tmp_path)
    assert len(said) == 1
    assert said[0].startswith(f"warning: {expected}")
    assert "--as-mnist" not in said[0]


def test_as_mnist_undoes_it_and_verify_repeats_it(built: Home, digits: UInt8s, tmp_path: Path) -> None:
    given = np.roll(255 - digits, (1, -1), (1, 2))
    given[7] = 0
    manifest, said = submitted(built, given, tmp_path, as_mnist=True)
    assert said == ["the images are inverted, scaled and centred as MNIST was made, but for 1 that are blank"]
    told = json.loads(manifest.read_text())["input"]
    assert told["as_mnist"] is True
    answers = [int(line) for line in (tmp_path / "out.txt").read_text().split()]
    seen = all_as_mnist(given)[0]
    assert np.mean((seen == digits).all(axis=(1, 2))) > 0.95
    assert answers == load_ensemble(built.paths).predict(seen).tolist()
    found = verify_submission(manifest, root=built.root, dataset=absent, echo=lambda line: None)
    assert found.same_bytes
    assert found.probs_difference == 0
    values = json.loads(manifest.read_text())
    del values["input"]["as_mnist"]
    manifest.write_text(json.dumps(values))
    assert not verify_submission(manifest, root=built.root, dataset=absent, echo=lambda line: None).same_bytes


def test_without_the_option_nothing_changes(built: Home, digits: UInt8s, tmp_path: Path) -> None:
    manifest, _ = submitted(built, moved(digits), tmp_path)
    assert "as_mnist" not in json.loads(manifest.read_text())["input"]
    answers = [int(line) for line in (tmp_path / "out.txt").read_text().split()]
    assert answers == load_ensemble(built.paths).predict(moved(digits)).tolist()


def test_what_the_training_images_look_like_is_found_out_once(sample: Dataset, tmp_path: Path) -> None:
    first = training_likeness(sample.digest, tmp_path, lambda: sample)
    assert first is not None
    assert training_likeness(sample.digest, tmp_path, absent) == first
    (file,) = (tmp_path / "likeness").iterdir()
    for damage in (b"", b"[]", b'{"format": 1}', file.read_bytes()[:-40], b"[" * 9000):
        file.write_bytes(damage)
        assert training_likeness(sample.digest, tmp_path, lambda: sample) == first


def test_an_older_ensemble_finds_its_training_images_or_says_that_it_cannot(
    built: Home, sample: Dataset, digits: UInt8s, tmp_path: Path
) -> None:
    def nowhere() -> Dataset:
        raise DataError("no source gave MNIST.")

    (file,) = (Paths(built.root).data / "likeness").iterdir()
    for find in (nowhere, lambda: replace(sample, digests=("0" * 64, *sample.digests[1:]))):
        file.unlink(missing_ok=True)
        _, said = submitted(built, digits, tmp_path, dataset=find)
        assert said == [
            "the study's training images are not at hand, so it is not known whether these images are like them"
        ]
    _, said = submitted(built, moved(digits), tmp_path, dataset=lambda: sample)
    assert len(said) == 1
    assert file.exists()


def test_how_thick_lines_are_is_no_matter_of_making_them_as_mnist(sample: Dataset, digits: UInt8s) -> None:
    training = training_likeness(sample.digest, Path("/nonexistent"), lambda: sample)
    assert training is not None
    thin = replace(training, means={**training.means, "ink": training.means["ink"] + 0.2})
    (line,) = said_of(digits, thin, as_mnist=False)
    assert line.startswith("warning: the digits' lines are thinner than in the training images")
    assert "--as-mnist" not in line
