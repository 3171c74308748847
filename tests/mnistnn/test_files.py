from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write, sha256_bytes, sha256_file


def test_a_file_is_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with atomic_write(path, "w") as file:
        file.write("grüße\n")
        assert not path.exists()
    assert path.read_text("utf-8") == "grüße\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.bin"]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x") as file:
        file.write(b"1")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("below", ["file/x.npz", "folder"])
def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="must be writable") as caught, atomic_write(tmp_path / below) as file:
        file.write(b"1")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / below) in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == sha256_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
