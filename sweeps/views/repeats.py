"""What repeats by other seeds say of the trials that they repeat: how good these are, and which really differ."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import TrialState

from sweeps.config.sections import DIRECTIONS
from sweeps.ensemble.difference import Contrast, holm, mean_difference, mean_interval
from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.wording import in_columns
from sweeps.study.lookup import config_of, find_trial
from sweeps.study.repeat import repeats_of

__all__ = ["FIGURES", "Group", "Pair", "Repeats", "compare_repeats"]

#: What is compared, and how it is shown: its title, its factor, its digits.
FIGURES = {
    "val_loss": ("val loss", 1.0, 4),
    "val_accuracy": ("val accuracy, %", 100.0, 2),
    "val_calibrated_loss": ("calibrated loss", 1.0, 4),
}
_WIDTH = 80
_LABEL = 28
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A trial and its repeats.

    Attributes:
        trial: its number.
        network: its network in a few words.
        original: its own figures, which are not among the repeats': it was picked by them.
        trials: the numbers of its complete repeats, by seed.
        values: the repeats' figures, by name, in the order of the seeds.
        means: their means with 95 % intervals; none of fewer than two.
        diverged: how many repeats diverged.
        missing: how many have not ended, or failed.
    """

    trial: int
    network: str
    original: dict[str, float]
    trials: dict[int, int]
    values: dict[str, list[float]]
    means: dict[str, Interval]
    diverged: int
    missing: int

    def optimism(self, name: str) -> float:
        """Returns the original's figure minus the repeats' mean."""
        return self.original[name] - self.means[name].estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two trials' repeats, compared.

    Attributes:
        first: the number of the one with the better mean.
        second: that of the other.
        contrasts: the differences of their means, by figure, first minus second.
        p_values: the contrasts', corrected for the number of pairs.
    """

    first: int
    second: int
    contrasts: dict[str, Contrast]
    p_values: dict[str, float]

    def differs(self, name: str) -> bool:
        """Says whether chance is no likely reason for the difference."""
        return self.p_values[name] < _SIGNIFICANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """What the repeats of some trials come to.

    Attributes:
        study: the study's name.
        metric: the figure that decides.
        seeds: how many repeats each trial was to have.
        groups: the trials, the best first by the repeats' mean.
        pairs: all pairs of those with at least two complete repeats.
    """

    study: str
    metric: str
    seeds: int
    groups: list[Group]
    pairs: list[Pair]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        values = asdict(self)
        for group, made in zip(self.groups, values["groups"], strict=True):
            made["optimism"] = {name: group.optimism(name) for name in group.means}
        for pair, made in zip(self.pairs, values["pairs"], strict=True):
            made["differs"] = {name: pair.differs(name) for name in pair.p_values}
        return values

    def __str__(self) -> str:
        count = len(self.groups)
        lines = [
            f"study {self.study}: {count} trial{'s' if count > 1 else ''}, each repeated by {self.seeds} other seeds"
        ]
        for name in _names(self.metric):
            lines += ["", *in_columns([_titles(name), *(self._row(group, name) for group in self.groups)], left=(0, 1))]
        if self.pairs:
            titles = (FIGURES[name][0].replace("%", "points") for name in _names(self.metric))
            head = ("difference", *(cell for title in titles for cell in (title, "p")))
            lines += ["", *in_columns([head, *(_pair_row(pair) for pair in self.pairs)], left=(0,))]
        return "\n".join([*lines, "", *self._words()])

    def _row(self, group: Group, name: str) -> tuple[str, ...]:
        _, factor, digits = FIGURES[name]
        original = f"{factor * group.original[name]:.{digits}f}" if name in group.original else ""
        row = (f"#{group.trial:03d}", textwrap.shorten(group.network, _LABEL, placeholder=" …"))
        seeds = f"{len(group.trials)}" + (f" + {group.diverged} diverged" if group.diverged else "")
        if name not in group.means:
            return (*row, seeds, "", "", original, "")
        mean = group.means[name]
        figures = (mean.estimate, mean.high - mean.estimate)
        optimism = f"{factor * group.optimism(name):+.{digits}f}" if original else ""
        return (*row, seeds, *(f"{factor * each:.{digits}f}" for each in figures), original, optimism)

    def _words(self) -> Iterator[str]:
        """Yields what it comes to in plain sentences."""
        for sentence in (self._order(), self._telling(), self._optimism(), self._left()):
            if sentence:
                yield textwrap.fill(sentence, _WIDTH)

    def _order(self) -> str:
        return (
            "± is half of a 95 % t-interval of the mean over seeds. The original is no part of it: what is picked for "
            "its figures is picked for its luck too. Intervals of differences are of each pair alone; p is corrected "
            "for the number of pairs."
        )

    def _telling(self) -> str:
        if not self.pairs:
            return ""
        title = FIGURES[self.metric][0].partition(",")[0]
        same = [f"{_name(pair.first)} and {_name(pair.second)}" for pair in self.pairs if not pair.differs(self.metric)]
        apart = [f"{_name(pair.first)} and {_name(pair.second)}" for pair in self.pairs if pair.differs(self.metric)]
        count = len(self.pairs)
        corrected = f" after Holm's correction for {count} pairs" if count > 1 else ""
        sentences = []
        if apart:
            sentences.append(_said(apart, f"really differ in {title} (p < {_SIGNIFICANT}{corrected})"))
        if same:
            counts = sorted({len(group.trials) for group in self.groups if self.metric in group.means})
            seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
            sentences.append(_said(same, f"cannot be told apart by {seeds}"))
        return " ".join(sentences)

    def _optimism(self) -> str:
        gaps = [group.optimism(self.metric) for group in self.groups if self.metric in group.means]
        if not gaps:
            return ""
        title, factor, digits = FIGURES[self.metric]
        name, unit = title.partition(",")[0], " points" if factor == 100 else ""
        gap = fmean(gaps)
        where = "below" if gap < 0 else "above"
        lucky = (gap < 0) == (DIRECTIONS[self.metric] == "minimize")
        moral = ", as that of picked trials tends to" if lucky else ", so picking did not flatter them"
        whose = f"The {len(gaps)} originals'" if len(gaps) > 1 else "The original's"
        how_far = f"{'on average ' if len(gaps) > 1 else ''}{factor * abs(gap):.{digits}f}{unit} {where}"
        return f"{whose} {name} lies {how_far} the mean of {'their' if len(gaps) > 1 else 'its'} repeats{moral}."

    def _left(self) -> str:
        missing = sum(group.missing for group in self.groups)
        return f"{missing} repeats have not ended; the same command goes on with them." if missing else ""


def compare_repeats(study: optuna.Study, numbers: Sequence[int], seeds: int) -> Repeats:
    """Returns what the repeats of some trials come to, as far as they have ended.

    Args:
        study: the study.
        numbers: the trials.
        seeds: how many repeats each was to have: those by the seeds 1 to `seeds`.
    """
    metric = config_of(study).metric
    sign = -1.0 if DIRECTIONS[metric] == "maximize" else 1.0
    names = _names(metric)
    groups = [_group(study, number, seeds, names) for number in numbers]
    groups.sort(key=lambda group: (metric not in group.means, sign * fmean(group.values[metric] or [0.0])))
    able = [group for group in groups if metric in group.means]
    couples = list(itertools.combinations(able, 2))
    contrasts = {
        name: [mean_difference(first.values[name], second.values[name]) for first, second in couples] for name in names
    }
    corrected = {name: holm([each.p_value for each in found]) for name, found in contrasts.items()}
    pairs = [
        Pair(
            first=first.trial,
            second=second.trial,
            contrasts={name: found[index] for name, found in contrasts.items()},
            p_values={name: found[index] for name, found in corrected.items()},
        )
        for index, (first, second) in enumerate(couples)
    ]
    return Repeats(study=study.study_name, metric=metric, seeds=seeds, groups=groups, pairs=pairs)


def _names(metric: str) -> list[str]:
    """Returns what a study's trials are compared by: the loss that it judges by or else the plain one, and accuracy."""
    return ["val_loss" if metric == "val_accuracy" else metric, "val_accuracy"]


