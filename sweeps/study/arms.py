"""Arms: the trials of a study that compares instead of searching, and what is measured of them besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mnistnn.data.dataset import Split
from mnistnn.network import Network, child_seed
from mnistnn.recipe import Recipe
from mnistnn.training import Trainer, evaluate
from sweeps.config import StudyConfig
from sweeps.config.fault import shown
from sweeps.errors import ConfigError, StudyError
from sweeps.study.lineage import ARM

if TYPE_CHECKING:
    from sweeps.study.space import Space

__all__ = ["arm_trials", "check_arms", "end_figures", "queue_arms", "refuse_changed_arms", "start_figures"]


def check_arms(config: StudyConfig, space: Space) -> None:
    """Sees that every arm can be trained, and does not train what the arm that it is compared with does.

    Raises:
        ConfigError: one cannot, or two are the same.
    """
    ablation = config.ablation()
    arms = () if ablation is None else ablation.arms
    values = {arm.name: space.values({}, arm.overrides) for arm in arms}
    for arm in arms:
        if (reason := space.impossible(values[arm.name])) is not None:
            raise ConfigError(f"an arm must be possible, but {arm.name!r} is not ({reason}); change it, or [limits].")
        for other in arm.against:
            if values[arm.name] == values[other]:
                raise ConfigError(
                    f"an arm must differ from one that it is compared with, but {arm.name!r} trains the same as "
                    f"{other!r}; give it a value that its network or its training has a use for."
                )


def arm_trials(study: optuna.Study) -> dict[tuple[str, int], FrozenTrial]:
    """Returns the trials of arms by arm and seed, each in its last attempt; of one that was queued anew, the later."""
    found: dict[tuple[str, int], FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        arm = trial.user_attrs.get(ARM)
        if arm is not None and not trial.user_attrs.get("requeued"):
            found[arm["name"], int(arm["seed"])] = trial
    return found


def refuse_changed_arms(study: optuna.Study, config: StudyConfig) -> None:
    """Sees that arms which have trials are what they were then. New ones may come, and more seeds.

    Raises:
        StudyError: one is not.
    """
    ablation = config.ablation()
    known = {name: trial.user_attrs.get("overrides", {}) for (name, _), trial in arm_trials(study).items()}
    for arm in () if ablation is None else ablation.arms:
        then = known.get(arm.name, arm.overrides)
        changed = [name for name in {**then, **arm.overrides} if then.get(name) != arm.overrides.get(name)]
        if changed:
            values = f"{changed[0]}={shown(then.get(changed[0], 'not there'))}"
            raise StudyError(
                f"arm {arm.name!r} of study {config.name!r} must stay as it was begun, with {values}, but got "
                f"{shown(arm.overrides.get(changed[0], 'not there'))}; undo the change or give the arm another name."
            )


def queue_arms(study: optuna.Study, config: StudyConfig) -> None:
    """Queues what is missing of all arms by all seeds, and anew what failed for good: that may be mended by now.

    It goes seed by seed, so that what a stopped run has is compared in whole seeds. The k-th seed of every arm shares
    the images, their order, what augmentation draws, and the first weights of layers of one name and shape.
    """
    ablation = config.ablation()
    if ablation is None:
        return
    known = arm_trials(study)
    for seed in range(1, ablation.seeds + 1):
        for arm in ablation.arms:
            last = known.get((arm.name, seed))
            if last is None or last.state == TrialState.FAIL:
                attributes = {ARM: {"name": arm.name, "seed": seed}, "overrides": arm.overrides}
                study.enqueue_trial({}, user_attrs=attributes)


def start_figures(recipe: Recipe, seed: np.random.SeedSequence, train: Split) -> dict[str, float]:
    """Returns what is measured of a trial before its first step: whether its sigmoids are saturated.

    Args:
        recipe: the trial's.
        seed: the trial's.
        train: what it trains on; its first images, in the data set's order, are looked at.
    """
    from mnistnn.saturation import saturation

    batch_size = recipe.training.batch_size
    network = Network(
        recipe.network, batch_size=batch_size, seed=child_seed(seed, 0), fused=False, by_name=True
    )  # one of its own: the trial's draws and statistics stay as they are
    with np.errstate(over="ignore", invalid="ignore"):
        found = saturation(network, train.images[train.indices[:batch_size]])
    if found is None:
        return {}
    return {
        "start_saturated": found.saturated,
        "start_overflow": found.overflow,
        "start_largest": found.largest,
    }


def end_figures(trainer: Trainer, train: Split, count: int) -> dict[str, float]:
    """Returns what is measured of a trial after its last epoch, with the weights of then: how far it overfits.

    The epoch's own training figures would not do: they are of images as they were trained on, with dropout, while the
    weights moved.

    Args:
        trainer: at its end, before the best epoch's weights are put back.
        train: what it trained on.
        count: how many of those images to look at, evenly spaced.
    """
    last = trainer.history[-1]
    rows = train.indices[np.linspace(0, len(train) - 1, min(count, len(train))).astype(np.int64)]
    with trainer.averaged() as network:  # which are those that were validated
        loss, accuracy = evaluate(network, train.images[rows], train.labels[rows])
    figures: dict[str, Any] = {"last_train_loss": loss, "last_train_accuracy": accuracy}
    if last.val_loss is not None and last.val_accuracy is not None:
        figures |= {"last_val_loss": last.val_loss, "last_val_accuracy": last.val_accuracy}
    return figures
