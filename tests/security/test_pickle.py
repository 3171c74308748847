"""No pickle is read anywhere: a bomb lies in each place that bytes are read from, and none goes off."""

from __future__ import annotations

import ast
import contextlib
import gzip
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest

from mnistnn.checkpoint import check_checkpoint, load_checkpoint, load_model, read_header, save_checkpoint, save_model
from mnistnn.data import Dataset, Split, find_dataset, read_images
from mnistnn.errors import CheckpointError, DataError, InputError
from mnistnn.network import Network
from mnistnn.training import Trainer, TrainingSpec
from sweeps.config import load_study
from sweeps.ensemble.answers import load_answer_probs
from sweeps.ensemble.manifest import read_manifest
from sweeps.ensemble.members import Member
from sweeps.ensemble.predictions import load_val_probs
from sweeps.ensemble.probs import load_test_probs
from sweeps.ensemble.record import load_report
from sweeps.paths import StudyPaths
from sweeps.study.storage import load_study as open_stored
from sweeps.tracking import store
from sweeps.tracking.cursor import Cursor, pending_events
from sweeps.tracking.events import TrialLog, parse
from sweeps.workers.order import Order
from tests.mnistnn.data.formats import IMAGES, LABELS
from tests.mnistnn.nets import TINY
from tests.security.bombs import Entry, PickleBomb, zip_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[PickleBomb]:
    """A bomb that must not have gone off when the test ends."""
    bomb = PickleBomb(tmp_path / "boom")
    yield bomb
    assert not bomb.went_off, "a pickle was read"


def test_the_bomb_is_one(tmp_path: Path) -> None:
    bomb = PickleBomb(tmp_path / "boom")
    pickle.loads(bomb.raw())
    assert bomb.went_off
    bomb.marker.rmdir()
    (tmp_path / "x.npz").write_bytes(bomb.npz("images"))
    with np.load(tmp_path / "x.npz", allow_pickle=True) as file:
        assert file["images"] is not None
    assert bomb.went_off


def bombs(bomb: PickleBomb, *names: str, **sound: np.ndarray) -> dict[str, bytes]:
    """The forms in which a bomb may come: bare, as an array of objects, in an archive, and as a member of one."""
    return {
        "raw": bomb.raw(),
        "npy": bomb.npy(),
        "npz": bomb.npz(*names, **sound),
        "member": zip_of(*(Entry(f"{name}.npy", bomb.raw(), len(bomb.raw()), 0) for name in names)),
    }


FORMS = ("raw", "npy", "npz", "member")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pkl", ".csv", ".txt", ".png", "-images-idx3-ubyte", ""])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_images(tmp_path: Path, bomb: PickleBomb, form: str, suffix: str, packed: bool) -> None:
    data = bombs(bomb, "images")[form]
    path = tmp_path / f"given{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError):
        read_images(path)


def test_labels_beside_sound_images(tmp_path: Path, bomb: PickleBomb) -> None:
    (tmp_path / "given.npz").write_bytes(bomb.npz("labels", images=IMAGES))
    with pytest.raises(DataError, match="pickled objects"):
        read_images(tmp_path / "given.npz")


@pytest.mark.parametrize("form", FORMS)
def test_data_set(tmp_path: Path, bomb: PickleBomb, form: str, sample_dir: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in sample_dir.glob("*.gz"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bombs(bomb, "labels")[form]))
    with pytest.raises(DataError):
        find_dataset(folder, cache=tmp_path / "cache")


@pytest.mark.parametrize("form", FORMS)
def test_weights(tmp_path: Path, bomb: PickleBomb, form: str) -> None:
    path = tmp_path / "weights.npz"
    save_model(path, Network(TINY))
    with np.load(path, allow_pickle=False) as file:
        sound = {name: file[name] for name in file.files}
    for name in ("header", "dense_1/weight"):
        assert name in sound
        path.write_bytes(bombs(bomb, name, **{key: value for key, value in sound.items() if key != name})[form])
        for read in (load_model, read_header) if name == "header" else (load_model,):
            with pytest.raises(CheckpointError):
                read(path)


@pytest.mark.parametrize("form", FORMS)
def test_checkpoint(tmp_path: Path, bomb: PickleBomb, form: str, sample: Dataset) -> None:
    few = Split(sample.train_images, sample.train_labels, np.arange(100))
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=1), few, few)
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, trainer)
    with np.load(path, allow_pickle=False) as file:
        sound = {name: file[name] for name in file.files}
    for name in ("header", "params", "optimizer/mean_sum"):
        rest = {key: value for key, value in sound.items() if key != name}
        path.write_bytes(bombs(bomb, name, **rest)[form])
        for read in (check_checkpoint, lambda path: load_checkpoint(path, trainer)):
            with pytest.raises(CheckpointError):
                read(path)


@pytest.mark.parametrize("form", FORMS)
def test_predictions(tmp_path: Path, bomb: PickleBomb, form: str) -> None:
    paths = StudyPaths(tmp_path / "study")
    paths.trial(3).mkdir(parents=True)
    for name, rest in (("probs", {"labels": LABELS}), ("labels", {"probs": np.full((3, 10), 0.1, np.float32)})):
        (paths.trial(3) / "val_probs.npz").write_bytes(bombs(bomb, name, **rest)[form])
        with pytest.raises(CheckpointError):
            load_val_probs(Member(3, "", "", 0.1), paths, np.asarray(LABELS, np.int64))
    texts = {"ensemble": np.array("e"), "data": np.array("d"), "test": np.full((3, 10), 0.1, np.float32)}
    for name in texts:
        rest = {key: value for key, value in texts.items() if key != name}
        (tmp_path / "probs.npz").write_bytes(bombs(bomb, name, **rest)[form])
        assert load_test_probs(tmp_path / "probs.npz", ensemble="e", data="d", count=3) is None
    (tmp_path / "probs.npz").write_bytes(data := bombs(bomb, "probs")[form])
    import hashlib

    with pytest.raises(CheckpointError):
        load_answer_probs(tmp_path / "probs.npz", hashlib.sha256(data).hexdigest(), 3)


