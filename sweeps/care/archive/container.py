"""The container of an exported study: a plain tar of plain files, ended by a manifest that tells what they must be.

It is not compressed: weights are noise to a compressor (zlib takes 8 % off a study, xz 14 % in seven times the time),
and what is not compressed cannot expand. Of tar the oldest common part is written and taken, USTAR with regular files:
no links, devices, sparse files or extended headers, whose reading would cost more than their bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from sweeps.errors import StudyError

__all__ = ["MANIFEST", "Entry", "Member", "Writer", "copy_out", "list_members", "read_manifest", "read_small"]

MANIFEST = "manifest.json"

_MOST_MEMBERS = 1_000_000
_LARGEST_MANIFEST = 1 << 26
_LARGEST_MEMBER = 8**11 - 1  # bytes: what USTAR can say
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """Where a file lies in an archive."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the manifest says of a file."""

    size: int
    sha256: str


class Writer:
    """Writes an archive whose bytes follow from its files' names and bytes alone.

    Args:
        file: takes the archive.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115  # closed by `close`
        self.entries: dict[str, Entry] = {}

    def add(self, name: str, source: IO[bytes], size: int) -> Entry:
        """Adds the next `size` bytes of `source`.

        Raises:
            OSError: there are not so many, or they cannot be written.
        """
        digested = _Digested(source)
        self._tar.addfile(_info(name, size), digested)
        self.entries[name] = Entry(size, digested.hash.hexdigest())
        return self.entries[name]

    def close(self, facts: Mapping[str, Any]) -> None:
        """Ends the archive with its manifest: `facts`, and the size and digest of each file."""
        files = {name: {"size": each.size, "sha256": each.sha256} for name, each in sorted(self.entries.items())}
        text = json.dumps({**facts, "files": files}, indent=1, ensure_ascii=False).encode() + b"\n"
        self._tar.addfile(_info(MANIFEST, len(text)), io.BytesIO(text))
        self._tar.close()


class _Digested:
    """A file whose bytes are digested as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info  # of nobody, and of 1970: the same files give the same bytes


def list_members(file: IO[bytes], is_allowed: Callable[[str], bool], most_bytes: int) -> dict[str, Member]:
    """Reads the headers of an archive and refuses what `export` would not have written, before any file of it is read.

    Args:
        file: the archive; it must be seekable.
        is_allowed: says of a name whether it may be there, besides the manifest.
        most_bytes: what all files together may have.

    Raises:
        StudyError: a member has another name or is no plain file, is there twice, or reaches beyond the archive's end;
            or they are too many, or too large together.
    """
    end, position, total = file.seek(0, os.SEEK_END), 0, 0
    members: dict[str, Member] = {}
    lowered: set[str] = set()  # a file system may hold A and a for the same
    while True:
        file.seek(position)
        info = _header(file.read(tarfile.BLOCKSIZE), is_first=position == 0)
        if info is None:
            return members
        position += tarfile.BLOCKSIZE
        if info.type != tarfile.REGTYPE:
            raise StudyError(
                f"an archive must hold plain files only, but {_shown(info.name)} is none; export it again."
            )
        if info.name != MANIFEST and not is_allowed(info.name):
            raise StudyError(
                f"an archive must hold a study's own files only, but {_shown(info.name)} is none; export it again."
            )
        if info.name.lower() in lowered:
            raise StudyError(f"an archive must hold each file once, but {info.name} is there twice; export it again.")
        if not 0 <= info.size <= min(_LARGEST_MEMBER, end - position):
            raise _cut_short()
        total += info.size
        if total > most_bytes:
            raise StudyError(
                f"an archive must hold {most_bytes / 1e9:g} GB at most, but this one has more; "
                "if you trust it, raise --max-size."
            )
        if len(members) >= _MOST_MEMBERS:
            raise StudyError(f"an archive must hold {_MOST_MEMBERS:,} files at most, but this one has more.")
        lowered.add(info.name.lower())
        members[info.name] = Member(position, info.size)
        position += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _header(block: bytes, *, is_first: bool) -> tarfile.TarInfo | None:
    """Returns what a header says; None for the end of the archive."""
    if len(block) < tarfile.BLOCKSIZE and not is_first:
        raise _cut_short()
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        if not is_first and block == bytes(tarfile.BLOCKSIZE):
            return None
        raise StudyError(
            "an archive must be one that `export` wrote (a tar that is not compressed), but this is another file, or "
            "damaged; export it again."
        ) from error


def read_manifest(file: IO[bytes], members: Mapping[str, Member], form: int) -> tuple[dict[str, Any], dict[str, Entry]]:
    """Returns the manifest's facts, and what it says of each file: of all members, and of no others.

    Raises:
        StudyError: there is none, it is damaged or of another form, or it tells of other files.
    """
    if MANIFEST not in members:
        raise StudyError(f"an archive must end with its {MANIFEST}, but this one has none; export it again.")
    try:
        facts = json.loads(read_small(file, members[MANIFEST], _LARGEST_MANIFEST))
        if facts["format"] != form:
            raise StudyError(
                f"an archive's format must be {form}, but this one's is {str(facts['format'])[:20]}; "
                "import it with the version that exported it, or export it with this one."
            )
        entries = {name: _entry(each) for name, each in facts.pop("files").items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(
            f"an archive's {MANIFEST} must be whole, but is damaged ({type(error).__name__}); export it again."
        ) from error
    others = (members.keys() - {MANIFEST}) ^ entries.keys()
    others |= {name for name, entry in entries.items() if name in members and entry.size != members[name].size}
    if others:
        raise StudyError(
            f"an archive must hold what its {MANIFEST} says, but {_shown(min(others))} is not so; export it again."
        )
    return facts, entries


def _entry(values: Any) -> Entry:
    if type(values["size"]) is not int or not isinstance(values["sha256"], str):
        raise ValueError("no size or no digest")
    return Entry(values["size"], values["sha256"])


def read_small(file: IO[bytes], member: Member, most_bytes: int) -> bytes:
    """Returns a member's bytes.

    Raises:
        StudyError: they are too many.
    """
    if member.size > most_bytes:
        raise StudyError(f"an archive's tables must be below {most_bytes >> 20} MB, but one has {member.size:,} bytes.")
    file.seek(member.offset)
    return file.read(member.size)


def copy_out(file: IO[bytes], name: str, member: Member, sha256: str, target: IO[bytes]) -> None:
    """Copies a member's bytes into `target`.

    Raises:
        StudyError: they are not those that the manifest tells of.
    """
    file.seek(member.offset)
    left, digest = member.size, hashlib.sha256()
    while left and (chunk := file.read(min(left, _CHUNK))):
        left -= len(chunk)
        digest.update(chunk)
        target.write(chunk)
    if left or digest.hexdigest() != sha256:
        raise StudyError(
            f"an archive must be as it was written, but {name} is damaged (its SHA-256 is not the manifest's); "
            "copy the archive again."
        )


def _cut_short() -> StudyError:
    return StudyError("an archive must be whole, but this one is cut short; copy it again.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}…")
