"""Files that are either whole or not there, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mnistnn.errors import OutputError

__all__ = ["atomic_write", "link_or_copy", "sha256_bytes", "sha256_file"]


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file that takes the place of `path` when the block ends without an error.

    A reader sees the old file or the new one, never a part; after a power cut too, as file and folder are synced.

    Args:
        path: where the file shall stand. Its folder is made.
        mode: "wb" for bytes, "w" for UTF-8 text.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with open(descriptor, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives 0600, which a shared folder cannot use
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the output must be writable, but {path} is not ({reason}); name another place.") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy of it where the file system has no links between the two.

    It is for files that are only ever replaced, and never written into: the other name keeps what it has.

    Args:
        source: the file.
        target: where it shall stand too. Its folder is made; a file that is there is replaced.

    Raises:
        FileNotFoundError: there is no `source`.
        OutputError: `target` cannot be written.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.link(source, temporary)
        os.replace(temporary, target)
        temporary.unlink(missing_ok=True)  # which a rename leaves alone where both are the same file already
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        with open(source, "rb") as file, atomic_write(target) as copy:
            shutil.copyfileobj(file, copy)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_bytes(data: bytes) -> str:
    """Returns the SHA-256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
