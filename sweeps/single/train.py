"""One training outside a study, kept in a folder of its name and tracked in MLflow."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data.dataset import Dataset
from mnistnn.errors import CheckpointError, Diverged
from mnistnn.metrics import accuracy, cross_entropy
from mnistnn.network import Network, child_seed
from mnistnn.recipe import Recipe
from mnistnn.registry import augmentation, optimizer, schedule
from mnistnn.training import EpochMetrics, Trainer
from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.single.kept import FILES, Trained, check_name, claim_folder, keep
from sweeps.single.models import weights_path
from sweeps.single.recipe import changed_preset
from sweeps.tracking.address import check_reachable, resolve_uri
from sweeps.tracking.cursor import pending_events
from sweeps.tracking.environment import environment_tags
from sweeps.tracking.events import TrialLog
from sweeps.tracking.store import TRAIN_EXPERIMENT
from sweeps.workers.signals import interrupting

__all__ = ["train_net"]

Say = Callable[[str], object]


def train_net(
    preset_name: str,
    *,
    root: Path,
    dataset: Callable[[], Dataset],
    changes: Mapping[str, Any] | None = None,
    name: str | None = None,
    message: str = "",
    start: str | None = None,
    test: bool = False,
    tracking_uri: str | None = None,
    seed: int = 0,
    progress: bool = True,
    say: Say = print,
) -> Trained:
    """Trains a preset, keeps its best epoch, and tracks it.

    Args:
        preset_name: the network and its recipe.
        root: the project's folder.
        dataset: gives the data set, once everything else is seen to be right.
        changes: to the recipe: `epochs`, `batch_size`, `learning_rate`; None leaves one as it is.
        name: what the net is called; by default as the preset, with a number.
        message: a description.
        start: the file or the trained net whose weights to begin with.
        test: whether to open the test images at the end.
        tracking_uri: MLflow's store; by default the project's own.
        seed: what weights, shuffling, dropout and augmentation derive from.
        progress: whether to show a bar.
        say: takes each line of the log.

    Raises:
        InputError: something cannot be used; nothing was written.
        Diverged: the loss stopped being a finite number; the run is tracked as failed.
    """
    recipe = changed_preset(preset_name, changes or {})
    weights = None if start is None else weights_path(start, root)
    network = _network(recipe, seed, weights, preset_name)
    split_seed = 0 if weights is None else _split_seed(weights)
    check_name(Paths(root).trained, name)
    uri = resolve_uri(tracking_uri, root)
    check_reachable(uri)
    data = dataset()
    train, validation = data.split(split_seed)
    folder = claim_folder(Paths(root).trained, name, preset_name)
    say(network.summary())
    say(f"training {folder.name} on {data.name}: {len(train):,} images, {len(validation):,} to validate on")
    trainer = Trainer(network, recipe.training, train, validation, seed=child_seed(seed, 1))
    origin = {"preset": preset_name, "seed": seed, "split_seed": split_seed, "from": start}
    known = {"name": data.name, "digest": data.digest, "source": str(data.path)}
    with TrialLog(folder) as log:
        log.start(
            folder.name,
            {**origin, **_plain(recipe)},
            {**environment_tags(), "data_digest": data.digest, "message": message or None},
            [
                {**known, "rows": len(train), "context": "training"},
                {**known, "rows": len(validation), "context": "validation"},
            ],
            metrics={"params_count": network.param_count, "macs": network.macs},
            note=message,
        )
        try:
            with interrupting():
                for metrics in _follow(trainer, len(train), progress):
                    log.epoch(metrics.epoch, _curves(metrics))
                    say(_line(metrics, recipe.training.epochs))
            trainer.restore_best()
            trained = keep(folder, root, trainer, recipe, origin)
            if test:
                trained = _test(trained, network, data, Paths(root))
            for file in FILES:
                log.artifact(file)
            log.end("COMPLETE", metrics=_results(trained))
        except (Diverged, KeyboardInterrupt) as error:
            log.end("FAIL", reason=str(error) or "interrupted")
            _ship(uri, root, folder, say)
            raise
    return replace(trained, run_id=_ship(uri, root, folder, say))


def _network(recipe: Recipe, seed: int, weights: Path | None, preset_name: str) -> Network:
    network = Network(recipe.network, batch_size=recipe.training.batch_size, seed=child_seed(seed, 0))
    if weights is not None:
        source = load_model(weights, batch_size=1)
        if source.spec != network.spec:
            raise CheckpointError(
                f"--from must name weights of the same network as preset {preset_name!r}, but {weights} holds another; "
                "name the preset that they were trained with."
            )
        network.restore(source.snapshot())
    return network


def _split_seed(weights: Path) -> int:
    """Returns the seed that parted the images for the net that `weights` are of.

    The images to validate on stay the same whatever the new net's own seed is: it must not have seen them before.
    """
    extra = read_header(weights).get("extra", {})
    found = extra.get("seed" if "study" in extra else "split_seed", 0)
    return found if isinstance(found, int) and found >= 0 else 0


def _follow(trainer: Trainer, images: int, progress: bool) -> Iterator[EpochMetrics]:
    """Runs a training under a bar of its steps, where there is a terminal to draw it on."""
    from tqdm import tqdm

    steps = trainer.spec.epochs * math.ceil(images / trainer.spec.batch_size)
    hidden = None if progress else True  # None: tqdm itself looks for the terminal
    with tqdm(total=steps, unit="step", leave=False, dynamic_ncols=True, disable=hidden) as bar:

        def count() -> bool:
            bar.update()
            return False

        for metrics in trainer.fit(count):
            with bar.external_write_mode(file=sys.stderr):
                yield metrics


def _curves(metrics: EpochMetrics) -> dict[str, float | None]:
    """Returns an epoch's metrics under the names that trials use too."""
    values = asdict(metrics)
    del values["epoch"]
    return {"epoch_seconds": values.pop("seconds"), **values}


