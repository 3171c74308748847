"""A study to look at: its trials, its best ones at work, and its pictures."""

from __future__ import annotations

import functools
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistnn.data import find_dataset
from sweeps.config import load_study as read_study
from sweeps.ensemble.choice import choose
from sweeps.ensemble.evaluate import score, share_interval
from sweeps.ensemble.record import RECORD, load_report
from sweeps.errors import StudyError
from sweeps.notebook.ensemble import StudyEnsemble
from sweeps.notebook.tables import trials_html
from sweeps.notebook.trial import Trial
from sweeps.paths import Paths, project_root
from sweeps.study.lookup import config_of, find_trial
from sweeps.study.storage import load_study
from sweeps.views.trials import final_numbers, trials_frame

if TYPE_CHECKING:
    import optuna
    import pandas
    from matplotlib.figure import Figure

    from sweeps.config import StudyConfig

__all__ = ["Study"]


class Study:
    """A study that was run, or is being run.

    Args:
        name: of a file in `studies/`, or any TOML's path.
        root: the project's folder; by default the one that the command line would take.
        storage: where the trials are, as `--storage` has it; by default SWEEPS_STORAGE, else the study's own journal.

    Raises:
        ConfigError: there is no such study.
        StudyError: it was never run, or its storage does not open.

    Example:
        >>> study = Study("default")
        >>> study.trials().head()
        >>> study.best.history
        >>> study.plot_history()
    """

    def __init__(self, name: str = "default", root: Path | str | None = None, storage: str | None = None) -> None:
        folder = project_root() if root is None else Path(root).expanduser().resolve()
        self.name = read_study(name, root=folder).name
        self._paths = Paths(folder).study(self.name)
        self._data = Paths(folder).data
        self._study = load_study(self.name, storage or os.environ.get("SWEEPS_STORAGE"), self._paths)
        config_of(self._study)  # what was never run has nothing to show

    @property
    def config(self) -> StudyConfig:
        """The configuration that the study was last run with."""
        return config_of(self._study)

    @property
    def optuna(self) -> optuna.Study:
        """The study as Optuna has it, for all that is not here."""
        return self._study

    def trials(self) -> pandas.DataFrame:
        """Returns one row a trial, the best first: its number, state, results, and parameters by their plain names."""
        return trials_frame(self._study)

    def trial(self, number: int) -> Trial:
        """Returns the trial that began under `number`.

        Raises:
            StudyError: there is none.

        Example:
            >>> study.trial(17).params["learning_rate"]
        """
        return Trial(find_trial(self._study, number), self._paths, self.config)

    @property
    def best(self) -> Trial:
        """The complete trial of the search with the best value.

        Raises:
            StudyError: none is complete yet.
        """
        frame = self.trials()
        is_member = frame["trial"].isin(final_numbers(self._study))
        complete = frame.loc[(frame["state"] == "COMPLETE") & ~is_member, "trial"]
        if complete.empty:
            raise StudyError(
                f"a study has a best trial once one is complete, but none of {self.name!r} is; `run {self.name}`."
            )
        return self.trial(int(complete.iloc[0]))

    def ensemble(self, top: int | None = None, method: str | None = None) -> StudyEnsemble:
        """Returns an ensemble of the best trials, chosen and weighed by the validation images alone.

        Snapshots and views of shifted images count as the study has them (`ensemble.snapshots`, `ensemble.tta`); for
        views the members answer again, which takes a while, and the data set.

        Args:
            top: how many of the best trials to take; by default the study's `ensemble.top`, or as many as there are.
            method: "mean"; "weighted" or "greedy", which lower the validation loss; or "auto", which takes the mean
                unless another is better by more than chance. By default the study's.

        Returns:
            The ensemble. Without arguments it is the one that `sweeps ensemble` built, if it did.

        Raises:
            ConfigError: there is no such method.
            StudyError: no trial finished, or fewer than `top` did.
            CheckpointError: a member's predictions, or the ensemble's record, are missing or damaged.
            DataError: views are wanted, and the data set is not there.

        Example:
            >>> ensemble = study.ensemble(top=10)
            >>> ensemble.predict_proba(images).round(3)
        """
        if top is None and method is None and (self._paths.ensemble / RECORD).exists():
            report = load_report(self._paths)
            accuracy = share_interval(report.scores.val.accuracy, int(report.data["validation_images"]))
            return StudyEnsemble(self, report.ensemble(self._paths), report.method, accuracy)
        config = self.config
        views: dict[str, Any] = {}
        if config.ensemble.tta:
            views = {"tta": config.ensemble.tta, "dataset": find_dataset(cache=self._data)}
        snapshots = config.ensemble.snapshots
        choice = choose(self._study, config, self._paths, top=top, method=method, snapshots=snapshots, **views)
        evidence = choice.evidence
        right = score(evidence.labels, evidence.combine(choice.ensemble.weights)).accuracy
        return StudyEnsemble(self, choice.ensemble, choice.method, share_interval(right, len(evidence)))

    def plot_history(self) -> Figure:
        """Draws each trial's value, and the best so far."""
        return self._draw("history")

    def plot_importances(self) -> Figure:
        """Draws which parameters' values differ most between the best trials and all of them."""
        return self._draw("importances")

    def plot_parallel(self) -> Figure:
        """Draws the complete trials as lines through their parameters."""
        return self._draw("parallel")

    def plot_slices(self) -> Figure:
        """Draws the trials' values over each parameter by itself."""
        return self._draw("slices")

    def plot_epochs(self) -> Figure:
        """Draws the trials' values after each epoch."""
        return self._draw("epochs")

    def plot_cost(self) -> Figure:
        """Draws accuracy against trained parameters and seconds, with the Pareto fronts."""
        return self._draw("cost")

    def plot_workers(self) -> Figure:
        """Draws which worker was at which trial when."""
        return self._draw("workers")

    def _draw(self, name: str) -> Figure:
        """Draws a picture of the catalogue.

        Raises:
            StudyError: there is not enough to draw.
        """
        from sweeps.views.pictures import NothingToDraw
        from sweeps.views.pictures.catalogue import STUDY
        from sweeps.views.pictures.facts import gather
        from sweeps.views.pictures.style import to_png

        (picture,) = [each for each in STUDY if each.name == name]
        try:
            figure = picture.draw(gather(self._study, self._paths))
        except NothingToDraw as reason:
            raise StudyError(
                f"a picture of {picture.title.lower()} must have something to show, but in study {self.name!r} {reason}"
            ) from None
        # A figure without pyplot is not shown by notebooks that have not asked for matplotlib; by this method it is.
        vars(figure)["_repr_png_"] = functools.partial(to_png, figure, picture.title)
        return figure

    def __repr__(self) -> str:
        return f"Study({self.name!r}: {_counts(self.trials())})"

    def _repr_html_(self) -> str:
        frame = self.trials()
        return trials_html(f"study {self.name}: {_counts(frame)}", frame)


def _counts(frame: pandas.DataFrame) -> str:
    counts = Counter(str(state).lower() for state in frame["state"])
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trials"
