"""One trial: parameters, network, epochs, and what is kept of them.

Whatever is written is written before what relies on it: the checkpoint of an epoch before its event, the event before
its report, the weights before the trial's end, and the checkpoint is put away last. So a kill between any two steps
leaves a trial that the next attempt ends as if nothing had been.
"""

from __future__ import annotations

import math
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from mnistnn.epochs import VALIDATED
from mnistnn.errors import Diverged, OutputError, Stopped
from mnistnn.recipe import Recipe
from mnistnn.training import EpochMetrics, Trainer
from sweeps.study import checkpoints, lineage, snapshots
from sweeps.study.arms import end_figures, start_figures
from sweeps.study.bench import Bench, build_trainer
from sweeps.study.claims import Superseded, release
from sweeps.study.forecast import EPOCH_S, EPOCH_S_ESTIMATE, duration_text
from sweeps.study.labels import run_name
from sweeps.study.lineage import ARM, EXTENDS, FINAL, REPEATS, trial_seed
from sweeps.study.member import images_of, inputs_of, judge, shorten
from sweeps.study.recovery import fail
from sweeps.study.results import end_results, write_history, write_results
from sweeps.study.storage import origin_of
from sweeps.study.validation import reported
from sweeps.tracking.address import public
from sweeps.tracking.events import TrialLog
from sweeps.tracking.notes import trial_note

__all__ = ["run_trial"]


def run_trial(
    study: optuna.Study, trial: optuna.Trial, bench: Bench, check: Callable[[], None] = lambda: None
) -> TrialState:
    """Runs a trial that this process has claimed, from its checkpoint if there is one, and tells the study.

    Args:
        study: the study.
        trial: the claimed trial.
        bench: what the worker has at hand.
        check: called before each write; raises Superseded if the trial is another process's by now.

    Returns:
        How it ended: COMPLETE, PRUNED or FAIL; or WAITING, when it was stopped and put back into the queue.

    Raises:
        Superseded: another attempt goes on with the trial. Nothing was written after that was so.
        OSError, OutputError, StorageInternalError: the disk or the database cannot be written. The trial stays as it
            is, to be recovered.
    """
    check()
    with TrialLog(bench.paths.trial(origin_of(trial)), check) as log:
        try:
            return _Attempt(study, trial, bench, log, check).run()
        except Stopped as stopped:
            log.stop(str(stopped))
            release(study, trial)
            return TrialState.WAITING
        except (OSError, OutputError, StorageInternalError, Superseded):
            raise
        except Exception as error:  # the sweep goes on without this trial
            if study._storage.get_trial(trial._trial_id).state.is_finished():
                raise Superseded from error  # it was ended by who queued it again
            text = public(traceback.format_exc())  # a driver may quote its address
            bench.say(text)
            reason = public(f"{type(error).__name__}: {error}".splitlines()[0])
            trial.set_user_attr("reason", reason)
            log.end("FAIL", reason=reason, traceback=text)
            fail(study, trial, bench.paths)
            return TrialState.FAIL


