"""A small study of arms, whose trials are run in this process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from sweeps.config import StudyConfig
from tests.sweeps.care.lab import Lab
from tests.sweeps.small import make_study

TABLES: dict[str, Any] = {
    "study": {"name": "small", "seed": 3},
    "budget": {"epochs": 2},
    "fixed": {"blocks": 1, "filters": 2, "kernel": 3, "optimizer": {"adam": {"learning_rate": 2e-3, "beta1": 0.8}}},
    "arms": {
        "seeds": 2,
        "conv": {},
        "dropout": {"dropout": 0.3},
        "sgd": {"optimizer": {"sgd": {"learning_rate": 0.05}}, "against": ["conv", "dropout"]},
        "sigmoid": {"blocks": 0, "dense_units": 8, "activation": "sigmoid"},
    },
}


def arms_config(**arms: Any) -> StudyConfig:
    """Returns the study; `arms` are more of them, or what an arm is now; None takes one away."""
    tables = copy.deepcopy(TABLES)
    known = {**tables["arms"], **arms}
    tables["arms"] = {name: value for name, value in known.items() if value is not None}
    return StudyConfig.from_dict(tables)


class ArmsLab(Lab):
    """The study under `root`."""

    def __init__(self, root: Path, data: Any, **arms: Any) -> None:
        self.root, self.data = root, data
        self.config = arms_config(**arms)
        self.study = make_study(self.config, root, data)

    def run_all(self) -> None:
        while any(trial.state.name == "WAITING" for trial in self.study.get_trials(deepcopy=False)):
            self.run()
