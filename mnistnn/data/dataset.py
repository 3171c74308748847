"""A data set on disk, its training and validation parts, and the one door to its test images."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import CLASSES, SIDE, as_images, as_labels, refuse
from mnistnn.data.folds import deal
from mnistnn.data.gz import unpack_idx
from mnistnn.data.idx import IMAGES, LABELS, idx_count, map_idx
from mnistnn.errors import DataError, OutputError
from mnistnn.files import sha256_bytes
from mnistnn.types import Ints, UInt8s

__all__ = [
    "FILES",
    "MNIST_DIGESTS",
    "Dataset",
    "Split",
    "TestSet",
    "count_openings",
    "describe",
    "find_files",
    "load_dataset",
    "stratified",
]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The usual names of a data set's files. A dot before `idx` and a `.gz` at the end are usual, too."""

MNIST_DIGESTS = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
"""SHA-256 of MNIST's own four files, uncompressed, in the order of `FILES`."""

_KINDS = (IMAGES, LABELS, IMAGES, LABELS)

_DEALT = 0xF01D  # parts the seed of folds from that of the split


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A part of the training images: `images` and `labels` are all of them, `indices` says which belong to it.

    Shape: images: (N, 28, 28) uint8, labels: (N,) uint8, indices: (n,) int64, sorted
    """

    images: UInt8s
    labels: UInt8s
    indices: NDArray[np.int64]

    @classmethod
    def of(cls, images: NDArray[Any], labels: NDArray[Any]) -> Split:
        """Makes a split that is all of these images.

        Raises:
            DataError: they are not images and labels, as `as_images` and `as_labels` have it.
        """
        given = Path("the array given")
        checked = as_images(np.asarray(images), given)
        digits = as_labels(np.asarray(labels), len(checked), given)
        return cls(checked, digits, np.arange(len(checked), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def take(self) -> tuple[UInt8s, UInt8s]:
        """Returns contiguous copies of the part's images and labels."""
        return self.images[self.indices], self.labels[self.indices]


@dataclass(frozen=True, slots=True, eq=False)
class TestSet:
    """The test images, and how often this data set's have been opened so far, this time included."""

    __test__: ClassVar[bool] = False  # no test class, whatever pytest makes of the name

    images: UInt8s
    labels: UInt8s
    openings: int

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """Images of ten classes. All arrays lie on the files themselves, shared by all processes that use them.

    Args:
        name: "mnist" if the files are MNIST's own, else the folder's name (or "mnist-like", if that is the same).
        path: the folder, or the CSV, that the data set was made from; `find_dataset` takes it again.
        source: where it was found, in words.
        digests: SHA-256 of the four files' uncompressed bytes, in the order of `FILES`.
        train_images: (N, 28, 28) uint8
        train_labels: (N,) uint8
        test_count: how many test images there are.
    """

    classes: ClassVar[int] = CLASSES

    name: str
    path: Path
    source: str
    digests: tuple[str, ...]
    train_images: UInt8s
    train_labels: UInt8s
    test_count: int
    _test_files: tuple[Path, Path]

    @property
    def digest(self) -> str:
        """One digest of all four files' bytes."""
        return sha256_bytes("\n".join(self.digests).encode())

    def split(self, seed: int, validation: int | None = None) -> tuple[Split, Split]:
        """Parts the training images in two that share none, each with the classes in the whole's proportions.

        Args:
            seed: another seed, another split.
            validation: how many images to validate on; by default a sixth (10,000 of MNIST's 60,000).

        Returns:
            The part to train on and the part to validate on.

        Raises:
            DataError: one of the parts would be empty.
        """
        total = len(self.train_labels)
        count = total // 6 if validation is None else validation
        if not 0 < count < total:
            rule = f"`0 < validation < {total}` must hold for {self.name}"
            raise DataError(f"{rule}, but got (validation={count}); take another number, or more images.")
        chosen = stratified(self.train_labels, count, np.random.default_rng(seed))
        rest = np.setdiff1d(np.arange(total, dtype=np.int64), chosen, assume_unique=True)
        return Split(self.train_images, self.train_labels, rest), Split(self.train_images, self.train_labels, chosen)

    def fold(self, number: int, count: int, seed: int) -> tuple[Split, Split]:
        """Parts all training images into `count` equal parts, each with the classes in the whole's proportions.

        Args:
            number: which part is left out, from 1 to `count`.
            count: how many parts.
            seed: another seed, other parts; they have nothing to do with those of `split`.

        Returns:
            The images to train on, and those that are left out.

        Raises:
            DataError: there are no such parts.
        """
        if not (2 <= count <= len(self.train_labels) and 1 <= number <= count):
            rule = f"`1 <= number <= count` and `2 <= count <= {len(self.train_labels)}` must hold for {self.name}"
            raise DataError(f"{rule}, but got (number={number}, count={count}); take other numbers.")
        dealt = deal(self.train_labels, count, np.random.default_rng([seed, _DEALT]))
        kept, left_out = np.flatnonzero(dealt != number - 1), np.flatnonzero(dealt == number - 1)
        return Split(self.train_images, self.train_labels, kept), Split(self.train_images, self.train_labels, left_out)

    def open_test(self, purpose: str, ledger: Path) -> TestSet:
        """Opens the test images. This is the only function that does, and it writes down each time that it did.

        Args:
            purpose: what for, such as "train --test report".
            ledger: the file that gets a JSON line {time, purpose, digest}.

        Raises:
            OutputError: the ledger cannot be written; nothing is opened then.
            DataError: the files have been damaged meanwhile.
        """
        openings = _write_down(ledger, purpose, self.digest)
        images, labels = map_idx(self._test_files[0], IMAGES), map_idx(self._test_files[1], LABELS)
        return TestSet(images, labels, openings)


