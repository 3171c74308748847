"""What came of trying an ensemble on changed images: kept in the study's folder, tracked, and told."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistnn.data import Dataset
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.ensemble.views import VIEWS
from sweeps.ensemble.wording import in_columns
from sweeps.errors import StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.records import as_json
from sweeps.robustness.evaluation import evaluate, held_out, opened_test
from sweeps.robustness.record import Figures, GroupFigures, Robustness, read_robustness
from sweeps.robustness.variants import GROUPS, SEED
from sweeps.views.logged import keep_and_log

if TYPE_CHECKING:
    from sweeps.tracking.events import TrialLog

__all__ = ["Tried", "as_markdown", "as_text", "option_of", "try_ensemble"]

_PICTURES = "pictures"  # where MLflow shows them
_WIDTH = 100
_MOST_COLUMNS = 12  # members in the table of a page; more are told by the least and the most
_SPARED = 0.005  # of the ink: what cuts off no more is not worth a word
_NONE = "-"  # in the place of a figure that there is not

Echo = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An ensemble that was tried.

    Attributes:
        found: what came of it.
        page: the file that says it, as Markdown.
        unlogged: why MLflow does not have it yet; "" if it does.
    """

    found: Robustness
    page: Path
    unlogged: str

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**self.found.to_dict(), "page": str(self.page), "unlogged": self.unlogged or None}

    def text(self) -> str:
        """Returns what a user reads."""
        lines = [as_text(self.found), f"kept in {self.page}"]
        return "\n".join([*lines, *([f"MLflow does not have it: {self.unlogged}."] if self.unlogged else [])])


def try_ensemble(
    name: str,
    *,
    root: Path,
    dataset: Dataset,
    seed: int,
    test: bool = False,
    most: int | None = None,
    tracking_uri: str | None = None,
    pictures: bool = True,
    echo: Echo = lambda line: None,
) -> Tried:
    """Tries the study's ensemble on variants of images, and keeps and tracks what comes of it.

    An ensemble that was tried before is not tried again, nor on some of the test images after all of them.

    Args:
        name: the study's.
        root: the project's folder.
        dataset: what the study was run on.
        seed: the study's, which parts the validation images from the others.
        test: whether to take the test images, and not those that the members were chosen by.
        most: how many of them to take at most.
        tracking_uri: MLflow's store; by default the project's own.
        pictures: whether to draw it.
        echo: takes lines of progress.

    Raises:
        StudyError: the study has no ensemble yet, was run on other data, or a member has no network.
        CheckpointError: what members left is missing or damaged.
        OutputError: the study's folder cannot be written.
    """
    paths = Paths(root).study(name)
    report = load_report(paths)
    stem = "robustness-test" if test else "robustness"
    if test and most is not None and most >= dataset.test_count:
        most = None
    will_do = {most, None} if test else {most}  # of test images, all that are there say more than some would
    found = _known(read_robustness(paths.parent / f"{stem}.json"), report, dataset, will_do)
    if found is not None:
        echo(f"{found.title}: tried before{'; the test images were not opened again' if test else ''}")
    else:
        found = _try(report, paths, Paths(root), dataset, seed, test, most, echo)
    page = as_markdown(found).encode()
    files = {f"{stem}.json": as_json(found.to_dict()).encode(), f"{stem}.md": page}
    if pictures:
        files |= _drawn(found, stem, dataset, echo)
    where = {f"{stem}.png": _PICTURES}
    unlogged = keep_and_log(
        files,
        name,
        paths,
        root=root,
        tracking_uri=tracking_uri,
        echo=echo,
        folders=where,
        more=lambda log: _record(log, found),
    )
    return Tried(found=found, page=paths.parent / f"{stem}.md", unlogged=unlogged)


def _known(
    found: Robustness | None, report: EnsembleReport, dataset: Dataset, will_do: Collection[int | None]
) -> Robustness | None:
    """Returns what is known already, if it is of this ensemble, of as many images as will do, and of all variants."""
    if found is None or [each.name for each in found.groups[: len(GROUPS)]] != [group.name for group in GROUPS]:
        return None
    wanted = (report.digest, dataset.digest, SEED)
    same = (found.digest, found.data.get("digest"), found.seed) == wanted and found.sampled in will_do
    return replace(found, study=report.study) if same else None  # an imported study may be called otherwise


def _try(
    report: EnsembleReport,
    paths: StudyPaths,
    project: Paths,
    dataset: Dataset,
    seed: int,
    test: bool,
    most: int | None,
    echo: Echo,
) -> Robustness:
    ensemble = report.ensemble(paths)
    if outside := ", ".join(member.name for member in ensemble.members if member.outside):
        raise StudyError(
            f"members must have networks to answer for changed images, but {outside} came from outside without one; "
            f"build the ensemble without --add: `ensemble {report.study}`."
        )
    if test:
        subjects = opened_test(report, ensemble, dataset, project.test_ledger, most=most)
    else:
        subjects = held_out(report, ensemble, dataset, seed=seed, most=most)
    nets = "1 net" if len(ensemble.members) == 1 else f"{len(ensemble.members)} nets"
    count = sum(len(group.variants) for group in GROUPS)
    views = f", {VIEWS} views each" if ensemble.tta else ""
    echo(f"{report.title}: {count} variants of {len(subjects.labels):,} {subjects.part} images, by {nets}{views}")
    return evaluate(report, ensemble, subjects, echo=echo)


