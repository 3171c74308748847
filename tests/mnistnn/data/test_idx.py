from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data import idx
from mnistnn.data.idx import encode_idx, idx_count, map_idx, parse_idx, write_idx
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, LABELS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for values, kind in ((IMAGES, idx.IMAGES), (LABELS, idx.LABELS)):
        path = tmp_path / kind.noun
        write_idx(path, values)
        for read in (map_idx(path, kind), parse_idx(path.read_bytes(), kind, path)):
            assert read.dtype == np.uint8
            assert not read.flags.writeable
            np.testing.assert_array_equal(read, values)
        assert idx_count(path, kind) == 3


def test_bytes_are_as_the_format_has_them() -> None:
    assert encode_idx(IMAGES)[:16] == bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 28, 0, 0, 0, 28])
    assert encode_idx(LABELS) == bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 9])


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", IMAGES)
    images = map_idx(tmp_path / "images", idx.IMAGES)
    assert type(images) is np.ndarray
    assert isinstance(images.base, np.memmap)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (encode_idx(LABELS), idx.IMAGES, "2051, but FILE begins with 2049; those are labels"),
        (encode_idx(IMAGES), idx.LABELS, "2049, but FILE begins with 2051; those are images"),
        (b"\x89PNG" + bytes(100), idx.IMAGES, "begins with 2303741511"),
        (encode_idx(IMAGES)[:10], idx.IMAGES, "has 10 bytes (truncated)"),
        (encode_idx(IMAGES)[:-1], idx.IMAGES, "has 2,367 (truncated)"),
        (encode_idx(IMAGES) + b"\0", idx.IMAGES, "has 2,369 (trailing bytes)"),
        (encode_idx(LABELS)[:-1], idx.LABELS, "has 10 (truncated)"),
        (encode_idx(np.zeros((2, 32, 28), np.uint8)), idx.IMAGES, "28×28 pixels, but FILE holds 32×28"),
        (encode_idx(np.zeros((0, 28, 28), np.uint8)), idx.IMAGES, "holds none"),
        (encode_idx(np.array([3, 12], np.uint8)), idx.LABELS, "has 12 at 1"),
        (struct.pack(">4I", 2051, 2**32 - 1, 28, 28), idx.IMAGES, "(truncated)"),
    ],
)
def test_bad_files_are_refused(data: bytes, kind: idx.IdxKind, words: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    for read in (lambda: map_idx(path, kind), lambda: parse_idx(data, kind, path)):
        with pytest.raises(DataError) as caught:
            read()
        assert words.replace("FILE", str(path)) in str(caught.value)
        assert "\n" not in str(caught.value)
