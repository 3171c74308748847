from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, DataError, OutputError
from mnistnn.files import sha256_file
from sweeps.ensemble import build_ensemble, load_ensemble, write_submission
from sweeps.ensemble.submission import manifest_path
from sweeps.errors import ConfigError, StudyError
from tests.sweeps.ensemble.conftest import Home

AWAY = "http://127.0.0.1:9"


@pytest.fixture
def built(home: Home, sample: Dataset) -> Home:
    build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    return home


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "contest.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (70, 28, 28), np.uint8))
    return path


def _absent() -> Dataset:
    raise AssertionError("the data set was not needed")


def _write(home: Home, output: Path, input: Path | None, **more: Any) -> Path:
    options: dict[str, Any] = {"dataset": _absent, "tracking_uri": AWAY, "echo": lambda line: None} | more
    return write_submission(home.config, root=home.root, input=input, output=output, **options)


def test_kaggles_format_has_ids_from_one(built: Home, images: Path, tmp_path: Path) -> None:
    manifest = _write(built, tmp_path / "out.csv", images)
    expected = load_ensemble(built.paths).predict(np.load(images))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert lines[1:] == [f"{i},{digit}" for i, digit in enumerate(expected, start=1)]
    assert manifest == tmp_path / "out.csv.manifest.json"


def test_digits_are_one_a_line(built: Home, images: Path, tmp_path: Path) -> None:
    _write(built, tmp_path / "predict.txt", images, format="digits")
    data = (tmp_path / "predict.txt").read_bytes()
    assert len(data) == 2 * 70
    assert data.endswith(b"\n")
    assert [int(line) for line in data.split()] == load_ensemble(built.paths).predict(np.load(images)).tolist()


