"""Names out of studies' files, options, records, events and stores: none of them becomes a path to elsewhere."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mnistnn.data import find_dataset, read_images
from mnistnn.data.sources import _members
from mnistnn.errors import CheckpointError, InputError
from sweeps.config import StudyConfig, load_study
from sweeps.ensemble.manifest import read_manifest
from sweeps.ensemble.record import load_report
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import StudyPaths
from sweeps.single.kept import check_name, claim_folder
from sweeps.single.models import find_model, weights_path
from sweeps.tracking.runs import _inside
from sweeps.tracking.store import _quoted, artifact_root
from tests.fuzz.test_records import MANIFEST
from tests.sweeps.ensemble.test_record import make_report
from tests.sweeps.small import TABLES
from tests.sweeps.tracking.conftest import project as project  # a fixture
from tests.sweeps.tracking.projects import Project

ODD = [
    "../up", "..", ".", "/etc", "a/b", "a\\b", "a\0b", "", " ", "a\n", "\n", "~", "-x", ".hidden", "C:x", "a:b", "é",
    "a" * 300, "a/" * 3000, "%2e%2e%2fup", "\u202eabc", "con/../..", "$(touch x)", "`x`", "a;b", "a b",
]  # fmt: skip


@pytest.fixture
def fenced(tmp_path: Path) -> Path:
    """A project's folder in a folder that nothing may be written into."""
    root = tmp_path / "fence" / "root"
    (root / "studies").mkdir(parents=True)
    (tmp_path / "fence" / "up").mkdir()
    (tmp_path / "fence" / "up" / "weights.npz").write_bytes(b"not ours")
    return root


def around(root: Path) -> set[Path]:
    """Returns what lies outside the project, as far as a name could lead."""
    return {path for path in root.parent.rglob("*") if root not in (path, *path.parents)}


@pytest.mark.parametrize("name", ODD)
def test_studies(fenced: Path, name: str) -> None:
    before = around(fenced)
    with pytest.raises(ConfigError):
        StudyConfig.from_dict(TABLES | {"study": {"name": name}})
    if "\0" not in name:
        text = f"[study]\nname = {json.dumps(name)}\n[budget]\ntrials = 1\nepochs = 1\n"
        (fenced / "studies" / "mine.toml").write_text(text)
        with pytest.raises(ConfigError):
            load_study("mine", root=fenced)
    with pytest.raises(ConfigError):
        load_study(name, root=fenced)
    assert around(fenced) == before


@pytest.mark.parametrize("name", ODD)
def test_nets(fenced: Path, name: str) -> None:
    trained = fenced / "mlruns" / "train"
    trained.mkdir(parents=True)
    before = around(fenced)
    for use in (
        lambda: check_name(trained, name),
        lambda: claim_folder(trained, name, "mlp3"),
        lambda: weights_path(name, fenced),
        lambda: find_model(name, fenced),
        lambda: read_images(Path(name)),
        lambda: find_dataset(Path(name) / "none", cache=fenced / "data"),
        lambda: find_model(f"../../../{name}", fenced),
    ):
        with pytest.raises(InputError):
            use()
    assert around(fenced) == before
    assert list(trained.iterdir()) == []


@pytest.mark.parametrize("number", ["../../x", "3", -1, 1.0, True, None, 10**30, [3], {"a": 1}])
def test_members_of_an_ensemble(tmp_path: Path, number: Any) -> None:
    paths = StudyPaths(tmp_path / "night")
    values = make_report().to_dict()
    values["members"][0]["member"]["number"] = number
    paths.ensemble.mkdir(parents=True)
    (paths.ensemble / "ensemble.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError):
        load_report(paths)


@pytest.mark.parametrize("name", ["../x.csv", "/etc/passwd", "a/b", "a\\b", "a\0b", "", ".", "..", "a\nb", "x" * 300])
@pytest.mark.parametrize("part", ["output", "probabilities", "input"])
def test_manifests(tmp_path: Path, part: str, name: str) -> None:
    values = json.loads(json.dumps(MANIFEST))
    values[part]["name"] = name
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path / "manifest.json")
    assert "\n" not in str(caught.value)


def test_manifests_of_other_studies(tmp_path: Path) -> None:
    for name in ODD:
        (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST | {"study": name}))
        with pytest.raises(InputError):
            read_manifest(tmp_path / "manifest.json")


def test_artifacts_lie_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    (folder / "sound.txt").write_text("s")
    (folder / "inner" / "sound.txt").write_text("s")
    (folder / "link.txt").symlink_to(secret)
    (folder / "out").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "within.txt").symlink_to(folder / "sound.txt")
    os.mkfifo(folder / "pipe")
    for name in ("sound.txt", "inner/sound.txt", "within.txt", "inner/../sound.txt"):
        assert _inside(folder, name) is not None
    odd = [
        "link.txt",
        "out/secret.txt",
        "circle",
        "pipe",
        "inner",
        "../secret.txt",
        str(secret),
        "x" * 5000,
        "x/" * 3000,
    ]
    for name in [*odd, *ODD]:
        assert _inside(folder, name) is None, name


@pytest.mark.slow
def test_events_of_somebody_else(project: Project) -> None:
    """Real delivery: what the events name outside of their folder stays there, and the rest of the run arrives."""
    secret = project.root / "secret.txt"
    secret.write_text("not for MLflow")
    with project.log(1) as log:
        log.start("#001 ../../x", {"../a": 1, "b\0": "c\0d"}, {"../../t": "../../v"})
        (log.folder / "sound.txt").write_text("s")
        (log.folder / "link.txt").symlink_to(secret)
        for file in ("../../../../secret.txt", str(secret), "link.txt", "circle", "."):
            log.artifact(file)
        for folder in ("../../../..", "/", "a/../../b", "..", "x" * 200):
            log.artifact("sound.txt", folder)
        log.end("COMPLETE")
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    artifacts = project.root / "mlruns" / "artifacts"
    kept = [path for path in artifacts.rglob("*") if path.is_file()]
    assert kept
    assert {path.name for path in kept} == {"sound.txt"}
    assert sum("is not there; it is passed over" in line for line in project.said) == 5
    found = [path for path in project.root.rglob("*") if path.is_file() and b"not for MLflow" in path.read_bytes()]
    assert set(found) - {path for path in found if path.is_symlink()} == {secret}


@pytest.mark.parametrize("name", [name for name in ODD if name])
def test_experiments(tmp_path: Path, name: str) -> None:
    """An experiment may be called anything; its artifacts' folder is one part of a path."""
    root = artifact_root(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert root is not None
    quoted = _quoted(name)
    assert "\0" not in quoted
    assert os.path.normpath(root / quoted) == str(root / quoted)
    assert (root / quoted).parent == root


def test_a_package_is_not_unpacked_by_its_names(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, kind in (
            ("../up.txt", None),
            ("/abs.txt", None),
            ("package/data/t10k-labels-idx1-ubyte", tarfile.SYMTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.size = 0 if kind else 4
            info.type = kind or tarfile.REGTYPE
            info.linkname = "/etc/passwd" if kind else ""
            archive.addfile(info, io.BytesIO(b"data"))
    (tmp_path / "package.tgz").write_bytes(file.getvalue())
    assert list(_members(tmp_path / "package.tgz")) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["package.tgz"]


def test_errors_of_such_names_are_of_the_project() -> None:
    assert issubclass(ConfigError, InputError)
    assert issubclass(StudyError, InputError)
