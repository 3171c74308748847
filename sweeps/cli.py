"""The command line: verbs, and nothing else. A verb imports what it needs when it is called, so help comes at once."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.options import PATH, Section, Verbs, VerbWithNames, duration, options, refuse_beside, refuse_without, show
from sweeps.paths import Paths, project_root
from sweeps.workers.cores import one_thread

if TYPE_CHECKING:
    from mnistnn.data.dataset import Dataset
    from sweeps.config import StudyConfig

__all__ = ["main"]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Sweep NumPy networks over MNIST, track them, and average the best.

    STUDY is the name of a file in studies/, or a path to one. Results go to stdout, progress to stderr. The exit code
    is 0 when done, 1 when something failed, 2 when it cannot be done as asked, 130 after Ctrl-C.
    """
    one_thread()


@main.command()
@options("data_dir", "json", "quiet")
def data(data_dir: Path | None, as_json: bool, quiet: bool) -> None:
    """Find or fetch the data set and check it."""
    from mnistnn.data.dataset import describe

    dataset = _dataset(data_dir, quiet)
    counts = {"train": len(dataset.train_labels), "test": dataset.test_count}
    known = {"name": dataset.name, "path": str(dataset.path), "source": dataset.source, "digest": dataset.digest}
    _show(describe(dataset), known | counts, as_json)


def _presets() -> Sequence[Section]:
    from sweeps.single.names import presets

    return presets()


@main.command(cls=VerbWithNames, names=_presets)
@click.argument("preset")
@click.option("--epochs", type=int, metavar="N", help="Instead of the preset's.")
@click.option("--batch-size", type=int, metavar="B", help="Instead of the preset's.")
@click.option("--learning-rate", type=float, metavar="RATE", help="Instead of the preset's.")
@click.option("--name", help="What the net is called, here and in MLflow.  [default: the preset's name, numbered]")
@click.option("--message", "-m", default="", help="A description for MLflow.")
@click.option("--from", "start", metavar="MODEL", help="Begin with the weights of a .npz file or a trained net's name.")
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
    dataset = functools.partial(_dataset, data_dir, quiet)
    common: dict[str, Any] = {"dataset": dataset, "changes": changes, "seed": seed or 0, "say": _log(quiet)}
    if profile:
        from sweeps.single.profile import profile_net

        refuse_beside(ctx, "--profile", "epochs", "name", "message", "start", "test", "tracking_uri")
        found = profile_net(preset, steps=steps or 100, plain=plain, **common)
        _show(found.text(), found.to_dict(), as_json)
        return
    from sweeps.single.train import train_net

    refuse_without(ctx, "--profile", "steps", "plain")
    trained = train_net(preset, root=project_root(), progress=not quiet, **common, **chosen)
    _show(trained.text(), trained.to_dict(), as_json)


@main.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", type=PATH)
@click.option("--model", metavar="MODEL", help="A .npz file, a study's name (its ensemble) or a trained net's name.")
@options("json", "quiet")
def predict(images: Sequence[Path], model: str | None, as_json: bool, quiet: bool) -> None:
    """Print the digit on each image, and its probability.

    IMAGE is a PNG, a folder of PNGs, or any file of images that `submit` takes. Without --model the ensemble of the
    study `default` answers, else the net that was trained last.
    """
    from sweeps.single.predict import predict_files

    answers = predict_files(images, model, root=project_root(), echo=_log(quiet))
    _show("\n".join(map(str, answers)), [answer.to_dict() for answer in answers], as_json)


def _searchable() -> Sequence[Section]:
    from sweeps.single.names import searchable

    return searchable()


@main.command(cls=VerbWithNames, names=_searchable)
@click.argument("study")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one a usable core]")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="End this call after N more trials.")
@click.option("--timeout", "timeout_s", callback=duration, metavar="600|30m|2h", help="End this call after this time.")
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "json", "quiet")
def run(
    study: str, data_dir: Path | None, storage: str | None, overrides: Sequence[str], seed: int | None, **chosen: Any
) -> int:
    """Run a study, or go on with it.

    It ends with the budget in its file; a finished one says so. Ctrl-C stops at the next step; each trial goes on in
    the next call where its last whole epoch ended.
    """
    from sweeps.workers.supervisor import run_study

    as_json = chosen.pop("as_json")
    config = _study(study, overrides, seed)
    dataset = _dataset(data_dir, chosen["quiet"])
    summary = run_study(config, root=project_root(), dataset=dataset, storage_url=storage, **chosen)
    _show(str(summary), summary.to_dict(), as_json)
    return summary.exit_code


