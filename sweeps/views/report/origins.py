"""What a study was made from, by the first events of its runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnistnn.npz import open_plain
from sweeps.config import StudyConfig
from sweeps.config.file import derive_study
from sweeps.config.toml import to_toml
from sweeps.paths import StudyPaths
from sweeps.tracking.events import TrialLog
from sweeps.views.report.facts import Origins
from sweeps.views.report.listed import TrialFacts

__all__ = ["read_origins"]

_VERSIONS = ("python", "numpy", "blas", "machine")
_LARGEST = 4 << 20  # bytes, of a manifest
_MANIFEST = "submission.csv.manifest.json"


def read_origins(
    config: StudyConfig,
    paths: StudyPaths,
    trials: Iterable[TrialFacts],
    known: Mapping[str, Any],
    *,
    root: Path,
    journal: bool,
) -> Origins:
    """Reads what it takes to make a study's trials again.

    Args:
        config: the study, as it was last run.
        paths: its paths.
        trials: its trials, whose runs say by which commit and versions they were trained.
        known: what the study remembers of itself.
        root: the project's folder.
        journal: whether its trials are in its own journal.
    """
    starts = [TrialLog.first_start(paths.trial(trial.number)) for trial in trials if trial.attempts]
    begun = [start for start in starts if start is not None]
    study = TrialLog.first_start(paths.parent)
    tags = [start["tags"] for start in begun or ([study] if study else [])]
    inputs = [entry for start in ([study] if study else begun[:1]) for entry in start["inputs"]]
    rows = {str(entry.get("context", "")): entry["rows"] for entry in inputs if type(entry.get("rows")) is int}
    names = [str(entry["name"]) for entry in inputs if entry.get("name")]
    tables = derive_study(config, config.name)[1]
    submission = _submission(root, config.name)
    return Origins(
        seed=config.seed,
        data=names[0] if names else "unknown",
        data_digest=str(known.get("data_digest", "")),
        images=rows,
        commits=dict(Counter(_commit(each) for each in tags).most_common()),
        versions={
            name: dict(Counter(str(each[name]) for each in tags if each.get(name)).most_common()) for name in _VERSIONS
        },
        config_hash=config.hash,
        toml=to_toml(tables),
        manifest=_MANIFEST if submission else "",
        submitted=str((submission.get("ensemble") or {}).get("digest") or ""),
        journal=journal,
    )


def _commit(tags: Mapping[str, Any]) -> str:
    commit = str(tags.get("git_commit") or "unknown")
    return f"{commit}-dirty" if tags.get("git_dirty") == "true" else commit


def _submission(root: Path, name: str) -> dict[str, Any]:
    """Returns the last submission's manifest; nothing if that is of another study, or there is none."""
    try:
        with open_plain(root / _MANIFEST) as file:
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    is_sound = isinstance(found, dict) and isinstance(found.get("ensemble", {}), dict)
    return found if is_sound and found.get("study") == name else {}
