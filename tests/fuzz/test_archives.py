"""Exported studies out of damaged archives: nothing is made, or all of it, and nothing outside the study's folder."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import optuna
import pytest
from hypothesis import strategies as st

from mnistnn.errors import InputError
from sweeps.care.archive.container import Writer, list_members, read_manifest
from sweeps.care.archive.contents import CONFIG, JOURNAL, is_study_file
from sweeps.care.archive.export import FORMAT
from sweeps.care.archive.restore import import_study
from sweeps.care.archive.snapshot import Snapshot
from sweeps.errors import StudyError
from tests.fuzz.inputs import as_text, fuzzed, mutated, mutated_json, refused

TOML = b'[study]\nname = "mine"\n[budget]\ntrials = 2\nepochs = 1\n'


@pytest.fixture(scope="module")
def journal() -> bytes:
    """A study of three trials, as an archive's journal."""
    study = optuna.create_study(study_name="mine")
    study.set_user_attr("config", {"study": {"name": "mine"}})
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(0.5, 1)
        if number < 2:
            study.tell(trial, 1.0 if number else None, state=None if number else optuna.trial.TrialState.PRUNED)
    return Snapshot.of(study).journal()


def archive(files: dict[str, bytes], facts: dict[str, object] | None = None) -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for name, data in files.items():
        writer.add(name, io.BytesIO(data), len(data))
    writer.close({"format": FORMAT, "study": "mine"} | (facts or {}))
    return file.getvalue()


def files(journal: bytes) -> dict[str, bytes]:
    events = b'{"kind":"resume","seq":1,"time_ms":1}\n'
    return {CONFIG: TOML, JOURNAL: journal, "trials/00000/events.jsonl": events, "parent/events.jsonl": events}


@fuzzed(st.data())
def test_containers(journal: bytes, data: st.DataObject) -> None:
    content = data.draw(mutated(archive(files(journal))))
    try:
        members = list_members(io.BytesIO(content), is_study_file, 1 << 20)
        _, entries = read_manifest(io.BytesIO(content), members, FORMAT)
    except StudyError as error:
        refused(error)
        return
    assert all(not name.startswith(("/", ".")) and ".." not in name and "\0" not in name for name in entries)
    assert sum(entry.size for entry in entries.values()) <= len(content)


@fuzzed(st.data())
def test_journals_of_archives(journal: bytes, data: st.DataObject) -> None:
    lines = [json.loads(line) for line in journal.splitlines()]
    damaged = mutated(journal) | mutated_json(lines).filter(lambda found: isinstance(found, list)).map(
        lambda found: b"".join(as_text(line) + b"\n" for line in found)
    )
    try:
        snapshot = Snapshot.parse(data.draw(damaged))
    except StudyError as error:
        refused(error)
        return
    assert len(Snapshot.parse(snapshot.journal()).trials) == len(snapshot.trials)


NAMES = [
    "../x.txt", "/tmp/x.txt", "trials/../../x.txt", "trials/00000/../../../x.txt", "a\\b.txt", "trials/00001/lock",
    "trials/00000/weights.npz", "ensemble/ensemble.json", "study.toml", ".hidden.txt", "parent/shipped.json", "C:x.txt",
]  # fmt: skip


@fuzzed(st.data())
def test_whole_imports(place: Path, journal: bytes, data: st.DataObject) -> None:
    """The manifest's digests are right, whatever the files hold: a study is made or refused, and lies in its folder."""
    root = place / "root"
    (root / "studies").mkdir(parents=True, exist_ok=True)
    sound = files(journal)
    name = data.draw(st.sampled_from(sorted(sound)))
    kind = data.draw(st.sampled_from(("bytes", "bytes", "name", "facts", "raw")))
    if kind == "bytes":
        sound[name] = data.draw(mutated(sound[name]))
    elif kind == "name":
        sound[data.draw(st.sampled_from(NAMES))] = sound.pop(name)
    facts = (
        {"study": data.draw(st.sampled_from(["mine", "../mine", "a/b", "/x", "", "mine\n"]))} if kind == "facts" else {}
    )
    content = archive(sound, facts)
    (place / "study.tar").write_bytes(data.draw(mutated(content)) if kind == "raw" else content)
    try:
        # A store that is not there: events wait, and MLflow need not be started for each of them.
        made = import_study(place / "study.tar", root=root, tracking_uri="http://127.0.0.1:9")
        assert made.study == "mine"
    except InputError as error:
        refused(error)
    assert {path.name for path in place.iterdir()} <= {"root", "study.tar"}
    assert {path.name for path in root.iterdir()} <= {"studies", "mlruns"}
    left = {path.name for path in (root / "studies").iterdir()}
    assert left <= {"mine", "mine.toml"}, left
    shutil.rmtree(root)
