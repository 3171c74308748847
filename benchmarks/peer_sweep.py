"""The peer of a sweep: the same study driven by Optuna and MLflow with PyTorch nets.

python benchmarks/peer_sweep.py studies/default.toml --folder /tmp/peer

It is what a user would otherwise write: one process a core on a shared journal, `study.optimize` in each, a run of
MLflow for each trial. What is to be searched, and for how long, comes from the study's file.
"""

from __future__ import annotations

import time

_BEGAN = time.time()  # the budget covers imports, too

import importlib.util  # noqa: E402
import multiprocessing  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

_ROOT = Path(__file__).resolve().parent.parent
if not __package__:  # run as a file
    sys.path.insert(0, str(_ROOT))

import click  # noqa: E402

from benchmarks.peer_project import Job, PeerPaths, track  # noqa: E402
from mnistnn.errors import InputError  # noqa: E402
from sweeps.config import StudyConfig, load_study, parse_duration  # noqa: E402
from sweeps.study.validation import has_objective  # noqa: E402
from sweeps.workers.cores import THREAD_VARIABLES, usable_cores  # noqa: E402
from sweeps.workers.signals import interrupting  # noqa: E402

__all__ = ["check", "main"]

_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@click.command()
@click.argument("study")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="Keeps all of the sweep; made anew.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="As `sweeps run` takes it.")
@click.option("--budget", metavar="TIME", help="5m, 90s; instead of the study's.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the study's.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one a usable core]")
def main(
    study: str, folder: Path, data_dir: Path | None, budget: str | None, seed: int | None, workers: int | None
) -> None:
    """Sweep STUDY, a name in studies/ or the path of a TOML, with PyTorch nets."""
    if importlib.util.find_spec("torch") is None:
        raise click.UsageError("PyTorch must be installed for the peer's sweep; `make setup-bench` does it.")
    try:
        changes = [] if seed is None else [f"study.seed={seed}"]
        config = load_study(study, root=_ROOT, overrides=changes)
        budget_s = config.budget.time_s if budget is None else parse_duration(budget)
        check(config)
        folder.mkdir(parents=True)
        paths = PeerPaths(folder.resolve())
        from mnistnn.data.sources import find_dataset

        data = find_dataset(data_dir, cache=paths.cache).path
    except FileExistsError:
        raise click.UsageError(f"`--folder` must not be there yet, but {folder} is; name another.") from None
    except InputError as error:
        raise click.UsageError(str(error)) from None
    until = None if budget_s is None else _BEGAN + budget_s
    job = Job(config=config, folder=paths.folder, data=data, until=until)
    sys.exit(run(job, workers or usable_cores()))


def check(config: StudyConfig) -> None:
    """Checks that the peer has the study's sampler, and what it judges by.

    Raises:
        InputError: it has not.
    """
    if config.sampler.type not in ("tpe", "random"):
        raise InputError(
            f"the peer's sampler must be tpe or random, but got {config.sampler.type!r}; change [sampler]."
        )
    if has_objective(config):
        raise InputError(
            "the peer must judge by val_loss or val_accuracy alone, but the study has validation_shift or a "
            "calibrated loss; leave them out."
        )


def run(job: Job, workers: int) -> int:
    """Runs the workers to their end and returns the exit code: 1 if one of them failed, 130 after Ctrl-C."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    os.environ.update(_MLFLOW)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    processes = [context.Process(target=_work, args=(job, index, ready), daemon=True) for index in range(workers)]
    try:
        with interrupting():
            for process in processes:  # before anything slow: they import and load meanwhile
                process.start()
            _prepare(job)
            ready.set()
            for process in processes:
                process.join()
    except KeyboardInterrupt:
        return 130  # the workers are daemons: they end with this process
    return int(any(process.exitcode for process in processes))


def _work(job: Job, index: int, ready: Any) -> None:
    from benchmarks.peer_trial import work

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    work(job, index, ready)


def _prepare(job: Job) -> None:
    """Makes study and experiment, and enqueues the baselines."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from sweeps.study.space import Space

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config, paths = job.config, PeerPaths(job.folder)
    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    study = optuna.create_study(study_name=config.name, storage=storage, direction=config.direction)
    space = Space(config)
    for preset in config.baselines:
        values, overrides = space.preset_values(preset)
        study.enqueue_trial(values, user_attrs={"preset": preset, "overrides": overrides})
    track(paths)


if __name__ == "__main__":
    main()