@main.command()
@click.argument("study")
@click.option("--csv", type=PATH, metavar="FILE", help="Write all columns to FILE.")
@options("storage", "json")
def trials(study: str, csv: Path | None, storage: str | None, as_json: bool) -> None:
    """Print a study's trials, best first."""
    from sweeps.study.storage import load_study
    from sweeps.views.trials import render, to_json, trials_frame, write_csv

    name = _study(study).name
    frame = trials_frame(load_study(name, storage, Paths(project_root()).study(name)))
    if csv is not None:
        write_csv(frame, csv)
    show(to_json(frame) if as_json else render(frame))


@main.command()
@click.argument("study")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="How many trials.  [default: the study's, 5]")
@click.option("--method", type=click.Choice(["mean", "greedy"]), help="How they are averaged.  [default: the study's]")
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "json", "quiet")
def ensemble(
    study: str,
    data_dir: Path | None,
    storage: str | None,
    overrides: Sequence[str],
    seed: int | None,
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> int:
    """Average a study's best trials.

    The members and their average are scored on validation and test images, and the average becomes the champion of
    MLflow's registered model sweeps-STUDY.
    """
    from sweeps.ensemble import as_text, build_ensemble

    config = _study(study, overrides, seed)
    chosen |= {"storage_url": storage, "echo": _log(quiet)}
    report = build_ensemble(config, root=project_root(), dataset=_dataset(data_dir, quiet), **chosen)
    _show(as_text(report), report.to_dict(), as_json)
    if report.untracked:
        click.echo(f"error: {report.untracked}", err=True)
    return 1 if report.untracked else 0


@main.command()
@click.argument("study")
@click.option("--input", type=PATH, metavar="FILE", help="Images.  [default: the test set]")
@click.option("--output", type=PATH, metavar="FILE", help="[default: submission.csv at the top]")
@click.option("--format", type=click.Choice(["kaggle", "digits"]), default="kaggle", show_default=True)
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "json", "quiet")
def submit(
    study: str,
    output: Path | None,
    data_dir: Path | None,
    storage: str | None,
    overrides: Sequence[str],
    seed: int | None,
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Write the answers of a study's ensemble for a contest.

    FILE may be IDX, .npy, .npz, whitespace text, Kaggle's CSV, a PNG or a folder of PNGs. A manifest beside the answers
    says what they were made from.
    """
    from sweeps.ensemble import write_submission

    chosen |= {"output": output or Paths(project_root()).submission, "storage_url": storage, "echo": _log(quiet)}
    find = functools.partial(_dataset, data_dir, quiet)
    manifest = write_submission(_study(study, overrides, seed), root=project_root(), dataset=find, **chosen)
    text = f"submission  {chosen['output']}\nmanifest    {manifest}"
    _show(text, json.loads(manifest.read_text(encoding="utf-8")), as_json)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="[default: a free one]")
@click.option("--open", "open_browser", is_flag=True, help="Open a browser on it.")
@options("tracking_uri")
def ui(port: int | None, open_browser: bool, tracking_uri: str | None) -> None:
    """Serve MLflow's pages to this machine only."""
    from sweeps.tracking.store import resolve_uri
    from sweeps.tracking.ui import serve

    root = project_root()
    serve(resolve_uri(tracking_uri, root), root, port=port, open_browser=open_browser)


def _dataset(data_dir: Path | None, quiet: bool) -> Dataset:
    from mnistnn.data.sources import find_dataset

    return find_dataset(data_dir, cache=Paths(project_root()).data, progress=not quiet)


def _study(name: str, overrides: Sequence[str] = (), seed: int | None = None) -> StudyConfig:
    from sweeps.config import load_study

    changes = [*overrides, *([f"study.seed={seed}"] if seed is not None else [])]
    return load_study(name, root=project_root(), overrides=changes)


def _log(quiet: bool) -> Any:
    def log(line: str) -> None:
        if not quiet or line.startswith("warning:"):
            click.echo(line, err=True)

    return log


def _show(text: str, values: Any, as_json: bool) -> None:
    show(json.dumps(values, indent=2, ensure_ascii=False, default=str) if as_json else text)