def texts(bomb: PickleBomb) -> list[bytes]:
    """The bomb in places that hold text: bare, and as what YAML and `jsonpickle` would unpickle."""
    command = [str(bomb.marker)]
    return [
        bomb.raw(),
        json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": command}]}).encode(),
        f"!!python/object/apply:os.mkdir {json.dumps(command)}\n".encode(),
        f"__import__('os').mkdir({str(bomb.marker)!r})\n".encode(),
        pickle.dumps(bomb, protocol=0),
    ]


def test_events_and_their_cursor(tmp_path: Path, bomb: PickleBomb) -> None:
    for text in texts(bomb):
        (tmp_path / "events.jsonl").write_bytes(text + b"\n")
        (tmp_path / "shipped.json").write_bytes(text)
        assert parse(text) is None
        assert Cursor.load(tmp_path) == Cursor()
        assert pending_events(tmp_path) >= 1
        with TrialLog(tmp_path) as log:
            assert log.state == "new"
        assert not TrialLog.has_ended(tmp_path)


def test_records_manifests_orders_and_studies(tmp_path: Path, bomb: PickleBomb) -> None:
    paths = StudyPaths(tmp_path / "study")
    paths.ensemble.mkdir(parents=True)
    for text in texts(bomb):
        (paths.ensemble / "ensemble.json").write_bytes(text)
        (tmp_path / "manifest.json").write_bytes(text)
        (tmp_path / "mine.toml").write_bytes(text)
        for read in (
            lambda: load_report(paths),
            lambda: read_manifest(tmp_path / "manifest.json"),
            lambda: load_study(tmp_path / "mine.toml", root=tmp_path),
            lambda: Order.from_json(text.decode("latin-1")),  # noqa: B023  # called at once
        ):
            with pytest.raises((InputError, ValueError, TypeError)):
                read()


def test_journal(tmp_path: Path, bomb: PickleBomb) -> None:
    """Optuna unpickles snapshots of Redis, which a journal in a file has not."""
    paths = StudyPaths(tmp_path / "study")
    paths.folder.mkdir()
    sound = b'{"op_code": 0, "worker_id": "w", "study_name": "mine", "directions": [1]}\n'
    for text in texts(bomb):
        for journal in (text, sound + text + b"\n", b'{"op_code":' + text):
            paths.journal.write_bytes(journal)
            for snapshot in (".snapshot", ".pkl", ".lock"):
                paths.journal.with_name(f"journal.log{snapshot}").write_bytes(text)
            with contextlib.suppress(InputError):
                open_stored("mine", None, paths).get_trials()


def test_a_database_of_trials_holds_text(tmp_path: Path, bomb: PickleBomb) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path}/trials.db"
    study = optuna.create_study(study_name="mine", storage=url)
    study.enqueue_trial({"x": 1.0}, user_attrs={"a": "b"})
    database = sqlite3.connect(tmp_path / "trials.db")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for _, column, *_ in list(database.execute(f"PRAGMA table_info({table})")):
            if column.endswith("_json"):
                database.execute(f"UPDATE {table} SET {column} = ?", (bomb.raw(),))
    database.commit()
    database.close()
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever Optuna says of it
        open_stored("mine", url, StudyPaths(tmp_path / "study")).get_trials()


def test_a_model_in_the_registry_is_not_unpickled(tmp_path: Path, bomb: PickleBomb) -> None:
    """A model that somebody else put into the store, as MLflow writes pickled ones; loaded with our settings."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "python_model.pkl").write_bytes(bomb.raw())
    (model / "MLmodel").write_text(
        "flavors:\n  python_function:\n    cloudpickle_version: 3.1.1\n    loader_module: mlflow.pyfunc.model\n"
        "    python_model: python_model.pkl\n    python_version: 3.11.0\n"
    )
    code = (
        "import sys; from sweeps.tracking import store; store.quiet(); import mlflow.pyfunc\n"
        "try: mlflow.pyfunc.load_model(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
    )
    kept = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, env=kept, check=True
    )
    assert "using pickle is disallowed" in done.stdout, done


def test_our_own_model_needs_no_pickle() -> None:
    assert store._ENVIRONMENT["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


_UNPICKLERS = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "yaml",
}
_CALLS = {"eval", "exec", "compile", "read_pickle", "extractall", "extract", "unpack_archive", "mktemp"}


def _faults(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (f"{where} imports {each.name}" for each in node.names if each.name.split(".")[0] in _UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _UNPICKLERS:
            yield f"{where} imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from (f"{where} {reason}" for reason in _of_call(node))


def _of_call(node: ast.Call) -> Iterator[str]:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    of = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
    if name in _CALLS and of not in ("re", "parser"):
        yield f"calls {name}"
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if of in ("np", "numpy") and name in ("load", "save", "savez") and options.get("allow_pickle") != "False":
        yield f"calls {of}.{name} without allow_pickle=False"
    if options.get("allow_pickle", "False") != "False" or options.get("shell", "False") != "False":
        yield f"calls {name} with {options}"


def test_nothing_in_the_code_could_unpickle_or_unpack_by_name() -> None:
    paths: list[Path] = [path for package in ("mnistnn", "sweeps") for path in (ROOT / package).rglob("*.py")]
    assert len(paths) > 100
    faults: Callable[[Path], Iterator[str]] = _faults
    assert [fault for path in paths for fault in faults(path)] == []
