from __future__ import annotations

import ast
import gzip
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnistnn
from mnistnn.data import Dataset, Split, describe
from mnistnn.data.dataset import FILES, MNIST_DIGESTS, find_files, load_dataset, stratified
from mnistnn.data.idx import encode_idx, write_idx
from mnistnn.errors import DataError, OutputError
from mnistnn.files import sha256_bytes


@pytest.fixture
def raw_dir(sample_dir: Path, tmp_path: Path) -> Path:
    """A copy of the sample that is not gzipped, and may be damaged."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(gzip.decompress((sample_dir / f"{name}.gz").read_bytes()))
    return folder


def load(folder: Path, cache: Path) -> Dataset:
    return load_dataset(folder, cache=cache, source="a test")


def test_the_sample_is_small_and_stratified(sample: Dataset, sample_dir: Path, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in sample_dir.iterdir()) <= 400_000
    test = sample.open_test("its own test", tmp_path / "ledger")
    assert (len(sample.train_labels), len(test)) == (1_800, 500)
    mnist = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 60_000
    assert np.abs(np.bincount(sample.train_labels) / 1_800 - mnist).max() < 1e-3
    assert all(path.read_bytes()[4:8] == bytes(4) for path in sample_dir.iterdir()), "gzip must not hold a time"


def test_images_lie_on_the_files(sample: Dataset) -> None:
    for values in (sample.train_images, sample.train_labels):
        assert values.dtype == np.uint8
        assert not values.flags.writeable
        assert isinstance(values.base, np.memmap)
    assert sample.train_images.shape == (1_800, 28, 28)


def test_gzipped_or_not_it_is_the_same_data_set(sample: Dataset, raw_dir: Path, tmp_path: Path) -> None:
    raw = load(raw_dir, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert raw.digest == sample.digest
    np.testing.assert_array_equal(raw.train_images, sample.train_images)


def test_names_with_a_dot(raw_dir: Path, sample: Dataset, tmp_path: Path) -> None:
    for name in FILES:
        (raw_dir / name).rename(raw_dir / name.replace("-idx", ".idx"))
    assert load(raw_dir, tmp_path).digest == sample.digest


def test_the_digest_covers_every_file(raw_dir: Path, tmp_path: Path) -> None:
    digests = {load(raw_dir, tmp_path).digest}
    for name in FILES:
        data = bytearray((raw_dir / name).read_bytes())
        data[-1] = (data[-1] + 1) % 10
        (raw_dir / name).write_bytes(data)
        digests.add(load(raw_dir, tmp_path).digest)
    assert len(digests) == 5


def test_only_mnist_is_called_mnist(sample: Dataset, raw_dir: Path, tmp_path: Path) -> None:
    assert load(raw_dir, tmp_path).name == "digits"
    assert sample.name == "mnist-like"  # its folder is called mnist
    assert len(set(MNIST_DIGESTS)) == 4


def test_description(sample: Dataset) -> None:
    text = describe(sample)
    for words in ("1,800", "500 test", "1,500 to train on", "300 to validate on", sample.digest, str(sample.path)):
        assert words in text
    assert "not MNIST's own" in text


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, raw_dir: Path, tmp_path: Path) -> None:
    (raw_dir / name).unlink()
    assert name not in find_files(raw_dir)
    with pytest.raises(DataError, match=f"lacks {name}; put them there"):
        load(raw_dir, tmp_path)


@pytest.mark.parametrize("pair", [0, 2])
def test_labels_that_do_not_match_are_refused(pair: int, raw_dir: Path, tmp_path: Path) -> None:
    write_idx(raw_dir / FILES[pair + 1], np.zeros(17, np.uint8))
    with pytest.raises(DataError, match="holds 17 labels"):
        load(raw_dir, tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (FILES[0], encode_idx(np.zeros((1_800, 28, 28), np.uint8))[:-1], "truncated"),
        (FILES[2], encode_idx(np.zeros((500, 28, 28), np.uint8)) + b"\0", "trailing bytes"),
        (FILES[0], encode_idx(np.zeros((1_800, 14, 28), np.uint8)), "holds 14×28"),
        (FILES[1], encode_idx(np.full(1_800, 10, np.uint8)), "a label must be a digit"),
        (FILES[1], encode_idx(np.zeros((500, 28, 28), np.uint8)), "those are images"),
        (FILES[3], b"", "is empty"),
    ],
)
def test_damaged_files_are_refused(name: str, data: bytes, words: str, raw_dir: Path, tmp_path: Path) -> None:
    (raw_dir / name).write_bytes(data)
    with pytest.raises(DataError, match=words):
        load(raw_dir, tmp_path)


def test_split_shares_nothing_and_leaves_nothing_out(sample: Dataset) -> None:
    train, validation = sample.split(seed=3)
    assert (len(train), len(validation)) == (1_500, 300)
    for part in (train, validation):
        assert part.indices.dtype == np.int64
        assert (np.diff(part.indices) > 0).all()
        assert part.images is sample.train_images
    np.testing.assert_array_equal(np.sort(np.r_[train.indices, validation.indices]), np.arange(1_800))
    whole, part = np.bincount(sample.train_labels), np.bincount(validation.take()[1])
    assert np.abs(whole / 6 - part).max() < 1


def test_split_follows_its_seed(sample: Dataset) -> None:
    parts = [sample.split(seed)[1].indices for seed in (1, 1, 2)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).any()


def test_mnist_is_split_in_50000_and_10000() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 60_000).astype(np.uint8)
    images = np.broadcast_to(np.zeros((1, 28, 28), np.uint8), (60_000, 28, 28))
    files = (Path(), Path())
    mnist = Dataset(
        name="", path=Path(), source="", digests=(), train_images=images, train_labels=labels, test_count=1,
        _test_files=files,
    )  # fmt: skip
    assert [len(part) for part in mnist.split(0)] == [50_000, 10_000]


def test_split_of_a_wanted_size(sample: Dataset) -> None:
    assert [len(part) for part in sample.split(0, validation=7)] == [1_793, 7]
    for wrong in (0, -1, 1_800):
        with pytest.raises(DataError, match=f"validation={wrong}"):
            sample.split(0, validation=wrong)


def test_take_copies(sample: Dataset) -> None:
    _, validation = sample.split(0)
    images, labels = validation.take()
    np.testing.assert_array_equal(images, sample.train_images[validation.indices])
    np.testing.assert_array_equal(labels, sample.train_labels[validation.indices])
    assert images.flags.c_contiguous
    assert images.flags.owndata


def test_split_of_arrays() -> None:
    split = Split.of(np.zeros((3, 784)), np.array([1, 2, 3]))
    assert split.images.shape == (3, 28, 28)
    assert split.labels.dtype == np.uint8
    np.testing.assert_array_equal(split.indices, [0, 1, 2])
    with pytest.raises(DataError, match="must match the images"):
        Split.of(np.zeros((3, 784)), np.array([1, 2]))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.data())
def test_stratified(labels: list[int], data: st.DataObject) -> None:
    values = np.array(labels, np.uint8)
    count = data.draw(st.integers(0, len(labels)))
    drawn = stratified(values, count, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == len(drawn) == count
    assert (np.diff(drawn) > 0).all()
    shares = np.bincount(values, minlength=10) * count / len(labels)
    assert np.abs(np.bincount(values[drawn], minlength=10) - shares).max() < 1


def test_each_opening_of_the_test_images_counts(sample: Dataset, tmp_path: Path) -> None:
    ledger = tmp_path / "mlruns" / "ledger.jsonl"
    first = sample.open_test("train --test report", ledger)
    assert first.images.shape == (500, 28, 28)
    assert first.labels.shape == (500,)
    assert not first.images.flags.writeable
    assert (first.openings, sample.open_test("the ensemble's report", ledger).openings) == (1, 2)
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [entry["purpose"] for entry in entries] == ["train --test report", "the ensemble's report"]
    assert all(entry["digest"] == sample.digest for entry in entries)
    assert set(entries[0]) == {"time", "purpose", "digest"}


def test_openings_of_other_data_and_torn_lines_do_not_count(sample: Dataset, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(b'{"digest": "other"}\n[1]\n\xff\xfe\n{"time": "2026-01-01T00')
    assert sample.open_test("a", ledger).openings == 1
    assert sample.open_test("b\nc", ledger).openings == 2


def test_processes_do_not_lose_openings(sample: Dataset, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda k: sample.open_test(f"thread {k}", ledger).openings, range(40)))
    assert max(counts) == 40
    assert sample.open_test("last", ledger).openings == 41


def test_without_a_ledger_nothing_is_opened(sample: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be written down"):
        sample.open_test("secretly", tmp_path / "file" / "ledger")


FOLDERS = ("mnistnn", "sweeps", "benchmarks", "docs", "tools")


def test_only_one_function_opens_the_test_images() -> None:
    root = Path(mnistnn.__file__).parent.parent
    users = set()
    for path in (path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef):
                names = {getattr(node, "attr", None) for node in ast.walk(function)}
                users |= {function.name} if "_test_files" in names else set()
    assert users == {"open_test"}


def test_who_has_test_images_opened_chooses_nothing() -> None:
    """Scores, answers and checks, once all is chosen: whoever is added here must be such a one."""
    root = Path(mnistnn.__file__).parent.parent
    callers = {
        str(path.relative_to(root))
        for folder in FOLDERS
        for path in (root / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "open_test"
    }
    assert callers == {
        "benchmarks/race/__main__.py",
        "sweeps/ensemble/scoring.py",
        "sweeps/ensemble/submission.py",
        "sweeps/ensemble/verify.py",
        "sweeps/robustness/evaluation.py",
        "sweeps/single/train.py",
    }


def test_a_data_set_may_be_moved(raw_dir: Path, tmp_path: Path) -> None:
    before = load(raw_dir, tmp_path).digest
    shutil.move(raw_dir, tmp_path / "elsewhere")
    after = load(tmp_path / "elsewhere", tmp_path)
    assert (after.digest, after.name) == (before, "elsewhere")
    assert after.digests[0] == sha256_bytes((tmp_path / "elsewhere" / FILES[0]).read_bytes())
