from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.workers.cores import THREAD_VARIABLES, available_memory_mb, one_thread, usable_cores, worker_count


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root: Path, cgroup: str, files: dict[str, str], available_kb: int = 16_000_000) -> Path:
    """Makes a `proc` and a `sys` that say so."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/meminfo").write_text(f"MemTotal: 32000000 kB\nMemAvailable: {available_kb} kB\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/not/seen/inside\n", {"cpu.max": "200000 100000\n"}, 2),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, 8),
        ("4:memory:/x\n1:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ("", {}, 8),
    ],
)
def test_cores_by_affinity_and_quota(tmp_path: Path, cgroup: str, files: dict[str, str], cores: int) -> None:
    assert usable_cores(machine(tmp_path, cgroup, files)) == cores


@pytest.mark.parametrize(
    ("cgroup", "files", "memory_mb"),
    [
        ("0::/\n", {}, 16384.0),
        ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 16384.0),
        ("0::/\n", {"memory.max": "3000000000\n", "memory.current": "1000000000\n"}, 2000.0),
        (
            "0::/\n",
            {
                "memory.max": "3000000000\n",
                "memory.current": "1000000000\n",
                "memory.stat": "anon 1\ninactive_file 400000000\n",
            },
            2400.0,
        ),
        (
            "4:memory:/x\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "5\n"},
            16384.0,
        ),
        (
            "4:memory:/x\n",
            {"memory/x/memory.limit_in_bytes": "900000000\n", "memory/x/memory.usage_in_bytes": "1000000000\n"},
            0.0,
        ),
    ],
)
def test_memory_by_the_tightest_limit(tmp_path: Path, cgroup: str, files: dict[str, str], memory_mb: float) -> None:
    assert available_memory_mb(machine(tmp_path, cgroup, files)) == memory_mb


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert available_memory_mb(tmp_path) is None
    assert worker_count(None, 400, tmp_path) == 8


def test_workers_are_as_many_as_memory_bears(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {"memory.max": "1700000000\n", "memory.current": "0\n"})
    assert worker_count(None, 400, root) == 3
    assert worker_count(None, 4000, root) == 1
    assert worker_count(5, 4000, root) == 5


def test_one_thread_unless_the_user_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "3")
        one_thread()
        assert [os.environ.get(name) for name in THREAD_VARIABLES if name != "OMP_NUM_THREADS"] == [None] * 5
    monkeypatch.setattr(os, "environ", dict(os.environ))
    one_thread()
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}
    os.environ["OMP_NUM_THREADS"] = "3"
    one_thread(always=True)
    assert {os.environ[name] for name in THREAD_VARIABLES} == {"1"}


def test_this_machine_has_at_least_one() -> None:
    assert 1 <= usable_cores() <= 8
    assert (available_memory_mb() or 1e9) > 0