class _Attempt:
    """One attempt at a trial, up to its end or an exception."""

    def __init__(
        self, study: optuna.Study, trial: optuna.Trial, bench: Bench, log: TrialLog, check: Callable[[], None]
    ) -> None:
        self._study, self._trial, self._bench, self._log, self._check = study, trial, bench, log, check
        self._origin = origin_of(trial)
        self._folder = bench.paths.trial(self._origin)
        self._reported = set(study._storage.get_trial(trial._trial_id).intermediate_values)
        self._is_baseline = trial.user_attrs.get("role") == "baseline"
        self._extends: dict[str, Any] | None = trial.user_attrs.get(EXTENDS)
        self._may_be_pruned = not (self._is_baseline or {ARM, EXTENDS, FINAL, REPEATS} & trial.user_attrs.keys())
        self._is_member = lineage.is_final(trial)
        self._images = images_of(trial, bench.dataset) or (bench.train, bench.validation)
        self._judged: EpochMetrics | None = None  # of a member of the final stage
        self._epochs = lineage.total_epochs(trial, bench.config.budget.epochs)
        self._epochs_s: list[float] = []  # of this attempt

    def run(self) -> TrialState:
        """Returns COMPLETE or PRUNED."""
        bench, trial = self._bench, self._trial
        values = bench.space.suggest_with(trial, trial.user_attrs.get("overrides", {}))
        plain = bench.space.plain(values, self._epochs)
        recipe = bench.space.recipe(values, self._epochs)
        label = bench.space.architecture(values)
        epoch_s = self._estimate(values)  # before the label: who sees that shows the estimate beside it
        trial.set_user_attr("label", label)  # from here on the parameters are whole
        trainer = self._trainer(recipe)
        role = trial.user_attrs.get("preset") or trial.user_attrs.get("role")
        tags = {**bench.tags, "trial": str(self._origin)} | ({"baseline": str(role)} if self._is_baseline else {})
        tags |= lineage.kin_tags(trial)
        constants = {
            "trial_number": self._origin,
            "params_count": trainer.network.param_count,
            "macs": trainer.network.macs,
        } | ({} if epoch_s is None else {EPOCH_S_ESTIMATE: epoch_s})
        constants |= self._start_figures(recipe)
        facts = {
            "baseline": trial.user_attrs.get("preset"),
            **lineage.kin_facts(trial),
            "optimizer": plain["optimizer"],
            "learning rate": plain["learning_rate"],
            "batch size": plain.get("batch_size"),
            "params": f"{trainer.network.param_count:,}",
            "MACs": f"{trainer.network.macs:,}",
            "time": None if epoch_s is None else duration_text(recipe.training.epochs, epoch_s),
        }
        name, note = run_name(self._origin, lineage.shown_label(trial, label), plain), trial_note(label, facts)
        inputs = inputs_of(bench.inputs, self._images) if self._is_member else bench.inputs
        self._log.start(name, plain, tags, inputs, metrics=constants, note=note)
        try:
            self._train(trainer, recipe)
            recipe = bench.space.recipe(values, self._epochs)  # of a member that was shortened another one
            if self._is_member:
                self._judged = judge(trainer, self._images[1], self._bench.config.metric)
        except Diverged as error:
            return self._prune(trainer, f"diverged: {error}")
        except optuna.TrialPruned as error:
            return self._prune(trainer, str(error))
        return self._complete(trainer, recipe)

    def _start_figures(self, recipe: Recipe) -> dict[str, float]:
        """Returns what is measured of an arm's trial before it trains, and keeps it."""
        if ARM not in self._trial.user_attrs:
            return {}
        seed = trial_seed(*lineage.seed_of(self._trial, self._bench.config.seed))
        figures = start_figures(recipe, seed, self._bench.train)
        for name, value in figures.items():
            self._trial.set_user_attr(name, value)
        return figures

    def _estimate(self, values: Mapping[str, Any]) -> float | None:
        """Returns the seconds that an epoch is thought to take; what the first attempt thought stays."""
        forecast, known = self._bench.forecast, self._trial.user_attrs.get(EPOCH_S_ESTIMATE)
        if known is None and forecast is not None:
            known = round(forecast.epoch_s(values), 3)
            self._trial.set_user_attr(EPOCH_S_ESTIMATE, known)
            self._bench.say(f"trial {self._origin}: {duration_text(self._epochs, known)}")
        return None if known is None else float(known)

    def _trainer(self, recipe: Recipe) -> Trainer:
        """Builds the training and puts it to where the last attempt left it, or the trial that it goes on with."""
        bench = self._bench

        def fresh() -> Trainer:
            seed = trial_seed(*lineage.seed_of(self._trial, bench.config.seed))
            train, validation = self._images
            chosen_by, shifted = (None, None) if self._is_member else (validation, bench.shifted)
            return build_trainer(recipe, seed, train, chosen_by, monitor=bench.config.metric, shifted=shifted)

        stages = lineage.stages_of(self._trial, bench.config.budget.epochs)
        trainer = checkpoints.resume(self._folder, fresh, bench.say, any_plan=len(stages) > 1)
        if (begun := self._extends) and not trainer.epoch:
            bench.say(f"trial {self._origin} trains epochs 1 to {begun['epochs'][-1]} of {begun['trial']} again first")
        return trainer

    def _train(self, trainer: Trainer, recipe: Recipe) -> None:
        for metrics in trainer.history:  # what the last attempt may not have come to say
            self._record(metrics)
        if trainer.history:
            self._consider_pruning(trainer)
        while trainer.epoch < self._epochs:
            self._train_as_planned(trainer, recipe)

    def _train_as_planned(self, trainer: Trainer, recipe: Recipe) -> None:
        """Trains to the end, or until it is another one."""
        began = time.monotonic()
        stages = lineage.stages_of(self._trial, self._bench.config.budget.epochs)
        for metrics in lineage.train_stages(trainer, stages, stop=self._bench.stop):
            self._check()
            if snapshots.is_due(trainer, lineage.inherited_epochs(self._trial)):
                identity = lineage.identity_of(self._trial, self._bench.config.name, self._bench.config.seed)
                snapshots.write_snapshot(self._folder, trainer, recipe, self._images[1], identity)
            checkpoints.save(self._folder, trainer)
            self._record(metrics)
            now = time.monotonic()
            self._epochs_s.append(now - began)
            began = now
            if len(self._epochs_s) == 1:  # others plan by it; the end brings the mean over all epochs
                self._trial.set_user_attr(EPOCH_S, round(self._epochs_s[0], 3))
            self._consider_pruning(trainer)
            if how := shorten(self._trial, self._bench, trainer.epoch, self._epochs_s, self._check):
                self._log.tags({"shortened": how})
                self._epochs = lineage.total_epochs(self._trial, self._bench.config.budget.epochs)
                return

    def _record(self, metrics: EpochMetrics) -> None:
        """Logs and reports an epoch, if that has not been done."""
        known = {
            "train_loss": metrics.train_loss,
            "train_accuracy": metrics.train_accuracy,
            "epoch_seconds": metrics.seconds,
            "images_per_s": metrics.images_per_s,
            "learning_rate": metrics.learning_rate,
            **{name: getattr(metrics, name) for name in VALIDATED},
        }
        self._log.epoch(metrics.epoch, known)  # which passes over what it knows
        value = self._value(metrics)
        if self._is_member:  # how far it is must be known, for whoever goes on with it
            value = getattr(metrics, reported(self._bench.config, self._trial))
        if value is not None and metrics.epoch not in self._reported:
            self._trial.report(value, metrics.epoch)
            self._reported.add(metrics.epoch)

    def _consider_pruning(self, trainer: Trainer) -> None:
        """Raises TrialPruned where the pruner says so; a training that is at its end has nothing to be spared."""
        if not self._may_be_pruned or trainer.epoch == trainer.spec.epochs or trainer.epoch not in self._reported:
            return
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {trainer.epoch} of {trainer.spec.epochs}")

    def _value(self, metrics: EpochMetrics) -> float | None:
        return metrics.value(self._bench.config.metric)

    def _prune(self, trainer: Trainer, reason: str) -> TrialState:
        self._trial.set_user_attr("reason", reason)
        self._finish(trainer, "PRUNED", reason)
        self._study.tell(self._trial, state=TrialState.PRUNED)
        snapshots.remove(self._folder)
        checkpoints.keep_last(self._folder)
        return TrialState.PRUNED

    def _complete(self, trainer: Trainer, recipe: Recipe) -> TrialState:
        best = self._judged or trainer.best_metrics
        value = None if best is None else self._value(best)
        if value is None or not math.isfinite(value):
            raise RuntimeError(f"a trial must end with a finite {self._bench.config.metric}, but got {value}.")
        validated = len(self._bench.validation)
        figures = end_figures(trainer, self._bench.train, validated) if ARM in self._trial.user_attrs else {}
        if not self._is_member:  # which has been judged by what it keeps
            trainer.restore_best()
        self._check()
        identity = lineage.identity_of(self._trial, self._bench.config.name, self._bench.config.seed)
        names, digest = write_results(self._folder, trainer, recipe, self._images[1], identity)
        for name in names:
            self._log.artifact(name)
        self._trial.set_user_attr("weights_sha256", digest)
        if kept := snapshots.recorded(self._folder, trainer):
            self._trial.set_user_attr(snapshots.SNAPSHOTS, kept)
        self._finish(trainer, "COMPLETE", None, figures)
        self._study.tell(self._trial, value)
        checkpoints.keep_last(self._folder)
        return TrialState.COMPLETE

    def _finish(
        self, trainer: Trainer, state: str, reason: str | None, figures: Mapping[str, float] | None = None
    ) -> None:
        """Writes the history, the trial's attributes and the last event: all but the word to the study."""
        self._check()
        write_history(self._folder, trainer.history)
        self._log.artifact("history.csv")
        known = dict(figures or {})
        if self._epochs_s:
            known[EPOCH_S] = round(statistics.fmean(self._epochs_s), 3)
        best = self._judged or trainer.best_metrics
        attributes, results = end_results(trainer, best, known, metric=self._bench.config.metric)
        for name, value in attributes.items():
            self._trial.set_user_attr(name, value)
        self._log.end(state, reason=reason, metrics=results)
