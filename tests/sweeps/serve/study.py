"""A study whose ensemble knows drawn digits, trained in seconds on the sample by the very code that a worker runs."""

from __future__ import annotations

from pathlib import Path

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.config.toml import to_toml
from sweeps.ensemble import build_ensemble
from sweeps.paths import StudyPaths
from tests.sweeps.small import make_bench, make_study, paths_of, run_next

NAME = "champion"
MEMBERS = 3
AWAY = "http://127.0.0.1:9"  # no MLflow: the page does not need it

TABLES = {
    "study": {"name": NAME, "seed": 1},
    "budget": {"trials": MEMBERS, "epochs": 10},
    "pruner": {"type": "none"},
    "ensemble": {"top": MEMBERS},
    "fixed": {"blocks": 2, "kernel": 3, "filters": 8, "norm": "batch_norm", "batch_size": 50, "schedule": "one_cycle"},
    "search": {
        "optimizer": {"adam": {"learning_rate": {"low": 3e-3, "high": 1e-2, "log": True}}},
        "augment": {"translation": {"shift": 1}},
    },
}


def make_champion(root: Path, dataset: Dataset) -> StudyPaths:
    """Trains the study under `root` and builds its ensemble."""
    config = StudyConfig.from_dict(TABLES)
    study = make_study(config, root, dataset)
    bench = make_bench(config, root, dataset)
    while run_next(study, bench) is not None:
        pass
    (root / "studies" / f"{NAME}.toml").write_text(to_toml(TABLES), encoding="utf-8")
    build_ensemble(config, root=root, dataset=dataset, tracking_uri=AWAY, echo=lambda line: None)
    return paths_of(config, root)
