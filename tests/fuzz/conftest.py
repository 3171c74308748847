"""Fuzzing happens where memory is scarce: what a loader takes on the word of its input fails the test."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LEFT_BYTES = 1 << 30


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import pandas  # noqa: F401  # imports take more than readers
    from PIL import JpegImagePlugin, PngImagePlugin  # noqa: F401

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LEFT_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that all inputs of a test are written into."""
    return tmp_path