def _drawn(found: Robustness, stem: str, dataset: Dataset, echo: Echo) -> dict[str, bytes]:
    """Draws it; without pictures all else stands."""
    from sweeps.views.pictures.robustness import draw_robustness, picture_title
    from sweeps.views.pictures.style import to_png

    try:
        return {f"{stem}.png": to_png(draw_robustness(found, dataset.train_images), picture_title(found))}
    except Exception as error:  # matplotlib's, Pillow's
        echo(f"warning: it was not drawn ({type(error).__name__}: {next(iter(str(error).splitlines()), '')}).")
        return {}


def _record(log: TrialLog, found: Robustness) -> None:
    """Records the figures as metrics of the study's run, and the least of them where the experiment is described."""
    prefix = "robustness_test" if found.part == "test" else "robustness"
    figures = {f"{prefix}/{_key(each.name)}": each.ensemble.accuracy.estimate for each in found.groups}
    log.metrics(figures)
    clean, *others = found.groups
    told = ", ".join(f"{each.name} {_percent(each.ensemble.accuracy.estimate)}" for each in others)
    start = f"{found.title} on {found.images:,} {found.part} images: {_percent(clean.ensemble.accuracy.estimate)}"
    heading = "Robustness, on the test images" if found.part == "test" else "Robustness"
    log.experiment({}, {heading: f"{start}; changed: {told}."})


def _key(name: str) -> str:
    """Returns a group's name with no more than MLflow lets a metric's have."""
    return re.sub(r"[^\w.]+", "_", name.replace("σ", "sigma"), flags=re.ASCII).strip("_")


def as_text(found: Robustness) -> str:
    """Returns it for a terminal."""
    head = ["", "ensemble", "95 % interval", "loss", "members", "worst way"]
    table = in_columns([head, *(_row(each) for each in found.groups)], left=(0, 5))
    words = [textwrap.fill(sentence, _WIDTH) for sentence in _words(found)]
    return "\n".join([f"{found.title} · study {found.study}, {_images(found)}", "", *table, "", *words])


def as_markdown(found: Robustness) -> str:
    """Returns it as Markdown, with each member's figures and how the images were made."""
    names = [name for name, _ in found.members] if len(found.members) <= _MOST_COLUMNS else ["members"]
    head = ["images", "how they are made", "ensemble", "95 % interval", "loss", *names, "worst way"]
    lines = [_markdown_row(head), "|---|---|" + "--:|" * (len(head) - 3) + "---|"]
    for each in found.groups:
        name, accuracy, interval, loss, members, worst = _row(each)
        alone = [_NONE if member is None else _percent(member.accuracy.estimate) for member in each.members]
        cells = [members] if names == ["members"] else alone
        lines.append(_markdown_row([name, each.how, f"**{accuracy}**", interval, loss, *cells, worst]))
    nets = "\n".join(f"- {name}: {label}" for name, label in found.members)
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    parts = [
        f"# Robustness of the {found.title}",
        f"Study `{found.study}`, {_images(found)}.",
        "\n".join(lines),
        "\n\n".join(_words(found)),
        f"## Members\n\n{nets}",
        f"## Made by\n\n- command: `sweeps robustness {found.study}{option_of(found)}`\n"
        f"- data: {found.data['name']}, digest `{found.data['digest'][:12]}`\n- ensemble: `{found.digest[:12]}`\n"
        f"- versions: {versions}\n- commit: `{found.commit or 'unknown'}`\n- time: {found.time}",
    ]
    return "\n\n".join(parts) + "\n"


def option_of(found: Robustness) -> str:
    """Returns what the verb is given beside the study's name for these images: " --test"."""
    return (" --test" if found.part == "test" else "") + (f" --images {found.sampled}" if found.sampled else "")


def _images(found: Robustness) -> str:
    return f"{found.images:,} {found.part} images" + (", drawn from all" if found.sampled else "")


def _row(each: GroupFigures) -> list[str]:
    accuracy = each.ensemble.accuracy
    interval = f"{100 * accuracy.low:.2f} – {_percent(accuracy.high)}"
    worst = f"{_percent(each.worst[1])} {each.worst[0]}" if each.worst else ""
    return [each.name, _percent(accuracy.estimate), interval, f"{each.ensemble.loss:.4f}", _span(each.members), worst]


def _span(members: tuple[Figures | None, ...]) -> str:
    """Returns the least and the most accurate member's share, of those that answered."""
    shares = [each.accuracy.estimate for each in members if each is not None]
    return f"{100 * min(shares):.2f} – {_percent(max(shares))}" if len(shares) > 1 else _percent(shares[0])


def _words(found: Robustness) -> Iterator[str]:
    """Yields how to read the figures."""
    yield (
        "Wilson's intervals, for as many images as there are: where there are several ways, as of a shift, the figure "
        "is their mean, and the last column the worst of them. Variants derive from a fixed seed, so that the same "
        "ones are made for every ensemble."
    )
    if found.part == "validation":
        yield "The validation images have chosen the members, so these figures flatter them a little."
    elif found.part != "test":
        yield "For each image answer only those members that were not trained on it: fewer than the whole ensemble."
        if None in found.groups[0].members:
            yield f"A member that was trained on all of the images has no figure ({_NONE}): take more by --images."
    else:
        times = "once" if found.test_openings == 1 else f"{found.test_openings} times"
        yield (
            f"The test images of this data set were opened {times} so far, each time noted; nothing in this ensemble "
            "was chosen by them."
        )
    lost = {each.name: 1 - each.ink for each in found.groups if each.ink is not None and each.name.startswith("shift")}
    if told := ", ".join(f"{name} {_percent(share)}" for name, share in lost.items() if share > _SPARED):
        yield f"What a shift moves beyond the edge is lost; of all ink: {told}."


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
