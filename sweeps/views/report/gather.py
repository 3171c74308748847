"""Reads a study's record into the facts of its report. Nothing is trained, and no image is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.paths import Paths, StudyPaths
from sweeps.study.lineage import is_final, is_repeat
from sweeps.study.lookup import config_of, find_trial, values_of
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.views.report.champions import read_ensemble, read_winner
from sweeps.views.report.curse import find_curse, read_predictions
from sweeps.views.report.facts import ReportFacts
from sweeps.views.report.openings import read_openings
from sweeps.views.report.origins import read_origins
from sweeps.views.report.space import fixed_rows, searched_rows
from sweeps.views.report.trials import read_trials, seed_noise, sum_up, untried_of, varied
from sweeps.views.report.verdict import headline, verdict

if TYPE_CHECKING:
    import optuna

__all__ = ["gather_facts"]


def gather_facts(study: optuna.Study, paths: StudyPaths, root: Path, *, journal: bool = True) -> ReportFacts:
    """Reads a study.

    Args:
        study: the study; it may be at work.
        paths: its paths.
        root: the project's folder.
        journal: whether its trials are in its own journal.

    Raises:
        StudyError: it was never run.
    """
    config = config_of(study)
    attempts = study.get_trials(deepcopy=False)
    trials = read_trials(attempts, config)
    repeats = {origin_of(attempt) for attempt in attempts if is_repeat(attempt)}
    members = {origin_of(attempt) for attempt in attempts if is_final(attempt)}
    ranked = [trial for trial in trials if trial.state == "complete" and trial.number not in repeats | members]
    by_loss = sorted(
        (trial for trial in trials if trial.state == "complete" and trial.val_loss is not None),
        key=lambda trial: (trial.number not in members, trial.val_loss or 0.0, trial.number),  # as `ensemble` has it
    )
    ensemble, no_ensemble = read_ensemble(paths, by_loss)
    origins = read_origins(config, paths, trials, study.user_attrs, root=root, journal=journal)
    predictions = read_predictions(ranked, paths)
    images = origins.images.get("validation")
    if not images and ensemble is not None and ensemble.chosen_by == "validation" and not ensemble.is_partial:
        images = ensemble.validation_images
    winner = read_winner(ranked[0], ensemble, predictions, images) if ranked else None
    curse = find_curse(ranked, winner, ensemble, predictions, config) if winner else None
    effort = sum_up(trials, attempts, config, study.user_attrs.get("elapsed_s"))
    openings = read_openings(Paths(root).test_ledger, origins.data_digest)
    untried = untried_of(attempts, trials, config.baselines)
    chosen = values_of(find_trial(study, ranked[0].number), Space(config)) if ranked and ranked[0].values else {}
    return ReportFacts(
        study=config.name,
        metric=config.metric,
        validation_shift=config.validation_shift,
        sampler=config.sampler.type,
        pruner=config.pruner.type,
        headline=headline(winner, ensemble, effort, origins.submitted),
        verdict=verdict(winner, ensemble, curse, effort, openings),
        effort=effort,
        winner=winner,
        ensemble=ensemble,
        no_ensemble=no_ensemble,
        curse=curse,
        seeds=seed_noise(attempts),
        openings=openings,
        searched=tuple(searched_rows(config, chosen)),
        fixed=tuple(fixed_rows(config)),
        baselines=tuple(preset for preset in config.baselines if preset not in untried),
        untried=untried,
        trials=tuple(trials),
        columns=varied(trials),
        origins=origins,
    )
