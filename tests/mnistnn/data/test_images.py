from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnistnn.data import as_mnist, read_images
from mnistnn.errors import DataError, InputError, SizeError
from mnistnn.files import sha256_bytes
from tests.mnistnn.data.formats import IMAGES, LABELS, all_formats, npy, png

FORMATS = all_formats()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("named", [True, False])
def test_every_format_is_told_by_its_content(name: str, named: bool, tmp_path: Path) -> None:
    path = tmp_path / (name if named else "input")
    path.write_bytes(FORMATS[name])
    read = read_images(path)
    if name == "image.jpg":
        assert read.images.shape == (1, 28, 28)
    else:
        np.testing.assert_array_equal(read.images, IMAGES[:1] if name == "image.png" else IMAGES)
    assert len(read) == len(read.images)
    assert read.images.dtype == np.uint8
    assert read.digest == sha256_bytes(FORMATS[name])
    assert (read.labels is not None) == (name in ("images.npz", "train.csv"))
    if read.labels is not None:
        np.testing.assert_array_equal(read.labels, LABELS)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES):
        (tmp_path / f"digit{index}.png").write_bytes(png(image))
    read = read_images(tmp_path)
    np.testing.assert_array_equal(read.images, IMAGES)
    assert read.format == "folder of pictures"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.npy", b"", "is empty"),
        ("empty.txt.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("input.npz", b"garbage", "is damaged"),
        ("input.npy", b"garbage", "is damaged"),
        ("input.png", b"garbage", "is damaged"),
        ("input.txt", b"garbage", "784 numbers a line"),
        ("input", b"garbage", "784 numbers a line"),
        ("README.md", b"# A title, and more\n", "is none of these; save them as one of these, such as PNG"),
        ("digit.bmp", b"BM\x36\x0c,\0\0\0", "is a BMP picture"),
        ("digit.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "is a WebP picture"),
        ("few.md", b"1 2 3\n", "has 3 in its first"),
        ("input.csv", b"garbage", "784 pixels a row"),
        ("input.gz", FORMATS["images.txt.gz"][:200], "is damaged"),
        ("train-images-idx3-ubyte", b"garbage", "magic number 2051"),
        ("labels", bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]), "those are labels"),
        ("input.dump", pickle.dumps(IMAGES), "is a pickle"),
        ("input.pkl", b"(lp0\n.", "is a pickle"),
        ("input.npy", npy(np.zeros((5, 3))), "(5, 3)"),
    ],
)
def test_bad_input_is_one_clear_line(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_images(tmp_path / name)
    line = str(caught.value)
    assert words in line
    assert name in line
    assert "\n" not in line
    assert line.endswith(".")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_images(tmp_path / "none.npy")


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """Draws damaged copies: bytes changed, cut out, put in, or the end lost."""
    # The first bytes, where the headers are, get half of the attention.
    place = st.one_of(st.integers(0, min(200, len(data))), st.integers(0, len(data)))
    change: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
        st.builds(lambda at, new: lambda old: old[:at] + new + old[at + len(new) :], place, st.binary(max_size=9)),
        st.builds(lambda at, new: lambda old: old[:at] + new + old[at:], place, st.binary(max_size=9)),
        st.builds(lambda at, length: lambda old: old[:at] + old[at + length :], place, st.integers(1, 900)),
        st.builds(lambda at: lambda old: old[:at], place),
    )

    def apply(changes: list[Callable[[bytes], bytes]]) -> bytes:
        result = data
        for one in changes:
            result = one(result)
        return result

    return st.lists(change, min_size=1, max_size=4).map(apply)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_ends_in_an_input_error_or_in_images(name: str, tmp_path: Path) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(mutations(FORMATS[name]))
    def check(data: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(data)
        try:
            read = read_images(path)
        except InputError as error:
            lines.append(str(error))
        else:
            assert read.images.dtype == np.uint8
            assert read.images.shape == (len(read), 28, 28)
            assert len(read) > 0

    lines: list[str] = []
    check()
    assert lines
    assert all(line.isprintable() for line in lines)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["input", "a.csv", "a.npz", "a.npy", "a.png", "a.gz", "a-idx3-ubyte"]))
def test_any_bytes_end_in_an_input_error(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError):
        read_images(tmp_path / name)


def test_photos_of_any_size_are_made_as_mnist_where_asked_for(tmp_path: Path) -> None:
    paper = 255 - np.pad(IMAGES[0].repeat(5, axis=0).repeat(5, axis=1), ((30, 130), (60, 100)))
    (tmp_path / "photos").mkdir()
    for name, image in (("a.png", paper), ("b.png", np.full((40, 30), 255, np.uint8)), ("c.png", IMAGES[1])):
        (tmp_path / "photos" / name).write_bytes(png(image))
    with pytest.raises(SizeError, match="28×28"):
        read_images(tmp_path / "photos")
    read = read_images(tmp_path / "photos", as_mnist=True)
    np.testing.assert_array_equal(read.images, [as_mnist(paper), np.zeros((28, 28)), as_mnist(IMAGES[1])])
    alone = read_images(tmp_path / "photos" / "a.png", as_mnist=True)
    np.testing.assert_array_equal(alone.images, read.images[:1])
    (tmp_path / "light.npy").write_bytes(npy(255 - IMAGES))
    light = read_images(tmp_path / "light.npy", as_mnist=True)
    np.testing.assert_array_equal(light.images, [as_mnist(255 - image) for image in IMAGES])
