"""What cannot be used: one line that names rule, value and remedy, exit code 2, and all files as they were."""

from __future__ import annotations

import gzip
import re
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.sweeps.command import Home

SMOKE = (Path(__file__).parents[2] / "studies" / "smoke.toml").read_text()


@pytest.fixture
def refused(swept: Home) -> Callable[..., str]:
    """Calls the command line, sees that it refuses as it should, and returns its line."""

    def call(*arguments: object) -> str:
        before = swept.files()
        said = swept(*arguments)
        assert said.code == 2, said
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.endswith("\n")
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        assert swept.files() == before
        return said.err

    return call


def study(folder: Path, *changes: tuple[str, str], name: str = "mine") -> Path:
    """Writes a study's file: `smoke` with some of its text changed."""
    text = SMOKE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("trials = 4", "trails = 4", ["trails", "did you mean 'trials'"]),
        ("[limits]", "[limit]", ["limit", "did you mean 'limits'"]),
        ("batch_size =", "batchsize =", ["batchsize", "did you mean 'batch_size'"]),
        ("[search.optimizer.adam]", "[search.optimizer.adan]", ["adan", "did you mean 'adam'"]),
        ("epochs = 2", "epochs = 0", ["epochs", "0"]),
        ("high = 2e-2", "high = 2e5", ["learning_rate", "200000"]),
        ("dropout = { low = 0.0, high = 0.2 }", "dropout = { low = 0.3, high = 0.2 }", ["dropout", "0.3", "0.2"]),
        ("trials = 4", 'trials = "four"', ["trials", "four"]),
        ("filters = [4, 8]", 'filters = [4, "many"]', ["filters", "many"]),
        ("baselines = [", "baselines = [3, ", ["baselines"]),
        ('baselines = ["mlp3"]', 'baselines = ["mlp"]', ["mlp", "did you mean 'mlp3'"]),
        ("[study]", "[study", ["TOML"]),
    ],
)
def test_study_file(refused: Callable[..., str], tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    line = refused("run", study(tmp_path, (old, new)))
    assert all(part in line for part in expected), line


@pytest.mark.parametrize(
    ("name", "expected"), [("smokey", "'smoke'"), ("no/such.toml", "no/such.toml"), ("../x", "../x")]
)
@pytest.mark.parametrize("verb", ["run", "ensemble", "trials", "submit"])
def test_study_that_is_not_there(refused: Callable[..., str], verb: str, name: str, expected: str) -> None:
    assert expected in refused(verb, name)


@pytest.mark.parametrize("verb", ["ensemble", "trials"])
def test_study_that_has_not_run(refused: Callable[..., str], verb: str) -> None:
    assert "run default" in refused(verb, "default")


def test_submission_of_a_study_that_has_not_run(swept: Home) -> None:
    before = swept.files()
    said = swept("submit", "default")  # which says first that it goes to build the ensemble
    assert said.code == 2
    assert "run default" in said.err.splitlines()[-1]
    assert swept.files() == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.epoch=3", "did you mean 'epochs'"),
        ("budget.epochs", "budget.epochs"),
        ("budget.epochs=many", "many"),
        ("search.optimizer.adam.learning_rate.high=99", "99"),
    ],
)
def test_override(refused: Callable[..., str], override: str, expected: str) -> None:
    assert expected in refused("run", "smoke", "--set", override)


def test_changed_search_space(refused: Callable[..., str]) -> None:
    line = refused("run", "smoke", "--set", "search.dropout.high=0.1")
    assert "dropout" in line
    assert "0.1" in line


def test_changed_seed_of_a_study(refused: Callable[..., str]) -> None:
    assert "seed" in refused("run", "smoke", "--seed", 9)


def test_other_data(refused: Callable[..., str], tmp_path: Path, sample_dir: Path) -> None:
    other = copy_data(sample_dir, tmp_path)
    labels = bytearray((other / "train-labels-idx1-ubyte").read_bytes())
    labels[8], labels[9] = labels[9], labels[8]
    labels[8] = (labels[8] + 1) % 10
    (other / "train-labels-idx1-ubyte").write_bytes(labels)
    assert "digest" in refused("run", "smoke", "--data-dir", other, "--set", "budget.trials=5")


