"""Weights and checkpoints: .npz files with a JSON header, whole or not there, and never a pickle in them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import CheckpointError, SpecError
from mnistnn.files import atomic_write, sha256_bytes
from mnistnn.network import Network, NetworkSpec, Snapshot
from mnistnn.npz import read_arrays
from mnistnn.recipe import Recipe
from mnistnn.training import EpochMetrics, Trainer

__all__ = ["check_checkpoint", "load_checkpoint", "load_model", "read_header", "save_checkpoint", "save_model"]

_HEADER = "header"
_FORMAT = 1
_LARGEST_HEADER = 4 << 20  # bytes; a history of a thousand epochs takes a tenth of it
_MOST_LAYERS = 100
_DIGEST = "arrays_sha256"


def save_model(
    path: Path | str, network: Network, *, recipe: Recipe | None = None, extra: Mapping[str, Any] | None = None
) -> str:
    """Writes a network's weights, by the layers' names, and its spec.

    Args:
        path: the .npz file. The same network gives the same bytes.
        network: whose params and states to write.
        recipe: how it was trained, for the header.
        extra: more for the header, of values that JSON can hold.

    Returns:
        The SHA-256 of the file.

    Raises:
        OutputError: it cannot be written.
    """
    header: dict[str, Any] = {"kind": "model", "network": network.spec.to_dict(), "extra": dict(extra or {})}
    if recipe is not None:
        header["training"] = recipe.training.to_dict()
    return _write(Path(path), header, {name: param.value for name, param in network.arena.named().items()})


def load_model(path: Path | str, *, batch_size: int = 100) -> Network:
    """Builds the network that `save_model` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or its arrays do not fit its spec.
    """
    path = Path(path)
    header, arrays = _read(path, "model")
    try:
        _check_size(header["network"])
        network = Network(NetworkSpec.from_dict(header["network"]), batch_size=batch_size, initialise=False)
    except (KeyError, SpecError) as error:
        raise CheckpointError(f"a model's header must describe a network, but that of {path} fails: {error}") from error
    except MemoryError as error:  # nothing was compared with the arrays yet
        raise CheckpointError(f"a model must fit into memory, but that of {path} does not; is it damaged?") from error
    named = network.arena.named()
    if named.keys() != arrays.keys():
        odd = sorted(named.keys() ^ arrays.keys())
        raise CheckpointError(f"a model must hold the arrays of its spec, but {path} differs in {odd[:4]}.")
    for name, param in named.items():
        _fill(param.value, arrays[name], name, path)
    return network


def _check_size(network: Any) -> None:
    """Checks that a network has no more layers than any of ours: building it takes memory before arrays are compared.

    Raises:
        SpecError: it has.
    """
    layers = network.get("layers") if isinstance(network, Mapping) else None
    if isinstance(layers, list) and len(layers) > _MOST_LAYERS:
        raise SpecError(f"a network in a file must have at most {_MOST_LAYERS} layers, but got {len(layers):,}.")


def read_header(path: Path) -> dict[str, Any]:
    """Returns the header of a model or checkpoint.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return _read(path, None, only_header=True)[0]


def save_checkpoint(path: Path, trainer: Trainer) -> str:
    """Writes all that a training needs to go on after its last epoch as if it had never stopped.

    Returns:
        The SHA-256 of the file.

    Raises:
        OutputError: it cannot be written.
    """
    arena = trainer.network.arena
    header = {
        "kind": "checkpoint",
        "network": trainer.network.spec.to_dict(),
        "training": trainer.spec.to_dict(),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "best_epoch": trainer.best_epoch,
        "history": [asdict(metrics) for metrics in trainer.history],
        "rngs": {name: _plain(rng.bit_generator.state) for name, rng in trainer.rngs.items()},
    }
    arrays = {"params": arena.params, "states": arena.states}
    arrays |= {f"optimizer/{name}": vector for name, vector in trainer.optimizer_state.items()}
    if trainer.average is not None:
        arrays["average"] = trainer.average.params
    if trainer.best is not None:
        arrays |= {"best/params": trainer.best.params, "best/states": trainer.best.states}
    return _write(path, header | {_DIGEST: _digest(arrays)}, arrays)


def check_checkpoint(path: Path) -> dict[str, Any]:
    """Sees that a checkpoint is whole, by its digest, without a training to put it into; returns its header.

    Raises:
        CheckpointError: the file is missing, damaged, or no checkpoint.
    """
    header, arrays = _read(path, "checkpoint")
    _check_digest(header, arrays, path)
    return header


