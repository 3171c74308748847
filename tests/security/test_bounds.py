"""Small files that would expand to gigabytes, and claims of what is not there: all refused within little memory."""

from __future__ import annotations

import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.checkpoint import load_model, save_model
from mnistnn.data import read_images, sources
from mnistnn.data.checks import MAX_BYTES, most_bytes
from mnistnn.data.gz import gunzip
from mnistnn.errors import CheckpointError, DataError
from mnistnn.network import Network
from tests.mnistnn.data.formats import IMAGES, header, png, table
from tests.mnistnn.nets import TINY
from tests.security.bombs import Entry, deflated_zeros, gz_bomb, npy_header, overlapping_zip, zip_of

ROOT = Path(__file__).parents[2]
GB = 1 << 30
HOLE = 256 << 20  # of a file that takes no room on the disk
MOST_GROWTH = 300 << 20  # over all of them: a bomb of 2 MB may expand to 200 MB


def zero_png(side: int, expands_to: int, *extra: bytes) -> bytes:
    """A picture of `side` pixels each way, whose data are zeros, whatever it promises."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    body = b"\x78\x01" + deflated_zeros(expands_to) + b"\0\0\0\1"
    first = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
    texts = b"".join(
        chunk(name, b"Comment\0\0" + rest) for name, rest in zip((b"zTXt",) * len(extra), extra, strict=True)
    )
    return b"\x89PNG\r\n\x1a\n" + first + texts + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def deflated_member(name: str, size: int, first: bytes) -> Entry:
    return Entry(name, deflated_zeros(size, first), len(first) + size)


def rows(first: bytes, path: Path) -> None:
    """A text whose first lines are sound and whose next one does not end, in a file with a hole."""
    path.write_bytes(first)
    os.truncate(path, HOLE)


def header_of(layers: list[dict[str, Any]]) -> bytes:
    text = json.dumps({"format": 1, "kind": "model", "network": {"layers": layers}}).encode()
    return npy_header((len(text),)) + text


def write_all(folder: Path) -> list[str]:
    """Writes the files and returns the names of those that are to be refused; the others are not errors."""
    zeros = 2 * GB - (1 << 20)
    images = npy_header((zeros // 784, 28, 28))
    flat = {"type": "flatten"}
    long_header = b"\x93NUMPY\2\0" + struct.pack("<I", 3 * GB - 100)
    made = {
        "images-zip.npz": zip_of(deflated_member("images.npy", zeros, images)),
        "images-zip-labels.npz": zip_of(
            Entry("images.npy", npy(IMAGES), len(npy(IMAGES)), zipfile.ZIP_STORED),
            deflated_member("labels.npy", zeros, npy_header((zeros,))),
        ),
        "images-header.npz": zip_of(deflated_member("images.npy", 3 * GB, long_header)),
        "images-directory.npz": zip_of(Entry("a", b"", 0, 0), directory_times=200_000),
        "images-claims.npy": npy_header((10**12, 28, 28)) + bytes(1000),
        "images-claims-2.npy": npy_header((10**6, 28, 28), "<f8") + bytes(1000),
        "images-claims-text.npy": npy_header((1,), "<U500000000") + bytes(1000),
        "images-claims-nothing.npy": npy_header((10**15,), "|V0"),
        "images-idx.gz": gz_bomb(zeros, struct.pack(">4I", 2051, 2_500_000, 28, 28)),
        "images-csv.csv.gz": gz_bomb(zeros, table(IMAGES, ",", header(label=False))),
        "images-50000.png": zero_png(50_000, 50_000 * 50_001),
        "images-50000-claims.png": zero_png(50_000, 1 << 20),
        "images-text.png": zero_png(28, 28 * 29, b"\x78\x01" + deflated_zeros(2 * GB)),
        "images-line.csv": (table(IMAGES, ",", header(label=False)),),
        "images-line.txt": (table(IMAGES, " "),),
        "images-quote.csv": (table(IMAGES, ",", header(label=False)) + b'"',),
        "images-first-line.csv": (b"1,2,3",),
        "idx-images.gz": gz_bomb(zeros, struct.pack(">4I", 2051, 2_500_000, 28, 28)),
        "tarball-name.tgz": gz_bomb(2 * GB, tar_of_a_long_name(8 * GB - 1)),
        "model-zip.npz": zip_of(deflated_member("header.npy", zeros, npy_header((zeros,)))),
        "model-overlap.npz": overlapping_zip("a.npy", npy_header((1 << 20,)) + bytes(1 << 20), 3000),
        "model-claims.npz": zip_of(stored("header.npy", npy_header((10**12,)) + bytes(1000))),
        "model-layers.npz": zip_of(stored("header.npy", header_of([{"type": "dense", "units": 4096}] * 20_000))),
        "model-units.npz": zip_of(stored("header.npy", header_of([flat] + [{"type": "dense", "units": 4096}] * 99))),
        "header-nested.npz": zip_of(stored("header.npy", npy_header((1_000_000,)) + b"[" * 1_000_000)),
        "header-large.npz": zip_of(stored("header.npy", npy_header((64 << 20,)) + b"[]," * ((64 << 20) // 3))),
        "checkpoint-zip.npz": zip_of(deflated_member("params.npy", zeros, npy_header((zeros,)))),
        "valprobs-zip.npz": zip_of(deflated_member("probs.npy", zeros, npy_header((zeros,)))),
        "probs-zip.npz": zip_of(deflated_member("test.npy", zeros, npy_header((zeros,)))),
        "record-nested.json": b'{"members":' + b"[" * 2_000_000,
        "record-large.json": (b'{"members": [',),
        "manifest-nested.json": b'{"ensemble":' + b'{"a":' * 500_000,
        "manifest-large.json": (b'{"ensemble": [',),
        "study-large.toml": (b"a = 1\n",),
        "study-dots.toml": b".".join([b"a"] * 100_000) + b" = 1",
        "study-nested.toml": b"a = " + b"[" * 3000,
        "study-deep.toml": b"[search.filters]\nlow = " + b"{a = " * 90 + b"1" + b"}" * 90,
        "study-digits.toml": b"[study]\nseed = " + b"9" * 3900,
        "study-hex.toml": b"[study]\nseed = 0x" + b"f" * 3900,
        "events-nested.jsonl": b'{"kind":"tags","seq":1,"time_ms":1,"tags":' + b"[" * 900_000 + b"\n",
        "events-wide.jsonl": b'{"kind":"tags","seq":1,"time_ms":1,"tags":{"a":[' + b"[]," * 300_000 + b"[]]}}\n",
        "events-large.jsonl": (b'{"kind":"tags",',),
        "cursor-large.json": (b'{"store": "',),
    }  # fmt: skip
    for name, data in made.items():
        if isinstance(data, tuple):
            rows(data[0], folder / name)
        else:
            (folder / name).write_bytes(data)
    return [name for name in made if not name.startswith(("events", "cursor", "probs"))]


def npy(array: np.ndarray) -> bytes:
    return npy_header(array.shape) + array.tobytes()


def stored(name: str, data: bytes) -> Entry:
    return Entry(name, data, len(data), zipfile.ZIP_STORED)


def tar_of_a_long_name(size: int) -> bytes:
    """The head of a member of GNU's tar that says that the name of the next one has `size` bytes."""
    block = bytearray(512)
    block[:13] = b"././@LongLink"
    block[124:136] = b"%011o\0" % size
    block[156:157] = b"L"
    block[257:265] = b"ustar  \0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.slow
