from __future__ import annotations

import io
import sys

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.study.budget import Tally
from sweeps.views.progress import StudyProgress, clock, trial_line

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


def test_quiet_leaves_the_warnings() -> None:
    lines: list[str] = []
    progress = StudyProgress("small", quiet=True, echo=lines.append, bar=True)
    progress.note("begins")
    progress.update(Tally(complete=1), trial(), share=0.5, left_s=10.0)
    progress.ended(trial())
    progress.warn("careful")
    progress.close()
    assert lines == ["careful"]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    progress = StudyProgress("small", bar=True)
    progress.update(Tally(complete=3, pruned=1, running=2), trial(), share=0.255, left_s=185.0)
    progress.note("a line")
    progress.close()
    shown = screen.getvalue()
    assert "small  25%|" in shown
    assert "3:05 left · best #007 val loss 0.0312, 99.05 % · 4 trials (1 pruned), 2 running" in shown
    assert "\na line\n" in shown.replace("\r", "\n")


def test_by_default_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    StudyProgress("small").note("begins")
    assert capsys.readouterr() == ("", "begins\n")
