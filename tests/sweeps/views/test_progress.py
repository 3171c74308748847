from __future__ import annotations

import io
import sys

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.study.budget import Tally
from sweeps.views.progress import RunningTrial, StudyProgress, clock, trial_line

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


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    progress = StudyProgress("small", bar=True)
    now = [running(), running(13, left_s=65.4), running(14, left_s=None)]
    progress.update(Tally(complete=3, pruned=1, running=3), trial(), share=0.255, left_s=185.0, running=now)
    progress.note("a line")
    progress.update(Tally(complete=3, pruned=1, running=2), trial(), share=0.3, left_s=None)
    progress.close()
    shown = screen.getvalue()
    assert "small  25%|" in shown
    assert "3:05 left · best #007 val loss 0.0312, 99.05 % · 4 trials (1 pruned), to go: #012 30 s, #013 1:05" in shown
    assert "4 trials (1 pruned), 2 running" in shown
    assert "about" not in shown
    assert "\na line\n" in shown.replace("\r", "\n")


def test_by_default_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    StudyProgress("small").note("begins")
    assert capsys.readouterr() == ("", "begins\n")
