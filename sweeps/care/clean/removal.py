"""Files that are removed, and what that frees: a file with links elsewhere frees nothing."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Count", "Removal"]


@dataclass(slots=True)
class Count:
    """Files of one kind.

    Attributes:
        files: how many.
        bytes: what they take, of which nothing is shared.
        shared_bytes: what others hold by hard links as well.
    """

    files: int = 0
    bytes: int = 0
    shared_bytes: int = 0

    def add(self, size: int, *, is_shared: bool = False) -> None:
        """Counts a file."""
        self.files += 1
        if is_shared:
            self.shared_bytes += size
        else:
            self.bytes += size

    def __add__(self, other: Count) -> Count:
        return Count(self.files + other.files, self.bytes + other.bytes, self.shared_bytes + other.shared_bytes)


@dataclass(slots=True)
class Removal:
    """Removes files, or only counts what it would free.

    Attributes:
        dry_run: whether it only counts.
        freed: what was removed, by kind.
        left: what stays, by kind.
    """

    dry_run: bool
    freed: dict[str, Count] = field(default_factory=dict)
    left: dict[str, Count] = field(default_factory=dict)
    _links: Counter[tuple[int, int]] = field(default_factory=Counter)  # that were, or would be, removed

    def keep(self, path: Path, kind: str) -> None:
        """Counts a file that stays, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.left.setdefault(kind, Count()).add(path.stat().st_size, is_shared=path.stat().st_nlink > 1)

    def remove(self, path: Path, kind: str) -> None:
        """Removes a file, if it is there.

        Raises:
            OSError: it cannot be removed.
        """
        try:
            known = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return
        inode = (known.st_dev, known.st_ino)
        links = known.st_nlink - (self._links[inode] if self.dry_run else 0)
        if not self.dry_run:
            path.unlink(missing_ok=True)
        self._links[inode] += 1
        self.note(known.st_size, kind, is_shared=links > 1)

    def note(self, size: int, kind: str, *, is_shared: bool = False) -> None:
        """Counts a file that was removed, or would be."""
        self.freed.setdefault(kind, Count()).add(size, is_shared=is_shared)
