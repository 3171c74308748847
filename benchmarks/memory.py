"""Peak memory of training one net, each contender in a process of its own.

`python -m benchmarks.memory NET CONTENDER` is that process: it prints one line of JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders import LAYOUTS, OURS, Step, our_step, sample, torch_step
from benchmarks.measure import ONE_THREAD
from benchmarks.nets import ROOT, Case, named_case
from mnistnn.architecture import Block, ConvNet

__all__ = ["MemoryRow", "Peak", "measure_memory"]

_STEPS = 20
_FIRST = Case(name="first", group="none", convnet=ConvNet(blocks=(Block(filters=1),)), batch_size=2)
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most memory that a process had resident.

    Attributes:
        training_mb: above what it had before the net was built.
        process_mb: all of it.
    """

    training_mb: float
    process_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """The peaks of training a net, by contender."""

    net: str
    batch_size: int
    peaks: dict[str, Peak]

    @property
    def best(self) -> str:
        """PyTorch's variant that takes the least."""
        return min(LAYOUTS, key=lambda layout: self.peaks[layout].training_mb)


def measure_memory(net: str, *, repeats: int = 1) -> MemoryRow:
    """Trains the net of that name with one thread, in a process of its own each time; each contender's median counts.

    Raises:
        RuntimeError: one of them failed.
    """
    peaks = {}
    for contender in (OURS, *LAYOUTS):
        found = sorted((_in_a_process(net, contender) for _ in range(repeats)), key=lambda peak: peak.training_mb)
        peaks[contender] = found[repeats // 2]
    return MemoryRow(net=net, batch_size=named_case(net).batch_size, peaks=peaks)


def _in_a_process(net: str, contender: str) -> Peak:
    command = [sys.executable, "-m", "benchmarks.memory", net, contender]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the memory of {net} ({contender}) could not be measured: {done.stderr.strip()[-300:]}")
    return Peak(**json.loads(done.stdout))


def peak_of(build: Callable[[], Step], steps: int = _STEPS) -> Peak:
    """Returns the peak of building a step and taking it so often, in this process."""
    gc.collect()
    _give_back()
    earlier = _peak_mb()
    before = _reset() or earlier
    step = build()
    for number in range(steps):
        step(number)
    after = _peak_mb()
    return Peak(training_mb=after - before, process_mb=max(earlier, after))


def _give_back() -> None:
    """Has the C library return what imports have freed, or a net could be built in memory that is counted already."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset() -> float | None:
    """Sets the system's mark of the highest memory down to what there is, and returns that; None where it cannot."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return None
    return _peak_mb()


def _peak_mb() -> float:
    """Returns the mark: the highest memory of this process since its start, or since `_reset`."""
    try:
        (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    except (OSError, ValueError):
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / (1e6 if sys.platform == "darwin" else 1e3)
    return int(line.split()[1]) * 1024 / 1e6


def main(net: str, contender: str) -> None:
    """Measures one contender."""
    case = named_case(net)
    sample()

    def build(case: Case) -> Step:
        # One batch: how images are kept is not the net's affair.
        return our_step(case, count=1) if contender == OURS else torch_step(case, contender, count=1)

    if contender != OURS:
        import torch

        torch.set_num_threads(1)
    build(_FIRST)(0)  # what a library loads at its first use is no net's
    print(json.dumps(asdict(peak_of(lambda: build(case)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
