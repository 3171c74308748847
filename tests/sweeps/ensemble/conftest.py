"""A small real study: five trials on the sample, trained here by the very code that a worker runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest

from mnistnn.data import Dataset
from sweeps.config import StudyConfig, load_study
from sweeps.paths import Paths, StudyPaths
from sweeps.study.bench import Bench
from sweeps.study.objective import run_trial
from sweeps.study.space import Space
from sweeps.study.storage import open_storage, open_study
from tests.stores import give_database

TRIALS = 5


@dataclass(frozen=True)
class Home:
    """A project's folder with one study in it."""

    root: Path
    config: StudyConfig

    @property
    def paths(self) -> StudyPaths:
        return Paths(self.root).study(self.config.name)

    @property
    def study(self) -> optuna.Study:
        return optuna.load_study(study_name=self.config.name, storage=open_storage(None, self.paths))

    @property
    def openings(self) -> int:
        ledger = Paths(self.root).test_ledger
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

    def ranked(self) -> list[int]:
        """The trials' numbers, the least validation loss first."""
        trials = self.study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        return [trial.number for trial in sorted(trials, key=lambda trial: trial.user_attrs["val_loss"])]

    def val_probs(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        with np.load(self.paths.trial(number) / "val_probs.npz") as file:
            return file["probs"], file["labels"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Home:
    """The study as its trials left it; not to be written into."""
    root = tmp_path_factory.mktemp("trained")
    (root / "studies").mkdir()
    shutil.copy(Path(__file__).parents[3] / "studies" / "smoke.toml", root / "studies")
    config = load_study("smoke", root=root, overrides=["pruner.type=none"])
    paths = Paths(root).study(config.name)
    study = open_study(config, open_storage(None, paths), sample.digest)
    study.sampler = optuna.samplers.RandomSampler(seed=2)
    train, validation = sample.split(config.seed)
    bench = Bench(
        config=config,
        space=Space(config),
        train=train,
        validation=validation,
        dataset=sample,
        paths=paths,
        tags={"study": config.name},
        inputs=[],
        stop=lambda: False,
        say=lambda line: None,
    )
    for _ in range(TRIALS):
        assert run_trial(study, study.ask(), bench) == optuna.trial.TrialState.COMPLETE
    return Home(root, config)


@pytest.fixture
def home(trained: Home, tmp_path: Path) -> Home:
    """A copy of the study, to do with as one likes."""
    root = tmp_path / "home"
    shutil.copytree(trained.root, root)
    return Home(root, trained.config)


@pytest.fixture
def blank_store(home: Home, database: Path) -> Path:
    """Puts an empty tracking store into `home`."""
    give_database(home.root, database)
    return Paths(home.root).mlruns / "mlflow.db"
