"""Verbs on a study's ensemble and its submission to a contest."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli.completion import STUDY
from sweeps.cli.hints import by_make, show_next
from sweeps.cli.options import PATH, find_data, log_to, options, read_study, refuse_beside, refuse_without, show_as
from sweeps.paths import Paths, project_root

if TYPE_CHECKING:
    from sweeps.ensemble.record import EnsembleReport

__all__ = ["ensemble", "robustness", "submit", "verify"]


def _members(ctx: click.Context, param: click.Parameter, value: str | None) -> list[tuple[str, int]] | None:
    """Returns studies ("" for the first one) and numbers of trials that 3,17,other:4 means."""
    if value is None or ctx.resilient_parsing:
        return None
    found = []
    for part in value.split(","):
        study, _, number = part.strip().rpartition(":")
        if not number.isdecimal() or len(number) > _DIGITS:
            raise click.BadParameter(f"{part.strip()!r} is no trial's number, like 17 or night:17.")
        found.append((study, int(number)))
    if len(set(found)) < len(found):
        raise click.BadParameter("each trial must be named once.")
    return found


_DIGITS = 9  # as many as a trial's number can have


@click.command()
@click.argument("studies", metavar="STUDY [STUDY]...", nargs=-1, required=True, type=STUDY)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="How many trials, of each study; of a final stage, whose members were judged by other images each, the best "
    "network's first.  [default: the study's, 5; of a final stage all]",
)
@click.option(
    "--members",
    callback=_members,
    metavar="N,N,...",
    help="These trials, and not the best; night:17 is of another study named here.",
)
@click.option(
    "--add",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="A model from outside: an .npz of `val` (N, 10) for training images `indices` (N,) that it did not learn, and "
    "`test` (10000, 10). Without its network, `predict` and `robustness` have no answer from an ensemble with it.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "mean", "weighted", "greedy"]),
    help="How they are averaged; auto takes the mean unless another is better for sure.  [default: the study's, auto]",
)
@click.option(
    "--stage",
    type=click.Choice(["auto", "search", "final"]),
    default="auto",
    help="Whose members: the final stage's, if there are any, or the search's.",
)
@click.option(
    "--tta",
    type=click.IntRange(0, 4),
    metavar="PIXELS",
    help="Let members average five views: an image, and it shifted so far in four directions.  [default: the study's]",
)
@click.option(
    "--snapshots/--no-snapshots",
    default=None,
    help="Take in what the trials were at the ends of earlier cycles of a cosine.  [default: the study's, no]",
)
@click.option(
    "--no-test",
    is_flag=True,
    help="Only show what would be chosen and what it is worth by the images that choose: save nothing, and leave the "
    "test images closed.",
)
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "pictures", "json", "quiet")
@click.pass_context
def ensemble(
    ctx: click.Context,
    /,
    studies: Sequence[str],
    members: list[tuple[str, int]] | None,
    no_test: bool,
    data_dir: Path | None,
    storage: str | None,
    tracking_uri: str | None,
    overrides: Sequence[str],
    seed: int | None,
    pictures: bool,
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> int:
    """Average a study's best trials.

    The members and their average are scored on validation and test images, and the average becomes the champion of
    MLflow's registered model sweeps-STUDY. Of several studies, run on the same data, it is the first one's.
    """
    from sweeps.ensemble import as_text, build_ensemble, choose_members, preview

    if members is not None:
        refuse_beside(ctx, "--members", "top", "stage")
    if no_test:
        refuse_beside(ctx, "--no-test", "tracking_uri", "pictures")
    first, *more = studies
    config = read_study(first, overrides, seed)
    others = [read_study(name) for name in more]
    chosen |= {"others": others, "numbers": _by_study(members, config.name, [each.name for each in others])}
    root, dataset, say = project_root(), find_data(data_dir, quiet), log_to(quiet)
    chosen |= {"root": root, "dataset": dataset, "storage_url": storage}
    if no_test:
        found = preview(choose_members(config, keep=False, **chosen)[0])
        show_as(found.text(), found.to_dict(), as_json)
        return 0

    def draw(report: EnsembleReport, folder: Path) -> Sequence[str]:
        from sweeps.views.pictures.kept import keep_ensemble_pictures  # when there is something to draw

        paths = Paths(root).study(config.name)
        return keep_ensemble_pictures(report, paths, dataset, folder, seed=config.seed, say=say)

    chosen |= {"tracking_uri": tracking_uri, "draw": draw if pictures else None, "echo": say}
    report = build_ensemble(config, **chosen)
    show_as(as_text(report), report.to_dict(), as_json)
    if report.untracked:
        click.echo(f"error: {report.untracked}", err=True)
    return 1 if report.untracked else 0


def _by_study(members: list[tuple[str, int]] | None, first: str, others: Sequence[str]) -> dict[str, list[int]] | None:
    """Returns the chosen trials by their studies' names.

    Raises:
        UsageError: a study is named twice, or has members and is not named.
    """
    names = [first, *others]
    if len(set(names)) < len(names):
        raise click.UsageError(f"each study must be named once, but got {', '.join(names)}")
    if members is None:
        return None
    found: dict[str, list[int]] = {name: [] for name in names}
    for study, number in members:
        if (study or first) not in found:
            raise click.UsageError(
                f"--members must be of a study that is named, but got {study}:{number}; name {study} too"
            )
        found[study or first].append(number)
    return found


@click.command()
@click.argument("study", type=STUDY)
@click.option("--test", is_flag=True, help="Take the test images, when nothing is left to choose; it is counted.")
@click.option("--images", "most", type=click.IntRange(min=10), metavar="N", help="Take N of them.  [default: all]")
@options("data_dir", "tracking_uri", "overrides", "seed", "pictures", "json", "quiet")
def robustness(
    study: str,
    test: bool,
    data_dir: Path | None,
    overrides: Sequence[str],
    seed: int | None,
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Try a study's ensemble on changed images.

    It and its members answer for the validation images shifted, turned, scaled, thick, thin, noisy, blurred and
    occluded, and for digits of another source. An ensemble that was tried before is not tried again.
    """
    from sweeps.views.robustness import try_ensemble

    config = read_study(study, overrides, seed)
    chosen |= {"root": project_root(), "seed": config.seed, "test": test, "echo": log_to(quiet)}
    found = try_ensemble(config.name, dataset=find_data(data_dir, quiet), **chosen)
    show_as(found.text(), found.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.option("--input", type=PATH, metavar="FILE", help="Images.  [default: the test set]")
@click.option("--output", type=PATH, metavar="FILE", help="[default: submission.csv at the top]")
@click.option("--format", type=click.Choice(["kaggle", "digits"]), default="kaggle", show_default=True)
@click.option("--as-mnist", is_flag=True, help="Invert, scale and centre the images as MNIST was made.")
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "json", "quiet")
@click.pass_context
def submit(
    ctx: click.Context,
    /,
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

    FILE may be IDX, .npy, .npz, whitespace text, Kaggle's CSV, a PNG or a folder of PNGs. A line warns of each way in
    which its images are unlike the training images. A manifest beside the answers says what they were made from, and
    `verify` makes them again from it.
    """
    from sweeps.ensemble import write_submission

    if chosen["as_mnist"] and chosen["input"] is None:
        refuse_without(ctx, "--input", "as_mnist")
    chosen |= {"output": output or Paths(project_root()).submission, "storage_url": storage, "echo": log_to(quiet)}
    find = functools.partial(find_data, data_dir, quiet)
    config = read_study(study, overrides, seed)
    manifest = write_submission(config, root=project_root(), dataset=find, **chosen)
    text = f"submission  {chosen['output']}\nmanifest    {manifest}"
    show_as(text, json.loads(manifest.read_text(encoding="utf-8")), as_json)
    if by_make() and not (as_json or quiet):  # the last step of `make sweep`
        show_next(config.name, _NEXT)


_NEXT = {
    "report": "writes what came of the study into one HTML file",
    "ui": "opens MLflow on all trials",
    "serve": "lets you draw digits for the ensemble",
}


@click.command()
@click.argument("manifest", type=PATH)
@click.option(
    "--input", type=PATH, metavar="FILE", help="The images.  [default: those of that name, beside it or in this folder]"
)
@options("data_dir", "json", "quiet")
def verify(manifest: Path, input: Path | None, data_dir: Path | None, as_json: bool, quiet: bool) -> int:
    """Make a submission again from its manifest, and compare.

    The same versions on the same machine give the same bytes; others shall give the same labels, and by how much the
    probabilities differ is said. Nothing is written. The exit code is 1 if a label differs.
    """
    from sweeps.ensemble.verify import verify_submission

    find = functools.partial(find_data, data_dir, quiet)
    found = verify_submission(manifest, root=project_root(), dataset=find, input=input, echo=log_to(quiet))
    show_as(found.text(), found.to_dict(), as_json)
    return found.exit_code
