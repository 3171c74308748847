"""A study under another name: in its file, its trials, its events and its ensembles."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mnistnn.errors import InputError
from mnistnn.files import atomic_write
from sweeps.care.archive.snapshot import Snapshot
from sweeps.config.toml import to_toml
from sweeps.ensemble.record import RECORD, read_report, save_report
from sweeps.ensemble.report import as_markdown
from sweeps.paths import StudyPaths
from sweeps.study.lineage import BORN_IN
from sweeps.tracking.cursor import run_id_of
from sweeps.tracking.events import EVENTS, Event, parse

__all__ = ["rename_events", "rename_snapshot", "rename_toml", "update_records"]

_REPORT = "report.md"
_NAME_LINE = re.compile(r"""^(\s*name\s*=\s*)("[^"\n\\]*"|'[^'\n]*')""", re.MULTILINE)


def rename_toml(text: str, name: str) -> str:
    """Returns a study's file with another name, everything else and the comments as they were."""
    tables = tomllib.loads(text)
    if "name" not in tables.get("study", {}):
        return text  # it is called as its file is
    wanted = {**tables, "study": {**tables["study"], "name": name}}
    for match in _NAME_LINE.finditer(text):
        changed = f'{text[: match.start()]}{match[1]}"{name}"{text[match.end() :]}'
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(changed) == wanted:
                return changed
    return to_toml(wanted)  # the name stands where only a parser finds it: the comments are lost, and nothing else


def rename_snapshot(snapshot: Snapshot, name: str) -> Snapshot:
    """Returns the study under another name.

    The header of a trial's weights holds the study's name. So each trial keeps the one that it has, or will have when
    it ends, or `replay` would not come to the same bytes.
    """
    trials = []
    for trial in snapshot.trials:
        renamed = copy.copy(trial)
        renamed.user_attrs = {BORN_IN: snapshot.name} | trial.user_attrs
        trials.append(renamed)
    attrs = dict(snapshot.user_attrs)
    if config := attrs.get("config"):
        attrs["config"] = {**config, "study": {**config["study"], "name": name}}
    return replace(snapshot, name=name, user_attrs=attrs, trials=tuple(trials))


def rename_events(paths: StudyPaths, old: str, new: str) -> None:
    """Lets all events speak of the study by its new name. They go to another experiment, which has seen none yet."""
    for path in sorted(paths.folder.rglob(EVENTS)):
        _rewrite(path, lambda event: _renamed(event, old, new))


def _renamed(event: Event, old: str, new: str) -> Event:
    if event["kind"] != "start" or event["tags"].get("study") != old:
        return event
    name = f"study {new}" if event["name"] == f"study {old}" else event["name"]
    note = event["note"]
    for text in ("Study **{}**", "STUDY={}\n", "Study `{}`"):  # of a study, how to run it, of an ensemble
        note = note.replace(text.format(old), text.format(new))
    return event | {"name": name, "note": note, "tags": event["tags"] | {"study": new}}


def _rewrite(path: Path, change: Callable[[Event], Event]) -> None:
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        event = parse(line)
        if event is not None and (changed := change(event)) != event:
            line = json.dumps(changed, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        lines.append(line)
    with atomic_write(path) as file:
        file.write(b"".join(lines))


def update_records(paths: StudyPaths, study: str) -> None:
    """Lets the records of all ensembles name the study `study`, and the runs that their members have here, or none."""
    for path in sorted(paths.ensemble.rglob(RECORD)):
        with contextlib.suppress(InputError):  # one that is damaged is built again
            report = read_report(path, study)
            members = tuple(
                replace(each, member=replace(each.member, run_id=run_id_of(paths.trial(each.member.number))))
                if each.member.is_own
                else each
                for each in report.members
            )
            save_report(replace(report, study=study, members=members), path)
            if report.study != study:
                with atomic_write(path.with_name(_REPORT), "w") as file:
                    file.write(as_markdown(replace(report, study=study, members=members)))
