"""A study's ensemble with its networks in memory, to answer for one image at a time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from mnistnn.types import Floats, UInt8s
from sweeps.ensemble.members import load_network
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.ensemble.views import predict
from sweeps.paths import StudyPaths

__all__ = ["Champion"]


class Champion:
    """The members' networks, each with memory for one image, and the weights that they are averaged by.

    Args:
        report: the ensemble's record.
        paths: the study's paths.

    Raises:
        CheckpointError: a member's weights are missing, damaged, or not those that its trial recorded.
    """

    def __init__(self, report: EnsembleReport, paths: StudyPaths) -> None:
        self._report = report
        self._ensemble = report.ensemble(paths)
        self._networks = [load_network(scored.member, paths, batch_size=1) for scored in report.members]
        self._lock = threading.Lock()  # a network computes in buffers of its own, for one image at a time

    @classmethod
    def load(cls, paths: StudyPaths) -> Champion:
        """Loads the ensemble that the study has.

        Raises:
            StudyError: none was built yet.
            CheckpointError: its record or a member's weights are damaged.
        """
        return cls(load_report(paths), paths)

    def predict_proba(self, image: UInt8s) -> tuple[Floats, Floats]:
        """Returns the averaged softmax outputs, and each member's.

        Shape: (28, 28) uint8 → (10,), (members, 10)
        """
        with self._lock:
            probs = [predict(network, image[None], self._ensemble.tta).copy() for network in self._networks]
        return self._ensemble.combine(probs)[0], np.concatenate(probs)

    def describe(self) -> dict[str, Any]:
        """Returns what there is to say of the ensemble before it answers, as plain values."""
        report = self._report
        return {
            "study": report.study,
            "title": report.title,
            "test_accuracy": report.scores.test.accuracy,
            "test_images": report.data["test_images"],
            "members": [
                {
                    "trial": scored.member.number,
                    "name": scored.member.name,
                    "label": scored.member.label,
                    "weight": scored.weight,
                    "test_accuracy": scored.scores.test.accuracy,
                }
                for scored in report.members
            ],
        }
