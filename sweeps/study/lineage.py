"""Where a trial comes from: the seed that all of its randomness follows from, and the stages that it is trained in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from mnistnn.training import EpochMetrics, Trainer
from sweeps.study.storage import origin_of

__all__ = [
    "ARM",
    "BORN_IN",
    "EXTENDS",
    "FINAL",
    "IMPORTED",
    "REPEATS",
    "Stage",
    "fold_of",
    "identity_of",
    "inherited_epochs",
    "is_final",
    "is_of_arm",
    "is_repeat",
    "kin_facts",
    "kin_tags",
    "member_text",
    "seed_of",
    "seed_record",
    "shortened",
    "shown_label",
    "stages_of",
    "total_epochs",
    "train_stages",
    "trial_seed",
]

#: The user attribute of a trial that goes on with another one: which, where that one stood, and to which epoch.
EXTENDS = "extends"
#: The user attribute of a trial that another study has trained: which study, which trial, and its seed there.
IMPORTED = "imported"
#: The user attribute of a trial that repeats another one by another seed: which, and by its how manieth.
REPEATS = "repeats"
#: The user attribute of a trial that is one of an arm's: which arm's, by its how manieth seed.
ARM = "arm"
#: The user attribute of a member of the final stage: the trial whose architecture it has (`of`), which part of the
#: training images it leaves out (`fold`, from 1, of `folds`, dealt by `seed`), and how long it is trained (`epochs`);
#: where it came to be shorter while it was trained, what it had been planned for (`plans`), and until when (`until`).
#: Its own randomness follows from its own number, as any trial's does.
FINAL = "final"
#: The user attribute of a trial whose study was given another name: the one that it began under.
BORN_IN = "born_in"

# Parts the seeds of a trial's repeats from those of its own weights and training, which are its children 0 and 1.
_REPEATED = 0x5EED
# The k-th trial of every arm has the seed of a trial of this number and k, which no trial ever has.
_ARMS = 1 << 24

AnyTrial: TypeAlias = FrozenTrial | optuna.Trial


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a training.

    Attributes:
        plan: the epochs that its schedule of the learning rate is laid out for.
        until: the last epoch that belongs to it; a stage that was pruned ends before its plan does.
    """

    plan: int
    until: int


def trial_seed(study_seed: int, origin: int, repeat: int | None = None) -> np.random.SeedSequence:
    """Returns the seed that everything random in a trial derives from.

    Args:
        study_seed: the study's.
        origin: the number that the trial began under.
        repeat: which of its repeats; None for the trial itself.
    """
    return np.random.SeedSequence(study_seed, spawn_key=(origin,) if repeat is None else (origin, _REPEATED, repeat))


def seed_of(trial: AnyTrial, study_seed: int) -> tuple[int, ...]:
    """Returns what a trial's randomness follows from, as `trial_seed` takes it: a study's seed, a number, a repeat.

    They are its own study's and its own, unless it goes on with another trial's training, repeats one, or was imported;
    and those of all arms' k-th trials are the same, so that what differs is what the arms differ in.
    """
    attributes = trial.user_attrs
    if (known := attributes.get(EXTENDS)) or (known := attributes.get(IMPORTED)):
        numbers = int(known["seed"]), int(known["origin"])
        return numbers if known.get("repeat") is None else (*numbers, int(known["repeat"]))
    if known := attributes.get(REPEATS):
        return int(known["study_seed"]), int(known["origin"]), int(known["seed"])
    if known := attributes.get(ARM):
        return study_seed, _ARMS + int(known["seed"])
    return study_seed, origin_of(trial)


def is_of_arm(seed: np.random.SeedSequence) -> bool:
    """Says whether a seed is that of an arm's trial, or of one that goes on with it or repeats it."""
    return seed.spawn_key[0] >= _ARMS


def seed_record(seed: Sequence[int]) -> dict[str, int]:
    """Returns how a trial that goes on elsewhere remembers what `seed_of` said."""
    return dict(zip(("seed", "origin", "repeat"), seed, strict=False))


def identity_of(trial: AnyTrial, study: str, study_seed: int) -> dict[str, Any]:
    """Returns what the header of a trial's weights says about where they come from, so that a replay writes the same.

    Args:
        trial: any trial.
        study: the name of the study that it is in.
        study_seed: that one's seed.
    """
    repeats, final = trial.user_attrs.get(REPEATS), trial.user_attrs.get(FINAL)
    again = {} if repeats is None else {"repeats": {"trial": repeats["origin"], "seed": repeats["seed"]}}
    if arm := trial.user_attrs.get(ARM):
        again |= {"arm": {"name": arm["name"], "seed": arm["seed"]}}
    again |= {} if final is None else {FINAL: {name: final[name] for name in ("fold", "folds", "seed")}}
    if imported := trial.user_attrs.get(IMPORTED):
        return {"study": imported["study"], "trial": imported["trial"], "seed": imported["seed"]} | again
    return {"study": trial.user_attrs.get(BORN_IN, study), "trial": origin_of(trial), "seed": study_seed} | again


def total_epochs(trial: AnyTrial, epochs: int) -> int:
    """Returns how many epochs a trial shall have: those of its study, or others that it was given when it was queued.

    Args:
        trial: any trial.
        epochs: what the study gives a trial.
    """
    final = trial.user_attrs.get(FINAL)
    return int(_plan_of(trial).get("total", epochs) if final is None else final["epochs"])