def test_no_file_takes_more_memory_than_it_is_worth(tmp_path: Path) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    refused = write_all(folder)
    count = len(list(folder.iterdir()))
    command = [sys.executable, str(Path(__file__).with_name("under_limit.py")), str(folder)]
    kept = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=kept, timeout=240, check=False)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == count, done.stderr[-2000:]
    for entry in said:
        expected = ("refused",) if entry["name"] in refused else ("none", "refused")
        assert entry["error"] in expected, f"{entry['name']}: {entry['error']} {entry['detail'][-1500:]}"
        assert "\n" not in entry["detail"]
    grew = {entry["name"]: entry["grew"] >> 20 for entry in said if entry["grew"]}
    assert sum(entry["grew"] for entry in said) < MOST_GROWTH, f"MB: {grew}"


@pytest.mark.parametrize("separator", [",", " "])
def test_a_value_does_not_go_on_in_the_next_line(tmp_path: Path, separator: str) -> None:
    lines = table(IMAGES, separator).splitlines()
    path = tmp_path / ("given.csv" if separator == "," else "given.txt")
    path.write_bytes(b"\n".join([lines[0], b'"' + lines[1], *lines[2:], b""]))
    with pytest.raises(DataError, match="a quotation mark without another"):
        read_images(path)
    path.write_bytes(b"\n".join([lines[0], b'"' + lines[1].replace(separator.encode(), b'"' + separator.encode(), 1)]))
    assert len(read_images(path)) == 2  # as some write numbers


def test_what_images_compress_to_is_let_in(tmp_path: Path) -> None:
    blank = np.zeros((60_000, 28, 28), np.uint8)
    np.savez_compressed(tmp_path / "blank.npz", images=blank)
    assert len(read_images(tmp_path / "blank.npz")) == 60_000
    assert most_bytes(10) == 64 << 20
    assert most_bytes(10 << 20) == 1000 << 20
    assert most_bytes(GB) == MAX_BYTES


def test_a_download_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                pass

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(sources, "_DOWNLOAD", 1 << 20)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(sources._Unavailable, match="more than 1,048,576 bytes"):
                sources._download(f"http://127.0.0.1:{server.server_port}/x.gz", tmp_path / "x.gz", False)
        finally:
            server.shutdown()
            thread.join()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 2 << 20


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero")):
        with pytest.raises(DataError, match="no plain file"):
            read_images(path)
        with pytest.raises(CheckpointError, match="no plain file"):
            load_model(path)


def test_a_bomb_inside_a_sound_archive_is_refused_by_its_own_size(tmp_path: Path) -> None:
    save_model(tmp_path / "model.npz", Network(TINY))
    (tmp_path / "model.gz").write_bytes(gz_bomb(256 << 20))
    with pytest.raises(DataError, match="must expand to no more than 67,108,864 bytes"):
        gunzip(tmp_path / "model.gz")
    assert len(png(IMAGES[0])) < 2000  # the pictures above are refused for their size, not for being pictures
