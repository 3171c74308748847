"""Members of a final stage, as they leave themselves: another trial's weights do for new ones."""

from __future__ import annotations

import shutil

import numpy as np
from optuna.trial import TrialState, create_trial

from mnistnn.checkpoint import load_model
from mnistnn.data import Dataset
from tests.sweeps.ensemble.conftest import Home


def fold_of(dataset: Dataset, fold: int, folds: int) -> np.ndarray:
    """The places of the images that a member leaves out."""
    return np.arange(len(dataset.train_labels))[fold::folds]


def add_final(home: Home, dataset: Dataset, of: int, fold: int, folds: int = 4) -> int:
    """Adds a finished member of the final stage with the weights of trial `of`; returns its number."""
    study = home.study
    base = study.get_trials(deepcopy=False)[of]
    attributes = {
        "label": base.user_attrs["label"],
        "weights_sha256": base.user_attrs["weights_sha256"],
        "final": {"of": of, "fold": fold + 1, "folds": folds, "seed": home.config.seed, "epochs": 2},
    }
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attributes))
    number = len(study.get_trials(deepcopy=False)) - 1
    folder = home.paths.trial(number)
    shutil.copytree(home.paths.trial(of), folder)
    indices = fold_of(dataset, fold, folds)
    probs = load_model(folder / "weights.npz").predict_proba(dataset.train_images[indices])
    np.savez(folder / "val_probs.npz", probs=probs, labels=dataset.train_labels[indices], indices=indices)
    return number
