"""Rules that a study's tables keep together: which section goes with which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistnn.errors import nearest
from mnistnn.presets import PRESETS
from sweeps.config.duration import clock
from sweeps.config.fault import Fault, shown
from sweeps.config.sections import DIRECTIONS

if TYPE_CHECKING:
    from sweeps.config.model import StudyConfig

__all__ = ["check_rules"]


def check_rules(config: StudyConfig) -> None:
    """Checks what no section can see alone.

    Raises:
        Fault: the first rule that does not hold.
    """
    _check_arms(config)
    if config.budget.trials is None and config.budget.time_s is None and not config.arms:
        raise Fault(("budget",), 'must say when the study ends, but has neither trials nor time; add time = "5m".')
    _check_final(config)
    if config.name == "train":
        raise Fault(("study", "name"), "must not be 'train': sweeps-train is where `train` tracks its nets; rename it.")
    if config.direction != DIRECTIONS[config.metric]:
        rule = (
            f"must be {DIRECTIONS[config.metric]!r} for {config.metric!r}, but got {config.direction!r}; leave it out."
        )
        raise Fault(("study", "direction"), rule)
    for name in config.baselines:
        if name not in PRESETS:
            raise Fault(("study", "baselines"), f"must be presets, but got {shown(name)}; {nearest(name, PRESETS)}")
    if len(set(config.baselines)) < len(config.baselines):
        raise Fault(("study", "baselines"), f"must name each once, but got {shown(config.baselines)}; take one out.")
    space = config.search_space()
    if config.sampler.type == "grid":
        space.check_enumerated()


def _check_arms(config: StudyConfig) -> None:
    """Checks what goes with arms, and that nothing says they are there where they are not.

    Raises:
        Fault: something does not go with them.
    """
    sampler, pruner = ("sampler", "type"), ("pruner", "type")
    if not config.arms:
        if config.sampler.type == "arms":
            raise Fault(sampler, 'must be another one without [arms], but got "arms"; add arms, or leave it out.')
        return
    if config.search:
        rule = "must not stand beside [arms], each of which has one value of everything; move it to [fixed] or an arm."
        raise Fault(("search", next(iter(config.search))), rule)
    for path, only, given in ((sampler, "arms", config.sampler.type), (pruner, "none", config.pruner.type)):
        if given != only:
            raise Fault(path, f'must be "{only}" beside [arms], but got {shown(given)}; leave it out.')
    if config.baselines:
        rule = f"must be none beside [arms], but got {shown(config.baselines)}; make an arm of each."
        raise Fault(("study", "baselines"), rule)
    if config.final is not None:
        raise Fault(("final",), "must not stand beside [arms], which are compared at their ends; leave it out.")
    if config.budget.trials is not None:
        rule = f"must not stand beside [arms], but got {config.budget.trials}; arms.seeds says how many there are."
        raise Fault(("budget", "trials"), rule)
    config.ablation()


def _check_final(config: StudyConfig) -> None:
    """Sees that it is clear when the final stage begins, and when it ends.

    Raises:
        Fault: it is not.
    """
    final, budget_s = config.final, config.budget.time_s
    if final is None:
        return
    if budget_s is None and final.time is not None:
        rule = "must be a part of budget.time, but there is none; add that, or say final.members instead."
        raise Fault(("final", "time"), rule)
    if budget_s is None and final.members is None:
        rule = "must say how many members the final stage has, as budget.time does not end it; add members = 10."
        raise Fault(("final",), rule)
    if budget_s is not None and final.time is None:
        rule = "must say what part of budget.time is left for the final stage, but has no time; add it, like time = "
        raise Fault(("final",), f'{rule}"50%".')
    if budget_s is not None and (final_s := final.seconds_of(budget_s) or 0.0) >= budget_s:
        rule = f"must be less than budget.time, of which it is a part, but got {clock(final_s)} of "
        raise Fault(("final", "time"), f'{rule}{clock(budget_s)}; take less, or a share of it, like "50%".')
