"""What a `run` of a study, or a worker that joins it, takes up: lock, storage, budget and processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError

from mnistnn.data import Dataset
from mnistnn.errors import OutputError
from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.budget import Budget, Clock, Tally
from sweeps.study.journal import repair_journal
from sweeps.study.liveness import HEARTBEAT_S
from sweeps.study.storage import bind_folder, join_study, open_storage, open_study
from sweeps.tracking.address import reason_of
from sweeps.tracking.store import check_reachable, resolve_uri
from sweeps.views.progress import StudyProgress
from sweeps.workers.executor import make_pool
from sweeps.workers.keeper import Keeper
from sweeps.workers.order import Order
from sweeps.workers.run import Finish, Run
from sweeps.workers.summary import RunSummary

__all__ = ["RunSummary", "run_study"]

_DEFAULT_MEMORY_MB = 400


def run_study(
    config: StudyConfig,
    *,
    root: Path,
    dataset: Dataset,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    trials: int | None = None,
    joins: bool = False,
    choose: Callable[[optuna.Study], Collection[int]] | None = None,
    executor: str = "local",
    scheduler: str | None = None,
    heartbeat_s: int = HEARTBEAT_S,
    finish: Finish | None = None,
    quiet: bool = False,
    echo: Callable[[str], object] | None = None,
) -> RunSummary:
    """Runs a study up to its budget, or goes on with it, and returns how it stands.

    Args:
        config: the study.
        root: the project's folder.
        dataset: what to train on.
        storage_url: an Optuna URL or a journal's path; by default the study's own journal.
        tracking_uri: MLflow's store; by default the project's own.
        workers: how many processes; by default one a core, as far as the memory goes.
        timeout_s: the seconds that this call may take.
        trials: how many trials may finish in this call.
        joins: True works beside others, wherever they are, on a study that was prepared before; False makes the study,
            and wants to be the only one.
        choose: says, once nobody else runs the study, which trials that were asked for the call is about: it runs them
            and no others, whatever is left of the budget, and their time is not the study's.
        executor: "local" starts the workers here, "dask" on a Dask cluster.
        scheduler: of the Dask cluster; by default one is made on this machine.
        heartbeat_s: seconds between two signs of life of a worker, where the storage is a database.
        finish: makes files for the study's own run when the workers have left, before the last delivery.
        quiet: True shows warnings only.
        echo: takes each line of the display; by default it goes to standard error.

    Raises:
        StudyError: another `run` is at work on the study, or the study cannot be used as asked.
        TrackingError: the tracking store does not answer.
        OutputError: the study's folder cannot be written.
    """
    paths = Paths(root).study(config.name)
    progress = StudyProgress(config.name, quiet=quiet, echo=echo)
    with _writable(paths), Keeper(config, paths) as keeper:
        if not joins:
            keeper.insist()
        uri = resolve_uri(tracking_uri, root)
        check_reachable(uri)
        if repaired := repair_journal(storage_url, paths):
            progress.warn(repaired)
        storage = open_storage(storage_url, paths, heartbeat_s=heartbeat_s)
        if joins:
            study = join_study(config, storage, dataset.digest)
        else:
            study = open_study(config, storage, dataset.digest, paths)
        bind_folder(study, paths)
        ended = Tally.of(study.get_trials(deepcopy=False)).ended
        whole = Budget.of(config, None if trials is None else ended + trials)
        budget = whole.narrowed(None if choose is None else choose(study))
        order = Order.of(
            config,
            root,
            dataset,
            storage=storage_url,
            trials=budget.trials,
            most=budget.most,
            only=budget.only,
            heartbeat_s=heartbeat_s,
        )
        time_of = Clock(float(study.user_attrs.get("elapsed_s", 0.0)))
        pool = make_pool(
            executor,
            order,
            workers,
            config.limits.memory_mb or _DEFAULT_MEMORY_MB,
            paths.folder,
            progress.warn,
            left_s=lambda: budget.left_s(time_of.total_s),
            scheduler=scheduler,
            joins=joins,
        )
        run = Run(
            config, root, paths, study, whole, budget, time_of, pool, order, uri, timeout_s, progress, keeper, finish
        )
        try:
            return run.go()
        finally:
            progress.close()


@contextlib.contextmanager
def _writable(paths: StudyPaths) -> Iterator[None]:
    """Turns what a full disk, or a database that stays away, ends a run with into one line."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OutputError(
            f"a study's folder must be writable, but {paths.folder} is not ({error.strerror}); make room and run "
            "again: all that was saved is kept."
        ) from error
    except StorageInternalError as error:
        raise StudyError(
            "a study's storage must answer, but its database does not "
            f"({reason_of(error.__cause__ or error)}); run again when it is back: all that was saved is kept."
        ) from error