def load_checkpoint(path: Path, trainer: Trainer, *, any_plan: bool = False) -> None:
    """Puts a training back to where `save_checkpoint` left it. The trainer is changed only if all of it fits.

    Args:
        path: the checkpoint.
        trainer: of the same network and training.
        any_plan: whether the training may have been laid out for another number of epochs. The trainer keeps its own,
            by which its schedule goes on; see `Trainer.replan`.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network or training.
    """
    header, arrays = _read(path, "checkpoint")
    network, training = header.get("network"), header.get("training")
    if any_plan and isinstance(training, dict):
        training = training | {"epochs": trainer.spec.epochs}
    for part, found, spec in (("network", network, trainer.network.spec), ("training", training, trainer.spec)):
        if found != json.loads(json.dumps(spec.to_dict())):
            raise CheckpointError(f"a checkpoint must be of the same {part}, but {path} is of another; remove it.")
    arena = trainer.network.arena
    targets = {"params": arena.params, "states": arena.states}
    targets |= {f"optimizer/{name}": vector for name, vector in trainer.optimizer_state.items()}
    if trainer.average is not None:
        targets["average"] = trainer.average.params
    best = Snapshot(np.empty_like(arena.params), np.empty_like(arena.states)) if header.get("best_epoch") else None
    if best is not None:
        targets |= {"best/params": best.params, "best/states": best.states}
    if targets.keys() != arrays.keys():
        raise CheckpointError(f"a checkpoint must hold {sorted(targets)}, but {path} holds {sorted(arrays)}.")
    for name, target in targets.items():
        _check_like(target, arrays[name], name, path)
    _check_digest(header, arrays, path)
    kept = {name: rng.bit_generator.state for name, rng in trainer.rngs.items()}
    try:
        history = [EpochMetrics(**values) for values in header["history"]]
        states = {name: _arrays(header["rngs"][name], rng) for name, rng in trainer.rngs.items()}
        counts = {name: int(header[name]) for name in ("epoch", "step", "best_epoch")}
        if [metrics.epoch for metrics in history] != list(range(1, counts["epoch"] + 1)):
            raise ValueError(f"{counts['epoch']} epochs, but a history of {len(history)}")
        if counts["step"] != counts["epoch"] * trainer.steps_per_epoch:
            raise ValueError(f"{counts['step']} steps in {counts['epoch']} epochs of {trainer.steps_per_epoch}")
        if counts["epoch"] > trainer.spec.epochs:
            raise ValueError(f"{counts['epoch']} epochs of {trainer.spec.epochs}")
        if not 0 <= counts["best_epoch"] <= counts["epoch"]:
            raise ValueError(f"a best epoch {counts['best_epoch']} of {counts['epoch']}")
        for name, rng in trainer.rngs.items():
            rng.bit_generator.state = states[name]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        for name, rng in trainer.rngs.items():
            rng.bit_generator.state = kept[name]
        raise CheckpointError(f"a checkpoint's header must be whole, but that of {path} is not ({error!r}).") from error
    for name, target in targets.items():
        target[...] = arrays[name]
    trainer.history, trainer.best = history, best
    trainer.epoch, trainer.step, trainer.best_epoch = counts["epoch"], counts["step"], counts["best_epoch"]


def _write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Writes header and arrays. Members are stored as they are, so reading never takes more than the file's size."""
    text = json.dumps({"format": _FORMAT, **header}, allow_nan=False, sort_keys=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_HEADER: np.frombuffer(text.encode(), np.uint8)}, **arrays)
    data = buffer.getvalue()
    with atomic_write(path) as file:
        file.write(data)
    return sha256_bytes(data)


def _read(path: Path, kind: str | None, *, only_header: bool = False) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        arrays = read_arrays(path, (_HEADER,) if only_header else None)
        text = arrays.pop(_HEADER).tobytes()
        if len(text) > _LARGEST_HEADER:
            raise ValueError(f"a header of {len(text):,} bytes")
        header = json.loads(text.decode())
    except FileNotFoundError as error:
        raise CheckpointError(f"a file of weights must exist, but {path} does not; check the name.") from error
    except (OSError, ValueError, KeyError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CheckpointError(
            f"a file of weights must be a whole .npz, but {path} is damaged ({reason.rstrip('.')}); "
            "take a copy of it, or train it again."
        ) from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise CheckpointError(f"a file of weights must be of format {_FORMAT}, but {path} is not; write it again.")
    if kind is not None and header.get("kind") != kind:
        raise CheckpointError(f"{path} must be a {kind}, but is a {str(header.get('kind'))[:40]}; name another file.")
    return header, arrays


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Returns the SHA-256 of arrays with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check_digest(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Checks the arrays against their digest, which files that were written before there was one do not have."""
    if _DIGEST in header and header[_DIGEST] != _digest(arrays):
        raise CheckpointError(f"a checkpoint's arrays must have its header's digest, but those of {path} do not.")


def _check_like(target: NDArray[Any], values: NDArray[Any], name: str, path: Path) -> None:
    if target.shape != values.shape or target.dtype != values.dtype:
        raise CheckpointError(
            f"array {name!r} must be {target.dtype} of {target.shape}, but in {path} it is {values.dtype} of "
            f"{values.shape}."
        )


def _fill(target: NDArray[Any], values: NDArray[Any], name: str, path: Path) -> None:
    _check_like(target, values, name, path)
    if not np.isfinite(values).all():
        raise CheckpointError(f"weights must be finite, but array {name!r} in {path} is not.")
    target[...] = values


def _plain(state: Any) -> Any:
    """Returns a bit generator's state without arrays, for JSON."""
    if isinstance(state, Mapping):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _arrays(state: Any, rng: np.random.Generator) -> Any:
    """Returns a JSON state with arrays where the generator's own state has them."""

    def like(plain: Any, known: Any) -> Any:
        if isinstance(known, Mapping):
            return {name: like(plain[name], known[name]) for name in known}
        return np.array(plain, known.dtype) if isinstance(known, np.ndarray) else plain

    return like(state, rng.bit_generator.state)
