"""What a report says, as plain values: every number on the page is one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.ensemble.evaluate import Interval

__all__ = [
    "Confusion",
    "Curse",
    "Effort",
    "EnsembleFacts",
    "Gap",
    "MemberFacts",
    "Opening",
    "Origins",
    "ReportFacts",
    "SeedNoise",
    "SeedRow",
    "SpaceRow",
    "TrialFacts",
    "WinnerFacts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """A trial, over all its attempts.

    Attributes:
        number: the one that it began under.
        state: "complete", "pruned", "diverged", "failed", "running" or "waiting".
        label: its network in a few words.
        val_loss: of its best epoch.
        val_accuracy: of its best epoch.
        epochs: how many it had.
        planned: how many it was to have.
        seconds: what they took.
        epoch_s: what one took on average.
        params: how many numbers it trained.
        macs: multiply-adds of one image.
        role: what it is besides a trial that the sampler drew: "baseline small", "repeats #003".
        reason: why it was pruned, or failed.
        attempts: how often it was begun.
        values: all its choices, by the names that a table shows.
    """

    number: int
    state: str
    label: str
    val_loss: float | None
    val_accuracy: float | None
    epochs: int
    planned: int
    seconds: float | None
    epoch_s: float | None
    params: int | None
    macs: int | None
    role: str
    reason: str
    attempts: int
    values: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its number as it is shown: #017."""
        return f"#{self.number:03d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """Something that was searched, or fixed.

    Attributes:
        name: in words.
        values: what it may be.
        when: under which condition it is asked for, if not always.
        winner: what the best trial has; "" where it does not have it.
    """

    name: str
    values: str
    when: str
    winner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WinnerFacts:
    """The best trial, with intervals for what is known of it.

    Attributes:
        trial: the trial.
        accuracy: on the validation images, with the interval of other images; None where their number is not known.
        loss: likewise; None where the trial's predictions are not there.
        test_accuracy: on the test images; None where it was not scored on them.
        test_loss: likewise, without an interval.
        images: how many validation images there are.
    """

    trial: TrialFacts
    accuracy: Interval | None
    loss: Interval | None
    test_accuracy: Interval | None
    test_loss: float | None
    images: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """A member of the ensemble."""

    number: int
    label: str
    weight: float
    val_accuracy: float
    val_loss: float
    test_accuracy: float
    test_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Test images by label and prediction, and the pairs that are confused most: label, prediction, images."""

    counts: tuple[tuple[int, ...], ...]
    most: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleFacts:
    """The study's last ensemble.

    Attributes:
        title: "ensemble of 5 · mean".
        method: how the members were weighed.
        considered: of how many trials the members were chosen.
        members: the best by validation loss first.
        val_accuracy: on the validation images, by which the members were chosen.
        val_loss: likewise; without an interval where the predictions are not there.
        test_accuracy: on the test images, by which nothing was chosen.
        test_loss: likewise.
        val_gain: accuracy over the best member's, paired over the images.
        val_loss_gain: by how much the loss is lower.
        test_gain: as `val_gain`, on the test images.
        test_loss_gain: as `val_loss_gain`, on the test images.
        validation_images: how many.
        test_images: how many.
        confusion: of the test images.
        digest: names it, by its members' weights.
        time: when it was built.
        commit: by which commit.
        best_test_accuracy: that of the best member.
        is_current: whether no trial has come since that would be a member now.
    """

    title: str
    method: str
    considered: int
    members: tuple[MemberFacts, ...]
    val_accuracy: Interval
    val_loss: Interval
    test_accuracy: Interval
    test_loss: Interval
    val_gain: Interval
    val_loss_gain: Interval
    test_gain: Interval
    test_loss_gain: Interval
    validation_images: int
    test_images: int
    confusion: Confusion
    digest: str
    time: str
    commit: str | None
    best_test_accuracy: Interval
    is_current: bool

    @property
    def leads(self) -> bool:
        """Whether the average beats its best member by validation loss, which may choose; the test images may not."""
        return len(self.members) == 1 or self.val_loss.estimate < self.best.val_loss

    @property
    def best(self) -> MemberFacts:
        """The best member by validation loss."""
        return self.members[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Validation against test, of one thing: how much worse it is on images that chose nothing.

    Attributes:
        name: "#012", or "ensemble".
        accuracy: validation less test, with the interval of other images on both sides.
        loss: test less validation.
        is_chance: whether the interval of the accuracy holds zero.
    """

    name: str
    accuracy: Interval
    loss: float
    is_chance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Curse:
    """The winner's curse: the best of many is chosen for its luck, too.

    Attributes:
        trials: how many complete trials the winner was the best of; repeats of others with new seeds left out.
        error: the binomial standard error of the winner's validation accuracy.
        spread: the standard deviation of the trials' validation accuracies; None for less than two.
        expected: by how much the best of so many is too good on average, by spread and error, if scores are normal.
        bound: the same if all trials were equally good.
        optimism: what images drawn anew say of the accuracy, from the saved predictions; None without them.
        loss_optimism: what they say of the loss.
        compared: how many trials' predictions are there.
        wins: how often the winner was also the winner on images drawn anew.
        ties: how many other trials cannot be told from the winner by these images, two by two.
        gaps: what validation and test images say of the winner and of the ensemble.
    """

    trials: int
    error: float | None
    spread: float | None
    expected: float | None
    bound: float | None
    optimism: float | None
    loss_optimism: float | None
    compared: int
    wins: float | None
    ties: int | None
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """A trial and its repeats with other seeds.

    Attributes:
        number: the trial's.
        label: its network.
        first: the validation accuracy that it was chosen for.
        accuracies: those of the repeats.
        mean: theirs, with its interval; None for less than two.
        deviation: theirs; None for less than two.
    """

    number: int
    label: str
    first: float | None
    accuracies: tuple[float, ...]
    mean: Interval | None
    deviation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedNoise:
    """What another seed changes. `deviation` is pooled over the rows; None where nothing was repeated twice."""

    rows: tuple[SeedRow, ...]
    deviation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What was spent, and what was not.

    Attributes:
        complete: trials that ran to their end.
        pruned: trials that were stopped for being worse than others.
        diverged: trials whose loss stopped being a number.
        failed: trials that failed for good.
        running: trials that are at work.
        waiting: trials in the queue.
        attempts: how often a trial was begun, in all.
        resumed: trials that took more than one attempt.
        epochs: how many were trained.
        seconds: what they took, summed over workers.
        elapsed_s: by the study's clock; None where it was not kept.
        budget_trials: how many trials the study may have; None for any number.
        budget_s: how long it may take; None for any time.
        counted: trials that count towards the budget.
        epochs_each: how many epochs a trial shall have.
        epochs_saved: those that pruned trials did not train.
        seconds_saved: what they would have taken, at each trial's own pace.
        failures: the reasons, with the trials' numbers.
    """

    complete: int
    pruned: int
    diverged: int
    failed: int
    running: int
    waiting: int
    attempts: int
    resumed: int
    epochs: int
    seconds: float
    elapsed_s: float | None
    budget_trials: int | None
    budget_s: float | None
    counted: int
    epochs_each: int
    epochs_saved: int
    seconds_saved: float
    failures: tuple[tuple[int, str], ...]

    @property
    def trials(self) -> int:
        """All trials."""
        return self.complete + self.pruned + self.diverged + self.failed + self.running + self.waiting

    @property
    def share_saved(self) -> float:
        """What pruning saved, of all that would have been trained without it."""
        whole = self.seconds + self.seconds_saved
        return self.seconds_saved / whole if whole else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A time that the test images were opened, and what for."""

    time: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """What it takes to do it again.

    Attributes:
        seed: what everything random follows from.
        data: the data set's name.
        data_digest: its digest.
        images: of training and validation; by what they were used for.
        commits: those that trials were run by, with how many trials; "-dirty" where files differed.
        versions: likewise of Python, NumPy, BLAS and the machine, by name.
        config_hash: names the configuration.
        toml: the study's file as it was last run.
        manifest: the submission's manifest, from the project's folder; "" where there is none of this study.
        journal: whether the trials are in the study's own journal; else --storage names them.
    """

    seed: int
    data: str
    data_digest: str
    images: Mapping[str, int]
    commits: Mapping[str, int]
    versions: Mapping[str, Mapping[str, int]]
    config_hash: str
    toml: str
    manifest: str
    journal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """All that a report says.

    Attributes:
        study: the study's name.
        metric: what trials are judged by.
        sampler: how trials were proposed.
        pruner: how they were stopped.
        headline: what won, in one line.
        verdict: what won and whether to believe it, in two sentences.
        effort: what was spent.
        winner: the best trial; None while none is complete.
        ensemble: None while there is none.
        no_ensemble: why there is none.
        curse: the winner's; None without a winner.
        seeds: what another seed changes.
        openings: when the test images were opened, by the ledger.
        searched: the space.
        fixed: what every trial has.
        baselines: presets that were tried first.
        trials: all of them, the best first.
        columns: what was searched and differs between trials, by the names of `TrialFacts.values`.
        origins: what it takes to do it again.
    """

    study: str
    metric: str
    sampler: str
    pruner: str
    headline: str
    verdict: tuple[str, str]
    effort: Effort
    winner: WinnerFacts | None
    ensemble: EnsembleFacts | None
    no_ensemble: str
    curse: Curse | None
    seeds: SeedNoise
    openings: tuple[Opening, ...]
    searched: tuple[SpaceRow, ...]
    fixed: tuple[SpaceRow, ...]
    baselines: tuple[str, ...]
    trials: tuple[TrialFacts, ...]
    columns: tuple[str, ...]
    origins: Origins

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)
