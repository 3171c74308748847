"""What the arms of a study come to: how good each is over its seeds, and how much better than those it is against."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.config.arms import Arm
from sweeps.ensemble.difference import Contrast, holm, mean_interval, paired_difference
from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.wording import in_columns
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.arms import arm_trials
from sweeps.study.lookup import config_of
from sweeps.study.storage import origin_of
from sweeps.tracking.events import TrialLog
from sweeps.views.ablation_figures import FIGURES, SHOWN, Figure, change_text, figure_named
from sweeps.views.repeats import p_text

__all__ = ["Ablation", "ArmResult", "Difference", "compare_arms"]

_WIDTH = 80
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """An arm and its trials.

    Attributes:
        name: the arm's.
        against: the arms that it is compared with.
        network: its network in a few words; "" before any trial of it began.
        trials: the numbers of its trials that ended well, by seed.
        values: their figures, by name and seed.
        means: the figures' means with 95 % intervals; none of fewer than two.
        diverged: how many trials diverged.
        missing: how many have not ended, or failed.
    """

    name: str
    against: tuple[str, ...]
    network: str
    trials: dict[int, int]
    values: dict[str, dict[int, float]]
    means: dict[str, Interval]
    diverged: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An arm and one that it is against, compared in pairs of the same seed.

    Attributes:
        arm: the arm.
        against: the other one.
        pairs: by figure, how many seeds both have it of.
        contrasts: by figure, `arm` minus `against`.
        p_values: the contrasts', corrected by Holm for the number of differences of that figure.
    """

    arm: str
    against: str
    pairs: dict[str, int]
    contrasts: dict[str, Contrast]
    p_values: dict[str, float]

    def differs(self, name: str) -> bool:
        """Says whether chance is no likely reason for the difference."""
        return self.p_values.get(name, 1.0) < _SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What the arms of a study come to.

    Attributes:
        study: the study's name.
        metric: the figure by which each trial's best epoch was chosen.
        seed: the study's seed.
        seeds: how often each arm was to be trained.
        epochs: of each.
        data: what the images are called.
        commit: that the study was begun by; None where there was none.
        elapsed_s: the wall-clock of all runs.
        arms: the arms, in the order of the study's file.
        differences: of each arm from those that it is against.
    """

    study: str
    metric: str
    seed: int
    seeds: int
    epochs: int
    data: str
    commit: str | None
    elapsed_s: float
    arms: list[ArmResult]
    differences: list[Difference]

    @property
    def missing(self) -> int:
        """How many trials have not ended."""
        return sum(arm.missing for arm in self.arms)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        values = asdict(self)
        for difference, made in zip(self.differences, values["differences"], strict=True):
            made["differs"] = {name: difference.differs(name) for name in difference.p_values}
        return values

    def differences_of(self, arm: str) -> list[Difference]:
        """Returns by how much an arm differs from those that it is against."""
        return [each for each in self.differences if each.arm == arm]

    def text(self, names: Sequence[str] = SHOWN) -> str:
        """Returns a table for each of the figures, and what to know of them.

        Raises:
            ConfigError: a name is of no figure.
        """
        lines = [f"study {self.study}: {len(self.arms)} arms, each by the same {self.seeds} seeds"]
        for name in names:
            figure = figure_named(name)
            rows = [row for arm in self.arms if arm.values.get(name) for row in self._rows(arm, name, figure)]
            if rows:
                head = ("arm", "seeds", figure.title, "±", "- against", "difference", "p")
                lines += ["", *in_columns([head, *rows], left=(0, 4))]
        return "\n".join([*lines, "", *self._words()])

    def _rows(self, arm: ArmResult, name: str, figure: Figure) -> Iterator[tuple[str, ...]]:
        """Yields a line for each arm that it is against, the first of them with its own figure."""
        count = f"{len(arm.values[name])}" + (f" + {arm.diverged} div." if arm.diverged and figure.needs_end else "")
        mean = arm.means.get(name)
        shown = () if mean is None else (mean.estimate, mean.high - mean.estimate)
        cells = [f"{figure.factor * each:.{figure.digits}f}" for each in shown] or ["", ""]
        own = (arm.name, count, *cells)
        known = [each for each in self.differences_of(arm.name) if name in each.contrasts]
        for each in known:
            contrast = change_text(each.contrasts[name].difference, figure)
            yield (*own, each.against, contrast, p_text(each.p_values[name]))
            own = ("", "", "", "")
        if not known:
            yield (*own, "", "", "")

    def _words(self) -> Iterator[str]:
        yield textwrap.fill(
            "± is half of a 95 % t-interval of the mean over seeds. Differences are of pairs by the same seed, with "
            "Student's 95 % interval of each alone; p is corrected by Holm for the number of differences. All trials "
            "have one split of the training images, and what is best of each is its best epoch on its validation part.",
            _WIDTH,
        )
        diverged = [f"{arm.name} ({arm.diverged})" for arm in self.arms if arm.diverged]
        if diverged:
            yield textwrap.fill(f"Diverged, and in no mean: {', '.join(diverged)}.", _WIDTH)
        if self.missing:
            yield f"{self.missing} trials have not ended; `run {self.study}` goes on with them."


def compare_arms(study: optuna.Study, paths: StudyPaths) -> Ablation:
    """Returns what the arms of a study come to, as far as their trials have ended.

    Raises:
        StudyError: it has no arms, or was never run.
    """
    config = config_of(study)
    ablation = config.ablation()
    if ablation is None:
        raise StudyError(
            f"a study must have [arms] to compare, but {config.name!r} has none; `trials {config.name}` shows what it "
            "tried, and ablation.toml what arms look like."
        )
    known = arm_trials(study)
    arms = [_result(arm, known, ablation.seeds) for arm in ablation.arms]
    begun = TrialLog.first_start(paths.parent)
    tags: Mapping[str, str] = {} if begun is None else begun["tags"]
    return Ablation(
        study=config.name,
        metric=config.metric,
        seed=config.seed,
        seeds=ablation.seeds,
        epochs=config.budget.epochs,
        data=str(tags.get("data", "")),
        commit=_commit(tags),
        elapsed_s=float(study.user_attrs.get("elapsed_s", 0.0)),
        arms=arms,
        differences=_differences({arm.name: arm for arm in arms}),
    )


def _commit(tags: Mapping[str, str]) -> str | None:
    commit = tags.get("git_commit")
    return None if commit is None else commit + ("-dirty" if tags.get("git_dirty") == "true" else "")


def _result(arm: Arm, known: Mapping[tuple[str, int], FrozenTrial], seeds: int) -> ArmResult:
    trials = {seed: trial for (name, seed), trial in known.items() if name == arm.name and seed <= seeds}
    trials = dict(sorted(trials.items()))
    complete = {seed: trial for seed, trial in trials.items() if trial.state == TrialState.COMPLETE}
    diverged = {seed: trial for seed, trial in trials.items() if trial.state == TrialState.PRUNED}
    values: dict[str, dict[int, float]] = {}
    for name, figure in FIGURES.items():
        for seed, trial in (complete if figure.needs_end else dict(sorted((complete | diverged).items()))).items():
            try:
                values.setdefault(name, {})[seed] = figure.of(trial.user_attrs)
            except KeyError:  # one without a sigmoid is not saturated
                continue
    found = {name: each for name, each in values.items() if each}
    means = {name: mean_interval(list(each.values())) for name, each in found.items()}
    labels = [str(trial.user_attrs["label"]) for trial in trials.values() if "label" in trial.user_attrs]
    return ArmResult(
        name=arm.name,
        against=arm.against,
        network=labels[0] if labels else "",
        trials={seed: origin_of(trial) for seed, trial in complete.items()},
        values=found,
        means={name: mean for name, mean in means.items() if mean is not None},
        diverged=len(diverged),
        missing=seeds - len(complete) - len(diverged),
    )


def _differences(arms: Mapping[str, ArmResult]) -> list[Difference]:
    pairs = [(arm, arms[other]) for arm in arms.values() for other in arm.against]
    made: list[dict[str, Any]] = [{"pairs": {}, "contrasts": {}, "p_values": {}} for _ in pairs]
    for name in FIGURES:
        found: dict[int, Contrast] = {}
        for index, (arm, other) in enumerate(pairs):
            ours, theirs = arm.values.get(name, {}), other.values.get(name, {})
            seeds = [seed for seed in ours if seed in theirs]
            made[index]["pairs"][name] = len(seeds)
            contrast = paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
            if contrast is not None:
                found[index] = made[index]["contrasts"][name] = contrast
        for index, p_value in zip(found, holm([each.p_value for each in found.values()]), strict=True):
            made[index]["p_values"][name] = p_value
    return [
        Difference(arm=arm.name, against=other.name, **each) for (arm, other), each in zip(pairs, made, strict=True)
    ]
