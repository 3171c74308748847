"""Going on with a trial that has ended: a new trial, begun where that one stood, with more epochs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mnistnn.checkpoint import check_checkpoint
from mnistnn.domains import domains_of
from mnistnn.errors import CheckpointError, OutputError
from mnistnn.files import link_or_copy
from mnistnn.training import TrainingSpec
from sweeps.config import StudyConfig
from sweeps.config.fault import Fault
from sweeps.config.ranges import legal_value
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import StudyPaths
from sweeps.study.checkpoints import CHECKPOINT, FINAL
from sweeps.study.claims import queue_lock
from sweeps.study.enqueue import how_it_runs, queue
from sweeps.study.labels import run_name
from sweeps.study.lineage import EXTENDS, is_final, seed_of, seed_record, stages_of
from sweeps.study.lookup import config_of, find_trial, values_of
from sweeps.study.space import Space

__all__ = ["Extended", "extend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """A trial that waits to go on with another one.

    Attributes:
        study: the study's name.
        trial: its number.
        name: what it is called.
        base: the trial that it goes on with.
        done: how many epochs that one had.
        epochs: how many it shall have in all.
        again: why the first ones must be trained again; None if they need not.
        notes: when it will run.
    """

    study: str
    trial: int
    name: str
    base: int
    done: int
    epochs: int
    again: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        way = f"#{self.base:03d} after epoch {self.done}, up to epoch {self.epochs}"
        lines = [f"queued        {self.name}", f"goes on with  {way}"]
        if self.again is not None:
            lines.append(f"first         trains those {self.done} epochs again, to the same weights, for {self.again}")
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def extend(study: optuna.Study, paths: StudyPaths, number: int, epochs: int, *, budget: StudyConfig) -> Extended:
    """Queues a trial that begins with the last state of trial `number` and goes on to epoch `epochs`.

    Nothing of that trial changes. The new one has its parameters, its curve and its random streams, a number, a folder
    and a run of its own, and is not pruned. Its schedule goes on as that of a training of `epochs` epochs in all would
    from there, so the learning rate may jump. Where the last state is not kept any more, the epochs up to it are
    trained again from the seed, which gives the same bytes.

    Args:
        study: the study.
        paths: its paths.
        number: of a trial that is complete or was pruned.
        epochs: how many the new trial shall have in all.
        budget: the study's file as it is now, for what is left of its time.

    Raises:
        StudyError: there is no such trial, or it has not ended, or has no epoch to go on from.
        ConfigError: the epochs are no more than it had, or too many.
    """
    config = config_of(study)
    space = Space(config)
    base = find_trial(study, number)
    done = _epochs_done(base)
    _check(base, number, done, epochs)
    values = values_of(base, space)
    *earlier, last = stages_of(base, config.budget.epochs)
    extends = {
        "trial": number,
        "epochs": [*(stage.until for stage in earlier), done],
        "plans": [stage.plan for stage in (*earlier, last)],
        "total": epochs,
    } | seed_record(seed_of(base, config.seed))
    attributes = {"asked": True, "overrides": base.user_attrs.get("overrides", {}), EXTENDS: extends}
    final = paths.trial(number) / FINAL
    again = _why_again(final, done, last.plan)
    known = {} if again else base.intermediate_values
    with queue_lock(paths):  # no worker takes the trial up before its checkpoint is there
        made = queue(
            study,
            base.params,
            attributes,
            params=base.params,
            distributions=base.distributions,
            intermediate_values=known,
        )
        if again is None:
            again = _hand_over(final, paths.trial(made) / CHECKPOINT)
    plain = space.plain(values, epochs)
    return Extended(
        study=config.name,
        trial=made,
        name=run_name(made, space.architecture(values), plain),
        base=number,
        done=done,
        epochs=epochs,
        again=again,
        notes=how_it_runs(study, budget),
    )


def _epochs_done(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("epochs_run", max(trial.intermediate_values, default=0)))


def _check(trial: FrozenTrial, number: int, done: int, epochs: int) -> None:
    name = f"#{number:03d}"
    if is_final(trial):
        raise StudyError(
            f"a trial to go on with must be one of the search, but {name} is a member of the final stage, whose epochs "
            "follow from its time; set final.epochs, or name another one."
        )
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        state = {TrialState.FAIL: "failed", TrialState.RUNNING: "is running"}.get(trial.state, "waits")
        raise StudyError(f"a trial to go on with must be complete or pruned, but {name} {state}; name another one.")
    if not done:
        raise StudyError(f"a trial to go on with must have a whole epoch, but {name} has none; name another one.")
    if epochs <= done:
        raise ConfigError(f"--epochs must be more than {name} had, {done}, for it is the sum; got {epochs}: give more.")
    try:
        legal_value(("--epochs",), epochs, domains_of(TrainingSpec)["epochs"])
    except Fault as fault:
        raise ConfigError(str(fault)) from None


def _why_again(final: Path, done: int, plan: int) -> str | None:
    """Says why a trial's last state cannot be begun with; None if it can."""
    if not final.exists():
        return "its last state is not kept any more"
    try:
        header = check_checkpoint(final)
    except CheckpointError:
        return "its last state is damaged"
    if header.get("epoch") != done or header.get("training", {}).get("epochs") != plan:
        return "its last state is that of another epoch"
    return None


def _hand_over(final: Path, checkpoint: Path) -> str | None:
    """Gives a trial the state to begin with. Returns why not, if it cannot; the trial then begins from its seed."""
    try:
        link_or_copy(final, checkpoint)
    except (FileNotFoundError, OutputError) as error:
        return f"its last state could not be copied ({error})"
    return None
