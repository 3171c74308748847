from __future__ import annotations

import errno
import gzip
import json
import math
import shutil
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from mnistnn.data import Dataset
from mnistnn.errors import InputError, OutputError
from sweeps.care.archive import places, restore, snapshot
from sweeps.care.archive.contents import is_study_file
from sweeps.care.archive.rename import rename_snapshot, rename_toml
from sweeps.care.archive.snapshot import Snapshot
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.locks import FileLock
from sweeps.study.recovery import recover
from sweeps.study.storage import bind_folder, load_study, open_storage, open_study
from tests.sweeps.care.archives import Files, bring, die, export, killed, make_small, pack, read, tree
from tests.sweeps.care.patient import Patient
from tests.sweeps.command import Home
from tests.sweeps.small import make_bench, run_next, small_config


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> tuple[Path, Path]:
    """A project in which two of three trials ended and the third waits with a checkpoint; and its archive."""
    root = tmp_path_factory.mktemp("small")
    config, study = make_small(root, sample, budget__epochs=3)
    third = Paths(root).study("small").trial(2) / "events.jsonl"

    def stop() -> bool:
        return third.exists() and third.read_bytes().count(b'"kind":"epoch"') == 2

    bench = make_bench(config, root, sample, stop=stop)
    assert [run_next(study, bench) for _ in range(3)] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.WAITING]
    bind_folder(study, bench.paths)
    return root, export(config, root, root / "small.tar")


@pytest.fixture
def files(small: tuple[Path, Path]) -> Files:
    return read(small[1])


# What is in an archive.


def test_an_archive_holds_the_study_and_nothing_of_its_machine(small: tuple[Path, Path], files: Files) -> None:
    root, _ = small
    folder = Paths(root).study("small").folder
    manifest = json.loads(files["manifest.json"])
    assert manifest["study"] == "small"
    assert manifest["format"] == 1
    assert manifest["trials"] == 3
    assert manifest["data_digest"]
    assert set(manifest["versions"]) >= {"python", "numpy", "blas"}
    assert list(files)[-1] == "manifest.json"
    assert manifest["files"].keys() == files.keys() - {"manifest.json"}
    ours = {path for path in tree(folder) if not path.endswith(("journal.log", "study.id", "shipped.json"))}
    assert files.keys() - {"manifest.json", "study.toml", "journal.log"} == ours
    assert "trials/00000/final.npz" in files
    assert "trials/00002/checkpoint.npz" in files
    assert not [name for name in files if "lock" in name or "shipped" in name]
    for path in ours:
        assert files[path] == (folder / path).read_bytes()