def test_grid_over_a_space_that_is_not_enumerated(refused: Callable[..., str], tmp_path: Path) -> None:
    line = refused("run", study(tmp_path, ("[sampler]", '[sampler]\ntype = "grid"')))
    assert "grid" in line
    assert "learning_rate" in line or "dropout" in line


def copy_data(sample_dir: Path, folder: Path) -> Path:
    """Unpacks the sample's four files into a folder of their own."""
    folder = folder / "data"
    folder.mkdir()
    for path in sample_dir.glob("*.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return folder


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: struct.pack(">i", 2052) + data[4:], "2051"),
        (lambda data: data[:-100], "bytes"),
        (lambda data: b"", "empty"),
        (lambda data: struct.pack(">4i", 2051, len(data) // 784, 14, 56) + data[16:], "28"),
        (lambda data: struct.pack(">4i", 2051, 100, 28, 28) + data[16 : 16 + 78400], "100"),
    ],
    ids=["magic", "truncated", "empty", "size", "count"],
)
@pytest.mark.parametrize("verb", [("data",), ("run", "smoke"), ("train", "small")], ids=lambda verb: verb[0])
def test_idx(
    refused: Callable[..., str],
    tmp_path: Path,
    sample_dir: Path,
    verb: tuple[str, ...],
    damage: Callable[[bytes], bytes],
    expected: str,
) -> None:
    folder = copy_data(sample_dir, tmp_path)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    line = refused(*verb, "--data-dir", folder)
    assert expected in line
    assert "train-images" in line


