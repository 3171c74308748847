from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from mnistnn.data import idx
from mnistnn.data.gz import gunzip, is_gzip, unpack_idx
from mnistnn.data.idx import encode_idx
from mnistnn.errors import DataError
from mnistnn.files import sha256_bytes
from tests.mnistnn.data.formats import IMAGES


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(encode_idx(IMAGES)))
    return path


def test_unpacked_once(packed: Path, tmp_path: Path) -> None:
    twin, digest = unpack_idx(packed, idx.IMAGES, tmp_path)
    assert twin.read_bytes() == encode_idx(IMAGES)
    assert digest == sha256_bytes(encode_idx(IMAGES))
    made = twin.stat().st_mtime_ns
    assert unpack_idx(packed, idx.IMAGES, tmp_path) == (twin, digest)
    assert twin.stat().st_mtime_ns == made


def test_a_damaged_twin_is_made_again(packed: Path, tmp_path: Path) -> None:
    twin, _ = unpack_idx(packed, idx.IMAGES, tmp_path)
    twin.write_bytes(bytes(100))
    assert unpack_idx(packed, idx.IMAGES, tmp_path)[0] == twin
    assert twin.read_bytes() == encode_idx(IMAGES)


def test_what_is_not_gzipped_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"  # as a browser leaves it that unpacked it
    path.write_bytes(encode_idx(IMAGES))
    assert not is_gzip(path)
    assert unpack_idx(path, idx.IMAGES, tmp_path / "cache") == (path, sha256_bytes(encode_idx(IMAGES)))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fault", ["cut", "checksum", "middle"])
def test_damage(packed: Path, tmp_path: Path, fault: str) -> None:
    data = bytearray(packed.read_bytes())
    if fault == "cut":
        del data[-20:]
    else:
        data[-8 if fault == "checksum" else len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        unpack_idx(packed, idx.IMAGES, tmp_path)


def test_a_bomb_does_not_go_off(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(encode_idx(IMAGES) + bytes(200 << 20), 1))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"no more than 2,368 bytes"):
        unpack_idx(path, idx.IMAGES, tmp_path)
    with pytest.raises(DataError, match=r"no more than 1,000 bytes"):
        gunzip(path, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_another_kind_is_refused_before_it_is_unpacked(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="those are images"):
        unpack_idx(packed, idx.LABELS, tmp_path)
