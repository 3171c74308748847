"""The answer, in one line and two sentences that need no knowledge of statistics or of networks."""

from __future__ import annotations

from sweeps.ensemble.evaluate import share_interval
from sweeps.views.report.facts import Effort
from sweeps.views.report.figures import Curse, EnsembleFacts, WinnerFacts
from sweeps.views.report.listed import Opening
from sweeps.views.report.statistics import difference
from sweeps.views.report.words import count, loss, percent, points, times

__all__ = ["headline", "verdict"]

_HARDLY = 5e-5  # what would be written as 0.00 points


def headline(winner: WinnerFacts | None, ensemble: EnsembleFacts | None, effort: Effort, submitted: str = "") -> str:
    """Returns what won, in one line; and what was submitted, where that is something else.

    Args:
        winner: the best trial.
        ensemble: the study's ensemble.
        effort: what was spent.
        submitted: the digest of the ensemble whose answers are the submission; "" where there is none.
    """
    if ensemble is not None and winner is not None:
        number = len(ensemble.members)
        if ensemble.leads and number > 1:
            who = f"an ensemble of {number} networks"
            return f"{percent(ensemble.test_accuracy.estimate)} of unseen digits read right, by {who}"
        best = ensemble.best.name
        alone = f"{percent(ensemble.best.test_accuracy)} of unseen digits read right, by one network "
        alone += f"({best})" if best.startswith("+") else f"(trial {best})"
        if ensemble.leads or submitted != ensemble.digest:
            return alone
        return f"{alone}; the submission is an average’s, {percent(ensemble.test_accuracy.estimate)}"
    if winner is not None and winner.trial.val_accuracy is not None:
        who = f"one network (trial {winner.trial.name})"
        return f"{percent(winner.trial.val_accuracy)} of the validation digits read right, by {who}"
    if winner is not None:
        return f"Trial {winner.trial.name} is the best so far"
    if effort.running or effort.waiting:
        return "No trial has finished yet"
    return "No trial came to its end, so there is no winner" if effort.trials else "There are no trials yet"


def verdict(
    winner: WinnerFacts | None,
    ensemble: EnsembleFacts | None,
    curse: Curse | None,
    effort: Effort,
    openings: tuple[Opening, ...],
) -> tuple[str, str]:
    """Returns what won, and whether to believe it: a sentence each."""
    if winner is None or curse is None:
        return _nothing(effort)
    if ensemble is None:
        return _alone(winner, curse, effort)
    return _what_won(ensemble, effort), _whether(ensemble, openings)


def _nothing(effort: Effort) -> tuple[str, str]:
    if not effort.trials:
        return "Nothing was trained.", "So there is nothing to believe yet."
    ended = f"{effort.pruned + effort.diverged} stopped early and {effort.failed} failed"
    open_ones = effort.running + effort.waiting
    left = f"; {count(open_ones, 'is', 'are')} still to come to an end" if open_ones else ""
    return (
        f"Of {count(effort.trials, 'trial')}, {ended}{left}.",
        "Without a finished trial there is nothing to believe.",
    )


def _alone(winner: WinnerFacts, curse: Curse, effort: Effort) -> tuple[str, str]:
    trial = winner.trial
    images = f"{winner.images:,} " if winner.images else ""
    figure = ""
    if trial.val_accuracy is not None:
        figure = f": it reads {percent(trial.val_accuracy)} of the {images}validation digits correctly"
    if effort.complete == 1:
        won = f"Trial {trial.name} ({trial.label}) is the only network that was trained to its end{figure}."
    else:
        won = f"Trial {trial.name} ({trial.label}) is the best of {curse.trials} networks trained to their end{figure}."
    if curse.trials == 1:
        return won, (
            "No rival was beaten by luck, but the epoch that was kept was chosen by the same digits, and no test digit "
            "has been read yet."
        )
    luck = curse.optimism if curse.optimism is not None else curse.expected
    less = [] if luck is None else [f"expect {_about(luck)} less on new ones"]
    less += [_ties(curse.ties, curse.compared - 1)] if curse.ties else []
    start = "Take that as a little too good, for the same digits chose it"
    return won, f"{start}{': ' if less else ''}{', and '.join(less)}; no test digit has been read yet."


