"""Verbs on data and single nets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sweeps.cli.completion import MODEL, PRESET
from sweeps.cli.options import (
    PATH,
    Section,
    VerbWithNames,
    find_data,
    log_to,
    options,
    refuse_beside,
    refuse_without,
    show_as,
)
from sweeps.paths import project_root

__all__ = ["data", "predict", "train"]


@click.command()
@options("data_dir", "json", "quiet")
def data(data_dir: Path | None, as_json: bool, quiet: bool) -> None:
    """Find or fetch the data set and check it."""
    from mnistnn.data.dataset import describe

    dataset = find_data(data_dir, quiet)
    counts = {"train": len(dataset.train_labels), "test": dataset.test_count}
    known = {"name": dataset.name, "path": str(dataset.path), "source": dataset.source, "digest": dataset.digest}
    show_as(describe(dataset), known | counts, as_json)


def _presets() -> Sequence[Section]:
    from sweeps.single.names import presets

    return presets()


@click.command(cls=VerbWithNames, names=_presets)
@click.argument("preset", type=PRESET)
@click.option("--epochs", type=int, metavar="N", help="Instead of the preset's.")
@click.option("--batch-size", type=int, metavar="B", help="Instead of the preset's.")
@click.option("--learning-rate", type=float, metavar="RATE", help="Instead of the preset's.")
@click.option("--name", help="What the net is called, here and in MLflow.  [default: the preset's name, numbered]")
@click.option("--message", "-m", default="", help="A description for MLflow.")
@click.option(
    "--from",
    "start",
    type=MODEL,
    metavar="MODEL",
    help="Begin with the weights of a .npz file or a trained net's name.",
)
@click.option("--test", is_flag=True, help="Open the test images at the end, and count that.")
@click.option("--profile", is_flag=True, help="Show where a step's time goes, layer by layer; keep and track nothing.")
@click.option("--steps", type=click.IntRange(1, 10_000), metavar="N", help="How many to profile.  [default: 100]")
@click.option("--plain", is_flag=True, help="Profile the layers one by one, not the fused plan over them.")
@options("data_dir", "tracking_uri", "seed", "json", "quiet")
@click.pass_context
def train(
    ctx: click.Context,
    /,
    preset: str,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    data_dir: Path | None,
    seed: int | None,
    as_json: bool,
    quiet: bool,
    profile: bool,
    steps: int | None,
    plain: bool,
    **chosen: Any,
) -> None:
    """Train one net outside a study.

    PRESET is a network with its recipe. The best epoch is kept, and all of it is tracked in MLflow.
    """
    changes = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    dataset = functools.partial(find_data, data_dir, quiet)
    common: dict[str, Any] = {"dataset": dataset, "changes": changes, "seed": seed or 0, "say": log_to(quiet)}
    if profile:
        from sweeps.single.profile import profile_net

        refuse_beside(ctx, "--profile", "epochs", "name", "message", "start", "test", "tracking_uri")
        found = profile_net(preset, steps=steps or 100, plain=plain, **common)
        show_as(found.text(), found.to_dict(), as_json)
        return
    from sweeps.single.train import train_net

    refuse_without(ctx, "--profile", "steps", "plain")
    trained = train_net(preset, root=project_root(), progress=not quiet, **common, **chosen)
    show_as(trained.text(), trained.to_dict(), as_json)


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=PATH)
@click.option(
    "--model", type=MODEL, metavar="MODEL", help="A .npz file, a study's name (its ensemble) or a trained net's name."
)
@click.option(
    "--as-mnist", is_flag=True, help="Invert, scale and centre the images as MNIST was made; photos of any size too."
)
@options("json", "quiet")
def predict(images: Sequence[Path], model: str | None, as_mnist: bool, as_json: bool, quiet: bool) -> None:
    """Print the digit on each image, and its probability.

    IMAGE is a PNG or a JPEG, a folder of these, or any file of images that `submit` takes. A line warns of images that
    are blank, or dark on light. Without --model the ensemble of the study `default` answers, else the net that was
    trained last.
    """
    from sweeps.single.predict import predict_files

    answers = predict_files(images, model, root=project_root(), as_mnist=as_mnist, echo=log_to(quiet))
    show_as("\n".join(map(str, answers)), [answer.to_dict() for answer in answers], as_json)