def inherited_epochs(trial: AnyTrial) -> int:
    """Returns how many of a trial's epochs are those of the one that it goes on with; 0 where it goes on with none."""
    extends = trial.user_attrs.get(EXTENDS)
    return 0 if extends is None else int(extends["epochs"][-1])


def stages_of(trial: AnyTrial, epochs: int) -> list[Stage]:
    """Returns the stages of a trial's training, in their order; most trials have one.

    Args:
        trial: any trial.
        epochs: what the study gives a trial.
    """
    plan, final = _plan_of(trial), trial.user_attrs.get(FINAL, {})
    total = total_epochs(trial, epochs)
    earlier = [*zip(plan.get("plans", []), plan.get("epochs", []), strict=True)]
    earlier += zip(final.get("plans", []), final.get("until", []), strict=True)
    return [*(Stage(int(plan), int(until)) for plan, until in earlier), Stage(total, total)]


def shortened(final: Mapping[str, Any], done: int, epochs: int) -> dict[str, Any]:
    """Returns what a member of the final stage says of itself once it is to have fewer epochs.

    Args:
        final: what it said.
        done: the epochs that it was trained for so far, as they were planned.
        epochs: those that it shall have in all.
    """
    plans, until = [*final.get("plans", []), final["epochs"]], [*final.get("until", []), done]
    return {**final, "epochs": epochs, "plans": plans, "until": until}


def is_repeat(trial: AnyTrial) -> bool:
    """Says whether a trial has another one's values by another seed: it, or what it goes on with."""
    attributes = trial.user_attrs
    return REPEATS in attributes or attributes.get(EXTENDS, {}).get("repeat") is not None


def is_final(trial: AnyTrial) -> bool:
    """Says whether a trial is a member of the final stage, and none of the search."""
    return FINAL in trial.user_attrs


def fold_of(trial: AnyTrial) -> tuple[int, int, int] | None:
    """Returns which part of all images a member leaves out, as `Dataset.fold` takes it; None for other trials."""
    final = trial.user_attrs.get(FINAL)
    return None if final is None else (int(final["fold"]), int(final["folds"]), int(final["seed"]))


def member_text(trial: AnyTrial) -> str:
    """Returns what a member of the final stage is: "final of #012, fold 3 of 10"; nothing of any other trial."""
    final = trial.user_attrs.get(FINAL)
    if final is None:
        return ""
    base = "one not here" if final["of"] is None else f"#{final['of']:03d}"
    return f"final of {base}, fold {final['fold']} of {final['folds']}"


def shown_label(trial: AnyTrial, label: str) -> str:
    """Returns a trial's network as its run is named by it: that of a member of the final stage says so."""
    final = trial.user_attrs.get(FINAL)
    return label if final is None else f"final {final['fold']}/{final['folds']} {label}".rstrip()


def kin_tags(trial: AnyTrial) -> dict[str, str]:
    """Returns the tags of a trial's run that name the trials it comes from, or its arm."""
    extends, repeats = trial.user_attrs.get(EXTENDS), trial.user_attrs.get(REPEATS)
    tags = {} if extends is None else {"extends": str(extends["trial"])}
    if arm := trial.user_attrs.get(ARM):
        tags |= {"arm": str(arm["name"]), "arm_seed": str(arm["seed"])}
    if final := trial.user_attrs.get(FINAL):
        tags |= {"stage": "final", "final_of": str(final["of"]), "fold": f"{final['fold']} of {final['folds']}"}
    return tags if repeats is None else tags | {"repeats": str(repeats["trial"]), "repeat_seed": str(repeats["seed"])}


def kin_facts(trial: AnyTrial) -> dict[str, str]:
    """Returns the same for people to read."""
    extends, repeats = trial.user_attrs.get(EXTENDS), trial.user_attrs.get(REPEATS)
    facts = {} if extends is None else {"goes on with": f"{_name(extends)}, from epoch {extends['epochs'][-1]}"}
    if arm := trial.user_attrs.get(ARM):
        facts |= {"arm": f"{arm['name']}, by its seed {arm['seed']}"}
    if final := trial.user_attrs.get(FINAL):
        text = member_text(trial).removeprefix("final of ")
        facts |= {"member of the final stage": f"{text}, trained on the others, to its last epoch of {final['epochs']}"}
    return facts if repeats is None else facts | {"repeats": f"{_name(repeats)}, by its seed {repeats['seed']}"}


def _name(kin: Mapping[str, Any]) -> str:
    return "a trial" if kin["trial"] is None else f"#{kin['trial']:03d}"


def _plan_of(trial: AnyTrial) -> Mapping[str, Any]:
    """Returns the stages that a trial was given when it was queued: those of an extension, or of what it repeats."""
    return trial.user_attrs.get(EXTENDS) or trial.user_attrs.get(REPEATS) or {}


def train_stages(
    trainer: Trainer, stages: Sequence[Stage], stop: Callable[[], bool] = lambda: False
) -> Iterator[EpochMetrics]:
    """Trains the epochs that are still to do, stage after stage, and yields after each as `Trainer.fit` does.

    Args:
        trainer: at any epoch of any of the stages.
        stages: in their order.
        stop: as in `Trainer.fit`.
    """
    for stage in stages:
        if trainer.epoch >= stage.until:
            continue
        trainer.replan(stage.plan)
        for metrics in trainer.fit(stop):
            yield metrics
            if trainer.epoch >= stage.until:
                break
