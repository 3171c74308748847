"""Training the best of a study again by other seeds: which trials, and what of them is still to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.claims import queue_lock
from sweeps.study.enqueue import queue
from sweeps.study.lineage import REPEATS, is_final, is_repeat, seed_of, stages_of
from sweeps.study.lookup import config_of, find_trial
from sweeps.study.storage import origin_of

__all__ = ["chosen", "queue_repeats", "repeats_of", "unfinished"]

#: How many of the best are repeated where nobody says.
DEFAULT_TOP = 5


def chosen(study: optuna.Study, top: int | None = None, numbers: Sequence[int] = ()) -> list[int]:
    """Returns the numbers of the trials to repeat, the best first.

    Args:
        study: the study.
        top: how many of the best complete ones that are no repeats themselves; by default five, or what there is.
        numbers: of certain trials instead.

    Raises:
        StudyError: there are none, fewer than asked for, or one that was named cannot be repeated.
    """
    config_of(study)  # which says that it was never run
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0

    def rank(trial: FrozenTrial) -> tuple[float, int]:
        return sign * float(trial.value or 0.0), origin_of(trial)

    if numbers:
        return [
            origin_of(each) for each in sorted((_named(study, number) for number in dict.fromkeys(numbers)), key=rank)
        ]
    able = sorted((trial for trial in _current(study) if _why_not(trial) is None), key=rank)
    name = study.study_name
    if not able:
        raise StudyError(f"a trial to repeat must be complete, but study {name!r} has none; `run {name}` longer first.")
    if top is not None and top > len(able):
        raise StudyError(
            f"`--top` must not exceed the complete trials that are no repeats, but got {top} and study {name!r} has "
            f"{len(able)}; ask for {len(able)} or run it longer."
        )
    return [origin_of(trial) for trial in able[: top or DEFAULT_TOP]]


def repeats_of(study: optuna.Study, number: int) -> dict[int, FrozenTrial]:
    """Returns the repeats of a trial by their seeds; where one failed and was queued anew, the later one."""
    found: dict[int, FrozenTrial] = {}
    for trial in _current(study):
        repeats = trial.user_attrs.get(REPEATS)
        if repeats is not None and repeats["trial"] == number:
            found[int(repeats["seed"])] = trial
    return dict(sorted(found.items()))


def unfinished(study: optuna.Study, numbers: Sequence[int], seeds: int) -> int:
    """Returns how many of the trials' repeats by the seeds 1 to `seeds` have not ended, or are not there yet."""
    return sum(not _has_ended(repeats_of(study, number).get(seed)) for number in numbers for seed in _all(seeds))


def queue_repeats(study: optuna.Study, paths: StudyPaths, numbers: Sequence[int], seeds: int) -> list[int]:
    """Queues what is missing of the trials' repeats, and nothing twice.

    A repeat has the trial's values, epochs and stages, and random streams that follow from the study's seed, the number
    that the trial's own follow from, and its seed. It does not count towards the budget and is not pruned.

    Args:
        study: the study.
        paths: its paths.
        numbers: of the trials to repeat.
        seeds: how many repeats each shall have: those by the seeds 1 to `seeds`.

    Returns:
        The numbers of those that have not ended.
    """
    epochs = config_of(study).budget.epochs
    waiting: list[int] = []
    with queue_lock(paths):
        found = {number: repeats_of(study, number) for number in numbers}
        for seed in _all(seeds):  # seed by seed, so that a call that is stopped has compared as many as it could
            for number in numbers:
                known = found[number].get(seed)
                if known is None or known.state == TrialState.FAIL:
                    waiting.append(_queue(study, find_trial(study, number), seed, epochs))
                elif not _has_ended(known):
                    waiting.append(origin_of(known))
    return waiting


def _queue(study: optuna.Study, base: FrozenTrial, seed: int, epochs: int) -> int:
    *earlier, last = stages_of(base, epochs)
    study_seed, origin = seed_of(base, config_of(study).seed)
    repeats = {
        "trial": origin_of(base),
        "seed": seed,
        "study_seed": study_seed,
        "origin": origin,
        "epochs": [stage.until for stage in earlier],
        "plans": [stage.plan for stage in earlier],
        "total": last.until,
    }
    attributes = {"asked": True, "overrides": base.user_attrs.get("overrides", {}), REPEATS: repeats}
    return queue(study, base.params, attributes, params=base.params, distributions=base.distributions)


def _all(seeds: int) -> range:
    return range(1, seeds + 1)


def _has_ended(trial: FrozenTrial | None) -> bool:
    """Says whether a repeat has a result: one that diverged has, and would again."""
    return trial is not None and trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _current(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]


def _named(study: optuna.Study, number: int) -> FrozenTrial:
    trial = find_trial(study, number)
    if (why := _why_not(trial)) is not None:
        raise StudyError(f"a trial to repeat must be complete and no repeat itself, but {why}; name another one.")
    return trial


def _why_not(trial: FrozenTrial) -> str | None:
    """Says why a trial cannot be repeated; None if it can."""
    name = f"#{origin_of(trial):03d}"
    if is_repeat(trial):
        known = trial.user_attrs.get(REPEATS)
        return f"{name} is one" + ("" if known is None or known["trial"] is None else f" of #{known['trial']:03d}")
    if is_final(trial):
        return f"{name} is a member of the final stage, which was trained on other images"
    if trial.state != TrialState.COMPLETE:
        return f"{name} is {trial.state.name}"
    if trial.value is None or not math.isfinite(trial.value):
        return f"{name} has no finite value"
    return None
