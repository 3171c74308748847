"""Training a trial again, by the code that a worker trains it by, and comparing."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.checkpoint import save_checkpoint
from mnistnn.data import Dataset
from mnistnn.errors import Diverged
from mnistnn.training import EpochMetrics
from sweeps.care.replay.keep import broken_files, put_back
from sweeps.care.replay.record import DIVERGED, Record, read_record, state_of
from sweeps.care.replay.report import Difference, Replay
from sweeps.errors import StudyError
from sweeps.paths import Paths
from sweeps.provenance import changes
from sweeps.study.bench import build_trainer
from sweeps.study.checkpoints import FINAL
from sweeps.study.lineage import train_stages
from sweeps.study.member import judge
from sweeps.study.results import write_results
from sweeps.study.snapshots import write_snapshot
from sweeps.study.storage import load_study
from sweeps.study.validation import OBJECTIVE, shifted_images

__all__ = ["replay_trial"]


def replay_trial(
    name: str,
    number: int,
    *,
    root: Path,
    dataset: Dataset,
    storage_url: str | None = None,
    keep: bool = False,
    progress: bool = True,
) -> Replay:
    """Trains a trial again from its record, and compares its curve and its weights with what is recorded.

    The study, the trial's folder and MLflow are left as they are.

    Args:
        name: the study's name.
        number: the number that the trial began under, which people know it by.
        root: the project's folder.
        dataset: what the study was run on.
        storage_url: where the trials are; by default the study's own journal.
        keep: put what came out where the trial's files are missing or damaged, if it is the same.
        progress: show a bar of the epochs.

    Raises:
        StudyError: there is no such trial, it has not ended, or the study was run on other data.
        OutputError: the files cannot be put back.
    """
    began = time.monotonic()
    paths = Paths(root).study(name)
    record = read_record(load_study(name, storage_url, paths), paths, number)
    if record.data_digest not in (None, dataset.digest):
        raise StudyError(
            f"a trial must be replayed on the data that it was trained on (digest {str(record.data_digest)[:12]}), but "
            f"got other data ({dataset.digest[:12]}); name the same --data-dir."
        )
    with tempfile.TemporaryDirectory(prefix="replay-") as temporary:
        made = Path(temporary)
        outcome = _train(record, dataset, made, progress)
        found = Replay(
            study=record.study,
            number=number,
            state=record.state,
            epochs=record.epochs,
            difference=_compare(record, outcome.history),
            reason=record.reason,
            replayed_reason=_reason(record, outcome),
            weights_sha256=record.weights_sha256,
            replayed_sha256=outcome.weights_sha256,
            same_state=_same_state(record, made),
            changed=changes(record.made_by),
            is_known=bool(record.made_by),
            remarks=tuple(record.remarks),
            broken=tuple(broken_files(record, made)),
            kept=(),
            seconds=time.monotonic() - began,
        )
        return put_back(found, record, paths, made) if keep else found


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a training: its whole epochs, the digest of its weights, and why it diverged."""

    history: list[EpochMetrics]
    weights_sha256: str | None
    diverged: str


def _train(record: Record, dataset: Dataset, folder: Path, progress: bool) -> _Outcome:
    """Trains as far as the trial went, and writes into `folder` what the trial left in its own."""
    from threadpoolctl import threadpool_limits
    from tqdm import tqdm

    if record.fold is None:
        train, validation = dataset.split(record.split_seed)
        shifted = shifted_images(validation, record.validation_shift, record.split_seed)
    else:  # no epoch is chosen by the images that it left out
        (train, validation), shifted = dataset.fold(*record.fold), None
    chosen_by = validation if record.fold is None else None
    trainer = build_trainer(record.recipe, record.seed, train, chosen_by, monitor=record.monitor, shifted=shifted)
    epochs = train_stages(trainer, record.stages)
    diverged = ""
    hidden = None if progress else True  # None: tqdm itself looks for the terminal
    bar = tqdm(total=record.epochs, unit="epoch", desc=f"trial {record.number}", disable=hidden)
    with bar, threadpool_limits(1):  # as a worker has it: two threads of a BLAS add in another order
        try:
            for metrics in epochs:
                if metrics.epoch <= record.epochs:
                    bar.update()
                if metrics.epoch in record.snapshots:  # an extension has none of what it goes on with
                    write_snapshot(folder, trainer, record.recipe, validation, record.identity)
                if metrics.epoch == record.epochs:
                    save_checkpoint(folder / FINAL, trainer)
                if metrics.epoch >= record.epochs + record.has_diverged:  # that was within the next epoch
                    break
            if record.fold is not None:
                judge(trainer, validation, record.monitor)
        except Diverged as error:
            diverged = f"{DIVERGED}{error}"
        digest = None
        if record.weights_sha256 is not None and not diverged:
            if record.fold is None:
                trainer.restore_best()
            _, digest = write_results(folder, trainer, record.recipe, validation, record.identity)
    return _Outcome(trainer.history, digest, diverged)


def _reason(record: Record, outcome: _Outcome) -> str:
    """Returns why the trial ended now: as recorded, unless one of the two trainings diverged and the other did not."""
    return outcome.diverged if outcome.diverged or record.has_diverged else record.reason


def _compare(record: Record, history: list[EpochMetrics]) -> Difference | None:
    """Returns the first value that came out otherwise."""
    replayed: dict[int, dict[str, Any]] = {
        metrics.epoch: asdict(metrics) | {OBJECTIVE: metrics.value(record.monitor)} for metrics in history
    }
    odd = [point for point in record.curve if not _is_same(point.value, replayed.get(point.epoch, {}).get(point.name))]
    if not odd:
        return None
    first = min(odd, key=lambda point: point.epoch)
    now = replayed.get(first.epoch, {}).get(first.name)
    return Difference(first.epoch, first.name, first.value, first.source, now, len({point.epoch for point in odd}))


def _is_same(recorded: float, replayed: float | None) -> bool:
    return replayed is not None and (recorded == replayed or (math.isnan(recorded) and math.isnan(replayed)))


def _same_state(record: Record, made: Path) -> bool | None:
    """Returns whether the state that the trial kept, if it is there and whole, came out again."""
    kept = state_of(record.folder / FINAL)
    return None if kept is None else kept == state_of(made / FINAL)
