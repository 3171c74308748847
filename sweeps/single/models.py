"""Finding a model by what a user calls it: a file, a study, or a net that `train` trained."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnistnn.checkpoint import load_model
from mnistnn.errors import CheckpointError, InputError, nearest
from mnistnn.types import Floats, UInt8s
from sweeps.paths import Paths

__all__ = ["DEFAULT_STUDY", "NAME", "Model", "find_model", "weights_path"]

DEFAULT_STUDY = "default"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a trained net may be called: a name is a folder's name, and never a path to elsewhere."""

_BLOCK = 500  # images at once


@dataclass(frozen=True, slots=True)
class Model:
    """Something that tells digits.

    Attributes:
        title: what it is, for people.
        predict_proba: (N, 28, 28) uint8 → (N, 10)
    """

    title: str
    predict_proba: Callable[[UInt8s], Floats]


def find_model(name: str | None, root: Path) -> Model:
    """Returns the model called `name`: a .npz file, a study (its ensemble), or a trained net.

    None means the ensemble of the study `default`, else the net that was trained last.

    Raises:
        InputError: there is none, or its files are damaged.
    """
    paths = Paths(root)
    if name is None:
        if _has_ensemble(DEFAULT_STUDY, paths):
            return _ensemble(DEFAULT_STUDY, paths)
        nets = sorted(paths.trained.glob("*/weights.npz"), key=lambda path: path.stat().st_mtime)
        if not nets:
            raise InputError(
                f"a model must be there to predict, but study {DEFAULT_STUDY!r} has no ensemble and no net was "
                "trained; run `make sweep` or `train small`, or name one with --model."
            )
        return _net(nets[-1], nets[-1].parent.name)
    if NAME.fullmatch(name) and not name.endswith(".npz"):
        if _has_ensemble(name, paths):
            return _ensemble(name, paths)
        if (paths.studies / f"{name}.toml").is_file() and not (paths.trained / name).is_dir():
            raise InputError(f"study {name!r} must have an ensemble, but has none; build it with `ensemble {name}`.")
    studies = [record.parent.parent.name for record in paths.studies.glob("*/ensemble/ensemble.json")]
    return _net(weights_path(name, root, studies=studies), name)


def weights_path(name: str, root: Path, *, studies: Sequence[str] = ()) -> Path:
    """Returns the file of weights that `name` means: a .npz, or a trained net's.

    Args:
        name: the file's path, or the net's name.
        root: the project's folder.
        studies: the studies that would have done as well, for the error to name.

    Raises:
        CheckpointError: it means none.
    """
    path = Path(name)
    if "\0" not in name and (path.suffix == ".npz" or os.path.isfile(path)):
        return path  # reading it says what is wrong with it
    trained = Paths(root).trained
    if NAME.fullmatch(name) and (trained / name / "weights.npz").is_file():
        return trained / name / "weights.npz"
    known = {*studies, *(found.parent.name for found in trained.glob("*/weights.npz"))}
    remedy = nearest(name, known) if known else "train one with `train small`."
    kinds = "a .npz file or a trained net's name" + (", or a study with an ensemble" if studies else "")
    raise CheckpointError(f"a model must be {kinds}, but got {name!r}; {remedy}")


def _has_ensemble(study: str, paths: Paths) -> bool:
    return (paths.study(study).ensemble / "ensemble.json").is_file()


def _ensemble(study: str, paths: Paths) -> Model:
    from sweeps.ensemble.record import load_ensemble

    ensemble = load_ensemble(paths.study(study))
    return Model(f"ensemble of {len(ensemble.members)}, study {study}", ensemble.predict_proba)


def _net(path: Path, name: str) -> Model:
    network = load_model(path, batch_size=_BLOCK)
    return Model(f"net {name}", network.predict_proba)
