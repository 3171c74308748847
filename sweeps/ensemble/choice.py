"""Which trials make up an ensemble, and how much each counts: chosen by images that trained none of them.

No function here sees a test image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnistnn.metrics import cross_entropy
from mnistnn.types import Floats, Ints
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.carried import Carried, carry_over
from sweeps.ensemble.evaluate import Interval, loss_gain
from sweeps.ensemble.evidence import Evidence, join
from sweeps.ensemble.members import Member, in_order, load_network
from sweeps.ensemble.methods import MethodScore, weigh
from sweeps.ensemble.outside import read_outside
from sweeps.ensemble.pools import Source, calibrated_loss, pool_of, searched
from sweeps.ensemble.predictions import Predictions
from sweeps.ensemble.selection import check_method
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.ensemble.views import predict
from sweeps.paths import StudyPaths

if TYPE_CHECKING:
    import optuna

    from mnistnn.data import Dataset
    from sweeps.config import StudyConfig

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was chosen, and by what.

    Attributes:
        ensemble: the members, their weights and the temperature.
        method: how they were weighed.
        evidence: the members' outputs for images that they were not trained on.
        considered: how many of the best trials there were to choose from.
        finished: how many trials had finished.
        stage: "search" or "final": where the members come from; "mixed" if from both, or from outside.
        scores: what each way of weighing is worth.
        tta_gain: by how much views lower the loss; None without them.
        is_named: whether the trials were named, and not the best taken.
        carried: how the temperature was carried over from the search; None where it was fitted on the evidence.
    """

    ensemble: Ensemble
    method: str
    evidence: Evidence
    considered: int
    finished: int
    stage: str
    scores: tuple[MethodScore, ...] = ()
    tta_gain: Interval | None = None
    is_named: bool = False
    carried: Carried | None = None


def choose(
    study: optuna.Study,
    config: StudyConfig,
    paths: StudyPaths,
    *,
    top: int | None = None,
    method: str | None = None,
    dataset: Dataset | None = None,
    stage: str = "auto",
    compare: bool = False,
    others: Sequence[Source] = (),
    numbers: Mapping[str, Sequence[int]] | None = None,
    add: Sequence[Path] = (),
    tta: int = 0,
    snapshots: bool = False,
    keep: bool = True,
) -> Choice:
    """Chooses and weighs members by what they predicted for images that they were not trained on.

    Members are ranked by their loss after a temperature of their own: the loss as it is would punish who was trained
    with smoothed labels, which the ensemble's temperature mends. Members of a final stage were judged by other images
    each, and are ranked as `in_order` says.

    Args:
        study: whose trials.
        config: the study's.
        paths: the study's.
        top: how many of the best trials to take, of each study; by default its `ensemble.top`, or as many as there are,
            and of the final stage all.
        method: "mean", "weighted", "greedy" or "auto"; by default the study's.
        dataset: what the members must have been run on; without it they only must agree.
        stage: "search" takes the trials of the search, "final" those of the final stage, "auto" the latter if there are
            any.
        compare: whether to score all ways of weighing even where one was named.
        others: more studies that members come from.
        numbers: the trials to take instead of the best, by their studies' names.
        add: files of models from outside; they and `tta` need the data set.
        tta: by how many pixels to shift for the views that members average; 0 for none.
        snapshots: whether what the chosen trials were at the ends of earlier cycles are members too.
        keep: whether to keep copies of the files of `add`, as an ensemble needs them.

    Raises:
        ConfigError: there is no such method.
        StudyError: no trial finished, or fewer than `top` did, or one of `numbers` did not.
        CheckpointError: a member's predictions are missing or damaged, or are for other images.
        DataError: a file of `add` cannot be used.
    """
    method = check_method(method or config.ensemble.method)
    own = Source(study, config, paths)
    pools = [pool_of(each, dataset, stage, top, numbers, snapshots) for each in (own, *others)]
    found = [
        (replace(member, study="" if each.name == config.name else each.name), said)
        for each in pools
        for member, said in zip(each.members, each.predictions, strict=True)
    ]
    stages = {each.stage for each in pools if each.members}
    for number, path in enumerate(add):
        assert dataset is not None  # for mypy: only `ensemble` adds, and has one
        member, said = read_outside(path, number, paths, dataset, keep=keep)
        found.append((replace(member, calibrated_loss=calibrated_loss(said)), said))
        stages.add("mixed")
    if others or add:  # a study's own are in their order already
        said_by = dict(found)
        found = [(member, said_by[member]) for member in in_order(said_by, by_network=stages == {"final"})]
    members, plain = [member for member, _ in found], [said for _, said in found]
    seen = [_with_views(*each, paths, dataset, tta) for each in found] if tta else plain
    evidence = join(seen)
    weighing = weigh(evidence, method, compare=compare)
    kept = [index for index, weight in enumerate(weighing.weights) if weight > 0]
    weights = tuple(float(weighing.weights[i]) for i in kept)
    evidence = evidence.of(kept)
    probs = evidence.combine(weights)
    carried = carry_over(evidence, lambda count: searched(own, dataset, count))
    temperature = fit_temperature(evidence.labels, probs) if carried is None else carried.temperature
    return Choice(
        Ensemble(
            config.name,
            tuple(_with_loss(members[i], *evidence.member(place)) for place, i in enumerate(kept)),
            weights,
            paths,
            temperature,
            tta,
        ),
        weighing.method,
        evidence,
        len(members),
        sum(each.finished for each in pools),
        stages.pop() if len(stages) == 1 else "mixed",
        weighing.scores,
        _gain(evidence, probs, join([plain[i] for i in kept]).combine(weights)) if tta else None,
        numbers is not None,
        carried,
    )


def _with_loss(member: Member, labels: Ints, probs: Floats) -> Member:
    """Returns a member with the loss that its trial did not record: one of the final stage is not validated."""
    return member if math.isfinite(member.val_loss) else replace(member, val_loss=cross_entropy(labels, probs))


def _with_views(member: Member, said: Predictions, paths: StudyPaths, dataset: Dataset | None, tta: int) -> Predictions:
    """Lets a member answer again for the images that it was not trained on, now by the mean over shifted views."""
    if member.outside:  # of which nobody has the network
        return said
    assert dataset is not None  # for mypy: only `ensemble` asks for views, and has one
    return replace(said, probs=predict(load_network(member, paths), dataset.train_images[said.indices], tta))


def _gain(evidence: Evidence, ours: Floats, plain: Floats) -> Interval:
    """Returns by how much the loss of `ours` is lower than that of `plain`, each after a temperature."""
    labels = evidence.labels
    return loss_gain(labels, *(tempered(probs, fit_temperature(labels, probs)) for probs in (ours, plain)))
