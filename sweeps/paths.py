"""Where things lie: the folders of a project and of a study."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paths", "StudyPaths", "project_root"]


def project_root() -> Path:
    """Returns the project's folder: `SWEEPS_HOME`, else the current folder if it has `studies/`, else the checkout."""
    if home := os.environ.get("SWEEPS_HOME"):
        return Path(home).resolve()
    here = Path.cwd()
    return here if (here / "studies").is_dir() else Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of a project."""

    root: Path

    @property
    def studies(self) -> Path:
        """One TOML a study, and one folder a study for its state."""
        return self.root / "studies"

    @property
    def mlruns(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlruns"

    @property
    def data(self) -> Path:
        """The cache of data sets."""
        return self.root / "data"

    @property
    def trained(self) -> Path:
        """One folder a net that `train` trained."""
        return self.mlruns / "train"

    @property
    def test_ledger(self) -> Path:
        """One JSON line for each time that test images were opened."""
        return self.mlruns / "test_openings.jsonl"

    @property
    def submission(self) -> Path:
        """Where a submission is written by default."""
        return self.root / "submission.csv"

    def study(self, name: str) -> StudyPaths:
        """Returns the paths of the study called `name`."""
        return StudyPaths(self.studies / name)


@dataclass(frozen=True, slots=True)
class StudyPaths:
    """What a study keeps, all under `studies/NAME/`."""

    folder: Path

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.folder / "journal.log"

    @property
    def identity(self) -> Path:
        """Names the study that the folder belongs to, whatever storage that is in."""
        return self.folder / "study.id"

    @property
    def lock(self) -> Path:
        """Locked (flock) by the one `run` of the study on this machine."""
        return self.folder / "run.lock"

    @property
    def parent(self) -> Path:
        """The events of the study's own run."""
        return self.folder / "parent"

    @property
    def pictures(self) -> Path:
        """The pictures of the study, drawn when a `run` of it ends."""
        return self.folder / "pictures"

    @property
    def trials(self) -> Path:
        """One folder a trial."""
        return self.folder / "trials"

    def trial(self, number: int) -> Path:
        """Returns the folder of trial `number`: its events, checkpoint, weights and predictions."""
        return self.trials / f"{number:05d}"

    @property
    def ensemble(self) -> Path:
        """The chosen members and the report on them."""
        return self.folder / "ensemble"
