"""Checks of what a finished trial left: weights, recipe and predictions, here and among MLflow's artifacts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from mnistnn.checkpoint import read_header
from mnistnn.errors import CheckpointError, InputError
from mnistnn.files import atomic_write, sha256_file
from mnistnn.npz import read_arrays
from mnistnn.recipe import Recipe
from sweeps.care.doctor.events import holding
from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.scene import Scene
from sweeps.ensemble.predictions import are_probs
from sweeps.errors import StudyError, TrackingError
from sweeps.study.lineage import IMPORTED
from sweeps.tracking.cleaned import cleaned_files
from sweeps.tracking.inspect import RunStore, SeenRun, local_path

__all__ = ["RESULTS", "check_results"]

#: The files of a finished trial.
RESULTS = ("weights.npz", "recipe.json", "val_probs.npz")

_NAMES = {"weights.npz": "weights", "recipe.json": "recipe", "val_probs.npz": "predictions"}
_LARGEST_JSON = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class _Result:
    """One file of one trial, and the run that has a copy of it."""

    number: int
    folder: Path
    name: str
    sha256: str | None  # where the trial has recorded it
    accuracy: float | None  # of its predictions, as the trial has recorded it
    store: RunStore | None
    run: SeenRun | None
    copies: Mapping[str, int]  # the run's files, and their bytes

    @property
    def path(self) -> Path:
        return self.folder / self.name


def check_results(scene: Scene, seen: Callable[[], object] = lambda: None) -> list[Finding]:
    """Finds files that are missing or damaged, here or in MLflow.

    Args:
        scene: the study.
        seen: is called after each trial.
    """
    found: list[Finding] = []
    for number, trial, folder in scene.idle():
        if trial.state == TrialState.COMPLETE and not (trial.user_attrs.get(IMPORTED) and not folder.exists()):
            run, copies = _run_of(scene, folder)
            cleaned = cleaned_files(folder)
            for name in RESULTS:
                digest = trial.user_attrs.get("weights_sha256") if name == "weights.npz" else None
                accuracy = trial.user_attrs.get("val_accuracy")
                result = _Result(number, folder, name, digest, accuracy, scene.store, run, copies)
                found += _check(scene, result, trial, is_cleaned=name in cleaned)
        seen()
    return found


def _check(scene: Scene, result: _Result, trial: FrozenTrial, *, is_cleaned: bool) -> Iterator[Finding]:
    what, name = _NAMES[result.name], f"trial {result.number}"
    fault = None if is_cleaned and not result.path.exists() else _fault(result.path, result)
    copy = _copy_fault(result, is_whole=fault is None and result.path.exists())
    if fault is not None:
        repair = partial(_restore, scene, result)
        if result.run is not None and copy is None:
            remedy = "it is copied back from its MLflow run"
            yield Finding(what, name, f"{result.name} is {fault}", remedy, repair)
        elif result.name == "recipe.json" and _recipe_of(result.folder) is not None:
            repair = partial(_restore_recipe, scene, result)
            yield Finding(what, name, f"{result.name} is {fault}", "it is read from the weights' header", repair)
        else:
            beside = "" if result.run is None else f", and its copy in MLflow is {copy}"
            remedy = f"`replay {scene.config.name} {result.number} --keep` makes it again"
            if scene.unseen is not None:
                remedy = f"MLflow may have a copy, but does not answer; else {remedy}"
            yield Finding(what, name, f"{result.name} is {fault}{beside}", remedy)
    elif copy is not None and result.path.exists():
        remedy = "it is copied from the trial's folder"
        yield Finding(
            what, name, f"the copy of {result.name} in MLflow is {copy}", remedy, partial(_put, scene, result)
        )


def _fault(path: Path, result: _Result) -> str | None:
    """Returns what is wrong with a file, in a word or two, or None."""
    try:
        if result.sha256:
            return None if sha256_file(path) == result.sha256 else "damaged"
        if result.name == "recipe.json":
            known, recipe = _recipe_of(result.folder), _read_recipe(path)
            return None if known is None or recipe == known else "another one than the weights'"
        if result.name == "val_probs.npz":
            return _fault_of_probs(read_arrays(path), result.accuracy)
        read_header(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"not readable ({error.strerror})"
    except CheckpointError:
        return "missing" if not path.exists() else "damaged"
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        return "damaged"
    return None


def _fault_of_probs(arrays: dict[str, NDArray[Any]], accuracy: float | None) -> str | None:
    probs, labels = arrays["probs"], arrays["labels"]
    if not are_probs(probs, len(labels)):
        return "damaged"
    right = float((probs.argmax(axis=1) == labels).mean())
    # Other batches round otherwise, which may turn an image whose two best classes are level.
    return None if accuracy is None or abs(right - accuracy) * len(labels) < 2 else "of another trial"


def _copy_fault(result: _Result, *, is_whole: bool) -> str | None:
    """Returns what is wrong with a file's copy in MLflow; None also where there is no run to look at."""
    if result.store is None or result.run is None:
        return None
    if result.name not in result.copies:
        return "missing"
    folder = local_path(result.run.place)
    if folder is None:  # on a server: what has its size is taken for it, until it is needed
        if is_whole:
            return None if result.copies[result.name] == result.path.stat().st_size else "another one"
        with tempfile.TemporaryDirectory() as place:
            try:
                return _fault(result.store.fetch(result.run, result.name, Path(place)), result)
            except TrackingError as error:
                return f"not readable ({error})"
    if is_whole and not result.sha256:
        same = result.copies[result.name] == result.path.stat().st_size and sha256_file(
            folder / result.name
        ) == sha256_file(result.path)
        return None if same else "another one"
    return _fault(folder / result.name, result)


