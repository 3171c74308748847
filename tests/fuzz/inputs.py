"""What loaders are given: sound files with some damage done to them, bytes of any kind, JSON of any kind."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import resource
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

__all__ = [
    "EXAMPLES",
    "any_json",
    "fuzzed",
    "mutated",
    "mutated_json",
    "mutated_members",
    "mutated_png",
    "refused",
    "zipped",
]

#: Inputs of each loader; `make soak` takes 10,000.
EXAMPLES = int(os.environ.get("SOAK_EXAMPLES", 0))
_FEW = 30

LEFT_BYTES = 512 << 20

Test = TypeVar("Test", bound=Callable[..., Any])

_NUMBERS = (b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\0" * 8, b"\xff\xff", b"\0\0\0\x80", b"\1\0\0\0")
_TEXTS = (
    b"99999999999999999999999", b"-1", b"1e999", b"NaN", b"0x" + b"f" * 40, b"9" * 5000, b"\0", b"../", b"/etc/passwd",
    b"\xed\xa0\x80", b"\\ud800", b"[" * 3000, b'{"a":' * 2000, b"\r", b'"', b"\xf0\x9f\x92\xa3", b"a.b." * 2000,
)  # fmt: skip


def fuzzed(*strategies: st.SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Runs a test on a few inputs, the same each time, or on as many as are asked for, others each time.

    Memory is scarce while it runs: what a loader takes on the word of its input fails the test.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def limited(*arguments: Any, **named: Any) -> None:
            try:
                with scarce_memory():
                    test(*arguments, **named)
            except MemoryError as error:
                raise AssertionError(f"more than {LEFT_BYTES >> 20} MB were asked for") from error

        chosen = settings(
            max_examples=EXAMPLES or _FEW,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        return cast(Test, chosen(given(*strategies)(limited)))

    return decorate


@contextlib.contextmanager
def scarce_memory() -> Iterator[None]:
    """Leaves a process little more memory than it has; where the system knows such limits."""
    if sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LEFT_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(error: Exception, *secrets: str) -> None:
    """Sees that an error is one line that tells none of the secrets."""
    assert str(error)
    assert "\n" not in str(error)
    assert not [secret for secret in secrets if secret in str(error)]


@st.composite
def mutated(draw: st.DrawFn, *sound: bytes) -> bytes:
    """One of `sound` after a few flips, cuts, insertions, splices and overwritten numbers; or bytes of any kind."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=2000))
    data = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("flip", "number", "text", "cut", "end", "insert", "repeat", "splice")))
        length = draw(st.integers(1, 64))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            number = draw(st.sampled_from(_NUMBERS))
            data[at : at + len(number)] = number
        elif kind == "text":
            data[at : at + draw(st.integers(0, 4))] = draw(st.sampled_from(_TEXTS))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "end":
            del data[at:]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "repeat":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 50))
        else:
            other = draw(st.sampled_from(sound))
            start = draw(st.integers(0, max(0, len(other) - 1)))
            data[at : at + length] = other[start : start + length]
    return bytes(data)


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**30, 10**400, 1e308, -1e308, 1e-320, 0.5])
    | st.sampled_from([float("nan"), float("inf"), -float("inf")])
    | st.sampled_from(
        ["", "../../x", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, "nan", "1", ".", "..", "a/b", "\x1b[2J"]
    )
    | st.integers()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
) | st.integers(50, 400).map(lambda depth: _nested(depth))


def _nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = {"a": value} if number % 2 else [value]
    return value


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Returns each place in nested tables and lists: the container and the key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        found.append((value, key))
        _places(value[key], found)
    return found


@st.composite
def mutated_json(draw: st.DrawFn, *sound: Any) -> Any:
    """One of `sound` with a few of its values replaced, removed, moved or renamed; or JSON of any kind."""
    if draw(st.integers(0, 19)) == 0:
        return draw(any_json)
    value = copy.deepcopy(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 4))):
        places = _places(value, [])
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("replace", "replace", "remove", "move", "add")))
        if kind == "remove":
            del container[key]
        elif kind == "move":
            other, place = draw(st.sampled_from(places))
            container[key] = copy.deepcopy(other[place])
        elif kind == "add" and isinstance(container, dict):
            container[draw(st.text(max_size=8))] = draw(any_json)
        else:
            container[key] = draw(any_json)
    return value


def as_text(value: Any) -> bytes:
    """Returns JSON as bytes, with surrogates escaped."""
    return json.dumps(value).encode()


def zipped(members: dict[str, bytes]) -> bytes:
    """Returns an archive that stores the members, with the checksums that they have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@st.composite
def mutated_members(draw: st.DrawFn, sound: dict[str, bytes]) -> bytes:
    """An archive with damage in one of its members, of which its checksum knows nothing."""
    members = dict(sound)
    name = draw(st.sampled_from(sorted(members)))
    if draw(st.booleans()):
        members[name] = draw(mutated(*sound.values()))
    else:
        others = sorted({*members, "x.npy", "images.npy", "../up.npy", "a\0b"})
        members[draw(st.sampled_from(others))] = members.pop(name)
    return zipped(members)


@st.composite
def mutated_png(draw: st.DrawFn, sound: bytes) -> bytes:
    """A picture with damage in one of its chunks, of which its checksum knows nothing."""
    chunks, at = [], 8
    while at < len(sound):
        (size,) = struct.unpack_from(">I", sound, at)
        chunks.append((sound[at + 4 : at + 8], sound[at + 8 : at + 8 + size]))
        at += size + 12
    index = draw(st.integers(0, len(chunks) - 1))
    name, body = chunks[index]
    names = (name, b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"eXIf")
    chunks[index] = (draw(st.sampled_from(names)), draw(mutated(body, b"x\0\0" + zlib.compress(bytes(1000)))))
    parts = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks]
    return sound[:8] + b"".join(parts)