def _write_down(ledger: Path, purpose: str, digest: str) -> int:
    """Appends an opening to the ledger in one write, so that processes do not mix lines; returns the count."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": time, "purpose": purpose, "digest": digest}, ensure_ascii=False) + "\n"
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with open(ledger, "ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = "\n" + line  # a line that was torn by a full disk must not take this one with it
            file.write(line.encode())
            file.seek(0)
            return _count(file.read(), digest)
    except OSError as error:
        rule = "each opening of the test images must be written down"
        raise OutputError(f"{rule}, but {ledger} is not writable ({error.strerror}); see to its rights.") from error


def count_openings(ledger: Path, digest: str) -> int:
    """Returns how often the ledger says that the test images of the data set with this digest were opened."""
    try:
        return _count(ledger.read_bytes(), digest)
    except OSError:
        return 0


def _count(ledger: bytes, digest: str) -> int:
    return sum(_digest_of(entry) == digest for entry in ledger.splitlines())


def _digest_of(line: bytes) -> str | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry.get("digest") if isinstance(entry, dict) else None


def stratified(labels: Ints, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws `count` images with the classes in the whole's proportions, rounded by the largest remainder.

    Shape: labels: (N,) → (count,) int64, sorted
    """
    classes, sizes = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(sizes.astype(np.int64) * count, len(labels))
    largest = np.argsort(-remainders, kind="stable")
    shares[largest[: count - int(shares.sum())]] += 1
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[:share] for label, share in zip(classes, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def find_files(folder: Path) -> dict[str, Path]:
    """Returns where those of `FILES` lie that a folder holds, under any of their usual names."""
    found = {}
    for name in FILES:
        stems = (name, name.replace("-idx", ".idx"))
        candidates = [folder / (stem + ending) for ending in ("", ".gz") for stem in stems]
        if path := next((path for path in candidates if path.is_file()), None):
            found[name] = path
    return found


def load_dataset(
    folder: Path, *, cache: Path, source: str, name: str | None = None, path: Path | None = None
) -> Dataset:
    """Loads the data set that a folder holds in four IDX files, gzipped or not. No test image is looked at.

    Args:
        folder: where the files lie.
        cache: where gzipped files are unpacked to, once.
        source: what the data set says of where it comes from.
        name: its name; by default the folder's, or "mnist" if it is that.
        path: the path that it goes by, if not the folder.

    Raises:
        DataError: a file is missing, damaged or does not go with the others.
        OutputError: the cache cannot be written.
    """
    found = find_files(folder)
    if missing := [name for name in FILES if name not in found]:
        rule = f"a data set must have the files {', '.join(FILES)} (gzipped or not)"
        raise refuse(folder, rule, f"lacks {', '.join(missing)}", "put them there, or name another folder")
    unpacked = [unpack_idx(found[file], kind, cache) for file, kind in zip(FILES, _KINDS, strict=True)]
    files, digests = [file for file, _ in unpacked], tuple(digest for _, digest in unpacked)
    counts = [idx_count(file, kind) for file, kind in zip(files, _KINDS, strict=True)]
    for images, labels in ((0, 1), (2, 3)):
        if counts[images] != counts[labels]:
            rule = f"each of the {counts[images]:,} images of {FILES[images]} must have its label"
            raise refuse(folder, rule, f"holds {counts[labels]:,} labels", "take both files from one source")
    folder = folder.resolve()
    return Dataset(
        name=_name(digests, name or folder.name),
        path=path or folder,
        source=source,
        digests=digests,
        train_images=map_idx(files[0], IMAGES),
        train_labels=map_idx(files[1], LABELS),
        test_count=counts[2],
        _test_files=(files[2], files[3]),
    )


def _name(digests: tuple[str, ...], folder: str) -> str:
    if digests == MNIST_DIGESTS:
        return "mnist"
    return "mnist-like" if folder.casefold() == "mnist" else folder or "data"


def describe(dataset: Dataset) -> str:
    """Returns in a few lines what a data set is, where it lies, and by which digest studies know it."""
    train, sixth = len(dataset.train_labels), len(dataset.train_labels) // 6
    own = "MNIST's own files" if dataset.digests == MNIST_DIGESTS else "not MNIST's own files"
    return "\n".join(
        (
            f"{dataset.name}: {train:,} training and {dataset.test_count:,} test images of {SIDE}×{SIDE} pixels,"
            f" {dataset.classes} classes",
            f"  split   {train - sixth:,} to train on, {sixth:,} to validate on",
            f"  path    {dataset.path}",
            f"  source  {dataset.source}",
            f"  digest  {dataset.digest} ({own})",
        )
    )
