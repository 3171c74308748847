"""What a report says, as plain values: every number on the page is one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.views.report.figures import Curse, EnsembleFacts, SeedNoise, WinnerFacts
from sweeps.views.report.listed import Opening, SpaceRow, TrialFacts

__all__ = [
    "Effort",
    "Origins",
    "ReportFacts",
]


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
        members: of the complete trials, how many are members of the final stage.
        final_s: what that has of the budget's time; None for none.
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
    members: int
    final_s: float | None
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
        submitted: the digest of the ensemble whose answers that submission has; "" where there is none.
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
    submitted: str
    journal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """All that a report says.

    Attributes:
        study: the study's name.
        metric: what trials are judged by.
        validation_shift: by how many pixels validation images are moved for that, besides as they are; 0 for not.
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
        untried: presets that were to be tried first, and wait: none of them fitted into the budget yet.
        trials: all of them, the best first.
        columns: what was searched and differs between trials, by the names of `TrialFacts.values`.
        origins: what it takes to do it again.
    """

    study: str
    metric: str
    validation_shift: int
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
    untried: tuple[str, ...]
    trials: tuple[TrialFacts, ...]
    columns: tuple[str, ...]
    origins: Origins

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)
