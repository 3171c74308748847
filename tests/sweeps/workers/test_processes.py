"""What two workers share, and what each has for itself, as the kernel tells it of processes that train."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data import Dataset
from sweeps.workers.cores import THREAD_VARIABLES
from tests.sweeps.workers.runs import Project, wait_for, worker_pids

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc"),
]

_COPIES = 10  # of the sample, so that its images weigh more than what is rounded to pages


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A folder of IDX files with 18,000 training images: 14 MB."""
    folder = tmp_path_factory.mktemp("large")
    images = np.tile(np.asarray(sample.train_images), (_COPIES, 1, 1))
    labels = np.tile(np.asarray(sample.train_labels), _COPIES)
    for part, count in (("train", len(labels)), ("t10k", 100)):
        header = struct.pack(">iiii", 2051, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images[:count].tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, count) + labels[:count].tobytes())
    return folder


@pytest.fixture
def training(
    tmp_path: Path, large: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[int], Project]]:
    """Two workers that have trained an epoch each; the user's environment asks for more threads than that."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    project = Project(tmp_path / "project", large, trials=2, epochs=500, database=database)
    process = project.start(workers=2)
    try:
        wait_for(lambda: all("epoch" in project.events(number) for number in (0, 1)), 120.0)
        yield worker_pids(process.pid), project
    finally:
        process.terminate()
        process.communicate(timeout=60)


def mapping(pid: int, name: str) -> dict[str, int]:
    """Returns what the kernel says of a mapped file, in kB: Rss, Pss, Private_Dirty and others."""
    found: dict[str, int] = {}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            inside = bool(rest) and rest[-1].endswith(name)
        elif inside and rest[-1] == "kB":
            found[first.rstrip(":")] = found.get(first.rstrip(":"), 0) + int(rest[0])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_workers_share_the_images_and_have_one_thread_each(training: tuple[list[int], Project], large: Path) -> None:
    pids, _ = training
    assert len(pids) == 2
    size_kb = (large / "train-images-idx3-ubyte").stat().st_size // 1024
    for pid in pids:
        images = mapping(pid, "train-images-idx3-ubyte")
        assert images["Rss"] > 0.9 * size_kb  # it has read nearly all of them
        assert images["Pss"] < 0.6 * images["Rss"]  # each page is counted for half: the other has it too
        assert images["Private_Dirty"] == 0  # nobody has written
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["Threads"]) == 1
