"""Gzip, bounded: what a file may expand to is known before it is expanded."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from mnistnn.data.checks import MAX_BYTES, damaged, most_bytes, open_input, refuse
from mnistnn.data.idx import IdxKind, idx_length, idx_shape, parse_idx
from mnistnn.files import atomic_write, sha256_bytes, sha256_file

__all__ = ["gunzip", "is_gzip", "unpack_idx"]

_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 20


def is_gzip(path: Path) -> bool:
    """Says whether a file is gzipped, by its first bytes: browsers are known to unpack and to keep the name."""
    with open_input(path) as file:
        return file.read(2) == _MAGIC


def gunzip(path: Path, limit: int = MAX_BYTES, *, head: int | None = None) -> bytes:
    """Returns the uncompressed bytes of a gzipped file; with `head` only so many of them.

    Raises:
        DataError: damaged, more than `limit` bytes, or more than such a small file may expand to.
    """
    content = io.BytesIO()
    limit = min(limit, most_bytes(path.stat().st_size))
    with open_input(path) as raw, gzip.GzipFile(fileobj=raw) as file:
        try:
            if head is not None:
                return file.read(head)
            while piece := file.read(_PIECE):
                content.write(piece)
                if content.tell() > limit:
                    rule = f"a gzipped file must expand to no more than {limit:,} bytes here"
                    raise refuse(path, rule, "has more (trailing bytes, or a bomb)", "fetch it again")
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(path, "a gzipped file", error) from error
    return content.getvalue()


def unpack_idx(path: Path, kind: IdxKind, cache: Path) -> tuple[Path, str]:
    """Returns an IDX file that can be mapped, and the SHA-256 of its bytes: `path` itself, or its uncompressed twin.

    The twin is made once, in `cache`. Its name holds the digests of both files, so a look shows whether it is whole.

    Raises:
        DataError: damaged, not an IDX file of this kind, truncated or with trailing bytes.
        OutputError: the cache cannot be written.
    """
    if not is_gzip(path):
        return path, sha256_file(path)
    folder = cache / "unpacked"
    packed = sha256_file(path)[:32]
    for twin in folder.glob(f"{packed}-*.idx"):
        digest = sha256_file(twin)
        if twin.stem == f"{packed}-{digest}":
            return twin, digest
    shape = idx_shape(gunzip(path, head=kind.header), kind, path)
    data = gunzip(path, min(idx_length(shape, kind), MAX_BYTES))
    parse_idx(data, kind, path)
    digest = sha256_bytes(data)
    twin = folder / f"{packed}-{digest}.idx"
    with atomic_write(twin) as file:
        file.write(data)
    return twin, digest
