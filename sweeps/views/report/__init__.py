"""The report on a study: one HTML file that says what won and whether to believe it, and needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistnn.files import atomic_write
from sweeps.paths import Paths
from sweeps.study.journal import journal_path
from sweeps.study.storage import load_study

if TYPE_CHECKING:
    from sweeps.views.report.facts import ReportFacts

__all__ = ["KEPT", "Written", "write_report"]

#: The report's file among those of the study's own run.
KEPT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report that was written.

    Attributes:
        path: where it lies.
        kept: the copy in the study's folder, which is MLflow's artifact.
        size: its bytes.
        facts: what it says.
        unlogged: why MLflow does not have it yet; "" if it does.
    """

    path: Path
    kept: Path
    size: int
    facts: ReportFacts
    unlogged: str

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        file = {"path": str(self.path), "kept": str(self.kept), "bytes": self.size, "unlogged": self.unlogged or None}
        return {"report": file, **self.facts.to_dict()}

    def text(self) -> str:
        """Returns what came of it, for a terminal."""
        lines = [self.facts.headline, *self.facts.verdict, "", f"report  {self.path}  ({self.size / 1e6:.1f} MB)"]
        lines.append(f"kept    {self.kept}" + ("" if self.unlogged else ", an artifact of the study's run in MLflow"))
        return "\n".join([*lines, *([f"MLflow does not have it: {self.unlogged}."] if self.unlogged else [])])


def write_report(
    name: str,
    *,
    root: Path,
    output: Path | None = None,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    echo: Callable[[str], object] = lambda line: None,
) -> Written:
    """Writes the report on a study from its record: nothing is trained, and no test image is opened.

    Args:
        name: the study's.
        root: the project's folder.
        output: the file; by default NAME-report.html in the project's folder.
        storage_url: where the trials are; by default in the study's own journal.
        tracking_uri: MLflow's store; by default the project's own.
        echo: takes lines of progress.

    Raises:
        StudyError: the study was never run.
        OutputError: a file cannot be written.
    """
    from sweeps.views.logged import keep_and_log
    from sweeps.views.report.gather import gather_facts
    from sweeps.views.report.page import render
    from sweeps.views.report.pictures import ensemble_images, study_images

    paths = Paths(root).study(name)
    study = load_study(name, storage_url, paths)
    own = journal_path(storage_url, paths) == paths.journal
    facts = gather_facts(study, paths, root, journal=own)
    page = render(facts, study_images(study, paths, echo), ensemble_images(paths) if facts.ensemble else ())
    path = output or root / f"{name}-report.html"
    with atomic_write(path, "w") as file:
        file.write(page)
    unlogged = keep_and_log({KEPT: page.encode()}, name, paths, root=root, tracking_uri=tracking_uri, echo=echo)
    return Written(path=path, kept=paths.parent / KEPT, size=len(page.encode()), facts=facts, unlogged=unlogged)
