"""What a chosen ensemble is worth: on the images that chose it, and on the test images, which are opened for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mnistnn.data import Dataset
from mnistnn.types import Floats, Ints
from sweeps.ensemble.carried import temperature_here
from sweeps.ensemble.choice import Choice
from sweeps.ensemble.evaluate import accuracy_gain, confusion_matrix, loss_gain, score
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.outside import TEST
from sweeps.ensemble.probs import PROBS, save_probs
from sweeps.ensemble.record import EnsembleReport, Gain, Scored, Scores
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.provenance import commit, versions

__all__ = ["counted", "evaluate"]


def evaluate(chosen: Choice, dataset: Dataset, folder: Path, ledger: Path) -> EnsembleReport:
    """Scores members and ensemble. This opens the test images, now that nothing is left to choose.

    What a record has of the choice beside these scores, an older one gets too: `build_ensemble` puts it in.

    Args:
        chosen: the ensemble, and what it was chosen by.
        dataset: what it was run on.
        folder: where its predictions are written.
        ledger: where the opening is noted.
    """
    ensemble, evidence = chosen.ensemble, chosen.evidence
    test = dataset.open_test(f"ensemble of study {ensemble.study}", ledger)
    test_probs = list(ensemble.member_probs(test.images, TEST))
    labels, val = evidence.labels, evidence.combine(ensemble.weights)
    val = tempered(val, temperature_here(ensemble.temperature, chosen.carried, labels, val))
    ours = ensemble.combine(test_probs)
    save_probs(
        folder / PROBS,
        ensemble=ensemble.digest,
        data=dataset.digest,
        val=(val, labels),
        test=(ours, test.labels),
        indices=evidence.indices,
        evidence=evidence if ensemble.tta else None,  # who reads of it need not let all members answer again
    )
    alone = [evidence.member(index) for index in range(len(ensemble.members))]
    # The best member gets a temperature too, or the gain in loss would be the ensemble's temperature's.
    own = fit_temperature(*alone[0])
    members = tuple(
        Scored(member, weight, Scores(score(*on_val), score(test.labels, on_test)))
        for member, weight, on_val, on_test in zip(ensemble.members, ensemble.weights, alone, test_probs, strict=True)
    )
    return EnsembleReport(
        study=ensemble.study,
        method=chosen.method,
        considered=chosen.considered,
        finished=chosen.finished,
        members=members,
        scores=Scores(score(labels, val), score(test.labels, ours)),
        val_gain=_gain(alone[0][0], val[evidence.seen[0]], tempered(alone[0][1], own)),
        test_gain=_gain(test.labels, ours, tempered(test_probs[0], own)),
        confusion=tuple(tuple(map(int, row)) for row in confusion_matrix(test.labels, ours)),
        test_openings=test.openings,
        data={
            "name": dataset.name,
            "digest": dataset.digest,
            "validation_images": len(labels),
            "test_images": len(test.labels),
        },
        digest=ensemble.digest,
        versions=versions(),
        commit=commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        temperature=ensemble.temperature,
        tta=ensemble.tta,
    )


def counted(members: Sequence[Scored], evidence: Evidence) -> tuple[Scored, ...]:
    """Returns members with the number of images that each of them was judged by, which old records do not have."""
    counts = evidence.seen.sum(axis=1)
    return tuple(replace(each, images=int(count)) for each, count in zip(members, counts, strict=True))


def _gain(labels: Ints, ours: Floats, best: Floats) -> Gain:
    return Gain(accuracy_gain(labels, ours, best), loss_gain(labels, ours, best))