def test_data_folder_without_data(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "train-images-idx3-ubyte" in refused("data", "--data-dir", tmp_path)
    assert "is not there" in refused("data", "--data-dir", tmp_path / "nowhere")


def image_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Writes files of images that cannot be used; each with a part of the line that says why."""
    from PIL import Image

    good = np.zeros((3, 28, 28), np.float32)
    bad = good.copy()
    bad[1, 2, 3] = np.nan
    files = {
        "size": ("size.npy", "28", lambda path: np.save(path, np.zeros((3, 27, 27), np.uint8))),
        "nan": ("nan.npy", "finite", lambda path: np.save(path, bad)),
        "range": ("range.npy", "255", lambda path: np.save(path, good + 300)),
        "pickle": ("pickle.npy", "", lambda path: np.save(path, np.array([{}], object), allow_pickle=True)),
        "empty": ("empty.npy", "empty", lambda path: path.write_bytes(b"")),
        "none": ("none.npy", "at least one", lambda path: np.save(path, good[:0].astype(np.uint8))),
        "npz": ("broken.npz", "broken.npz", lambda path: path.write_bytes(b"PK\x03\x04 no archive")),
        "png": ("large.png", "28", lambda path: Image.new("L", (30, 28)).save(path)),
        "text": ("short.txt", "784", lambda path: path.write_text("1 2 3\n")),
        "csv": ("short.csv", "784", lambda path: path.write_text("pixel0,pixel1\n1,2\n")),
        "gone": ("gone.npy", "check the name", lambda path: None),
    }
    for name, _, write in files.values():
        write(folder / name)
    return {key: (folder / name, expected) for key, (name, expected, _) in files.items()}


@pytest.mark.parametrize(
    "kind", ["size", "nan", "range", "pickle", "empty", "none", "npz", "png", "text", "csv", "gone"]
)
def test_images(refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    path, expected = image_files(tmp_path)[kind]
    for line in (refused("predict", path), refused("submit", "smoke", "--input", path)):
        assert expected in line
        assert path.name in line


def test_empty_folder_of_images(refused: Callable[..., str], tmp_path: Path) -> None:
    assert str(tmp_path) in refused("predict", tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"], ids=["empty", "zip", "text"])
def test_damaged_model(refused: Callable[..., str], tmp_path: Path, sample_dir: Path, content: bytes) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    images = sample_dir / "t10k-images-idx3-ubyte.gz"
    assert str(path) in refused("predict", images, "--model", path)
    assert str(path) in refused("train", "mlp3", "--from", path)


def test_damaged_member(swept: Home, tmp_path: Path, sample_dir: Path) -> None:
    home = Home(tmp_path / "copy", swept.data)
    shutil.copytree(swept.root, home.root)
    for path in (home.root / "studies" / "smoke" / "trials").glob("*/weights.npz"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    before = home.files()
    for verb in (["predict", sample_dir / "t10k-images-idx3-ubyte.gz", "--model", "smoke"], ["submit", "smoke"]):
        said = home(*verb)
        assert said.code == 2
        assert said.err.splitlines()[-1].startswith("error: ")
        assert "weights.npz" in said.err
        assert "Traceback" not in said.err
    assert home.files() == before  # the test images were not opened either


@pytest.mark.parametrize("name", ["nothing", "../smoke", "a/b", "", "\0"])
def test_unknown_model(refused: Callable[..., str], sample_dir: Path, name: str) -> None:
    refused("predict", sample_dir / "t10k-images-idx3-ubyte.gz", "--model", name)


def test_no_model_at_all(home: Home, sample_dir: Path) -> None:
    said = home("predict", sample_dir / "t10k-images-idx3-ubyte.gz")
    assert said.code == 2
    assert "make sweep" in said.err


def test_no_verb_at_all_shows_the_help(home: Home) -> None:
    said = home()
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Usage:")
    assert "Studies:\n" in said.err


def test_a_storage_that_is_another_file_is_not_touched(home: Home, sample_dir: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\nno newline at the end")
    for verb in ("run", "trials"):
        said = home(verb, "smoke", "--storage", notes)
        assert said.code == 2
        assert f"{notes} is another file" in said.err
        assert notes.read_text() == "mine\nno newline at the end"


def test_top_above_the_finished_trials(refused: Callable[..., str], swept: Home) -> None:
    line = refused("ensemble", "smoke", "--top", 99)
    # Which trials are pruned hangs on which of two workers is ahead.
    finished = sum(trial["state"] == "COMPLETE" for trial in swept("trials", "smoke", "--json").json)
    assert re.findall(r"\d+", line.replace("99", "", 1))[0] == str(finished), line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "smal"], "did you mean 'small'"),
        (["train", "mlp3", "--epochs", 0], "epochs"),
        (["train", "mlp3", "--batch-size", 0], "batch_size"),
        (["train", "mlp3", "--learning-rate", "nan"], "learning_rate"),
        (["train", "mlp3", "--epochs", "two"], "two"),
        (["train", "mlp3", "--name", "../elsewhere"], "../elsewhere"),
        (["run", "smoke", "--timeout", "soon"], "soon"),
        (["run", "smoke", "--workers", 0], "workers"),
        (["run"], "STUDY"),
        (["rum"], "'run'"),
        (["run", "smoke", "--stage", 1], "--stage"),
        (["run", "smoke", "--scheduler", "tcp://10.0.0.1:8786"], "--executor dask"),
        (["repeat", "smoke", "--scheduler", "tcp://10.0.0.1:8786"], "--executor dask"),
        (["ensemble", "smoke", "--method", "median"], "greedy"),
        (["ensemble", "smoke", "--members", "3,x"], "'x' is no trial's number"),
        (["ensemble", "smoke", "--members", "3, 3"], "each trial must be named once"),
        (["ensemble", "smoke", "--members", "3", "--top", 2], "--top must not stand beside --members"),
        (["ensemble", "smoke", "--members", "night:3"], "name night too"),
        (["ensemble", "smoke", "smoke"], "each study must be named once"),
        (["ensemble", "smoke", "--tta", 5], "--tta"),
        (["submit", "smoke", "--format", "xml"], "digits"),
    ],
)
def test_options(refused: Callable[..., str], arguments: list[object], expected: str) -> None:
    assert expected in refused(*arguments)


@pytest.fixture
def silent_server() -> str:
    """The address of a port on which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [["run", "smoke", "--set", "budget.trials=5"], ["train", "mlp3"]],
    ids=["run", "train"],
)
def test_tracking_server_that_does_not_answer(
    refused: Callable[..., str], silent_server: str, arguments: list[str]
) -> None:
    line = refused(*arguments, "--tracking-uri", silent_server)
    assert "127.0.0.1" in line
    assert "secret" not in line


def test_outputs_that_cannot_be_written(refused: Callable[..., str], tmp_path: Path, sample_dir: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "out.csv"  # below a file there is nothing to write to, for root neither
    images = sample_dir / "t10k-images-idx3-ubyte.gz"
    assert "file" in refused("submit", "smoke", "--input", images, "--output", target)
    assert "file" in refused("trials", "smoke", "--csv", target)
