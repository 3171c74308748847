"""Studies whose trials nobody trained: their records are written by hand, so that every figure of a report is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from mnistnn.types import Floats, UInt8s
from sweeps.config import StudyConfig
from sweeps.config.toml import to_toml
from sweeps.paths import Paths, StudyPaths
from sweeps.study.space import Space
from sweeps.study.storage import load_study, open_storage, open_study
from sweeps.views.report.facts import ReportFacts
from sweeps.views.report.gather import gather_facts
from tests.sweeps.small import TABLES, small_config

DIGEST = "ab" * 32
IMAGES = 100


class Recorded:
    """A study to write trials into.

    Args:
        root: the project's folder.
        changes: of the small study's tables, as `small_config` takes them.
    """

    def __init__(self, root: Path, **changes: Any) -> None:
        self.root = root
        self.config: StudyConfig = small_config(**({"budget__trials": 6, "budget__epochs": 4} | changes))
        self.name = self.config.name
        (root / "studies").mkdir(parents=True, exist_ok=True)
        tables = TABLES | {"budget": {"trials": 6, "epochs": 4}}
        (root / "studies" / f"{self.name}.toml").write_text(to_toml(tables), encoding="utf-8")
        open_study(self.config, open_storage(None, self.paths), DIGEST)
        self._space = Space(self.config)

    @property
    def paths(self) -> StudyPaths:
        return Paths(self.root).study(self.name)

    @property
    def study(self) -> optuna.Study:
        return load_study(self.name, None, self.paths)

    def facts(self) -> ReportFacts:
        return gather_facts(self.study, self.paths, self.root)

    def add(
        self,
        state: TrialState = TrialState.COMPLETE,
        *,
        filters: int = 4,
        dropout: float = 0.1,
        learning_rate: float = 0.002,
        values: Mapping[int, float] | None = None,
        **attributes: Any,
    ) -> None:
        """Adds a trial; it has the choices that the sampler would have drawn, and whatever attributes are given."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        study.enqueue_trial({"filters_1": filters, "dropout": dropout, "adam.learning_rate": learning_rate})
        drawn = study.ask()
        self._space.suggest_with(drawn)
        loss = attributes.get("val_loss")
        self.study.add_trial(
            create_trial(
                state=state,
                value=loss if state == TrialState.COMPLETE else None,
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={"label": f"conv {filters} k3"} | attributes,
                intermediate_values=dict(values or {}),
            )
        )

    def complete(self, accuracy: float, loss: float, *, epoch_s: float = 1.0, **more: Any) -> None:
        """Adds a trial that ran to its end."""
        self.add(
            **(
                {
                    "val_accuracy": accuracy,
                    "val_loss": loss,
                    "best_epoch": 4,
                    "epochs_run": 4,
                    "seconds": 4 * epoch_s,
                    "epoch_s": epoch_s,
                    "params": 1234,
                    "macs": 56789,
                }
                | more
            )
        )

    def predict(self, number: int, wrong: range) -> None:
        """Writes a trial's predictions: surely right for all images but those."""
        labels, probs = predictions(wrong)
        folder = self.paths.trial(number)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "val_probs.npz", allow_pickle=False, probs=probs, labels=labels)

    def ledger(self, *lines: str) -> None:
        ledger = Paths(self.root).test_ledger
        ledger.parent.mkdir(exist_ok=True)
        ledger.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def predictions(wrong: range) -> tuple[UInt8s, Floats]:
    """Returns labels, and probabilities that are 0.9 for the label, or for the one after it where they are wrong."""
    labels = np.arange(IMAGES, dtype=np.uint8) % 10
    said = labels.copy()
    said[list(wrong)] = (said[list(wrong)] + 1) % 10
    probs = np.full((IMAGES, 10), 0.1 / 9, np.float32)
    probs[np.arange(IMAGES), said] = 0.9
    return labels, probs
