"""What a run of the benchmarks found, and where: kept as JSON beside the page that is written from it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from benchmarks.inference import InferenceRow
from benchmarks.measure import cores
from benchmarks.memory import MemoryRow
from benchmarks.shares import SharesRow
from benchmarks.steps import StepRow
from benchmarks.workers import WorkersResult
from sweeps.provenance import commit

__all__ = ["Environment", "Results", "environment", "load", "save"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """On what, and with what, a run was made."""

    cpu: str
    cores: int
    system: str
    python: str
    numpy: str
    blas: str
    torch: str
    commit: str
    command: str


@dataclass(slots=True, kw_only=True)
class Results:
    """What a run found. A part that was not measured is empty.

    Attributes:
        environment: where it was made.
        quick: whether it is only a rough one.
        rounds: the turns of each contender for a named net.
        peaks: of sgemm, in FLOP/s, by the number of threads.
    """

    environment: Environment
    quick: bool = False
    rounds: int = 0
    peaks: dict[int, float] = field(default_factory=dict)
    steps: list[StepRow] = field(default_factory=list)
    inference: list[InferenceRow] = field(default_factory=list)
    memory: list[MemoryRow] = field(default_factory=list)
    workers: WorkersResult | None = None
    shares: list[SharesRow] = field(default_factory=list)

    def steps_of(self, group: str, threads: int = 1) -> list[StepRow]:
        """Returns the rows of a group of nets, "named" or "draw"."""
        return [row for row in self.steps if (row.group, row.threads) == (group, threads)]

    def step(self, net: str) -> StepRow | None:
        """Returns a net's row for one thread."""
        return next((row for row in self.steps if (row.net, row.threads) == (net, 1)), None)


def environment(command: str) -> Environment:
    """Describes this machine and these versions; nothing that names whose machine it is."""
    import torch

    return Environment(
        cpu=_cpu(),
        cores=cores(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=np.__version__,
        blas=", ".join(_blas()) or "unknown",
        torch=torch.__version__,
        commit=commit() or "unknown",
        command=command,
    )


def _cpu() -> str:
    """Returns the processor's name, with its vector units' width where Linux says it: a name alone may be vague."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.machine()
    flags = fields.get("flags", "").split()
    unit = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    family = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields)
    return ", ".join(filter(None, (name, family, unit)))


def _blas() -> Iterator[str]:
    """Yields the library behind NumPy's products as it runs here, with the kernels that it chose."""
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "blas" and "numpy" in library["filepath"]:
            yield " ".join(str(library[key]) for key in ("internal_api", "version", "architecture") if key in library)


_ADAPTER = TypeAdapter(Results)


def save(results: Results, path: Path) -> None:
    """Writes a run's results."""
    path.write_bytes(_ADAPTER.dump_json(results, indent=1) + b"\n")


def load(path: Path) -> Results:
    """Reads what `save` wrote."""
    return _ADAPTER.validate_json(path.read_bytes())