def _what_won(ensemble: EnsembleFacts, effort: Effort) -> str:
    best, gain, number = ensemble.best, ensemble.test_gain, len(ensemble.members)
    tried = f"Of {count(effort.complete + effort.pruned + effort.diverged, 'network')} tried"
    digits, alone = f"{ensemble.test_images:,} test digits", percent(ensemble.best_test_accuracy.estimate)
    together = percent(ensemble.test_accuracy.estimate)
    if number == 1 or not ensemble.leads:
        won = f"{tried}, {best.name} ({best.label}) won: it reads {alone} of {digits} correctly"
        higher = f"(it is {loss(-ensemble.val_loss_gain.estimate)} higher)"
        others = f"; averaging it with {count(number - 1, 'other')}, which reads {together}, did not lower the "
        others += f"{ensemble.chosen_by} loss {higher}, which chooses{_beyond_chance(ensemble)}"
        return f"{won}{others if number > 1 else ''}."
    surprise = (
        " (better than together by more than chance, but the test digits may not choose)" if gain.high < 0 else ""
    )
    return (
        f"{tried}, the average of {number} won: together they read {together} of {digits} correctly, the best of them "
        f"alone ({best.name}) {alone}{surprise or _beyond_chance(ensemble)}."
    )


def _beyond_chance(ensemble: EnsembleFacts) -> str:
    """Returns in which figures the average differs from its best member by more than chance, or that in none."""
    gains = {"test accuracy": ensemble.test_gain, "test loss": ensemble.test_loss_gain}
    if ensemble.is_compared:
        by = ensemble.chosen_by
        gains = {f"{by} accuracy": ensemble.val_gain, f"{by} loss": ensemble.val_loss_gain, **gains}
    found = {
        "better": [name for name, gain in gains.items() if gain.low > 0],
        "worse": [name for name, gain in gains.items() if gain.high < 0],
    }
    said = [f"{how} by more than chance in {_listed(names)}" for how, names in found.items() if names]
    return f"; the average is {' and '.join(said)}" if said else ", a difference that may be chance"


def _listed(names: list[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _whether(ensemble: EnsembleFacts, openings: tuple[Opening, ...]) -> str:
    if ensemble.leads:
        tested, validated = ensemble.test_accuracy, ensemble.val_accuracy
    else:
        tested = ensemble.best_test_accuracy
        validated = share_interval(ensemble.best.val_accuracy, ensemble.best.images)
    opened = f"they were opened {times(len(openings))}" if openings else "no opening of them is noted"
    trust = f"Believe {percent(tested.low)} to {percent(tested.high)} for new digits like these: the test digits chose "
    trust += f"nothing, {opened}"
    gap = difference(validated, tested)
    some = "" if ensemble.answers is None else f", {ensemble.answers:.1f} of {len(ensemble.members)} on average"
    by_some = f"all networks read each of these, and of those only the networks that had not been trained on it{some}"
    is_by_some = ensemble.is_partial and ensemble.leads
    if gap.low <= 0 <= gap.high:
        agree = f"{trust}, and they agree with the {ensemble.chosen_by} digits to within chance"
        return f"{agree}, though {by_some}." if is_by_some else f"{agree}."
    if gap.estimate < 0:
        than = f"than the {ensemble.chosen_by} digits (by {points(-gap.estimate)})"
        if is_by_some:
            return f"{trust}, and they were read better {than}: {by_some}."
        return f"{trust}, and they turned out easier {than}."
    which = "" if is_by_some else ", which did choose,"
    return f"{trust}; the {ensemble.chosen_by} digits{which} had promised {points(gap.estimate)} more."


def _about(luck: float) -> str:
    return "hardly anything" if luck < _HARDLY else f"about {points(luck)}"


def _ties(ties: int, rivals: int) -> str:
    if ties < rivals:
        return f"{ties} of its {rivals} rivals cannot be told from it"
    return (
        "its only rival cannot be told from it" if rivals == 1 else f"none of its {rivals} rivals can be told from it"
    )
