"""Images, data sets, weights and predictions out of damaged files: an InputError or a result, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from mnistnn.checkpoint import check_checkpoint, load_checkpoint, load_model, read_header, save_checkpoint, save_model
from mnistnn.data import Dataset, Split, find_dataset, read_images
from mnistnn.data.idx import encode_idx
from mnistnn.data.sources import _members, _Unavailable
from mnistnn.errors import InputError
from mnistnn.network import Network
from mnistnn.optimizers.adam import Adam
from mnistnn.training import Trainer, TrainingSpec
from sweeps.ensemble.answers import load_answer_probs, parse_answers
from sweeps.ensemble.members import Member
from sweeps.ensemble.predictions import load_val_probs
from sweeps.ensemble.probs import load_kept, load_test_probs
from sweeps.paths import StudyPaths
from tests.fuzz.inputs import as_text, fuzzed, mutated, mutated_json, mutated_members, mutated_png, zipped
from tests.mnistnn.data.formats import IMAGES, LABELS, all_formats, npy, png
from tests.mnistnn.nets import TINY

FORMATS = all_formats()
SUFFIXES = ("", ".npy", ".npz", ".csv", ".txt", ".png", ".jpg", "-images-idx3-ubyte")


def read(data: bytes, place: Path, suffix: str = "") -> None:
    path = place / f"given{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        images = read_images(path).images
        assert images.dtype == np.uint8
        assert images.shape[1:] == (28, 28)


@fuzzed(mutated(*FORMATS.values()), st.sampled_from(SUFFIXES))
def test_images_of_any_format(place: Path, data: bytes, suffix: str) -> None:
    read(data, place, suffix)


@fuzzed(mutated(*(data for name, data in FORMATS.items() if not name.endswith((".png", ".jpg", ".gz")))))
def test_images_gzipped(place: Path, data: bytes) -> None:
    read(gzip.compress(data, 1), place, ".csv.gz")


@fuzzed(mutated(FORMATS["images.npy"], FORMATS["floats.npy"], npy(IMAGES.astype(">f8")), npy(np.zeros(3, "<U8"))))
def test_npy(place: Path, data: bytes) -> None:
    read(data, place, ".npy")


@fuzzed(mutated_members({"images.npy": npy(IMAGES), "labels.npy": npy(LABELS)}))
def test_npz(place: Path, data: bytes) -> None:
    read(data, place, ".npz")


@fuzzed(mutated(FORMATS["test.csv"], FORMATS["train.csv"], FORMATS["images.txt"]), st.sampled_from((".csv", ".txt")))
def test_texts(place: Path, data: bytes, suffix: str) -> None:
    read(data, place, suffix)


@fuzzed(mutated_png(png(IMAGES[0])) | mutated_png(png(IMAGES[0], "RGBA")) | mutated(FORMATS["image.jpg"]))
def test_pictures(place: Path, data: bytes) -> None:
    read(data, place, ".png")


@fuzzed(mutated(encode_idx(IMAGES)), mutated(encode_idx(LABELS)), st.booleans())
def test_data_sets(place: Path, images: bytes, labels: bytes, packed: bool) -> None:
    folder = place / "data"
    folder.mkdir(exist_ok=True)
    files = {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": encode_idx(LABELS)}
    files |= {"t10k-images-idx3-ubyte": encode_idx(IMAGES), "t10k-labels-idx1-ubyte": labels}
    for name, data in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data, 1) if packed else data)
    with contextlib.suppress(InputError):
        find_dataset(folder, cache=place / "cache")


def tarball() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, size in (("package/package.json", 3), ("package/data/t10k-labels-idx1-ubyte", 10_008)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    return file.getvalue()


@fuzzed(mutated(tarball()))
def test_tarballs(place: Path, data: bytes) -> None:
    for content in (data, gzip.compress(data, 1)):
        (place / "given.tgz").write_bytes(content)
        with contextlib.suppress(_Unavailable):
            list(_members(place / "given.tgz"))


def members_of(path: Path) -> dict[str, bytes]:
    with np.load(path, allow_pickle=False) as file:
        return {f"{name}.npy": npy(file[name]) for name in file.files}


def with_header(members: dict[str, bytes], header: object) -> bytes:
    return zipped(members | {"header.npy": npy(np.frombuffer(as_text(header), np.uint8))})


def header_of(path: Path) -> dict[str, object]:
    with np.load(path, allow_pickle=False) as file:
        header: dict[str, object] = json.loads(file["header"].tobytes())
        return header


@fuzzed(st.data())
def test_weights(place: Path, data: st.DataObject) -> None:
    path = place / "weights.npz"
    save_model(path, Network(TINY), extra={"trial": 3})
    sound, members, header = path.read_bytes(), members_of(path), header_of(path)
    damaged = mutated(sound) | mutated_members(members) | mutated_json(header).map(lambda h: with_header(members, h))
    path.write_bytes(data.draw(damaged))
    for load in (load_model, read_header):
        with contextlib.suppress(InputError):
            load(path)


_few = np.random.default_rng(0)
SPLIT = Split.of(_few.integers(0, 256, (20, 28, 28), np.uint8), _few.integers(0, 10, 20, np.uint8))


@fuzzed(st.data())
def test_checkpoints(place: Path, data: st.DataObject) -> None:
    def trainer() -> Trainer:
        return Trainer(
            Network(TINY, batch_size=10), TrainingSpec(epochs=2, batch_size=10, optimizer=Adam()), SPLIT, SPLIT
        )

    path = place / "checkpoint.npz"
    if not (sound := place / "sound.npz").exists():
        begun = trainer()
        next(begun.fit())
        save_checkpoint(sound, begun)
    members, header = members_of(sound), header_of(sound)
    damaged = (
        mutated(sound.read_bytes())
        | mutated_members(members)
        | mutated_json(header).map(lambda h: with_header(members, h))
    )
    path.write_bytes(data.draw(damaged))
    with contextlib.suppress(InputError):
        check_checkpoint(path)
    fresh = trainer()
    before = fresh.network.arena.params.tobytes()
    try:
        load_checkpoint(path, fresh)
    except InputError:
        assert fresh.network.arena.params.tobytes() == before
        assert fresh.epoch == fresh.step == 0
        return
    fresh.restore_best()
    assert fresh.best_metrics is None or fresh.best_metrics.epoch == fresh.best_epoch


PROBS = np.full((3, 10), 0.1, np.float32)
DIGITS = np.asarray(LABELS, np.int64)
VAL = {"probs.npy": npy(PROBS), "labels.npy": npy(LABELS)}
TEST = {
    "ensemble.npy": npy(np.array("e")),
    "data.npy": npy(np.array("d")),
    "test.npy": npy(PROBS),
    "test_labels.npy": npy(LABELS),
    "val.npy": npy(PROBS),
    "val_labels.npy": npy(LABELS),
    "val_indices.npy": npy(np.array([4, 7, 9])),
    "val_seen.npy": npy(np.array([[True, True, False], [False, True, True]])),
    "val_members.npy": npy(np.concatenate([PROBS, PROBS[:1]])),
}


@fuzzed(mutated(zipped(VAL)) | mutated_members(VAL), mutated(zipped(TEST)) | mutated_members(TEST))
def test_predictions(place: Path, val: bytes, test: bytes) -> None:
    paths = StudyPaths(place / "study")
    paths.trial(3).mkdir(parents=True, exist_ok=True)
    (paths.trial(3) / "val_probs.npz").write_bytes(val)
    with contextlib.suppress(InputError):
        assert load_val_probs(Member(3, "", "", 0.1), paths, DIGITS).shape == (3, 10)
    (place / "probs.npz").write_bytes(test)
    found = load_test_probs(place / "probs.npz", ensemble="e", data="d", count=3)
    assert found is None or found.shape == (3, 10)
    kept = load_kept(place / "probs.npz", ensemble="e", data="d")
    assert kept is None or kept.val.shape == (len(kept.val_labels), 10)
    assert kept is None or kept.evidence is None or kept.evidence.probs.shape[1:] == kept.val.shape


@fuzzed(
    mutated(zipped({"probs.npy": npy(PROBS)})) | mutated_members(VAL), mutated(b"1\n2\n3\n", b"ImageId,Label\n1,2\n")
)
def test_answers_and_their_probabilities(place: Path, probs: bytes, answers: bytes) -> None:
    import hashlib

    (place / "probs.npz").write_bytes(probs)
    with contextlib.suppress(InputError):
        load_answer_probs(place / "probs.npz", hashlib.sha256(probs).hexdigest(), 3)
    for format in ("kaggle", "digits"):
        digits = parse_answers(answers, format, 3)
        assert digits is None or (len(digits) == 3 and 0 <= digits.min() <= digits.max() <= 9)


def test_the_sample_is_sound(place: Path, sample: Dataset) -> None:
    """What is damaged above is read when it is not."""
    for name, data in FORMATS.items():
        (place / name).write_bytes(data)
        assert len(read_images(place / name)) in (1, 3)
    assert len(sample.train_labels)
