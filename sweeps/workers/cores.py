"""How many workers the machine bears: cores by affinity and quota, and memory, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["THREAD_VARIABLES", "available_memory_mb", "one_thread", "usable_cores", "worker_count"]

#: What tells each BLAS how many threads it may take: one a worker, for the workers themselves are the parallelism.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# What the parent process takes for MLflow's client and the display.
PARENT_MB = 400.0
_UNLIMITED = 1 << 60  # cgroup v1 writes "no limit" as a number near 2**63


def one_thread(*, always: bool = False) -> None:
    """Gives BLAS one thread in this process, unless the user has said how many. NumPy must not be imported yet.

    On nets as small as these two threads mostly wait for each other, and how many cores a machine has would show in
    the last digits of the weights.

    Args:
        always: whatever the user has said, as workers have it.
    """
    if always or not any(os.environ.get(name) for name in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))


def usable_cores(root: Path = Path("/")) -> int:
    """Returns how many cores this process may keep busy; at least one.

    Args:
        root: where `proc` and `sys` are found.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min([affinity, *(int(quota) for quota in _cpu_quotas(root))]))


def available_memory_mb(root: Path = Path("/")) -> float | None:
    """Returns the memory that can still be taken, or None where the system does not tell.

    Args:
        root: where `proc` and `sys` are found.

    **Units**: MB of 10^6 bytes.
    """
    limits = [limit - used for limit, used in _memory_limits(root)]
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            limits.append(int(line.split()[1]) * 1024)
    return max(0, min(limits)) / 1e6 if limits else None


def worker_count(requested: int | None, memory_mb: float, root: Path = Path("/")) -> int:
    """Returns how many workers to start: `requested`, else one a core as far as the memory goes.

    Args:
        requested: what the user wants, if anything.
        memory_mb: what one worker may take.
        root: where `proc` and `sys` are found.
    """
    if requested is not None:
        return max(1, requested)
    cores, memory = usable_cores(root), available_memory_mb(root)
    if memory is None:
        return cores
    return max(1, min(cores, int((memory - PARENT_MB) // memory_mb)))


def _cpu_quotas(root: Path) -> Iterator[float]:
    for folder in _cgroup_folders(root, "cpu"):
        quota = _read(folder / "cpu.max").split()  # v2: "max 100000" or "150000 100000"
        if len(quota) == 2 and quota[0] != "max":
            yield int(quota[0]) / int(quota[1])
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_us is not None and period_us and quota_us > 0:
            yield quota_us / period_us


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    for folder in _cgroup_folders(root, "memory"):
        for limit_name, used_name, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit, used - _statistic(folder / "memory.stat", cache)  # the kernel gives caches back


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control groups, innermost first: a limit of any of them holds."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # v1 mounts each controller in a folder of its own; within a container the path may not exist below it.
        top = mount / controller if controllers else mount
        folder = top / path.lstrip("/")
        for candidate in (folder, *folder.parents):
            if not candidate.is_relative_to(top):
                break
            yield candidate


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _statistic(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0
