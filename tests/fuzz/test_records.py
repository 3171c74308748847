"""Events, cursors, records, manifests, orders and journals out of damaged text: an InputError or a sound value."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from mnistnn.data import Dataset
from mnistnn.errors import InputError
from sweeps.config import StudyConfig
from sweeps.ensemble.manifest import read_manifest
from sweeps.ensemble.record import load_report
from sweeps.ensemble.report import as_markdown, as_text
from sweeps.paths import StudyPaths
from sweeps.study.liveness import Owner
from sweeps.study.storage import load_study
from sweeps.tracking.cleaned import cleaned_files
from sweeps.tracking.cursor import Cursor, pending_events
from sweeps.tracking.events import TrialLog, parse
from sweeps.tracking.inputs import dataset_inputs
from sweeps.tracking.wire import MAX_PARAM, MAX_TAG, batches, metrics_of, pairs_of
from sweeps.views.trials import render, to_json, trials_frame
from sweeps.workers.order import Order
from tests.fuzz.inputs import any_json, fuzzed, mutated, mutated_json, refused
from tests.fuzz.inputs import as_text as json_bytes
from tests.sweeps.ensemble.test_record import make_report
from tests.sweeps.small import make_bench, make_study, run_next, small_config

_COMMON = {"seq": 1, "time_ms": 1_700_000_000_000}
EVENTS: list[Any] = [
    {
        "kind": "start", **_COMMON, "key": "0123456789abcdef", "name": "#001 conv", "params": {"a": 1, "b": "c"},
        "tags": {"study": "s", "seed": 3}, "metrics": {"macs": 3, "odd": "nan"}, "note": "**n**",
        "inputs": [{"name": "mnist", "digest": "d", "source": "/data", "rows": 10, "context": "training"}],
    },
    {"kind": "epoch", **_COMMON, "step": 1, "metrics": {"val_loss": 0.5, "val_accuracy": 0.9}},
    {"kind": "artifact", **_COMMON, "file": "weights.npz", "folder": ""},
    {"kind": "tags", **_COMMON, "tags": {"state": "x"}},
    {"kind": "stop", **_COMMON, "reason": "signal"},
    {"kind": "resume", **_COMMON},
    {"kind": "end", **_COMMON, "state": "COMPLETE", "reason": "", "metrics": {"best_val_loss": 0.4}},
]  # fmt: skip
LINES = b"".join(json_bytes(event) + b"\n" for event in EVENTS)


@fuzzed(
    mutated(LINES) | st.lists(mutated_json(*EVENTS), max_size=4).map(lambda all_: b"\n".join(map(json_bytes, all_)))
)
def test_events(place: Path, data: bytes) -> None:
    """Whatever lies there, what is taken for an event can be made into what MLflow takes."""
    (place / "events.jsonl").write_bytes(data)
    assert pending_events(place) == data.count(b"\n")
    TrialLog.has_ended(place)
    size = 0
    for events, length in batches(data):
        size += length
        for event in events:
            if "metrics" in event:
                assert all(isinstance(metric.value, float) for metric in metrics_of(event, event.get("step", 0)))
            for entries, longest in ((event.get("params", {}), MAX_PARAM), (event.get("tags", {}), MAX_TAG)):
                assert all(len(value) <= longest for _, value in pairs_of(entries, longest))
            dataset_inputs(event.get("inputs", []))
    assert size == len(data)
    with TrialLog(place) as log:
        log.start("again", {}, {})
        log.epoch(log.last_step + 1, {"val_loss": 1.0})
    last = (place / "events.jsonl").read_bytes().splitlines()[-1]
    event = parse(last)
    assert event is not None
    assert event["kind"] == "epoch"
    (place / "events.jsonl").unlink()


CURSOR = {"store": "s/1/2", "offset": 17, "run_id": "ab", "key": "cd", "name": "n", "doubtful": False}
OWNER = {"attempt": 3, "kernel": "k", "pid": 17, "parent": 3}
CLEANED = {"format": 1, "files": {"weights.npz": {"bytes": 3, "sha256": "e", "time": "t"}}}


@fuzzed(
    mutated(json_bytes(CURSOR), json_bytes(OWNER), json_bytes(CLEANED))
    | mutated_json(CURSOR, OWNER, CLEANED).map(json_bytes)
)
def test_cursors_owners_and_what_was_cleaned(place: Path, data: bytes) -> None:
    for name in ("shipped.json", "lock", "cleaned.json"):
        (place / name).write_bytes(data)
    cursor = Cursor.load(place)
    assert cursor.offset >= 0
    assert all(isinstance(text, str) for text in (cursor.store, cursor.key, cursor.name, cursor.run_id or ""))
    cursor.save(place)
    assert Cursor.load(place) == cursor
    owner = Owner.read(place / "lock")
    assert owner is None or isinstance(owner.is_here, bool)
    assert all(isinstance(entry, dict) for entry in cleaned_files(place).values())


RECORD = json.loads(json.dumps(make_report().to_dict()))


@fuzzed(mutated(json_bytes(RECORD)) | mutated_json(RECORD).map(json_bytes))
def test_records_of_ensembles(place: Path, data: bytes) -> None:
    paths = StudyPaths(place / "study")
    paths.ensemble.mkdir(parents=True, exist_ok=True)
    (paths.ensemble / "ensemble.json").write_bytes(data)
    try:
        report = load_report(paths)
    except InputError as error:
        refused(error)
        return
    ensemble = report.ensemble(paths)
    assert all(paths.trials in paths.trial(member.number).parents for member in ensemble.members)
    assert as_text(report)
    assert as_markdown(report)
    assert len(ensemble.digest) == 64


MANIFEST = {
    "format": 1, "study": "night", "input": {"name": "x.npy", "digest": "a" * 64, "images": 3, "format": "npy"},
    "output": {"name": "submission.csv", "format": "kaggle", "sha256": "b" * 64},
    "probabilities": {"name": "submission.csv.probs.npz", "sha256": "c" * 64},
    "ensemble": {
        "digest": "d" * 64, "method": "mean",
        "members": [{"trial": 3, "run_id": "ab12", "weights_sha256": "e" * 64, "weight": 1.0}],
    },
    "versions": {"python": "3.11", "numpy": "2"}, "commit": None, "time": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@fuzzed(mutated(json_bytes(MANIFEST)) | mutated_json(MANIFEST).map(json_bytes))
def test_manifests(place: Path, data: bytes) -> None:
    path = place / "manifest.json"
    path.write_bytes(data)
    try:
        manifest = read_manifest(path)
    except InputError as error:
        refused(error)
        return
    for name in (manifest.output.name, *([manifest.probabilities.name] if manifest.probabilities else [])):
        assert (place / name).resolve().parent == place.resolve()
    assert all(member.trial >= 0 for member in manifest.ensemble.members)
    assert "/" not in manifest.study


def test_what_is_damaged_is_sound_before(place: Path) -> None:
    (place / "manifest.json").write_bytes(json_bytes(MANIFEST))
    assert read_manifest(place / "manifest.json").study == "night"
    assert all(parse(json_bytes(event)) == event for event in EVENTS)
    assert Order.from_json(json.dumps(ORDER)).trials == 3


ORDER = {
    "config": small_config().to_dict(), "root": "/project", "data": "/data", "data_digest": "a" * 64,
    "storage": "postgresql://ann:s3cr3t@db/x", "trials": 3, "left_s": None, "parent": 17, "tags": {"study": "s"},
    "inputs": [{"name": "mnist", "rows": 3}],
}  # fmt: skip


@fuzzed(mutated(json_bytes(ORDER)) | mutated_json(ORDER).map(json_bytes))
def test_orders(data: bytes) -> None:
    try:
        order = Order.from_json(data.decode("utf-8", "replace"))
    except InputError as error:
        refused(error, "s3cr3t")
        return
    with contextlib.suppress(InputError):  # which quotes what stands in the study, be it an address
        assert "/" not in StudyConfig.from_dict(order.config).name
    if order.storage == ORDER["storage"]:
        assert order.storage not in repr(replace(order, config={}, tags={}, inputs=[]))


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> bytes:
    """The journal of a study of two trials, one of them done and one waiting."""
    root = tmp_path_factory.mktemp("journal")
    config = small_config(budget__epochs=1, fixed__blocks=0)
    study = make_study(config, root, sample)
    study.enqueue_trial({})
    run_next(study, make_bench(config, root, sample))
    return (root / "studies" / "small" / "journal.log").read_bytes()


@fuzzed(st.data())
def test_journals(place: Path, journal: bytes, data: st.DataObject) -> None:
    lines = [json.loads(line) for line in journal.splitlines()]
    damaged = mutated(journal) | mutated_json(lines).filter(lambda all_: isinstance(all_, list)).map(
        lambda all_: b"".join(json_bytes(line) + b"\n" for line in all_)
    )
    paths = StudyPaths(place / "small")
    paths.folder.mkdir(exist_ok=True)
    paths.journal.write_bytes(data.draw(damaged))
    with contextlib.suppress(InputError):
        frame = trials_frame(load_study("small", None, paths))
        assert render(frame)
        assert to_json(frame) is not None


@fuzzed(st.lists(any_json, max_size=3))
def test_any_json_is_no_event(values: list[Any]) -> None:
    for value in values:
        event = parse(json_bytes(value))
        assert event is None or event["kind"] in {known["kind"] for known in EVENTS}
