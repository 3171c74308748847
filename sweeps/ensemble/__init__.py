"""From the best trials of a study to one ensemble, its report, and a contest's submission."""

from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.build import build_ensemble, choose_members
from sweeps.ensemble.preview import Preview, preview
from sweeps.ensemble.record import EnsembleReport, load_ensemble, load_report
from sweeps.ensemble.report import as_markdown, as_text
from sweeps.ensemble.submission import write_submission

__all__ = [
    "Ensemble",
    "EnsembleReport",
    "Preview",
    "as_markdown",
    "as_text",
    "build_ensemble",
    "choose_members",
    "load_ensemble",
    "load_report",
    "preview",
    "write_submission",
]
