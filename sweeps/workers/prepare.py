"""Making a study ready for workers on many machines: both stores, once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.paths import Paths
from sweeps.study.budget import Tally
from sweeps.study.storage import bind_folder, open_storage, open_study
from sweeps.tracking import store
from sweeps.tracking.address import check_reachable, public, resolve_uri
from sweeps.tracking.notes import experiment_note
from sweeps.workers.keeper import Keeper

__all__ = ["Prepared", "prepare_study"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A study that workers can join.

    Attributes:
        study: its name.
        storage: where its trials are kept, without a password.
        tracking: MLflow's store, likewise.
        experiment: what MLflow calls the study.
        waiting: trials that are queued.
        ended: trials that ended before.
    """

    study: str
    storage: str
    tracking: str
    experiment: str
    waiting: int
    ended: int

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        counts = f"{self.waiting} trials queued" + (f", {self.ended} ended before" if self.ended else "")
        return (
            f"study {self.study}: prepared, {counts}\n"
            f"storage   {self.storage}\n"
            f"tracking  {self.tracking}, experiment {self.experiment}\n"
            f"next: worker {self.study}, with the same storage and tracking store, as often and wherever you like"
        )


def prepare_study(
    config: StudyConfig,
    *,
    root: Path,
    dataset: Dataset,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
) -> Prepared:
    """Makes a study in both stores, or sees that it is there.

    Neither Optuna's database nor MLflow's bears to be made by several processes at once; after this none has to.

    Args:
        config: the study.
        root: the project's folder, which all workers share.
        dataset: what it is about.
        storage_url: an Optuna URL or a journal's path; by default the study's own journal.
        tracking_uri: MLflow's store; by default the project's own.

    Raises:
        StudyError: a `run` or another worker is at work on the study, or it cannot be used as asked.
        TrackingError: the tracking store does not answer.
    """
    paths = Paths(root).study(config.name)
    with Keeper(config, paths) as keeper:
        keeper.insist()
        uri = resolve_uri(tracking_uri, root)
        check_reachable(uri)
        study = open_study(config, open_storage(storage_url, paths), dataset.digest, paths)
        bind_folder(study, paths)
        name = store.experiment_name(config.name)
        store.make_experiment(uri, root, name, experiment_note(config.name))
    tally = Tally.of(study.get_trials(deepcopy=False))
    return Prepared(
        study=config.name,
        storage=str(paths.journal.relative_to(root)) if storage_url is None else public(storage_url),
        tracking=public(uri),
        experiment=name,
        waiting=tally.waiting,
        ended=tally.ended,
    )
