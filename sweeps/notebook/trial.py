"""One trial to look at, and its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.ensemble.members import finished_trials, load_network, member_of
from sweeps.errors import StudyError
from sweeps.notebook.tables import facts_html
from sweeps.study.lineage import total_epochs
from sweeps.study.lookup import values_of
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.study.validation import reported

if TYPE_CHECKING:
    import pandas
    from optuna.trial import FrozenTrial

    from mnistnn.network import Network
    from sweeps.config import StudyConfig
    from sweeps.paths import StudyPaths

__all__ = ["Trial"]


class Trial:
    """A trial, as it was when it was asked for. `Study.trial` and `Study.best` give one.

    Attributes:
        number: the one under which it began, and which everything shows.
    """

    def __init__(self, trial: FrozenTrial, paths: StudyPaths, config: StudyConfig) -> None:
        self.number = origin_of(trial)
        self._trial = trial
        self._paths = paths
        self._config = config

    @property
    def state(self) -> str:
        """COMPLETE, PRUNED, FAIL, RUNNING or WAITING."""
        return self._trial.state.name

    @property
    def label(self) -> str:
        """Its network in a few words: "conv 32-64 k3 bn dense 128"."""
        return str(self._trial.user_attrs.get("label", ""))

    @property
    def value(self) -> float | None:
        """What it is judged by (the study's metric); None if it is not complete."""
        return self._trial.value if self.state == "COMPLETE" else None

    @property
    def val_loss(self) -> float | None:
        """The validation loss of its best epoch; None if no epoch has ended."""
        return self._known("val_loss")

    @property
    def val_accuracy(self) -> float | None:
        """The validation accuracy of its best epoch, a share."""
        return self._known("val_accuracy")

    @property
    def params(self) -> dict[str, Any]:
        """All that its network and its training were made from, by plain names; empty while it has not drawn them."""
        space = Space(self._config)
        try:
            return space.plain(values_of(self._trial, space), total_epochs(self._trial, self._config.budget.epochs))
        except StudyError:
            return {}

    @property
    def history(self) -> pandas.DataFrame:
        """One row an epoch: losses, accuracies, seconds, learning rate. While it runs, what was reported of it."""
        import pandas

        try:
            return pandas.read_csv(self._folder / "history.csv")
        except (OSError, ValueError):  # missing or damaged: the storage knows one curve
            curve = sorted(self._trial.intermediate_values.items())
            return pandas.DataFrame(curve, columns=["epoch", reported(self._config, self._trial)])

    def network(self) -> Network:
        """Returns its network with the weights of its best epoch.

        Raises:
            StudyError: it is not complete, and has no weights to predict with.
            CheckpointError: they are missing, damaged, or not those that it recorded.

        Example:
            >>> study.best.network().predict(images)
        """
        if not finished_trials({self.number: self._trial}):
            raise StudyError(
                f"a trial must be complete to have a network, but {self.name} is {self.state}; take another one, such "
                "as `study.best`."
            )
        return load_network(member_of(self.number, self._trial, self._paths), self._paths)

    @property
    def name(self) -> str:
        """Its number as it is shown: #017."""
        return f"#{self.number:03d}"

    @property
    def _folder(self) -> Path:
        return self._paths.trial(self.number)

    def _known(self, name: str) -> float | None:
        value = self._trial.user_attrs.get(name)
        return float(value) if isinstance(value, int | float) else None

    def _facts(self) -> dict[str, str]:
        facts = {"state": self.state, "network": self.label}
        if self.val_loss is not None:
            facts["val_loss"] = f"{self.val_loss:.4f}"
        if self.val_accuracy is not None:
            facts["val_accuracy"] = f"{100 * self.val_accuracy:.2f} %"
        return {name: text for name, text in facts.items() if text}

    def __repr__(self) -> str:
        return f"Trial({self.name}: {', '.join(self._facts().values())})"

    def _repr_html_(self) -> str:
        rows = self._facts() | {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in self.params.items()
            if name != "architecture"  # which is the network's label
        }
        return facts_html(f"trial {self.name} of study {self._config.name}", rows)
