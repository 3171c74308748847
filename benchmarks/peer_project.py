"""Where the peer's sweep keeps what it keeps, and what its processes tell each other; nothing of this takes time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.config import StudyConfig

if TYPE_CHECKING:
    from mnistnn.data.dataset import Dataset

__all__ = ["Job", "PeerPaths", "track"]

EXPERIMENT = "peer"


@dataclass(frozen=True, slots=True)
class PeerPaths:
    """The files of a peer's sweep."""

    folder: Path

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.folder / "journal.log"

    @property
    def database(self) -> Path:
        """MLflow's database."""
        return self.folder / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts."""
        return self.folder / "mlruns"

    @property
    def cache(self) -> Path:
        """Where a data set is unpacked."""
        return self.folder / "data"

    def val_probs(self, number: int) -> Path:
        """Returns where a finished trial's predictions for the validation images are."""
        return self.folder / "trials" / f"{number:05d}" / "val_probs.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is to do. After `until`, in seconds since 1970, no trial begins; None sets no limit."""

    config: StudyConfig
    folder: Path
    data: Path
    until: float | None

    def dataset(self) -> Dataset:
        """Returns the data set; its arrays lie on the files."""
        from mnistnn.data.sources import find_dataset

        return find_dataset(self.data, cache=PeerPaths(self.folder).cache)


def track(paths: PeerPaths) -> None:
    """Points MLflow to the sweep's experiment, which is made if it is not there: by one process alone, please."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{paths.database}")
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=paths.artifacts.as_uri())
    mlflow.set_experiment(EXPERIMENT)