def _group(study: optuna.Study, number: int, seeds: int, names: Sequence[str]) -> Group:
    base = find_trial(study, number)
    known = {seed: trial for seed, trial in repeats_of(study, number).items() if seed <= seeds}
    complete = {seed: trial for seed, trial in known.items() if trial.state == TrialState.COMPLETE}
    diverged = sum(trial.state == TrialState.PRUNED for trial in known.values())
    values = {name: [float(trial.user_attrs[name]) for trial in complete.values()] for name in names}
    return Group(
        trial=number,
        network=str(base.user_attrs.get("label", "")),
        original={name: float(base.user_attrs[name]) for name in names if name in base.user_attrs},
        trials={seed: int(trial.user_attrs.get("origin", trial.number)) for seed, trial in complete.items()},
        values=values,
        means={name: mean for name, each in values.items() if (mean := mean_interval(each)) is not None},
        diverged=diverged,
        missing=seeds - len(complete) - diverged,
    )


def _titles(name: str) -> tuple[str, ...]:
    return ("trial", "network", "seeds", FIGURES[name][0], "±", "original", "- mean")


def _pair_row(pair: Pair) -> tuple[str, ...]:
    cells = []
    for name, contrast in pair.contrasts.items():
        _, factor, digits = FIGURES[name]
        found = contrast.difference
        estimate, low, high = (f"{factor * each:+.{digits}f}" for each in (found.estimate, found.low, found.high))
        cells += [f"{estimate} [{low}, {high}]", p_text(pair.p_values[name])]
    return (f"{_name(pair.first)} - {_name(pair.second)}", *cells)


def p_text(p_value: float) -> str:
    """Returns a p-value as a table shows it."""
    return f"{p_value:.3f}" if p_value >= 0.001 else "<0.001"


def _name(number: int) -> str:
    return f"#{number:03d}"


def _said(pairs: Sequence[str], what: str) -> str:
    return f"{pairs[0]} {what}." if len(pairs) == 1 else f"These {what}: {', '.join(pairs)}."
