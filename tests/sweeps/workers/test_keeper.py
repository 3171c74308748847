"""The one process at a time that keeps a study."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.paths import Paths
from sweeps.workers.keeper import Keeper

CONFIG = {
    "study": {"name": "kept"},
    "budget": {"trials": 1, "epochs": 1},
    "search": {"optimizer": {"sgd": {"learning_rate": 0.1}}},
}


def test_who_insists_on_a_study_that_is_kept_is_told_by_whom(tmp_path: Path) -> None:
    config, paths = StudyConfig.from_dict(CONFIG), Paths(tmp_path).study("kept")
    with Keeper(config, paths) as first:
        first.insist()
        with Keeper(config, paths) as other:
            assert not other.take()
            with pytest.raises(StudyError, match=rf"but process {os.getpid()} does already; .* `worker kept`\.$"):
                other.insist()
            paths.lock.write_text("\x00 no number")
            with pytest.raises(StudyError, match="but another one does already"):
                other.insist()
            assert not other.is_keeping
    with Keeper(config, paths) as next_one:  # the first has left
        next_one.insist()
        assert next_one.is_keeping
