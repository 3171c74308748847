from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.checkpoint import load_model, save_model
from mnistnn.files import sha256_file
from mnistnn.network import Network
from mnistnn.presets import preset
from sweeps.errors import TrackingError
from sweeps.tracking import store
from sweeps.tracking.events import TrialLog
from sweeps.tracking.models import Part, register_champion
from sweeps.tracking.shipper import ship_folder
from tests.stores import give_database

CHECKOUT = Path(__file__).parents[3]


class Place:
    """A project with two networks and a run that could be their ensemble's."""

    def __init__(self, root: Path, uri: str | None = None) -> None:
        self.root = root
        self.uri = uri or store.resolve_uri(f"sqlite:///{root}/mlruns/mlflow.db", root)
        self.parts = []
        for seed, weight in ((1, 0.25), (2, 0.75)):
            path = root / f"{seed}.npz"
            digest = save_model(path, Network(preset("small").network, batch_size=4, seed=seed))
            self.parts.append(Part(f"{seed:05d}", path, digest, weight))
        with TrialLog(root / "run") as log:
            log.start("ensemble", {"method": "mean"}, {"role": "ensemble"})
            log.end("COMPLETE", metrics={"test_accuracy": 0.5})
        self.run_id = ship_folder(self.uri, root, "sweeps-x", root / "run")

    @property
    def mlflow(self) -> Any:
        return store.client(self.uri)

    @property
    def champion(self) -> str:
        return str(self.mlflow.get_model_version_by_alias("sweeps-x", "champion").version)

    def register(self, digest: str = "abc") -> str:
        return register_champion(
            self.uri,
            name="sweeps-x",
            run_id=self.run_id,
            digest=digest,
            parts=self.parts,
            params={"members": "2"},
            description="two nets",
        )

    def proba(self, images: np.ndarray) -> np.ndarray:
        return sum(
            part.weight * load_model(part.weights).predict_proba(images).astype(np.float64) for part in self.parts
        ).astype(np.float32)


@pytest.fixture
def place(tmp_path: Path, database: Path) -> Place:
    give_database(tmp_path, database)
    return Place(tmp_path)


def _elsewhere(code: str, folder: Path, uri: str) -> str:
    """Runs code with this interpreter where the checkout is not to be found; returns what it prints."""
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    settings = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "PYTHONSAFEPATH": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env=kept | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PREDICT = """
    import sys
    import numpy as np
    import mlflow
    model = mlflow.pyfunc.load_model("models:/sweeps-x@champion")
    import mnistnn
    print(mnistnn.__file__)
    images = np.load("../images.npy")
    probs = model.predict(images)
    np.save("probs.npy", probs)
    assert not any(name == "sweeps" or name.startswith("sweeps.") for name in sys.modules)
    assert "optuna" not in sys.modules
    others = [images.reshape(-1, 784), images.astype(np.float32), images.reshape(-1, 784).astype(np.float64)]
    assert all(np.array_equal(model.predict(other), probs) for other in others)
    for bad in (images[:, :27], images.astype(np.float32) * 2, np.full((1, 784), np.nan), np.array(["a"])):
        try:
            model.predict(bad)
        except ValueError as error:
            assert "\\n" not in str(error)
        else:
            raise AssertionError("not refused")
    import os
    print(sorted(os.listdir(".")))
"""


@pytest.mark.slow
def test_the_champion_loads_anywhere_and_predicts_what_the_ensemble_does(place: Place) -> None:
    assert place.register() == "1"
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    np.save(place.root / "images.npy", images)
    printed = _elsewhere(PREDICT, place.root / "elsewhere", place.uri).splitlines()
    assert "/artifacts/code/mnistnn/" in printed[0]  # the model's own copy, not the checkout
    assert not printed[0].startswith(str(CHECKOUT))
    assert printed[1] == "['probs.npy']"  # no stray store was made
    probs = np.load(place.root / "elsewhere" / "probs.npy")
    assert (probs.shape, probs.dtype) == ((100, 10), np.float32)
    np.testing.assert_allclose(probs, place.proba(images), atol=1e-6)


