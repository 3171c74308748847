"""Disks that are full: a study stops with one line and nothing damaged, and goes on when there is room again."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnistnn.data import Dataset
from mnistnn.files import sha256_file
from tests.stress.audit import audit
from tests.stress.projects import StressProject
from tests.sweeps.workers.runs import wait_for

pytestmark = pytest.mark.slow

_PAGE = 4096  # by which a tmpfs gives out its memory


class Disk:
    """A small file system, and a file on it that takes the room from others."""

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes."""
        with open(self._ballast, "ab", buffering=0) as file:
            with contextlib.suppress(OSError):  # ENOSPC
                while file.write(bytes(_PAGE)):
                    pass
            file.truncate(file.tell() - leave)

    def free(self) -> None:
        """Gives all room back."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Mounts a tmpfs, or skips the test where that is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"needs to mount a small tmpfs ({error})")
    if said.returncode:
        pytest.skip(f"needs to mount a small tmpfs ({said.stderr.strip()})")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check_stop(err: str) -> None:
    """Checks that a run said once why it ended, and that nobody died of it."""
    assert "Traceback" not in err
    assert "died" not in err
    said = [line for line in err.splitlines() if "no space left on" in line.lower()]
    assert sum(not line.startswith("warning: ") for line in said) == 1, err  # another may be about the delivery


def test_a_study_on_a_full_disk(tmp_path: Path, sample_dir: Path, sample: Dataset, database: Path) -> None:
    project = StressProject(tmp_path / "p", sample_dir, trials=3, epochs=4, database=database)
    with small_disk(project.paths.folder, 16) as disk:
        disk.fill(leave=2_500_000)  # the first checkpoint fits, the next one beside it does not
        _, err = project.run(code=1)
        check_stop(err)
        assert "The same command goes on with it." in err.splitlines()[-1]
        assert project.events(0).count("epoch") >= 1

        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            project.study().set_user_attr("text", "x" * 3 * _PAGE)
        with pytest.raises(json.JSONDecodeError):  # the full disk tore the journal, as was to be shown
            json.loads(project.paths.journal.read_bytes().splitlines()[-1])
        with project.running() as process:
            _, err = process.communicate(timeout=240)
        assert process.returncode in (1, 2)  # by who met it first: a worker, or the run itself
        check_stop(err)
        assert "run again" in err or "The same command" in err

        disk.free()
        project.run()
        assert (project.paths.folder / "journal.log.torn").exists()
        assert project.events(0).count("start") == 1
        found = audit(project, sample)
        assert found.faults == []
        assert (found.trials, found.equal_replays) == (3, 3)


def test_a_tracking_store_on_a_full_disk(tmp_path: Path, sample_dir: Path, sample: Dataset) -> None:
    project = StressProject(tmp_path / "p", sample_dir, trials=4, epochs=4)
    mlruns = project.root / "mlruns"
    with small_disk(mlruns, 16) as disk:
        disk.fill(leave=1_500_000)  # enough for the tables, not for all weights
        with project.running(workers=2) as process:
            wait_for(lambda: project.ended() == 4 and shutil.disk_usage(mlruns).free < 100_000)  # it goes on
            time.sleep(1.0)  # in which nothing can be delivered
            disk.free()
            _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert err.count("is away") == 1, err
        assert "is back, and has all events." in err
        found = audit(project, sample, replay=False)
        assert found.faults == []
        for number in range(4):
            for kept in project.root.glob(f"mlruns/artifacts/**/{run_id(project, number)}/artifacts/*"):
                assert sha256_file(kept) == sha256_file(project.paths.trial(number) / kept.name)


def run_id(project: StressProject, number: int) -> str:
    return str(json.loads((project.paths.trial(number) / "shipped.json").read_text())["run_id"])