def test_the_same_study_gives_the_same_bytes(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, archive = small
    again = export(small_config(budget__epochs=3), root, tmp_path / "again.tar")
    assert again.read_bytes() == archive.read_bytes()


def test_what_began_after_the_trials_were_read_stays_out(sample: Dataset, tmp_path: Path) -> None:
    config, study = make_small(tmp_path, sample, budget__epochs=1)
    bench = make_bench(config, tmp_path, sample)
    assert run_next(study, bench) == TrialState.COMPLETE
    study.ask()  # at work when the trials are read; when its files are, it has ended, and another one has begun
    first, second, third = (bench.paths.trial(number) for number in range(3))
    shutil.copytree(first, second)
    shutil.copytree(first, third)
    with open(second / "events.jsonl", "ab") as file:
        file.write(b'{"kind":"ta')  # of a line that is just being written
    files = read(export(config, tmp_path, tmp_path / "x.tar"))
    assert not [name for name in files if name.startswith("trials/00002")]
    assert files["trials/00001/checkpoint.npz"] == (first / "final.npz").read_bytes()
    assert "trials/00001/final.npz" not in files
    assert files["trials/00001/events.jsonl"] == (first / "events.jsonl").read_bytes()


def test_weights_that_are_not_the_recorded_ones_are_spoken_of(sample: Dataset, tmp_path: Path) -> None:
    config, study = make_small(tmp_path, sample, budget__epochs=1)
    bench = make_bench(config, tmp_path, sample)
    run_next(study, bench)
    run_next(study, bench)
    (bench.paths.trial(0) / "weights.npz").unlink()
    (bench.paths.trial(1) / "weights.npz").write_bytes(b"other")
    said: list[str] = []
    export(config, tmp_path, tmp_path / "x.tar", echo=said.append)
    assert said == [
        "warning: trial 0 has no weights.npz; `doctor` tells more.",
        "warning: trial 1 has not the weights.npz that it ended with; `doctor` tells more.",
    ]


def test_two_exports_at_once_and_a_full_disk(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = small
    config = small_config(budget__epochs=3)
    lock = FileLock(Paths(root).study("small").folder / "files.lock")
    lock.acquire()
    with pytest.raises(StudyError, match="another one does already"):
        export(config, root, tmp_path / "x.tar")
    lock.release()

    def read_only(self: FileLock, **named: Any) -> bool:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:  # a disk that is dying is one to export from
        patch.setattr(FileLock, "acquire", read_only)
        assert export(config, root, tmp_path / "x.tar").read_bytes() == small[1].read_bytes()
    (tmp_path / "x.tar").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OutputError, match=r"must have room, but .* has 0 MB left of the"):
        export(config, root, tmp_path / "x.tar")
    with pytest.raises(OutputError, match="must have room"):
        bring(small[1], tmp_path)
    assert not list(tmp_path.rglob("*.tar"))
    assert not list(tmp_path.rglob("journal.log"))


# What is made of one.


def test_a_waiting_trial_goes_on_from_its_checkpoint_to_the_same_bytes(
    small: tuple[Path, Path], sample: Dataset, tmp_path: Path
) -> None:
    root, archive = small
    shutil.copytree(root, tmp_path / "there")  # goes on where it was
    digests, epochs = [], []
    for home, name in (("there", "small"), ("here", "small"), ("renamed", "other")):
        if home != "there":
            made = bring(archive, tmp_path / home, name=name)
            assert (made.complete, made.waiting, made.study) == (2, 1, name)
        config = small_config(budget__epochs=3, study__name=name)
        paths = Paths(tmp_path / home).study(name)
        study = load_study(name, None, paths)
        bind_folder(study, paths)
        steps = 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        assert run_next(study, make_bench(config, tmp_path / home, sample, stop=count)) == TrialState.COMPLETE
        digests.append(study.trials[2].user_attrs["weights_sha256"])
        epochs.append(steps)
        assert study.trials[2].value == pytest.approx(study.trials[2].user_attrs["val_loss"])
    assert len(set(digests)) == 1
    assert epochs[0] == epochs[1] == epochs[2]
    assert epochs[0] < 3 * 20  # not from its beginning


def test_a_trial_that_was_at_work_is_queued_again(sample: Dataset, tmp_path: Path) -> None:
    config, study = make_small(tmp_path / "there", sample)
    make_bench(config, tmp_path, sample).space.suggest_with(trial := study.ask())
    trial.set_user_attr("label", "net")
    trial.report(0.5, 1)
    made = bring(export(config, tmp_path / "there", tmp_path / "x.tar"), tmp_path / "here")
    assert made.waiting == 1
    paths = Paths(tmp_path / "here").study("small")
    there = load_study("small", None, paths)
    assert there.trials[0].state == TrialState.RUNNING
    assert recover(there, paths) == [0]
    assert [trial.state for trial in there.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert there.trials[1].params == there.trials[0].params == trial.params


def test_another_name_holds_everywhere(small: tuple[Path, Path], sample: Dataset, tmp_path: Path) -> None:
    bring(small[1], tmp_path, name="other-1")
    paths = Paths(tmp_path).study("other-1")
    text = (tmp_path / "studies" / "other-1.toml").read_text()
    assert text.startswith("# as it was\n")
    assert tomllib.loads(text)["study"]["name"] == "other-1"
    study = load_study("other-1", None, paths)
    open_study(small_config(budget__epochs=3, study__name="other-1"), study._storage, sample.digest)
    assert study.user_attrs["config"]["study"]["name"] == "other-1"
    assert {trial.user_attrs["born_in"] for trial in study.trials} == {"small"}
    starts = [json.loads(path.read_bytes().splitlines()[0]) for path in paths.folder.rglob("events.jsonl")]
    assert {start["tags"]["study"] for start in starts} == {"other-1"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[study]\nseed = 1\n", "[study]\nseed = 1\n"),
        ('[study]\nname = "a" # it\n', '[study]\nname = "b" # it\n'),
        ("study = { name = 'a' }\n", '[study]\nname = "b"\n'),
        ('[fixed]\nname = "a"\n[study]\n  name="a"\n', '[fixed]\nname = "a"\n[study]\n  name="b"\n'),
    ],
)
def test_a_name_in_a_file(before: str, after: str) -> None:
    assert rename_toml(before, "b") == after


def test_a_name_that_is_taken(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, archive = small
    with pytest.raises(StudyError, match=r"studies/small/ is there already; give it another one with --as NAME\.$"):
        bring(archive, root)
    studies = tmp_path / "studies"
    studies.mkdir()
    toml = studies / "small.toml"
    shutil.copy(root / "studies" / "small.toml", toml)
    toml.write_text(toml.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(ConfigError, match=r"small\.toml must be .* \(study.seed: 4 → 3\)"):
        bring(archive, tmp_path)
    assert [path.name for path in studies.iterdir()] == ["small.toml"]
    toml.write_text(toml.read_text().replace("seed = 4", "seed = 3") + "# from git\n")
    bring(archive, tmp_path)
    assert toml.read_text().endswith("# from git\n")
    for name in ("../up", "train", "", "a/b", "a\nb", ".x"):
        if name:
            with pytest.raises(InputError):
                bring(archive, tmp_path, name=name)


# What an archive must not do.


def refused(data: bytes, root: Path, **changes: Any) -> str:
    """Returns what is said of an archive, of which nothing is there afterwards."""
    root.mkdir(exist_ok=True)
    (root / "studies").mkdir(exist_ok=True)
    archive = root / "x.tar"
    archive.write_bytes(data)
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError) as caught:
        bring(archive, root, **changes)
    assert sorted(root.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAMES = [
    "../x.npz",
    "/etc/x.npz",
    "trials/00000/../../../x.npz",
    "trials/00000/..",
    "trials/0/weights.npz",
    "trials/00000/sub/x.npz",
    "trials//x.npz",
    "trials\\00000\\x.npz",
    "C:x.npz",
    "parent/.events.tmp",
    "parent/shipped.json",
    "trials/00000/lock",
    "run.lock",
    "study.id",
    "ensemble/../x.npz",
    "trials/00000/worker.log",
    "trials/00000/x.npz ",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_study_s(name: str, files: Files, tmp_path: Path) -> None:
    assert not is_study_file(name)
    if name:
        files[name] = b"x"
        assert "must hold a study's own files only" in refused(pack(files), tmp_path)


def test_a_nul_in_a_name(files: Files, tmp_path: Path) -> None:
    data = bytearray(pack(files | {"parent/a.npzX": b"x"}))
    at = data.index(b"parent/a.npzX")
    data[at + 12 : at + 13] = b"\0"
    header = data[at : at + 512]
    header[148:156] = b"        "
    data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    assert "is not so" in refused(bytes(data), tmp_path)  # the manifest tells of another name


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S", b"L", b"x"])
def test_members_that_are_no_files(kind: bytes, files: Files, tmp_path: Path) -> None:
    def change(info: tarfile.TarInfo) -> None:
        if info.name == "journal.log":
            info.type, info.linkname = kind, "/etc/passwd"

    assert "must hold plain files only" in refused(pack(files, change), tmp_path)


def test_sizes_that_are_lies(files: Files, tmp_path: Path) -> None:
    data = pack(files)
    at = data.index(b"journal.log\0")
    for size in (b"77777777777\0", b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\xff" * 12):
        header = bytearray(data[at : at + 512])
        header[124:136], header[148:156] = size, b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        assert "cut short" in refused(data[:at] + bytes(header) + data[at + 512 :], tmp_path)
    assert "at most, but this one has more; if you trust it, raise --max-size." in refused(
        data, tmp_path, max_bytes=10_000
    )


def test_other_damage(files: Files, tmp_path: Path) -> None:
    def without(*names: str) -> Files:
        return {name: data for name, data in files.items() if name not in (*names, "manifest.json")}

    def with_(**changed: Any) -> bytes:
        manifest = json.loads(files["manifest.json"]) | changed
        return pack(without() | {"manifest.json": json.dumps(manifest).encode()})

    good = pack(without())
    journal = files["journal.log"]
    first = journal.splitlines(keepends=True)[0]
    for data, rule in {
        b"": "is another file, or damaged",
        b"not a tar" * 1000: "is another file, or damaged",
        gzip.compress(good): "is another file, or damaged",
        good[:700]: "cut short",
        good[: len(good) // 2]: "cut short",
        good.rstrip(b"\0"): "cut short",
        good.replace(files["trials/00000/recipe.json"], files["trials/00000/recipe.json"].swapcase()): "is damaged",
        pack(without("journal.log")): "must hold journal.log",
        pack(without("study.toml")): "must hold study.toml",
        with_(format=2): "format must be 1, but this one's is 2",
        with_(files={}): "must hold what its manifest.json says",
        with_(files={"journal.log": {"size": math.inf, "sha256": 1}}): "manifest.json must be whole",
        with_(study="../x"): "must be letters",
        with_(study="other"): "but is another's",
        pack(without() | {"manifest.json": b"[" * 100_000}): "manifest.json must be whole",
        pack(without() | {"trials/00009/weights.npz": b""}): "is of none",
        pack(without() | {"journal.log": b"[" * 100_000}): "journal must be",
        pack(without() | {"journal.log": b"{}\n"}): "journal must be",
        pack(without() | {"journal.log": journal + first.replace(b"small", b"two")}): "2 studies",
        pack(
            without() | {"journal.log": journal.replace(b'attrs":{', b'attrs":{"origin":"..",', 1)}
        ): "a trial's origin",
        pack(without() | {"study.toml": b"[study]\nseed = 'x'\n"}): "study.seed",
        pack(without() | {"study.toml": b"\xff"}): "must be TOML",
    }.items():
        assert rule in (said := refused(data, tmp_path)), said
    twice = tarfile.open(tmp_path / "twice.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
    for name in ("parent/a.npz", "parent/A.npz"):
        twice.addfile(tarfile.TarInfo(name))
    twice.close()
    assert "is there twice" in refused((tmp_path / "twice.tar").read_bytes(), tmp_path)


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_found_or_means_nothing(
    small: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, at: float, bit: int
) -> None:
    data = bytearray(small[1].read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    root = tmp_path_factory.mktemp("flipped")
    (root / "x.tar").write_bytes(data)
    try:
        bring(root / "x.tar", root)
    except InputError:
        assert not list((root / "studies").glob("*"))
    else:  # in what fills the last block of a file
        assert read(root / "x.tar") == read(small[1])
    shutil.rmtree(root)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), value=json_values)
@settings(max_examples=150, deadline=None)
def test_any_journal_is_read_or_refused(small: tuple[Path, Path], data: st.DataObject, value: Any) -> None:
    lines = [json.loads(line) for line in read(small[1])["journal.log"].splitlines()]
    table = lines[data.draw(st.integers(0, len(lines) - 1))]
    for _ in range(data.draw(st.integers(0, 3))):  # somewhere inside
        table = next((each for each in table.values() if isinstance(each, dict) and each), table)
    table[data.draw(st.sampled_from(sorted(table)) | st.sampled_from(["origin", "extends", "requeued"]))] = value
    try:
        read_again = Snapshot.parse("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    except StudyError:
        return
    assert all(0 <= origin < len(read_again.trials) for origin in read_again.current)
    rename_snapshot(read_again, "other").journal()


# Killed in between.


@pytest.mark.parametrize("at", ["the second file", "before the file", "before the folder", "behind the folder"])
@pytest.mark.kill
def test_a_kill_leaves_nothing_that_counts(at: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    def call() -> None:
        if at == "the second file":
            whole, left = restore.copy_out, iter(range(2))
            restore.copy_out = lambda *given: whole(*given) if next(left, None) is not None else die()
        elif at == "before the file":
            restore.place = die
        elif at == "before the folder":
            places.os.rename = die
        else:
            restore.deliver = die
        bring(small[1], tmp_path)

    killed(call)
    there = Paths(tmp_path).study("small").folder.exists()
    assert there == (at == "behind the folder")
    if not there:
        bring(small[1], tmp_path)
    assert len(load_study("small", None, Paths(tmp_path).study("small")).trials) == 3
    assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == ["small", "small.toml"]


@pytest.mark.kill
def test_a_kill_while_a_database_is_filled(small: tuple[Path, Path], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"

    def call() -> None:
        copied, create = iter(range(2)), RDBStorage.create_new_trial

        def some(*given: Any, **named: Any) -> Any:
            return create(*given, **named) if next(copied, None) is not None else die()

        RDBStorage.create_new_trial = some  # type: ignore[method-assign]
        bring(small[1], tmp_path, storage_url=url)

    killed(call)
    paths = Paths(tmp_path).study("small")
    assert len(load_study("small", url, paths).trials) == 2
    bring(small[1], tmp_path, storage_url=url)
    study = load_study("small", url, paths)
    assert len(study.trials) == 3
    bind_folder(study, paths)
    assert not paths.journal.exists()
    shutil.rmtree(paths.folder)
    with pytest.raises(StudyError, match="the storage has a study 'small' already"):
        bring(small[1], tmp_path, storage_url=url)
    assert not paths.folder.exists()


# What Optuna knows.


def a_bit_of_everything(storage: Any) -> optuna.Study:
    study = optuna.create_study(study_name="all", storage=storage, direction="maximize")
    study.set_user_attr("z", {"b": [1, None, "ü"], "a": 0.1})
    study.set_user_attr("a", 1e300)
    distributions = {"x": FloatDistribution(1e-5, 1.0, log=True), "c": CategoricalDistribution(["a", 2, None])}
    params = {"x": 0.1 + 0.2 - 0.25, "c": None}
    common: dict[str, Any] = {"params": params, "distributions": distributions, "system_attrs": {"retry_history": [0]}}
    points = {0: 0.5, 2: math.nan, 10: math.inf}
    for state, value in ((TrialState.COMPLETE, 1 / 3), (TrialState.PRUNED, 0.5), (TrialState.FAIL, None)):
        study.add_trial(create_trial(state=state, value=value, intermediate_values=points, **common))
    study.enqueue_trial({"x": 0.5}, user_attrs={"asked": True})
    study.ask().report(0.25, 3)
    study.enqueue_trial({"x": 0.25})
    waiting = study.ask()
    waiting.suggest_float("x", 1e-5, 1.0, log=True)
    waiting.set_user_attr("label", "net")
    study._storage.set_trial_state_values(waiting._trial_id, TrialState.WAITING)  # stopped, to be gone on with
    return study


@pytest.mark.parametrize("source", ["journal", "sqlite"])
def test_all_that_is_known_of_a_study_survives(source: str, tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    study = a_bit_of_everything(
        open_storage(None, paths) if source == "journal" else RDBStorage(f"sqlite:///{tmp_path}/a.db")
    )
    taken = Snapshot.of(study)
    journal = taken.journal()
    assert taken.journal() == Snapshot.of(study).journal() == journal
    there = open_storage(f"sqlite:///{tmp_path}/b.db", paths)
    Snapshot.parse(journal).copy_into(there)
    assert Snapshot.of(optuna.load_study(study_name="all", storage=there)).journal() == journal
    (tmp_path / "copy.log").write_bytes(journal)
    copy = load_study("all", str(tmp_path / "copy.log"), paths)
    states = [trial.state.name for trial in copy.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
    assert copy.directions == study.directions
    assert copy.user_attrs == study.user_attrs
    for ours, theirs in zip(study.trials, copy.trials, strict=True):
        assert repr(ours.intermediate_values) == repr(theirs.intermediate_values)
        for name in ("number", "values", "params", "distributions", "user_attrs", "system_attrs"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert (ours.datetime_start, ours.datetime_complete) == (theirs.datetime_start, theirs.datetime_complete)
    assert copy.ask().number == 4  # the one that waits


def test_a_storage_that_keeps_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_bit_of_everything(None)
    monkeypatch.setattr(snapshot._Lines, "append_logs", forgetful(snapshot._Lines.append_logs))
    with pytest.raises(StudyError, match=r"must be the same, but trial 0 is not"):
        Snapshot.of(study).journal()


def forgetful(append: Callable[..., None]) -> Callable[..., None]:
    def append_less(self: Any, logs: list[dict[str, Any]]) -> None:
        append(self, [log | ({"intermediate_values": {}} if "intermediate_values" in log else {}) for log in logs])

    return append_less


# By the command line.


@pytest.mark.slow
def test_a_swept_study_goes_to_another_project(swept: Home, home: Home, tmp_path: Path) -> None:
    patient = Patient.copy(swept, tmp_path / "there")
    said = patient.home("export", "smoke", "--json")
    assert said.code == 0, said.err
    archive = said.json["output"]
    assert Path(archive) == patient.home.root / "smoke.tar"
    said = home("import", archive, "--json")
    assert said.code == 0, said.err
    assert said.json["undelivered"] == 0
    assert home("trials", "smoke").out == patient.home("trials", "smoke").out
    here = Patient(home)
    told = here.told()
    assert told.keys() == patient.told().keys()
    for key, (_, *rest) in patient.told().items():
        ours = [*told[key][1:]]
        for each in (ours, rest):
            each[3] = {
                name: value for name, value in each[3].items() if "parent" not in name and "member_runs" not in name
            }
        assert ours == rest
    theirs = tree(patient.paths.folder)
    for name, data in tree(here.paths.folder).items():
        if not name.endswith(("journal.log", "study.id", "shipped.json", "ensemble.json")):
            assert data == theirs[name], name
    record = json.loads((here.paths.ensemble / "ensemble.json").read_text())
    assert [each["member"]["run_id"] for each in record["members"]] == [
        here.run_id(each["member"]["number"]) for each in record["members"]
    ]
    said = home("ensemble", "smoke")
    assert said.code == 0
    assert "the test images were not opened again" in said.err
    assert home("run", "smoke", "--quiet").code == 0
    assert home("submit", "smoke").code == 0
    assert home("doctor", "smoke", "--fix").code == 0
    said = home("import", archive)
    assert (said.code, said.err.count("\n")) == (2, 1)
    said = home("import", archive, "--as", "again", "--tracking-uri", "http://127.0.0.1:9")
    assert said.code == 0
    assert "events wait for the next `run again` (the tracking server must answer" in said.out
    assert json.loads((home.root / "studies/again/ensemble/ensemble.json").read_text())["study"] == "again"
    assert "study again (" in home("ensemble", "again").out