@pytest.mark.slow
def test_weights_that_were_tampered_with_are_refused(place: Place) -> None:
    place.register()
    (stored,) = (place.root / "mlruns" / "artifacts").rglob("00002.npz")
    stored.write_bytes((place.root / "1.npz").read_bytes())
    code = """
        import mlflow
        try:
            mlflow.pyfunc.load_model("models:/sweeps-x@champion")
        except ValueError as error:
            print(type(error).__name__, error)
    """
    assert "CheckpointError" in _elsewhere(code, place.root / "elsewhere", place.uri)


def test_nothing_of_the_model_is_a_pickle(place: Place) -> None:
    place.register()
    (model,) = (place.root / "mlruns" / "artifacts").rglob("MLmodel")
    assert "loader_module: mlflow.pyfunc.loaders.code_model" in model.read_text()
    for path in model.parent.rglob("*"):
        if path.is_file():
            assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pyc")
            assert not path.read_bytes().startswith(b"\x80\x04")
    members = json.loads(next(model.parent.rglob("members.json")).read_text())
    assert [entry["weight"] for entry in members] == [0.25, 0.75]
    for entry in members:
        assert sha256_file(next(model.parent.rglob(entry["file"]))) == entry["sha256"]
    assert (model.parent / "requirements.txt").read_text().split() == [
        f"mlflow=={__import__('mlflow').__version__}",
        f"numpy=={np.__version__}",
    ]


def test_the_experiments_page_of_models_names_the_registered_one(place: Place) -> None:
    place.register()
    (model,) = place.mlflow.search_logged_models([place.mlflow.get_run(place.run_id).info.experiment_id])
    link = {"mlflow.modelVersions": json.dumps([{"name": "sweeps-x", "version": "1"}])}
    assert link.items() <= model.tags.items()
    place.mlflow.delete_logged_model_tag(model.model_id, "mlflow.modelVersions")  # a kill came before it
    place.register()
    assert link.items() <= place.mlflow.get_logged_model(model.model_id).tags.items()


def test_the_same_ensemble_is_registered_once(place: Place) -> None:
    assert place.register() == "1"
    assert place.register() == "1"
    assert place.register("another") == "2"
    assert place.register() == "1"
    assert place.champion == "1"
    assert len(place.mlflow.search_model_versions("name = 'sweeps-x'")) == 2


def test_a_call_that_was_cut_short_is_completed(place: Place) -> None:
    place.register()
    place.mlflow.delete_registered_model_alias("sweeps-x", "champion")
    assert place.register() == "1"
    assert place.champion == "1"
    place.mlflow.delete_registered_model("sweeps-x")
    assert place.register() == "1"
    experiment = place.mlflow.get_experiment_by_name("sweeps-x")
    assert len(place.mlflow.search_logged_models([experiment.experiment_id])) == 1


def test_the_model_shows_the_runs_results(place: Place) -> None:
    place.register()
    experiment = place.mlflow.get_experiment_by_name("sweeps-x")
    (model,) = place.mlflow.search_logged_models([experiment.experiment_id])
    assert str(model.status) == "READY"
    assert model.params == {"members": "2"}
    assert model.source_run_id == place.run_id
    assert [(metric.key, metric.value) for metric in model.metrics] == [("test_accuracy", 0.5)]
    assert (
        len(place.mlflow.get_metric_history(place.run_id, "test_accuracy")) == 1
    )  # the run's own point is not doubled
    assert [output.model_id for output in place.mlflow.get_run(place.run_id).outputs.model_outputs] == [model.model_id]


def test_a_store_that_refuses_is_one_line(place: Place) -> None:
    place.run_id = "0" * 32
    with pytest.raises(TrackingError, match="must be registered as 'sweeps-x'") as caught:
        place.register()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_server_takes_it_too(tmp_path: Path, database: Path) -> None:
    give_database(tmp_path, database)
    serve = "import sys, pathlib; from sweeps.tracking import ui; ui.serve(sys.argv[1], pathlib.Path(sys.argv[2]))"
    server = subprocess.Popen(
        [sys.executable, "-c", serve, f"sqlite:///{tmp_path}/mlruns/mlflow.db", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=CHECKOUT,
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        place = Place(tmp_path, address)
        assert (place.register(), place.register("another"), place.register()) == ("1", "2", "1")
        assert place.champion == "1"
        images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
        np.save(tmp_path / "images.npy", images)
        _elsewhere(PREDICT, tmp_path / "elsewhere", address)
        np.testing.assert_allclose(np.load(tmp_path / "elsewhere" / "probs.npy"), place.proba(images), atol=1e-6)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
