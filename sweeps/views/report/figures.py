"""What is known of the best trial and of the ensemble, and how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.wording import is_compared, is_partial
from sweeps.views.report.listed import TrialFacts

__all__ = [
    "Confusion",
    "Curse",
    "EnsembleFacts",
    "Gap",
    "MemberFacts",
    "SeedNoise",
    "SeedRow",
    "WinnerFacts",
]


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
    """A member of the ensemble.

    Attributes:
        number: its trial's.
        name: what it is shown under, whosever it is: "#017", "night#017", "#017@4", "+torch".
        label: its network in a few words.
        weight: its weight in the average.
        images: of how many images that chose, those that it was not trained on, its figures are.
        val_accuracy: on those.
        val_loss: likewise.
        test_accuracy: on the test images.
        test_loss: likewise.
    """

    number: int
    name: str
    label: str
    weight: float
    images: int
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
        choice: from what they were chosen, in words.
        chosen_by: what the images are called that chose them: "validation", "out-of-fold", or "held-out" of both.
        ranked_by: by what the members are sorted, in words.
        answers: how many members have answered one of those images, on average; None in old records.
        considered: of how many trials the members were chosen.
        members: the best by the loss on those images first.
        val_accuracy: on the images that chose.
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
    choice: str
    chosen_by: str
    ranked_by: str
    answers: float | None
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
        """Whether the average beats its best member by the loss that may choose; the test images may not.

        They are compared on the images that both have predicted: members of a final stage each have others. Where those
        images are that member's alone, they say nothing against the average, which stands then.
        """
        return len(self.members) == 1 or self.chosen_by == "out-of-fold" or self.val_loss_gain.estimate >= 0

    @property
    def best(self) -> MemberFacts:
        """The best member by the loss on the images that chose."""
        return self.members[0]

    @property
    def is_partial(self) -> bool:
        """Whether fewer members have answered an image that chose than answer a test image: all."""
        if self.answers is None:
            return self.chosen_by != "validation" and len(self.members) > 1
        return is_partial(self.answers, len(self.members))

    @property
    def is_compared(self) -> bool:
        """Whether its gain over the best member on the images that chose is known."""
        return is_compared(self.answers, len(self.members))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Images that chose against test images, of one thing: how much worse it is on images that chose nothing.

    Attributes:
        name: "#012", or "ensemble".
        chosen_by: what the images are called that chose.
        accuracy: on them less test, with the interval of other images on both sides.
        loss: test less that on them.
        is_chance: whether the interval of the accuracy holds zero.
        is_partial: whether a test image has more members' answers than one that chose.
    """

    name: str
    chosen_by: str
    accuracy: Interval
    loss: float
    is_chance: bool
    is_partial: bool


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
