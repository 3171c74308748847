from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.study.budget import Tally
from sweeps.views.progress import RunningTrial, StudyProgress, clock, running_lines, trial_line
from tests.sweeps.views.terminal import Terminal, terminal

DONE = {
    "label": "conv 8-16 k3",
    "val_loss": 0.03124,
    "val_accuracy": 0.99052,
    "epochs_run": 3,
    "seconds": 83.4,
    "origin": 7,
}


def trial(state: TrialState = TrialState.COMPLETE, **attributes: object) -> FrozenTrial:
    value = 0.03124 if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, user_attrs=DONE | attributes)


def running(number: int = 12, **changes: object) -> RunningTrial:
    known = {"label": "conv 8", "epochs": 4, "done": 0, "epoch_s": 10.2, "left_s": 30.0}
    return RunningTrial(number=number, **(known | changes))


def test_lines_of_trials() -> None:
    assert trial_line(trial()) == "#007  val loss 0.0312, 99.05 %   3 epochs   1:23  conv 8-16 k3"
    assert trial_line(trial(TrialState.PRUNED, reason="pruned after epoch 1 of 3", epochs_run=1)).endswith(
        "val loss 0.0312, 99.05 %   1 epoch    1:23  conv 8-16 k3  · pruned after epoch 1 of 3"
    )
    failed = trial(TrialState.FAIL, reason="ValueError: no", requeued=True)
    assert trial_line(failed).endswith("failed: ValueError: no; it is tried again")
    assert "its worker died" in trial_line(trial(TrialState.FAIL))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (7267, "2:01:07"), (-3, "0 s")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_without_a_terminal_there_are_plain_lines() -> None:
    lines: list[str] = []
    progress = StudyProgress("small", echo=lines.append)
    progress.note("begins")
    progress.update(Tally(complete=1), trial(), share=0.5, left_s=10.0)
    progress.ended(trial(), is_best=True)
    progress.warn("careful")
    progress.close()
    assert [lines[0], lines[2]] == ["begins", "careful"]
    assert lines[1].endswith("← best so far")


def test_without_a_terminal_each_trial_that_begins_is_told_its_time_once() -> None:
    lines: list[str] = []
    progress = StudyProgress("small", echo=lines.append, bar=False)
    for trials in ([running()], [running(left_s=20.0), running(13, done=3)], [running(14, epoch_s=None, left_s=None)]):
        progress.update(Tally(), None, share=0.5, left_s=None, running=trials)
    assert lines == [
        "#012  about 41 s: 4 epochs of 10 s  conv 8",
        "#013  about 10 s: 1 epoch of 10 s, 3 done before  conv 8",
        "#014  conv 8",
    ]


def test_quiet_leaves_the_warnings() -> None:
    lines: list[str] = []
    progress = StudyProgress("small", quiet=True, echo=lines.append, bar=True)
    progress.note("begins")
    progress.update(Tally(complete=1), trial(), share=0.5, left_s=10.0, running=[running()])
    progress.ended(trial())
    progress.warn("careful")
    progress.close()
    assert lines == ["careful"]


@pytest.fixture(autouse=True)
def _no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "XTERM_VERSION", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


NOW = [
    running(12, label="conv 32-64 k3 bn dense 128", done=3, epochs=8, val_accuracy=0.98912, images_per_s=5210.4),
    running(13, label="conv 8-16x2 k5-3 valid leaky_relu dense 256", left_s=65.4),
]


