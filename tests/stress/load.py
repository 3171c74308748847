"""A thousand tiny trials by many workers: what a trial costs beside its training, at the start and at the end.

    python -m tests.stress.load [--trials 1000] [--workers 16] [--postgresql] [--json FILE]

prints a table. At each of the sizes it measures with all workers at once (processor time, which neighbours do not
lengthen), and with one alone (the clock on the wall). Overhead is all that a trial takes without its training and
without the sampler's draw: claiming, reporting, the records of it, checkpoint, weights and predictions.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.stress.projects import StressProject

__all__ = ["STUDY", "Load", "main", "measure"]

# Nets of one size: were they not, the sampler would go from small ones to large ones, and the times with it.
STUDY = """
[study]
seed = 5
[budget]
trials = {trials}
epochs = {epochs}
[fixed]
blocks = 0
dense_units = 8
batch_size = 500
[search]
activation = ["relu", "sigmoid"]
scaling = ["unit", "standard"]
dense_dropout = {{ low = 0.1, high = 0.3 }}
label_smoothing = {{ low = 0.01, high = 0.1 }}
[search.optimizer.adam]
learning_rate = {{ low = 1e-3, high = 1e-2 }}
[search.optimizer.adamw]
learning_rate = {{ low = 1e-3, high = 1e-2 }}
weight_decay = {{ low = 1e-3, high = 1e-1, log = true }}
[search.optimizer.momentum]
learning_rate = {{ low = 1e-2, high = 1e-1 }}
momentum = {{ low = 0.8, high = 0.95 }}
[search.augment.translation]
shift = {{ low = 1, high = 3 }}
"""

_LONGEST_S = 3600.0
_PAGE = 100  # runs on the UI's first page
_SAMPLE = Path(__file__).parent.parent / "data" / "mnist"


@dataclass(frozen=True)
class At:
    """What was measured when the study had come to so many trials. Times are of one trial, medians."""

    trials: int
    workers: int
    trials_per_s: float  # of all workers together
    busy_overhead_ms: float  # processor time, all workers at work
    busy_sampler_ms: float
    overhead_ms: float  # one worker alone, on the wall
    sampler_ms: float
    training_ms: float
    resume_s: float  # from the start of `run` with one worker to its first step
    stores_mb: dict[str, float]


@dataclass
class Load:
    """All that was measured."""

    storage: str
    sizes: list[At] = field(default_factory=list)
    verbs_s: dict[str, float] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        """By how much the overhead of a trial grew from the first size to the last, one worker alone."""
        return self.sizes[-1].overhead_ms / self.sizes[0].overhead_ms

    @property
    def busy_growth(self) -> float:
        """The same of the processor time with all workers at work."""
        return self.sizes[-1].busy_overhead_ms / self.sizes[0].busy_overhead_ms

    def table(self) -> str:
        """Returns it as text."""
        rows: list[tuple[str, Callable[[At], str]]] = [
            ("trials", lambda at: f"{at.trials}"),
            ("trials/s, all workers", lambda at: f"{at.trials_per_s:.1f}"),
            ("overhead, CPU ms, all workers", lambda at: f"{at.busy_overhead_ms:.0f}"),
            ("sampler, CPU ms, all workers", lambda at: f"{at.busy_sampler_ms:.0f}"),
            ("overhead, ms, one worker", lambda at: f"{at.overhead_ms:.0f}"),
            ("sampler, ms, one worker", lambda at: f"{at.sampler_ms:.0f}"),
            ("training, ms, one worker", lambda at: f"{at.training_ms:.0f}"),
            ("resume, s", lambda at: f"{at.resume_s:.2f}"),
        ]
        lines = [f"{self.storage}, {self.sizes[0].workers} workers"]
        lines += [f"{name:32}" + "".join(f"{show(at):>9}" for at in self.sizes) for name, show in rows]
        for name in self.sizes[-1].stores_mb:
            lines.append(f"{name + ', MB':32}" + "".join(f"{at.stores_mb.get(name, 0):>9.2f}" for at in self.sizes))
        lines.append(f"overhead grew {self.growth:.2f}x (one worker), {self.busy_growth:.2f}x (CPU, all workers)")
        lines += [f"{name:32}{seconds:>9.2f} s" for name, seconds in self.verbs_s.items()]
        return "\n".join(lines)


def measure(
    root: Path,
    data: Path,
    *,
    storage: str | None = None,
    sizes: Sequence[int] = (50, 500, 1000),
    workers: int = 16,
    alone: int = 8,
    verbs: bool = True,
    say: Callable[[str], object] = lambda line: None,
) -> Load:
    """Runs a study up to each of some sizes, and measures there.

    Args:
        root: the project's folder, which is made.
        data: the data set's.
        storage: an Optuna URL; None for the study's journal.
        sizes: the trials that the study has when it is measured.
        workers: how many at once.
        alone: how many of the trials before each size one worker does alone; 0 spares that.
        verbs: whether to time the verbs that read the study too.
        say: takes a line as each size is reached.
    """
    project = StressProject(root, data, study=STUDY, storage=storage, trials=sizes[-1], epochs=1)
    times = root / "times"
    times.mkdir()
    project.with_probe("times", STRESS_TIMES=str(times))
    load = Load("journal" if storage is None else storage.partition(":")[0])
    done = 0
    for size in sizes:
        many = size - done - alone
        busy, busy_s, resume_s = _run(project, times, many, workers)
        single = busy
        if alone:
            single, _, resume_s = _run(project, times, alone, 1)
        done = size
        last = busy[-min(50, len(busy)) :]
        load.sizes.append(
            At(
                trials=size,
                workers=workers,
                trials_per_s=(len(last) - 1) / (last[-1]["ended"] - last[0]["ended"]),
                busy_overhead_ms=_overhead_ms(last, 1),
                busy_sampler_ms=_median_ms(last, "sampler", 1),
                overhead_ms=_overhead_ms(single, 0),
                sampler_ms=_median_ms(single, "sampler", 0),
                training_ms=_median_ms(single, "training", 0),
                resume_s=resume_s,
                stores_mb=_sizes(project),
            )
        )
        say(f"{size} trials: the last {many} by {workers} workers in {busy_s:.0f} s")
    if verbs:
        load.verbs_s = {verb: _timed(project, verb) for verb in ("trials", "doctor")} | _ui(project)
    return load


def _run(project: StressProject, times: Path, trials: int, workers: int) -> tuple[list[dict[str, Any]], float, float]:
    """Runs so many trials. Returns the probe's lines in the order of ends, the seconds, and those to the first step."""
    began = time.time()
    with project.running("--trials", str(trials), "--quiet", workers=workers) as process:
        _, err = process.communicate(timeout=_LONGEST_S)
    assert process.returncode == 0, err
    took = time.time() - began
    lines = []
    for path in times.glob("*.jsonl"):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
    lines.sort(key=lambda line: float(line["ended"]))
    assert len(lines) >= trials, f"{len(lines)} of {trials} trials were timed"
    return lines, took, min(line["first_step"] for line in lines) - began