def _line(metrics: EpochMetrics, epochs: int) -> str:
    validated = ""
    if metrics.val_loss is not None:
        validated = f"  val_loss {metrics.val_loss:.4f}  val_acc {metrics.val_accuracy:.4f}"
    return (
        f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}  loss {metrics.train_loss:.4f}  "
        f"acc {metrics.train_accuracy:.4f}{validated}  {metrics.seconds:.1f} s"
    )


def _test(trained: Trained, network: Network, data: Dataset, paths: Paths) -> Trained:
    """Opens the test images, which counts, and scores the net on them."""
    opened = data.open_test(f"train --test {trained.name}", paths.test_ledger)
    probs = network.predict_proba(opened.images)
    return replace(
        trained,
        test_loss=cross_entropy(opened.labels, probs),
        test_accuracy=accuracy(opened.labels, probs),
        test_openings=opened.openings,
    )


def _results(trained: Trained) -> dict[str, float | None]:
    return {
        "best_epoch": trained.best_epoch,
        "best_val_loss": trained.val_loss,
        "best_val_accuracy": trained.val_accuracy,
        "test_loss": trained.test_loss,
        "test_accuracy": trained.test_accuracy,
        "test_openings": trained.test_openings,
    }


def _ship(uri: str, root: Path, folder: Path, say: Say) -> str | None:
    """Delivers the run to MLflow, and what earlier calls could not deliver.

    A store that has gone away meanwhile takes nothing from the net that is saved.
    """
    from sweeps.tracking.shipper import ship_folder

    try:
        run_id = ship_folder(uri, root, TRAIN_EXPERIMENT, folder)
        for other in folder.parent.iterdir():
            if pending_events(other) and TrialLog.has_ended(other):  # the store was away when it ended
                ship_folder(uri, root, TRAIN_EXPERIMENT, other)
        return run_id
    except TrackingError as error:
        say(f"warning: not tracked: {error}")
        return None


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Returns the training's choices under the plain names that trials use too."""
    training = recipe.training
    chosen = optimizer.to_dict(training.optimizer)
    kind = chosen.pop("type")
    augment = [augmentation.to_dict(spec) for spec in training.augment]
    return {
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "optimizer": kind,
        "learning_rate": chosen.pop("learning_rate"),
        **{f"{kind}.{key}": value for key, value in chosen.items()},
        "schedule": schedule.name_of(training.schedule),
        "label_smoothing": training.label_smoothing,
        **{f"{spec['type']}.{key}": value for spec in augment for key, value in spec.items() if key != "type"},
    }
