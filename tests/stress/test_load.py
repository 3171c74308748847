"""A small version of `python -m tests.stress.load`: the measuring works, and nothing is out of all proportion."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.load import measure

pytestmark = pytest.mark.slow


def test_sixty_trials_by_four_workers(tmp_path: Path, sample_dir: Path) -> None:
    load = measure(tmp_path / "p", sample_dir, sizes=(20, 60), workers=4, alone=0, verbs=False)
    first, last = load.sizes
    assert (first.trials, last.trials) == (20, 60)
    assert load.busy_growth < 2.0  # of processor time, as other tests may be at work; the goal is 1.5 up to a thousand
    assert last.busy_sampler_ms < 100.0
    assert last.resume_s < 10.0  # on a busy machine
    assert last.stores_mb["journal"] < 1.0
    assert last.stores_mb["mlflow.db"] < 4.0
    assert "overhead grew" in load.table()