def test_a_folder_that_is_made_is_said(built: Home, images: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        _write(built, tmp_path / "new" / "out.csv", images, echo=said.append)
    assert [line for line in said if "folder" in line] == [f"there is no folder {tmp_path / 'new'} yet: making it"]


def test_whose_submission_is_replaced_is_said_where_it_is_another_studys(
    built: Home, images: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "out.csv"
    manifest = _write(built, out, images, echo=said.append)
    _write(built, out, images, echo=said.append)
    assert not [line for line in said if "replaces" in line]
    manifest.write_text(manifest.read_text().replace('"study": "smoke"', '"study": "wider"'))
    _write(built, out, images, echo=said.append)
    assert [line for line in said if "replaces" in line] == [
        "warning: this replaces the submission of study 'wider' in out.csv; `submit wider` makes that again, and "
        "--output keeps the two apart."
    ]
    assert json.loads(manifest.read_text())["study"] == "smoke"
    for text in ("{", '{"format": 9}'):
        manifest.write_text(text)
        _write(built, out, images, echo=said.append)
    assert len([line for line in said if "replaces" in line]) == 1


def test_the_manifest_says_what_the_answers_depend_on(built: Home, images: Path, tmp_path: Path) -> None:
    manifest = json.loads(_write(built, tmp_path / "out.csv", images).read_text())
    assert manifest["input"] == {"name": "contest.npy", "format": "npy", "digest": sha256_file(images), "images": 70}
    assert manifest["output"] == {"name": "out.csv", "format": "kaggle", "sha256": sha256_file(tmp_path / "out.csv")}
    ensemble = load_ensemble(built.paths)
    assert manifest["ensemble"]["digest"] == ensemble.digest
    for told, member, weight in zip(manifest["ensemble"]["members"], ensemble.members, ensemble.weights, strict=True):
        weights = built.paths.trial(member.number) / "weights.npz"
        assert told == {
            "trial": member.number,
            "run_id": None,
            "weights_sha256": sha256_file(weights),
            "weight": weight,
        }
    assert {"python", "numpy", "blas"} <= manifest["versions"].keys()
    assert str(tmp_path) not in json.dumps(manifest)
    kept = tmp_path / "out.csv.probs.npz"
    assert manifest["probabilities"] == {"name": kept.name, "sha256": sha256_file(kept)}
    with np.load(kept) as file:
        assert np.array_equal(file["probs"], ensemble.predict_proba(np.load(images)))


def test_the_same_input_gives_the_same_bytes(built: Home, images: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(built, tmp_path / name, images)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _told(manifest: Path) -> Any:
    return json.loads(manifest.read_text())["input"]


def test_without_input_the_ensemble_answers_for_the_test_images_that_it_saw(
    built: Home, sample: Dataset, tmp_path: Path
) -> None:
    said: list[str] = []
    manifest = _write(built, tmp_path / "out.csv", None, dataset=sample, echo=said.append)
    assert built.openings == 1  # the ensemble's report was it
    assert said == [
        f"no input given: answering for the 500 test images of {sample.name}, as predicted when the ensemble was "
        "built; nothing was opened"
    ]
    assert _told(manifest) == {
        "name": f"test images of {sample.name}",
        "digest": sample.digests[2],
        "data_digest": sample.digest,
        "probabilities": "probs.npz of the ensemble",
        "images": 500,
    }
    images = sample.open_test("this test", tmp_path / "another.jsonl").images
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "ImageId,Label",
        *(f"{i},{digit}" for i, digit in enumerate(load_ensemble(built.paths).predict(images), start=1)),
    ]


def _no_probs(path: Path, home: Home, sample: Dataset) -> None:
    path.unlink()


def _damaged_probs(path: Path, home: Home, sample: Dataset) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _probs_of_another(path: Path, home: Home, sample: Dataset) -> None:
    kept = home.paths.ensemble / "ensemble.json", path.read_bytes()
    record = kept[0].read_bytes()
    build_ensemble(home.config, root=home.root, dataset=sample, top=1, tracking_uri=AWAY, echo=lambda line: None)
    kept[0].write_bytes(record)
    assert path.read_bytes() != kept[1]


@pytest.mark.parametrize(("spoil", "opened"), [(_no_probs, 2), (_damaged_probs, 2), (_probs_of_another, 3)])
def test_the_test_images_are_opened_and_counted_where_the_ensemble_does_not_keep_its_answers(
    built: Home, sample: Dataset, tmp_path: Path, spoil: Any, opened: int
) -> None:
    _write(built, tmp_path / "kept.csv", None, dataset=sample)
    spoil(built.paths.ensemble / "probs.npz", built, sample)
    said: list[str] = []
    manifest = _write(built, tmp_path / "out.csv", None, dataset=sample, echo=said.append)
    assert built.openings == opened
    assert said == [f"no input given: answering for the 500 test images of {sample.name} (opened {opened} times)"]
    assert _told(manifest)["probabilities"] == "predicted for this submission"
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "kept.csv").read_bytes()


def test_other_data_than_the_studys_is_refused(built: Home, sample: Dataset, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("the last one")
    other = replace(sample, name="other", digests=("0" * 64, *sample.digests[1:]))
    with pytest.raises(StudyError, match="'smoke' must answer for the data it was run on .* but other is") as caught:
        _write(built, output, None, dataset=lambda: other)
    assert "\n" not in str(caught.value)
    assert output.read_text() == "the last one"
    assert not manifest_path(output).exists()
    assert built.openings == 1


def test_damaged_weights_cost_no_opening(built: Home, sample: Dataset, tmp_path: Path) -> None:
    (built.paths.ensemble / "probs.npz").unlink()
    (built.paths.trial(load_ensemble(built.paths).members[1].number) / "weights.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"weights\.npz has"):
        _write(built, tmp_path / "out.csv", None, dataset=sample)
    assert built.openings == 1


def test_an_ensemble_that_is_not_there_is_built_first(
    home: Home, sample: Dataset, images: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    _write(home, tmp_path / "out.csv", images, dataset=lambda: sample, echo=said.append)
    assert said[0] == "study 'smoke' has no ensemble yet: building it"
    assert any(line.startswith("warning: the ensemble of study 'smoke' was built") for line in said)
    assert len(load_ensemble(home.paths).members) == 2


def test_a_link_stays_and_what_it_leads_to_is_replaced(built: Home, images: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    real, link = tmp_path / "shared" / "real.csv", tmp_path / "link.csv"
    real.write_text("before")
    link.symlink_to(real)
    manifest = _write(built, link, images)
    assert link.is_symlink()
    assert real.read_text().startswith("ImageId,Label")
    assert manifest == manifest_path(link) == tmp_path / "link.csv.manifest.json"


def test_folders_on_the_way_are_made(built: Home, images: Path, tmp_path: Path) -> None:
    _write(built, tmp_path / "a" / "b" / "out.csv", images)
    assert (tmp_path / "a" / "b" / "out.csv").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda folder, images: folder, "is a folder"),
        (lambda folder, images: images, "is the input"),
        (lambda folder, images: images / "out.csv", "Not a directory|File exists"),
        (lambda folder, images: Path("/dev/null"), "is no plain file"),
        (lambda folder, images: Path("/proc/out.csv"), "is not"),
        (lambda folder, images: folder / "o\0ut", "null|NUL"),
        (lambda folder, images: folder / ("x" * 300), "too long"),
        (lambda folder, images: folder / ("x" * 240), "too long"),  # the manifest's name would be
        (lambda folder, images: folder / "new" / "\0", "null|NUL"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    home: Home, images: Path, tmp_path: Path, output: Any, message: str
) -> None:
    before = images.read_bytes()
    with pytest.raises(OutputError, match=message) as caught:
        _write(home, output(tmp_path, images), images)  # `home` has no ensemble yet, and _absent no data
    assert "\n" not in str(caught.value)
    assert images.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contest.npy", "home"]
    assert not (home.paths.ensemble / "ensemble.json").exists()


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder without rights, for a process without root's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # for whoever is not root to look into
        folder = Path(name) / "locked"
        folder.mkdir(mode=0o500)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)


def test_a_folder_without_rights_is_refused(built: Home, images: Path, locked: Path) -> None:
    with pytest.raises(OutputError, match=f"{locked}.*Permission denied"):
        _write(built, locked / "out.csv", images)


def test_bad_input_and_format_are_refused_before_any_work(home: Home, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DataError):
        _write(home, tmp_path / "out.csv", tmp_path / "bad.npy")
    with pytest.raises(ConfigError, match="unknown submission format 'kagle'; did you mean 'kaggle'"):
        _write(home, tmp_path / "out.csv", None, format="kagle")
    with pytest.raises(DataError):
        _write(home, tmp_path / "new" / "out.csv", tmp_path / "absent.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.npy", "home"]
    assert home.openings == 0


def test_damaged_weights_leave_the_last_submission_as_it_was(built: Home, images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    manifest = _write(built, output, images)
    before = output.read_bytes(), manifest.read_bytes()
    weights = built.paths.trial(load_ensemble(built.paths).members[1].number) / "weights.npz"
    weights.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"trials/\d{5}/weights.npz has"):
        _write(built, output, images)
    assert (output.read_bytes(), manifest.read_bytes()) == before
    weights.unlink()
    with pytest.raises(CheckpointError, match="is not readable"):
        _write(built, output, images)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "contest.npy",
        "home",
        "out.csv",
        "out.csv.manifest.json",
        "out.csv.probs.npz",
    ]


def test_a_study_without_trials_has_no_submission(home: Home, sample: Dataset, images: Path, tmp_path: Path) -> None:
    home.paths.journal.unlink()
    with pytest.raises(StudyError, match="start with `run smoke`"):
        _write(home, tmp_path / "out.csv", images, dataset=sample)
