from __future__ import annotations

import multiprocessing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.config import StudyConfig
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import StudyPaths
from sweeps.study.grid import grid_points
from sweeps.study.journal import JournalLock, repair_journal
from sweeps.study.lookup import config_of
from sweeps.study.space import Space
from sweeps.study.storage import (
    bind_folder,
    load_study,
    open_storage,
    open_study,
    origin_of,
)
from sweeps.tracking.address import public
from tests.sweeps.small import small_config

DATA = "d" * 64


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return StudyPaths(tmp_path / "small")


def test_the_journal_lies_in_the_studys_folder(paths: StudyPaths) -> None:
    open_study(small_config(), open_storage(None, paths), DATA)
    assert paths.journal.is_file()
    assert load_study("small", None, paths).study_name == "small"


def test_a_final_stages_time_may_become_a_share_of_a_budget_that_changes(paths: StudyPaths) -> None:
    def opened(budget: str, final: str) -> StudyConfig:
        config = small_config(budget={"time": budget, "epochs": 2}, final={"time": final})
        return config_of(open_study(config, open_storage(None, paths), DATA))

    assert opened("115m", "80m").final_s == 4800.0
    assert opened("115m", "70%").final_s == 4830.0
    assert opened("2h", "70%").final_s == 5040.0


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_other_storages(paths: StudyPaths, tmp_path: Path, kind: str) -> None:
    url = str(tmp_path / "elsewhere" / "x.log") if kind == "file" else f"sqlite:///{tmp_path}/x.db"
    open_study(small_config(), open_storage(url, paths), DATA)
    assert load_study("small", url, paths).user_attrs["data_digest"] == DATA
    assert not paths.journal.exists()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////no/such/folder/x.db",
        "nosuchdb://user:secret@host/x",
        "postgresql+nosuchdriver://user:secret@localhost/x",
        "not a url://",
    ],
)
def test_a_storage_that_does_not_open_is_one_line_without_its_password(paths: StudyPaths, url: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(url, paths)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "--storage" in str(caught.value)


@pytest.mark.parametrize("content", ["no json\n", '{"op_code": 0}\n', '{"op_code": 99, "worker_id": "x"}\n', "[]\n"])
def test_a_damaged_journal_is_one_line(paths: StudyPaths, content: str) -> None:
    paths.folder.mkdir()
    paths.journal.write_text(content + '{"op_code": 1}\n')
    with pytest.raises(StudyError, match="journal.log") as caught:
        open_study(small_config(), open_storage(None, paths), DATA)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_journal(paths: StudyPaths, tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        open_storage(str(tmp_path), paths)


def test_what_was_never_run_is_not_made(paths: StudyPaths, tmp_path: Path) -> None:
    for url in (None, str(tmp_path / "x.log")):
        with pytest.raises(StudyError, match="run small"):
            load_study("small", url, paths)
    assert not paths.folder.exists()
    open_storage(f"sqlite:///{tmp_path}/x.db", paths)
    with pytest.raises(StudyError, match="run small"):
        load_study("small", f"sqlite:///{tmp_path}/x.db", paths)


def test_a_changed_space_is_refused_with_the_difference(paths: StudyPaths) -> None:
    open_study(small_config(), open_storage(None, paths), DATA)
    before = paths.journal.read_bytes()
    changed = small_config(search__filters=[2, 8], fixed__batch_size=50)
    with pytest.raises(StudyError) as caught:
        open_study(changed, open_storage(None, paths), DATA)
    line = str(caught.value)
    assert "search.filters" in line
    assert "fixed.batch_size: 100 → 50" in line
    assert "\n" not in line
    assert paths.journal.read_bytes() == before
    assert load_study("small", None, paths).user_attrs["config"] == small_config().to_dict()


@pytest.mark.parametrize("name", ["x.log", "sqlite:///x.db"])
def test_looking_for_a_study_makes_no_storage(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    paths.folder.mkdir()
    monkeypatch.chdir(paths.folder)
    with pytest.raises(StudyError, match="has no trials yet"):
        load_study("small", name, paths)
    assert not list(paths.folder.iterdir())


def test_a_wrong_storage_gets_no_empty_study(paths: StudyPaths, tmp_path: Path) -> None:
    bind_folder(open_study(small_config(), open_storage(None, paths), DATA), paths)
    wrong = open_storage(str(tmp_path / "x.log"), paths)
    with pytest.raises(StudyError, match="belong to study 'small' in another one"):
        open_study(small_config(), wrong, DATA, paths)
    assert wrong.get_all_studies() == []
    open_study(small_config(), wrong, DATA)  # as a folder that was moved away and back again may find
    with pytest.raises(StudyError, match="belong to study 'small' in another one"):
        load_study("small", str(tmp_path / "x.log"), paths)
    assert load_study("small", None, paths).user_attrs["data_digest"] == DATA


def test_a_folder_belongs_to_one_study(paths: StudyPaths, tmp_path: Path) -> None:
    study = open_study(small_config(), open_storage(None, paths), DATA)
    for _ in range(2):
        bind_folder(study, paths)
    other = open_study(small_config(), open_storage(str(tmp_path / "x.log"), paths), DATA)
    with pytest.raises(StudyError, match="belong to study 'small' in another one"):
        bind_folder(other, paths)
    paths.identity.unlink()  # a kill before it was written
    bind_folder(study, paths)
    with pytest.raises(StudyError, match="another one"):
        bind_folder(other, paths)


def test_other_data_are_refused(paths: StudyPaths) -> None:
    open_study(small_config(), open_storage(None, paths), DATA)
    with pytest.raises(StudyError, match="data it was begun with"):
        open_study(small_config(), open_storage(None, paths), "e" * 64)


def test_budget_and_ensemble_may_change(paths: StudyPaths) -> None:
    open_study(small_config(), open_storage(None, paths), DATA)
    changed = small_config(budget__trials=50, ensemble__top=2)
    study = open_study(changed, open_storage(None, paths), DATA)
    assert study.user_attrs["config"] == changed.to_dict()


def test_baselines_are_enqueued_once(paths: StudyPaths) -> None:
    config = small_config(study__baselines=["report", "mlp3"])
    for _ in range(2):
        study = open_study(config, open_storage(None, paths), DATA)
    assert [trial.state for trial in study.trials] == [TrialState.WAITING] * 2
    assert [trial.user_attrs["preset"] for trial in study.trials] == ["report", "mlp3"]
    assert all(trial.user_attrs["role"] == "baseline" for trial in study.trials)


def test_a_kill_while_baselines_are_enqueued_loses_and_doubles_none(
    paths: StudyPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(study__baselines=["report", "mlp3"])
    enqueue = optuna.Study.enqueue_trial
    calls = 0

    def dying(self: optuna.Study, *args: object, **options: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        enqueue(self, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", dying)
        with pytest.raises(KeyboardInterrupt):
            open_study(config, open_storage(None, paths), DATA)
    study = open_study(config, open_storage(None, paths), DATA)
    assert [trial.user_attrs["preset"] for trial in study.trials] == ["report", "mlp3"]


def test_baselines_beyond_the_limits_are_tried_all_the_same(paths: StudyPaths) -> None:
    config = small_config(study__baselines=["conv2", "mlp3"], limits__macs=500_000)
    study = open_study(config, open_storage(None, paths), DATA)
    assert [trial.user_attrs["preset"] for trial in study.trials] == ["conv2", "mlp3"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid"])
def test_limits_that_leave_nothing_are_refused_before_anything_is_kept(sampler: str, paths: StudyPaths) -> None:
    search = {"filters": [2, 4], "optimizer": {"adam": {"learning_rate": [1e-3, 1e-2]}}}
    config = small_config(sampler__type=sampler, search=search, limits__params=3)
    with pytest.raises(ConfigError, match=r"\[limits\]"):
        open_study(config, open_storage(None, paths), DATA)
    wider = small_config(sampler__type=sampler, search=search)
    assert open_study(wider, open_storage(None, paths), DATA).user_attrs["space_hash"] == wider.space_hash


def test_a_grid_is_enqueued_point_by_point(paths: StudyPaths) -> None:
    config = small_config(
        sampler__type="grid",
        search={"filters": [2, 4], "optimizer": {"adam": {"learning_rate": [1e-3, 1e-2]}}},
    )
    for _ in range(2):
        study = open_study(config, open_storage(None, paths), DATA)
    points = [trial.system_attrs["fixed_params"] for trial in study.trials]
    assert points == list(grid_points(Space(config)))
    assert len(points) == 4


def test_a_torn_line_is_cut_off_and_kept(paths: StudyPaths) -> None:
    study = open_study(small_config(), open_storage(None, paths), DATA)
    study.ask()
    whole = paths.journal.read_bytes()
    assert repair_journal(None, paths) is None
    paths.journal.write_bytes(whole + b'{"op_code": 4, "work')
    assert "unfinished line" in str(repair_journal(None, paths))
    assert paths.journal.read_bytes() == whole
    assert paths.journal.with_name("journal.log.torn").read_bytes() == b'{"op_code": 4, "work\n'
    again = load_study("small", None, paths)
    again.ask()
    assert len(load_study("small", None, paths).trials) == 2


@pytest.mark.parametrize("torn", [b"{", b'{"op_code": 4, "work', b'{"op_code": 4, "worker_id": "' + b"x" * 200_000])
def test_whoever_writes_next_mends_a_torn_end(paths: StudyPaths, torn: bytes) -> None:
    study = open_study(small_config(), open_storage(None, paths), DATA)
    study.ask()
    with open(paths.journal, "ab") as journal:
        journal.write(torn)
    study.ask()  # by a process that has the journal open since before
    assert len(load_study("small", None, paths).trials) == 2
    assert paths.journal.with_name("journal.log.torn").read_bytes() == torn + b"\n"


def test_there_is_nothing_to_repair_in_a_database(paths: StudyPaths, tmp_path: Path) -> None:
    assert repair_journal(f"sqlite:///{tmp_path}/x.db", paths) is None
    assert repair_journal(None, paths) is None


def _hold(path: str, ready: multiprocessing.synchronize.Event) -> None:
    JournalLock(Path(path)).acquire()
    ready.set()
    multiprocessing.Event().wait()


@pytest.mark.kill
def test_the_lock_of_a_killed_writer_holds_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_hold, args=(path, ready))
    writer.start()
    assert ready.wait(20)
    writer.kill()
    writer.join()
    lock = JournalLock(Path(path))
    assert lock.acquire()
    lock.release()


def test_origin_is_the_number_of_the_first_attempt() -> None:
    trial = optuna.trial.create_trial(value=1.0)
    assert origin_of(trial) == trial.number
    trial.set_user_attr("origin", 17)
    assert origin_of(trial) == 17


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql+psycopg://me:secret@db:5432/x", "postgresql+psycopg://me:***@db:5432/x"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("could not reach mysql://u:p@h/d now", "could not reach mysql://u:***@h/d now"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
    ],
)
def test_passwords_are_hidden(text: str, hidden: str) -> None:
    assert public(text) == hidden
