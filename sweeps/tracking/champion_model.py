"""The registered model, as MLflow runs it: "models from code". MLflow copies this file beside the members' weights.

It knows nothing of this project but `mnistnn`, which MLflow copies too, so the model loads wherever NumPy is. Nothing
in it is pickled: the weights are .npz files, checked by digest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

_BLOCK = 64  # images predicted at once, by each member


class Champion(PythonModel):  # type: ignore[misc,unused-ignore]  # MLflow's base is untyped in some versions
    """The weighted mean of the members' softmax outputs, by the ensemble's temperature."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the members.

        Raises:
            CheckpointError: a member's weights are damaged.
        """
        from mnistnn.checkpoint import load_model
        from mnistnn.errors import CheckpointError
        from mnistnn.files import sha256_file

        folder = Path(context.artifacts["members"])
        said = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        self._temperature, self._pixels = float(said["temperature"]), int(said["tta"])
        self._members = []
        for entry in json.loads((folder / "members.json").read_text(encoding="utf-8")):
            path = folder / Path(entry["file"]).name
            if sha256_file(path) != entry["sha256"]:
                raise CheckpointError(f"{path} must be as it was registered, but its bytes differ; load it again.")
            self._members.append((load_model(path, batch_size=_BLOCK), float(entry["weight"])))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Returns ten probabilities an image.

        Shape:
            model_input: (N, 28, 28) or (N, 784), pixels from 0 to 255, whole or not → (N, 10) float32

        Raises:
            ValueError: the input is not images.
        """
        images = _images(model_input)
        total = np.zeros((len(images), 10))
        for network, weight in self._members:
            total += np.multiply(_predict(network, images, self._pixels), weight, dtype=np.float64)
        return _tempered(total.astype(np.float32), self._temperature)


def _predict(network: Any, images: np.ndarray, pixels: int) -> np.ndarray:
    """Returns a network's outputs, or with `pixels` their mean over the images and four that are shifted by so many."""
    if not pixels:
        return np.asarray(network.predict_proba(images))
    total = np.zeros((len(images), 10))
    for down, right in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        padded = np.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels)))
        rows, columns = pixels - down * pixels, pixels - right * pixels
        total += network.predict_proba(np.ascontiguousarray(padded[:, rows : rows + 28, columns : columns + 28]))
    return np.asarray(total / 5, np.float32)


def _tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Divides the logits by a temperature; the likeliest class stays the likeliest, however the result is rounded."""
    if temperature == 1.0:
        return probs
    logits = np.log(np.maximum(probs, np.finfo(np.float32).tiny).astype(np.float64)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    found = np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
    answers = probs.argmax(axis=1)
    for row in np.flatnonzero(found.argmax(axis=1) != answers):
        found[row, answers[row]] = np.nextafter(found[row].max(), np.float32(np.inf))
    return found


def _images(values: Any) -> np.ndarray:
    images = np.asarray(values)
    if images.dtype.kind not in "uif" or images.shape[1:] not in ((28, 28), (784,)):
        raise ValueError(
            f"images must be numbers of shape (N, 28, 28) or (N, 784), but got {images.dtype} {images.shape}."
        )
    images = images.reshape(-1, 28, 28)
    if images.dtype == np.uint8:
        return images
    images = images.astype(np.float32)
    if images.size and not (images.min() >= 0 and images.max() <= 255):  # NaN fails both
        raise ValueError("pixels must lie between 0 and 255, but some do not.")
    return images


set_model(Champion())
