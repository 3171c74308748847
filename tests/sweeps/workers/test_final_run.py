"""`run` on a study with a final stage: both stages in one call, and in many that were stopped or killed."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState

from mnistnn.data import Dataset
from sweeps.care.replay import replay_trial
from sweeps.ensemble.choice import choose
from sweeps.study.lineage import FINAL
from sweeps.study.lookup import config_of
from sweeps.study.storage import origin_of
from sweeps.views.study_view import StudyView
from tests.sweeps.workers.runs import Project, kill, wait_for, worker_pids

pytestmark = pytest.mark.slow

BY_TRIALS = "\n[final]\nmembers = 3\ntop = 2\nepochs = 4\nfolds = 3\n"


def make(root: Path, data: Path, database: Path, final: str = BY_TRIALS) -> Project:
    project = Project(root, data, trials=2, epochs=2, database=database)
    project.file.write_text(project.file.read_text() + final)
    return project


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sample_dir: Path, database: Path) -> Project:
    """A study that was run in one go. Not to be changed."""
    project = make(tmp_path_factory.mktemp("plain"), sample_dir, database)
    out, err = project.run()
    assert "study 'live': 2 trials, then a final stage of 3 members, 1 worker" in err
    assert "final stage: 3 members of #00" in err
    assert "4 epochs each; on 1,200 images" in err
    assert "oof loss" in err
    assert "study live: 5 trials complete, 3 of them members of the final stage, 0 pruned" in out
    assert "final stage, each judged by the images that it left out" in out
    return project


def test_members_follow_the_search_in_one_call(plain: Project) -> None:
    trials = plain.study().trials
    assert [FINAL in trial.user_attrs for trial in trials] == [False, False, True, True, True]
    finals = [trial.user_attrs[FINAL] for trial in trials[2:]]
    assert [final["fold"] for final in finals] == [1, 1, 2]
    assert {final["of"] for final in finals} == {0, 1}
    out, _ = plain.run()  # nothing is left to do
    assert len(plain.study().trials) == 5
    assert "3 of them members" in out


def test_mlflow_has_them_in_the_same_experiment(plain: Project) -> None:
    with closing(sqlite3.connect(plain.root / "mlruns" / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT r.name, r.experiment_id, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
            "WHERE t.key = 'stage' AND t.value = 'final'"
        ).fetchall()
    assert sorted(name[:14] for name, *_ in rows) == ["#002 final 1/3", "#003 final 1/3", "#004 final 2/3"]
    assert {status for *_, status in rows} == {"FINISHED"}
    assert len({experiment for _, experiment, _ in rows}) == 1
    said = (plain.paths.parent / "events.jsonl").read_text()
    assert "final stage | 3 members, the best 2 architectures for 4 epochs |" in said


def members(project: Project) -> list[FrozenTrial]:
    """Returns the last attempts at the members, in the order in which they began."""
    found = {origin_of(trial): trial for trial in project.study().trials if not trial.user_attrs.get("requeued")}
    return [trial for _, trial in sorted(found.items()) if FINAL in trial.user_attrs]


@pytest.mark.kill
def test_kills_at_any_moment_lose_nothing(
    plain: Project, tmp_path: Path, sample_dir: Path, sample: Dataset, database: Path
) -> None:
    """In the search, between the stages, in a member's epochs and at its end; all processes at once."""
    project = make(tmp_path, sample_dir, database)

    def has(member: int, file: str) -> bool:
        if not project.paths.journal.exists():
            return False
        known = members(project)
        return len(known) > member and (project.paths.trial(origin_of(known[member])) / file).exists()

    moments: list[Callable[[], bool]] = [
        lambda: (project.paths.trial(1) / "checkpoint.npz").exists(),
        lambda: has(0, "lock"),
        lambda: has(1, "checkpoint.npz"),
        lambda: has(2, "weights.npz"),
    ]
    for moment in moments:
        process = project.start()
        wait_for(lambda: moment() or process.poll() is not None)  # noqa: B023  # it is called at once
        for pid in [process.pid, *worker_pids(process.pid)]:
            kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
    project.run()
    ours, theirs = members(project), members(plain)
    assert [trial.user_attrs[FINAL] for trial in ours] == [trial.user_attrs[FINAL] for trial in theirs]
    for trial in ours:
        assert trial.state == TrialState.COMPLETE
        number = origin_of(trial)
        kinds = project.events(number)
        assert [kinds.count(kind) for kind in ("start", "epoch", "end")] == [1, 4, 1]
        assert replay_trial("live", number, root=project.root, dataset=sample, progress=False).is_same
    assert project.statuses() == {"FINISHED"}


@pytest.mark.kill
def test_what_the_time_cuts_off_waits_and_more_time_ends_it(
    tmp_path: Path, sample_dir: Path, sample: Dataset, database: Path
) -> None:
    project = make(tmp_path, sample_dir, database, "\n[final]\nmembers = 1\ntop = 1\nepochs = 60\nfolds = 3\n")
    process = project.start()
    wait_for(lambda: (project.paths.trial(2) / "checkpoint.npz").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    member = project.study().trials[2]
    assert member.state == TrialState.WAITING
    project.run()
    done = [trial for trial in project.study().trials if not trial.user_attrs.get("requeued")]
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 3
    assert done[2].user_attrs["epochs_run"] == 60
    kinds = project.events(2)
    assert (kinds.count("epoch"), kinds.count("start"), kinds.count("resume")) == (60, 1, 1)
    study = project.study()
    assert choose(study, config_of(study), project.paths, dataset=sample).stage == "final"


def test_a_study_of_time_gives_the_rest_of_it_to_members(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = make(tmp_path, sample_dir, database, '\n[final]\ntime = "9s"\ntop = 2\nepochs = 6\nfolds = 3\n')
    project.file.write_text(project.file.read_text().replace("\ntrials = 2", '\ntime = "14s"'))
    began = time.monotonic()
    out, err = project.run(workers=2)
    assert "study 'live': 14 s, the last 9 s for its final stage, 2 workers" in err
    assert "final stage: about " in err
    assert time.monotonic() - began < 60
    complete = [trial for trial in members(project) if trial.state == TrialState.COMPLETE]
    assert complete, err
    assert {trial.user_attrs["epochs_run"] for trial in complete} <= set(range(3, 10))
    assert f"{len(complete)} of them members of the final stage" in out
    status = StudyView(project.study(), project.paths).look()
    final = status.to_dict()["final"]
    assert (final["complete"], final["begins_s"]) == (len(complete), 5.0)
    assert f"final    {len(complete)} members complete" in status.text()