def _overhead_ms(lines: Sequence[dict[str, Any]], clock: int) -> float:
    """Returns the median of what a trial took beside training and sampler; `clock` 0: on the wall, 1: processor."""
    rest = (line["trial"][clock] - line["sampler"][clock] - line["training"][clock] for line in lines)
    return 1e3 * statistics.median(rest)


def _median_ms(lines: Sequence[dict[str, Any]], part: str, clock: int) -> float:
    return 1e3 * statistics.median(line[part][clock] for line in lines)


def _sizes(project: StressProject) -> dict[str, float]:
    places = {"journal": project.paths.journal, "mlflow.db": project.mlflow_db, "studies/": project.root / "studies"}
    sizes = {name: _size(path) / 1e6 for name, path in places.items() if path.exists()}
    if project.storage and project.storage.startswith("postgresql"):
        sizes["database"] = _database_size(project.storage) / 1e6
    return sizes


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())


def _database_size(url: str) -> int:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def _timed(project: StressProject, verb: str) -> float:
    began = time.perf_counter()
    storage = ["--storage", project.storage] if project.storage else []
    process = project.call(verb, "live", *storage)
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 1), (out, err)  # doctor: 1 if it found something
    return time.perf_counter() - began


def _ui(project: StressProject) -> dict[str, float]:
    """Returns the seconds from the call of `ui` to its answer, and of its first page of runs."""
    began = time.perf_counter()
    process = project.call("ui")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]  # which comes when the server answers
        ready = time.perf_counter()
        name = {"filter": "name = 'sweeps-live'", "max_results": 10}
        experiment = _ask(address, "experiments/search", name)["experiments"][0]["experiment_id"]
        body = {"experiment_ids": [experiment], "max_results": _PAGE, "order_by": ["attributes.start_time DESC"]}
        asked = time.perf_counter()
        runs = _ask(address, "runs/search", body)["runs"]
        first = time.perf_counter()
        _ask(address, "runs/search", body | {"order_by": ["metrics.best_val_loss ASC"]})
        best = time.perf_counter()
        assert runs
        return {"ui: start": ready - began, f"ui: {len(runs)} runs": first - asked, "ui: the best": best - first}
    finally:
        process.terminate()
        with contextlib.suppress(Exception):
            process.communicate(timeout=30)


def _ask(address: str, call: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


@contextlib.contextmanager
def _storage(wanted: bool) -> Iterator[str | None]:
    if not wanted:
        yield None
        return
    from tests.stress.servers import postgresql

    with postgresql() as server:
        yield server.database("optuna")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.load", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--postgresql", action="store_true", help="Optuna's trials in a PostgreSQL server of its own")
    parser.add_argument("--data-dir", type=Path, default=_SAMPLE)
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, _storage(chosen.postgresql) as storage:
        load = measure(
            Path(folder) / "project",
            chosen.data_dir.resolve(),
            storage=storage,
            sizes=(max(16, chosen.trials // 20), chosen.trials // 2, chosen.trials),
            workers=chosen.workers,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(load.table())
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(asdict(load), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
