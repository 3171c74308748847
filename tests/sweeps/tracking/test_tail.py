from __future__ import annotations

from pathlib import Path

from sweeps.tracking.events import EVENTS, TrialLog
from sweeps.tracking.tail import EpochTail


def test_the_last_epoch_as_it_comes(tmp_path: Path) -> None:
    tail = EpochTail(tmp_path / "run")
    assert (tail.look().epoch, tail.time_ms) == (0, 0)  # there is no file yet
    with TrialLog(tmp_path / "run") as log:
        log.start("#001 net", {}, {})
        assert tail.look().time_ms > 0
        log.epoch(1, {"val_accuracy": 0.5, "images_per_s": 900.0})
        log.epoch(2, {"val_accuracy": None, "images_per_s": float("inf")})
        log.artifact("history.csv")
        assert (tail.look().epoch, tail.val_accuracy, tail.images_per_s) == (2, 0.5, float("inf"))
        begun = tail.time_ms
        log.stop("signal")
        log.start("", {}, {})
        assert tail.look().epoch == 2
        assert tail.time_ms >= begun


def test_a_line_that_is_just_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    line = b'{"kind":"epoch","seq":1,"time_ms":5,"step":3,"metrics":{"val_accuracy":0.9}}\n'
    path = tmp_path / EVENTS
    path.write_bytes(b"no event\n" + line[:30])
    tail = EpochTail(tmp_path)
    assert tail.look().epoch == 0
    with open(path, "ab") as file:
        file.write(line[30:])
    assert (tail.look().epoch, tail.val_accuracy, tail.time_ms) == (3, 0.9, 5)


def test_of_a_long_file_the_end_is_read(tmp_path: Path) -> None:
    with TrialLog(tmp_path) as log:
        for epoch in range(1, 2000):
            log.epoch(epoch, {"val_accuracy": epoch / 2000})
    assert EpochTail(tmp_path).look().epoch == 1999