def _run_of(scene: Scene, folder: Path) -> tuple[SeenRun | None, Mapping[str, int]]:
    """Returns the run that holds copies of a folder's files, if all of them should be there by now, and its files."""
    told = scene.told(folder)
    run = scene.runs.get(told.cursor.run_id or "")
    if scene.store is None or run is None or run.is_deleted or told.is_pending(scene.identity):
        return None, {}
    try:
        return run, scene.store.artifacts(run)
    except TrackingError as error:  # it has just gone
        scene.lose_sight(str(error))
        return None, {}


def _restore(scene: Scene, result: _Result) -> None:
    assert result.store is not None  # _check saw to both
    assert result.run is not None
    with holding(scene, result.number), tempfile.TemporaryDirectory() as place:
        copy = result.store.fetch(result.run, result.name, Path(place))
        data = copy.read_bytes()
        with tempfile.TemporaryDirectory() as other:
            checked = Path(other) / result.name
            checked.write_bytes(data)
            if _fault(checked, result) is not None:
                raise StudyError(f"the copy of {result.name} in MLflow must be whole, but is not any more.")
        with atomic_write(result.path) as file:
            file.write(data)


def _restore_recipe(scene: Scene, result: _Result) -> None:
    recipe = _recipe_of(result.folder)
    if recipe is None:
        raise StudyError(f"the weights of trial {result.number} must hold its recipe, but do not any more.")
    with holding(scene, result.number):
        with atomic_write(result.path, "w") as file:
            json.dump(recipe.to_dict(), file, indent=2)
            file.write("\n")
        if result.store is not None and result.run is not None:  # its copy is no better
            result.store.put(result.run, result.path)


def _put(scene: Scene, result: _Result) -> None:
    assert result.store is not None  # _check saw to both
    assert result.run is not None
    with holding(scene, result.number):
        result.store.put(result.run, result.path)


def _recipe_of(folder: Path) -> Recipe | None:
    """Returns the recipe that the header of a trial's weights holds."""
    try:
        header = read_header(folder / "weights.npz")
        return Recipe.from_dict({"network": header["network"], "training": header["training"]})
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _read_recipe(path: Path) -> Recipe:
    with open(path, encoding="utf-8") as file:
        values: Any = json.loads(file.read(_LARGEST_JSON))
    return Recipe.from_dict(values)
