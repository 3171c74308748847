"""The verb: what it writes where, what MLflow gets, and what it takes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mlflow.artifacts import list_artifacts
from optuna.trial import TrialState

from sweeps.paths import StudyPaths
from sweeps.study.locks import FileLock
from sweeps.tracking.address import resolve_uri
from sweeps.tracking.cursor import run_id_of
from sweeps.tracking.events import EVENTS, TrialLog, parse
from sweeps.views.report import write_report
from tests.sweeps.command import Home
from tests.sweeps.views.recorded import Recorded

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def recorded(home: Home) -> Recorded:
    """A study with two trials and a run of its own, in a project with an empty MLflow."""
    recorded = Recorded(home.root)
    recorded.complete(0.90, 0.30)
    recorded.complete(0.88, 0.35)
    with TrialLog(recorded.paths.parent) as log:
        tags = {"git_commit": "1234567890", "git_dirty": "true", "numpy": "2.0", "data_digest": "x"}
        inputs = [{"name": "mnist", "rows": 100, "context": "validation", "digest": "x", "source": "/secret/place"}]
        log.start("study small", {}, tags, inputs)
        log.end("COMPLETE")
    return recorded


def artifacts_of(paths: StudyPaths) -> list[str]:
    events = [parse(line) for line in (paths.parent / EVENTS).read_bytes().splitlines()]
    return [event["file"] for event in events if event and event["kind"] == "artifact"]


def test_it_is_written_kept_and_logged(home: Home, recorded: Recorded) -> None:
    said = home("report", "small")
    assert said.code == 0, said.err
    page = (home.root / "small-report.html").read_bytes()
    assert f"report  {home.root / 'small-report.html'}" in said.out
    assert (recorded.paths.parent / "report.html").read_bytes() == page
    assert b"git checkout 1234567890\n" in page
    assert b"Files in the checkout differed from that commit" in page
    assert b"/secret" not in page
    assert b"100 validation images" in page

    uri = resolve_uri(None, home.root)
    found = list_artifacts(run_id=run_id_of(recorded.paths.parent), tracking_uri=uri)
    assert [each.path for each in found] == ["report.html"]

    said = home("report", "small", "--json")  # nothing has changed since
    assert said.json["report"]["unlogged"] is None
    assert said.json["winner"]["trial"]["number"] == 0
    assert artifacts_of(recorded.paths) == ["report.html"]

    recorded.complete(0.95, 0.2)
    assert home("report", "small").code == 0
    assert artifacts_of(recorded.paths) == ["report.html"] * 2


def test_another_place(home: Home, recorded: Recorded, tmp_path: Path) -> None:
    said = home("report", "small", "--output", tmp_path / "new" / "page.html", "--tracking-uri", AWAY)
    assert said.code == 0
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (home.root / "small-report.html").exists()


def test_mlflow_may_be_away(home: Home, recorded: Recorded) -> None:
    said = home("report", "small", "--tracking-uri", AWAY)
    assert said.code == 0
    assert "MLflow does not have it: 3 events wait for the next `run` or `report` (" in said.out
    assert artifacts_of(recorded.paths) == ["report.html"]
    assert home("report", "small", "--json").json["report"]["unlogged"] is None
    assert artifacts_of(recorded.paths) == ["report.html"]


def test_a_sweep_at_work_keeps_its_events(home: Home, recorded: Recorded) -> None:
    before = (recorded.paths.parent / EVENTS).read_bytes()
    lock = FileLock(recorded.paths.lock)
    assert lock.acquire()
    try:
        said = home("report", "small")
    finally:
        lock.release()
    assert said.code == 0
    assert "MLflow does not have it: a sweep is at work on the study" in said.out
    assert (recorded.paths.parent / EVENTS).read_bytes() == before
    assert (home.root / "small-report.html").is_file()
    assert home("report", "small", "--json").json["report"]["unlogged"] is None
    assert artifacts_of(recorded.paths) == ["report.html"]


def test_nothing_else_is_touched(home: Home, recorded: Recorded) -> None:
    before = home.files()
    assert home("report", "small", "--tracking-uri", AWAY).code == 0
    after = home.files()
    new = {name for name in after if after[name] != before.get(name)}
    assert before.keys() <= after.keys()
    assert {name.removeprefix("studies/small/") for name in new} == {
        "small-report.html",
        "parent/report.html",
        f"parent/{EVENTS}",
    }


@pytest.mark.parametrize("name", ["../smoke", "a/../../b", "nothing", "..", "/etc/passwd", "x" * 5000])
def test_a_name_is_no_path(home: Home, name: str) -> None:
    said = home("report", name)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert not list(home.root.parent.rglob("*report*"))


def test_a_study_without_trials_says_what_to_do(home: Home) -> None:
    said = home("report", "smoke")
    assert said.code == 2
    assert "start with `run smoke`" in said.err
    assert not (home.root / "studies" / "smoke").exists()


def test_a_place_that_cannot_be_written(home: Home, recorded: Recorded) -> None:
    (home.root / "file").write_text("")
    said = home("report", "small", "--output", home.root / "file" / "page.html")
    assert said.code == 2
    assert "the output must be writable" in said.err


def test_a_hundred_trials_take_seconds_and_little_room(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, budget__trials=100)
    for number in range(70):
        curve = {epoch: 0.5 / epoch + number / 500 for epoch in range(1, 5)}
        recorded.complete(0.9 + number / 1000, curve[4], dropout=number / 250, values=curve, filters=2 + number % 2 * 2)
        recorded.predict(number, range(5 + number % 7))
    for number in range(30):
        reason, values = "pruned after epoch 1 of 4", {1: 0.8 + number / 100}
        recorded.add(TrialState.PRUNED, reason=reason, epochs_run=1, seconds=1.0, dropout=number / 125, values=values)
    began = time.process_time()
    written = write_report("small", root=tmp_path, tracking_uri=AWAY)
    assert time.process_time() - began < 10
    assert written.size < 3_000_000
    text = written.path.read_text(encoding="utf-8")
    assert text.count('<tr class="complete">') == 70
    assert text.count('<tr class="pruned">') == 30
    assert text.count("data:image/png;base64,") >= 5