def update(progress: StudyProgress, *trials: RunningTrial, share: float = 0.255, tally: Tally | None = None) -> None:
    counts = tally or Tally(complete=11, pruned=6, running=2, waiting=3)
    progress.update(counts, trial(), share=share, left_s=185.0, running=trials)


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_the_lines_of_a_study_and_its_workers(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(columns) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        progress.note("begins")
        update(progress, *NOW)
        shown = {
            30: ["small  25% · 3:05 left", "#012 3/8 98.91 % 30 s conv 3…", "#013 0/4         1:05 conv 8…"],
            80: [
                "small  25%|████            | 3:05 left · best #007 99.05 %",
                "#012  3/8 epochs  98.91 %  5,210 images/s  30 s left  conv 32-64 k3 bn dense 1…",
                "#013  0/4 epochs                           1:05 left  conv 8-16x2 k5-3 valid l…",
            ],
            200: [
                "small  25%|████            | 3:05 left · best #007 val loss 0.0312, 99.05 % · "
                "17 trials (6 pruned), 3 waiting",
                "#012  3/8 epochs  98.91 %  5,210 images/s  30 s left  conv 32-64 k3 bn dense 128",
                "#013  0/4 epochs                           1:05 left  conv 8-16x2 k5-3 valid leaky_relu dense 256",
            ],
        }[columns]
        assert seen.lines == ["begins", *shown]
        progress.ended(trial(), is_best=True)
        progress.ended(trial(TrialState.PRUNED, reason="pruned after epoch 1 of 3", epochs_run=1))
        for share in range(30):
            update(progress, *NOW[: 1 + share % 2], share=share / 30)
        update(progress, NOW[0])
        assert len(seen.lines) == 5
        assert seen.lines[1].startswith("#007 ")
        progress.close()
        assert seen.wraps == 0
        assert len(seen.lines) == 3  # nothing is left of the bar
        assert sys.stderr is seen.stream


def test_what_is_printed_in_between_stands_above(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(60) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        update(progress, *NOW)
        progress.warn("worker 1 died: " + 60 * "x")
        sys.stderr.write(warnings.formatwarning("of a library", UserWarning, "library.py", 7, "line = 1"))
        print("in two ", end="", file=sys.stderr)
        update(progress, *NOW)
        print("parts", file=sys.stderr)
        print("unfinished", end="", file=sys.stderr)
        kept = sys.stderr
        assert seen.lines[-3].startswith("small  25%|")
        progress.close()
        assert seen.lines[0] + seen.lines[1] == "worker 1 died: " + 60 * "x"
        assert "UserWarning: of a library" in seen.lines[2] + seen.lines[3]
        assert seen.lines[-2:] == ["in two parts", "unfinished"]
        print("later", file=kept)  # by who has kept what it got
        assert seen.lines[-1] == "later"


@pytest.mark.parametrize("breaks", [True, False])
def test_a_window_that_changes_leaves_nothing_behind(breaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not breaks:
        monkeypatch.setenv("XTERM_VERSION", "XTerm(390)")
    with terminal(120, breaks=breaks) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        progress.note("begins")
        for columns in (100, 33, 45, 30, 200, 61):
            update(progress, *NOW)
            seen.resize(columns)
            update(progress, *NOW)
            assert [line[:5] for line in seen.lines] == ["begin", "small", "#012 ", "#013 "]
        progress.close()
        assert seen.lines == ["begins"]


def test_more_workers_than_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(80, rows=6) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        for _ in range(3):
            update(progress, *(running(number) for number in range(20)))
        assert len(seen.lines) == 5
        assert seen.lines[-1] == "… and 17 more"
        progress.close()
        assert seen.lines == []


def test_a_worker_keeps_its_line() -> None:
    progress = StudyProgress("small", bar=True)

    def numbers(*known: int) -> list[int | None]:
        slots = progress._in_slots([running(number) for number in known])
        return [None if each is None else each.number for each in slots]

    assert numbers(3, 1, 2) == [1, 2, 3]
    assert numbers(1, 3) == [1, None, 3]
    assert numbers(1, 3, 4) == [1, 4, 3]
    assert numbers(4) == [None, 4]
    assert numbers() == []
    assert running_lines([None, running(4)], 80) == ["idle", "#004  0/4 epochs  30 s left  conv 8"]


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_keeps_all_gets_plain_lines(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with terminal(80) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        update(progress, *NOW)
        progress.ended(trial())
        progress.close()
        assert len(seen.lines) == 3
        assert "\x1b" not in seen.received


def test_a_terminal_that_goes_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Terminal(80)
    monkeypatch.setattr(sys, "stderr", seen.stream)
    progress = StudyProgress("small")
    update(progress, *NOW)
    os.close(seen._master)
    update(progress, *NOW)
    progress.warn("careful")
    progress.close()
    with contextlib.suppress(OSError):
        seen.stream.close()


def test_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(120) as seen:
        monkeypatch.setattr(sys, "stderr", seen.stream)
        progress = StudyProgress("small")
        costs = []
        for _ in range(50):
            began = time.process_time()
            update(progress, *(running(number) for number in range(8)))
            costs.append(time.process_time() - began)
            assert seen.lines
        progress.close()
    assert sorted(costs)[25] < 0.005 * 0.5  # two looks a second: less than half a percent of a core


def test_by_default_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    StudyProgress("small").note("begins")
    assert capsys.readouterr() == ("", "begins\n")
