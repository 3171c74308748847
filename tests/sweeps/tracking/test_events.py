from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistnn.errors import OutputError
from sweeps.tracking.events import EVENTS, TrialLog, parse


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]


def record(folder: Path, epochs: int = 3) -> None:
    with TrialLog(folder) as log:
        log.start("#001 conv", {"blocks": 2}, {"study": "digits"}, metrics={"trial": 1})
        for step in range(1, epochs + 1):
            log.epoch(step, {"val_loss": 1 / step})
        log.end("COMPLETE", metrics={"best_val_loss": 0.5})


def test_every_event_is_one_line_with_a_number_and_a_time(tmp_path: Path) -> None:
    with TrialLog(tmp_path) as log:
        assert log.start(
            "name", {"a": 1}, {"b": "c", "none": None}, [{"name": "mnist"}], metrics={"trial": 3}, note="n"
        )
        log.epoch(1, {"val_loss": 0.5, "val_accuracy": None})
        log.artifact("weights.npz", "model")
        log.tags({"role": "baseline"})
        log.stop("Ctrl-C")
        assert not log.start("other", {}, {})
        log.end("PRUNED", "median", {"best_epoch": 1})
    found = lines(tmp_path)
    assert [event["kind"] for event in found] == ["start", "epoch", "artifact", "tags", "stop", "resume", "end"]
    assert [event["seq"] for event in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(found[i]["time_ms"] <= found[i + 1]["time_ms"] for i in range(6))
    assert found[0]["tags"] == {"b": "c"}
    assert found[1]["metrics"] == {"val_loss": 0.5}
    assert all(parse(json.dumps(event).encode()) == event for event in found)


def test_the_state_and_the_last_epoch_are_read_again(tmp_path: Path) -> None:
    assert TrialLog(tmp_path).state == "new"
    record(tmp_path)
    log = TrialLog(tmp_path)
    assert (log.last_step, log.state) == (3, "COMPLETE")
    log.start("", {}, {})
    assert log.state == "running"
    log.stop("SIGTERM")
    assert TrialLog(tmp_path).state == "waiting"


def test_an_epoch_is_recorded_once(tmp_path: Path) -> None:
    record(tmp_path)
    with TrialLog(tmp_path) as log:
        for step in range(1, 6):
            log.epoch(step, {"val_loss": 9.0})
    assert [event["step"] for event in lines(tmp_path) if event["kind"] == "epoch"] == [1, 2, 3, 4, 5]


def test_what_json_cannot_hold(tmp_path: Path) -> None:
    with TrialLog(tmp_path) as log:
        log.start("n", {"rate": np.float32(0.5), "spec": Path("x"), "shape": (1, 2)}, {})
        log.epoch(1, {"a": float("nan"), "b": float("inf"), "c": -np.inf, "d": np.float32(0.25), "e": np.int64(3)})
    start, epoch = lines(tmp_path)
    assert start["params"] == {"rate": 0.5, "spec": "x", "shape": [1, 2]}
    assert epoch["metrics"] == {"a": "nan", "b": "inf", "c": "-inf", "d": 0.25, "e": 3.0}


def test_a_result_must_not_be_a_point_of_a_curve(tmp_path: Path) -> None:
    record(tmp_path)
    log = TrialLog(tmp_path)
    with pytest.raises(ValueError, match="must not be named like an epoch's metric, but got val_loss"):
        log.end("COMPLETE", metrics={"val_loss": 0.1})
    with pytest.raises(ValueError, match="COMPLETE, PRUNED, FAIL"):
        log.end("DONE")


def test_a_traceback_is_an_artifact(tmp_path: Path) -> None:
    with TrialLog(tmp_path) as log:
        log.start("n", {}, {})
        log.end("FAIL", "ValueError: no", traceback="Traceback …\nValueError: no")
    assert (tmp_path / "traceback.txt").read_text().startswith("Traceback")
    assert [event["kind"] for event in lines(tmp_path)] == ["start", "artifact", "end"]


def test_a_file_cut_at_any_byte_goes_on(tmp_path: Path) -> None:
    record(tmp_path / "whole")
    data = (tmp_path / "whole" / EVENTS).read_bytes()
    for cut in range(len(data)):
        folder = tmp_path / "cut"
        folder.mkdir(exist_ok=True)
        (folder / EVENTS).write_bytes(data[:cut])
        with TrialLog(folder) as log:
            log.start("#001 conv", {"blocks": 2}, {})
            for step in range(1, 5):
                log.epoch(step, {"val_loss": 1 / step})
        found = lines(folder)
        assert [event["seq"] for event in found] == list(range(1, len(found) + 1))
        assert [event["step"] for event in found if event["kind"] == "epoch"] == [1, 2, 3, 4]
        (folder / EVENTS).unlink()


def test_zeros_at_the_end_are_cut_off(tmp_path: Path) -> None:
    record(tmp_path)
    whole = (tmp_path / EVENTS).read_bytes()
    (tmp_path / EVENTS).write_bytes(whole + bytes(300) + b"\n" + bytes(40))  # as a power cut may leave it
    TrialLog(tmp_path).close()
    assert (tmp_path / EVENTS).read_bytes() == whole


def test_a_clock_set_back_does_not_reorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TrialLog(tmp_path) as log:
        log.start("n", {}, {})
        monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
        log.epoch(1, {"a": 1.0})
    first, second = lines(tmp_path)
    assert second["time_ms"] == first["time_ms"]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrialLog(tmp_path)
    log.start("n", {}, {})
    whole = (tmp_path / EVENTS).read_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:10]))
        with pytest.raises(OutputError, match="No space left on device"):
            log.epoch(1, {"a": 1.0})
    assert (tmp_path / EVENTS).read_bytes() == whole
    log.epoch(1, {"a": 1.0})
    assert [event["seq"] for event in lines(tmp_path)] == [1, 2]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="must be writable, but"):
        TrialLog(tmp_path / "file" / "00001")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_an_event_or_none(line: bytes) -> None:
    assert parse(line) is None or isinstance(parse(line), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_damaged_is_no_event(data: st.DataObject) -> None:
    event = {"kind": "epoch", "seq": 1, "time_ms": 5, "step": 1, "metrics": {"a": 1.0}}
    name = data.draw(st.sampled_from(sorted(event)))
    event[name] = data.draw(JSON)
    found = parse(json.dumps(event).encode())
    if found is not None:
        assert 0 <= found["step"] < 2**53
        assert all(isinstance(value, str) or abs(float(value)) < float("inf") for value in found["metrics"].values())


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"end","seq":1,"time_ms":1}',
        b'{"kind":["end"],"seq":1,"time_ms":1}',
        b'{"kind":"epoch","seq":1,"time_ms":1,"step":1,"metrics":{"a":1e999}}',
        b'{"kind":"epoch","seq":1,"time_ms":1,"step":-1,"metrics":{}}',
        b'{"kind":"stop","seq":1,"time_ms":1,"reason":"\\ud800"}',
        b'{"kind":"epoch","seq":1,"time_ms":1,"step":1,"metrics":{"a":' + b"9" * 400 + b"}}",
        b"[" * 100_000,
        b'{"kind":"resume","seq":1,"time_ms":1,"x":"' + b"x" * 2_000_000 + b'"}',
    ],
)
def test_lines_that_would_choke_a_store(line: bytes) -> None:
    assert parse(line) is None


def test_an_epoch_costs_less_than_a_millisecond(tmp_path: Path) -> None:
    with TrialLog(tmp_path) as log:
        log.start("n", {}, {})
        began = time.process_time()
        for step in range(1, 201):
            log.epoch(step, dict.fromkeys("abcdefgh", 1 / 3))
        assert (time.process_time() - began) / 200 < 1e-3


def test_a_worker_imports_neither_mlflow_nor_numpy_for_it() -> None:
    code = "import sys, sweeps.tracking.events; print({'mlflow', 'numpy', 'pandas', 'sqlalchemy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
