from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data.arrays import read_npy, read_npz
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, LABELS, npy, npz

HERE = Path("given.npz")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_npy() -> None:
    np.testing.assert_array_equal(read_npy(io.BytesIO(npy(IMAGES)), HERE), IMAGES)
    np.testing.assert_array_equal(read_npy(io.BytesIO(npy(np.asfortranarray(IMAGES))), HERE), IMAGES)


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x", "y"), ("digits", "labels"), ("images", None), ("arr_0", None)]
)
def test_npz(names: tuple[str, str | None]) -> None:
    arrays = {names[0]: IMAGES} | ({names[1]: LABELS} if names[1] else {})
    images, labels = read_npz(io.BytesIO(npz(**arrays)), HERE)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels is None if names[1] is None else np.array_equal(labels, LABELS)


def test_images_are_preferred_among_several() -> None:
    data = npz(images=IMAGES, weights=np.ones(5))
    np.testing.assert_array_equal(read_npz(io.BytesIO(data), HERE)[0], IMAGES)


def test_several_arrays_of_other_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"holds x_train, x_test; save the wanted one alone"):
        read_npz(io.BytesIO(npz(x_train=IMAGES, x_test=IMAGES)), HERE)


def test_an_archive_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="holds no array"):
        read_npz(io.BytesIO(npz()), HERE)


def test_labels_that_do_not_match_are_refused() -> None:
    with pytest.raises(DataError, match="must match the images"):
        read_npz(io.BytesIO(npz(images=IMAGES, labels=LABELS[:2])), HERE)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Bomb(tmp_path / "made")], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled objects"):
        read_npy(io.BytesIO(file.getvalue()), HERE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("images.npy", file.getvalue())
    with pytest.raises(DataError, match="pickled objects"):
        read_npz(archive, HERE)
    assert not (tmp_path / "made").exists()


def test_a_false_header_takes_no_memory() -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 28, 28), }"
    for count, words in ((10**12, "at most"), (10**5, "truncated"), (-1, "shape")):
        text = header % count
        with pytest.raises(DataError, match=words):
            read_npy(io.BytesIO(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(784)), HERE)


@pytest.mark.parametrize("data", [npy(IMAGES)[:-1], npy(IMAGES) + b"\0", npy(IMAGES)[:20], b"no array"])
def test_damaged_npy(data: bytes) -> None:
    with pytest.raises(DataError):
        read_npy(io.BytesIO(data), HERE)


def test_damaged_npz() -> None:
    data = bytearray(npz(images=IMAGES))
    data[len(data) // 2] ^= 0xFF
    for bad in (data, data[:50], b"PK\x03\x04"):
        with pytest.raises(DataError, match="is damaged"):
            read_npz(io.BytesIO(bytes(bad)), HERE)


def test_an_encrypted_archive_is_refused() -> None:
    data = bytearray(npz(images=IMAGES))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="password"):
        read_npz(io.BytesIO(bytes(data)), HERE)
