from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, DataError
from mnistnn.files import sha256_bytes, sha256_file
from sweeps import provenance
from sweeps.ensemble import build_ensemble, load_ensemble, write_submission
from sweeps.ensemble.answers import FORMATS, parse_answers, save_answer_probs
from sweeps.ensemble.manifest import ManifestError
from sweeps.ensemble.verification import Verification
from sweeps.ensemble.verify import verify_submission
from sweeps.paths import Paths
from tests.sweeps import command
from tests.sweeps.ensemble.conftest import Home

AWAY = "http://127.0.0.1:9"
COUNT = 70


@pytest.fixture(scope="module")
def submitted(trained: Home, sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The study with its ensemble, and under `out/` its answers to images of noise and to the test images."""
    root = tmp_path_factory.mktemp("submitted") / "home"
    shutil.copytree(trained.root, root)
    home = Home(root, trained.config)
    quiet: dict[str, Any] = {"tracking_uri": AWAY, "echo": lambda line: None}
    build_ensemble(home.config, root=root, dataset=sample, **quiet)
    (root / "out").mkdir()
    images = root / "out" / "contest.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), np.uint8))
    for name, input, format in (("noise.txt", images, "digits"), ("test.csv", None, "kaggle")):
        output = root / "out" / name
        write_submission(home.config, root=root, dataset=sample, input=input, output=output, format=format, **quiet)
    return home


@pytest.fixture
def home(submitted: Home, tmp_path: Path) -> Home:
    """A copy, to do with as one likes."""
    root = tmp_path / "home"
    shutil.copytree(submitted.root, root)
    return Home(root, submitted.config)


def manifest_of(home: Home, name: str = "noise.txt") -> Path:
    return home.root / "out" / f"{name}.manifest.json"


def _absent() -> Dataset:
    raise AssertionError("the data set was not needed")


def verify(home: Home, name: str = "noise.txt", **more: Any) -> Verification:
    options: dict[str, Any] = {"dataset": _absent, "echo": lambda line: None} | more
    return verify_submission(manifest_of(home, name), root=home.root, **options)


def change(home: Home, edit: Callable[[dict[str, Any]], object], name: str = "noise.txt") -> None:
    """Edits the manifest."""
    path = manifest_of(home, name)
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def files(home: Home) -> dict[str, str]:
    return {str(path): sha256_file(path) for path in sorted(home.root.rglob("*")) if path.is_file()}


def test_the_same_bytes_come_out_again_and_nothing_is_written(home: Home) -> None:
    before = files(home)
    found = verify(home)
    assert found.same_bytes
    assert (found.exit_code, found.differing, found.file_differing, found.probs_difference) == (0, 0, 0, 0.0)
    assert found.changed == {}
    assert found.text().splitlines() == [
        "noise.txt: the same bytes",
        f"  answers        70 by 2 nets of study smoke, as recorded (sha256 {found.sha256[:12]}…)",
        "  probabilities  as recorded, to the last bit",
    ]
    assert files(home) == before


def test_the_images_are_sought_beside_the_manifest_and_in_the_current_folder(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, elsewhere = home.root / "out" / "contest.npy", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(images, elsewhere)
    np.save(images, np.zeros((COUNT, 28, 28), np.uint8))  # of the same name, and others
    with pytest.raises(DataError, match=r"but .*out/contest.npy holds others .*; name the right ones by --input"):
        verify(home)
    assert verify(home, input=elsewhere / "contest.npy").same_bytes
    with pytest.raises(DataError, match="holds others"):
        verify(home, input=images)
    images.unlink()
    with pytest.raises(DataError, match="contest.npy is neither beside the manifest nor in this folder"):
        verify(home)
    monkeypatch.chdir(elsewhere)
    assert verify(home).same_bytes


def test_test_images_are_opened_and_counted_and_answered_for_again(home: Home, sample: Dataset) -> None:
    said: list[str] = []
    found = verify(home, "test.csv", dataset=lambda: sample, echo=said.append)
    assert (found.same_bytes, found.images, found.probs_difference) == (True, 500, 0.0)
    assert said == [
        f"test images of {sample.name}: opened 2 times; the ensemble keeps its answers for them, but shall give them "
        "again",
        "answering for 500 images by 2 of the nets of study smoke",
    ]
    assert "verify submission of study smoke" in Paths(home.root).test_ledger.read_text().splitlines()[-1]


def test_other_data_and_damaged_weights_cost_no_opening(home: Home, sample: Dataset) -> None:
    other = replace(sample, name="other", digests=("0" * 64, *sample.digests[1:]))
    with pytest.raises(DataError, match="but other is other data"):
        verify(home, "test.csv", dataset=lambda: other)
    with pytest.raises(DataError, match="--input must be left out"):
        verify(home, "test.csv", dataset=lambda: sample, input=home.root / "out" / "contest.npy")
    (home.paths.trial(load_ensemble(home.paths).members[1].number) / "weights.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="are neither in its folder nor"):
        verify(home, "test.csv", dataset=lambda: sample)
    assert home.openings == 1


def test_an_older_manifest_without_probabilities_is_verified_by_its_bytes(home: Home) -> None:
    change(home, lambda values: values.pop("probabilities"))
    found = verify(home)
    assert (found.exit_code, found.same_bytes, found.probs_difference) == (0, True, None)
    assert "none were kept to compare with" in found.text()


def test_what_changed_since_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    now = provenance.versions()
    change(home, lambda values: values["versions"].update(numpy="1.99.0"))
    change(home, lambda values: values.update(commit="a" * 40))
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40 + "-dirty")
    found = verify(home)
    assert found.exit_code == 0
    assert found.changed == {"numpy": ("1.99.0", now["numpy"]), "commit": ("a" * 40, "b" * 40 + "-dirty")}
    made_by = f"numpy 1.99.0, now {now['numpy']}; commit aaaaaaaaaa, now bbbbbbbbbb-dirty"
    assert found.text().splitlines()[-1] == f"  made by        {made_by}"


def test_other_probabilities_with_the_same_labels_are_the_same_and_by_how_much_they_differ_is_said(home: Home) -> None:
    path = home.root / "out" / "noise.txt.probs.npz"
    with np.load(path) as file:
        probs = file["probs"].copy()
    first, second = np.sort(probs[3])[[-1, -2]]
    assert first - second > 3e-5
    probs[3, probs[3].argmax()] -= np.float32(1e-5)
    digest = save_answer_probs(path, probs)
    change(home, lambda values: values["probabilities"].update(sha256=digest))
    found = verify(home)
    assert (found.exit_code, found.same_bytes) == (0, True)
    assert found.probs_difference == pytest.approx(1e-5, rel=0.01)
    assert "differ by at most 1e-05" in found.text()


def _by_the_best_alone(values: dict[str, Any]) -> None:
    """Makes the manifest one of the first member alone, digest and all; the answers stay those of both."""
    ensemble = values["ensemble"]
    member = ensemble["members"][0] | {"weight": 1.0}
    ensemble["members"], ensemble["temperature"] = [member], 1.0
    ensemble["digest"] = sha256_bytes(json.dumps([[member["weights_sha256"], 1.0]]).encode())


def test_other_labels_are_counted_by_whatever_was_kept(home: Home) -> None:
    images = np.load(home.root / "out" / "contest.npy")
    ensemble = load_ensemble(home.paths)
    alone = next(ensemble.member_probs(images)).argmax(axis=1)
    count = int(np.sum(alone != ensemble.predict(images)))
    assert count > 0
    change(home, _by_the_best_alone)
    found = verify(home)
    assert (found.exit_code, found.same_bytes, found.differing, found.file_differing) == (1, False, count, count)
    assert found.probs_difference is not None
    assert found.probs_difference > 0.01
    (home.root / "out" / "noise.txt").unlink()
    found = verify(home)
    assert (found.exit_code, found.differing, found.file_differing) == (1, count, None)
    assert found.text().startswith("noise.txt: different\n")
    (home.root / "out" / "noise.txt.probs.npz").unlink()
    found = verify(home)
    assert (found.exit_code, found.differing, found.probs_difference) == (1, None, None)
    assert f"not as recorded (sha256 {found.rebuilt_sha256[:12]}…, not {found.sha256[:12]}…)" in found.text()


def test_a_file_that_was_changed_afterwards_is_found(home: Home) -> None:
    path = home.root / "out" / "noise.txt"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\n", b"\r\n"))  # the same answers
    assert verify(home).exit_code == 0
    path.write_bytes(bytes([ord("0") + (data[0] - ord("0") + 1) % 10]) + data[1:])
    found = verify(home)
    assert (found.exit_code, found.same_bytes, found.file_differing) == (1, True, 1)
    assert "  the file       has 1 other answer: it was changed afterwards" in found.text()
    path.write_bytes(data[:-2])
    found = verify(home)
    assert (found.exit_code, found.is_foreign) == (1, True)
    assert found.text().startswith("noise.txt: as recorded, but the file is another\n")
    path.unlink()
    assert verify(home).exit_code == 0


def test_damaged_probabilities_are_said_not_compared_with(home: Home) -> None:
    path = home.root / "out" / "noise.txt.probs.npz"
    path.write_bytes(path.read_bytes()[:-1])
    found = verify(home)
    assert (found.exit_code, found.same_bytes, found.probs_difference) == (0, True, None)
    assert "noise.txt.probs.npz is not (its sha256 is" in found.notes[0]


@pytest.mark.parametrize(
    "place",
    [
        "mlruns/artifacts/sweeps-smoke/abc123/artifacts/weights.npz",
        "mlruns/artifacts/sweeps-smoke/models/m-1/artifacts/artifacts/members/{number:05d}.npz",
        "studies/renamed/trials/{number:05d}/weights.npz",
    ],
)
def test_weights_are_found_by_their_digest_wherever_there_is_a_copy(home: Home, place: str) -> None:
    number = load_ensemble(home.paths).members[0].number
    copy = home.root / place.format(number=number)
    copy.parent.mkdir(parents=True)
    shutil.move(home.paths.trial(number) / "weights.npz", copy)
    change(home, lambda values: values["ensemble"]["members"][0].update(run_id="abc123"))
    assert verify(home).same_bytes
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"`replay smoke {number} --keep` makes them again"):
        verify(home)


@pytest.mark.parametrize(
    "edit",
    [
        lambda ensemble: ensemble["members"][0].update(weight=0.6),
        lambda ensemble: ensemble["members"].pop(),
        lambda ensemble: ensemble["members"][0].update(weights_sha256="0" * 64),
        lambda ensemble: ensemble.update(digest="0" * 64),
    ],
)
def test_members_must_be_those_of_the_ensembles_digest(home: Home, edit: Any) -> None:
    change(home, lambda values: edit(values["ensemble"]))
    with pytest.raises(ManifestError, match="must be those of its ensemble .* come to .*: it was changed"):
        verify(home)


@pytest.mark.parametrize("name", ["a\udcff.npy", "a\nb.npy", "\x1b[2J.npy", "ümläut 中.npy"])
def test_files_of_odd_names_are_answered_for_and_verified(home: Home, name: str) -> None:
    images = home.root / "out" / name
    np.save(images, np.random.default_rng(1).integers(0, 256, (5, 28, 28), np.uint8))
    path = write_submission(
        home.config, root=home.root, dataset=_absent, input=images, output=images.with_suffix(".csv")
    )
    found = verify_submission(path, root=home.root, dataset=_absent, input=images)
    assert (found.exit_code, found.same_bytes) == (0, True)
    assert found.name.isprintable()


@pytest.mark.parametrize("format", FORMATS)
def test_answers_are_read_as_they_are_written(format: str) -> None:
    digits = np.array([7, 0, 9, 9, 1])
    data = FORMATS[format](digits).encode()
    for text in (data, data.replace(b"\n", b"\r\n"), data[:-1]):
        read = parse_answers(text, format, 5)
        assert read is not None
        assert read.tolist() == digits.tolist()
    for text in (data[:-2], data + b"1\n", data.replace(b"7", b"x"), data.replace(b"7", b"77"), b"", b"\n" * 5):
        assert parse_answers(text, format, 5) is None
    assert parse_answers(data, format, 4) is None


def test_the_verb_prints_and_exits(home: Home, sample_dir: Path) -> None:
    call = command.Home(home.root, sample_dir)
    said = call("verify", manifest_of(home, "test.csv"))
    assert (said.code, said.out.splitlines()[0]) == (0, "test.csv: the same bytes")
    assert "opened 2 times" in said.err
    said = call("verify", manifest_of(home), "--json", "--quiet")
    assert (said.code, said.json["same"], said.json["differing"], said.err) == (0, True, 0, "")
    change(home, _by_the_best_alone)
    assert call("verify", manifest_of(home)).code == 1
    said = call("verify", manifest_of(home, "none"))
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
