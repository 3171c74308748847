from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sweeps.ensemble.manifest import ManifestError, read_manifest

SOUND: dict[str, Any] = {
    "format": 1,
    "study": "smoke",
    "input": {"name": "contest.npy", "format": "npy", "digest": "a" * 64, "images": 70},
    "output": {"name": "out.csv", "format": "kaggle", "sha256": "b" * 64},
    "probabilities": {"name": "out.csv.probs.npz", "sha256": "c" * 64},
    "ensemble": {
        "digest": "d" * 64,
        "method": "mean",
        "members": [{"trial": 3, "run_id": None, "weights_sha256": "e" * 64, "weight": 1.0}],
    },
    "versions": {"python": "3.13.1", "numpy": "2.4.0"},
    "commit": None,
    "time": "2026-01-01T00:00:00+00:00",
}


def test_a_sound_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.csv.manifest.json"
    for more in ({}, {"a later version": {"says": "more"}}):
        path.write_text(json.dumps(SOUND | more))
        manifest = read_manifest(path)
        assert manifest.ensemble.members[0].trial == 3
        assert manifest.made_by == {"python": "3.13.1", "numpy": "2.4.0", "commit": None}
    path.write_text(json.dumps({name: value for name, value in SOUND.items() if name != "probabilities"}))
    assert read_manifest(path).probabilities is None
    # A test set's name is no file's.
    path.write_text(json.dumps(SOUND | {"input": SOUND["input"] | {"name": "images of a/b", "data_digest": "f" * 64}}))
    assert read_manifest(path).input.name == "images of a/b"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(format=2), "must be of format 1, but .* is of format '2'; verify it by the version"),
        (lambda v: v.pop("format"), "is of format 'None'"),
        (lambda v: v.update(study="../smoke"), "its study is not sound"),
        (lambda v: v.pop("study"), "its study is not sound"),
        (lambda v: v["output"].update(name="../noise.txt"), "its output.name is not sound .*no path"),
        (lambda v: v["output"].update(name="/etc/passwd"), "its output.name is not sound .*no path"),
        (lambda v: v["output"].update(name="a\0b"), "its output.name is not sound .*printable"),
        (lambda v: v["output"].update(format="xml"), "its output.format is not sound"),
        (lambda v: v["probabilities"].update(name=".."), "its probabilities.name is not sound"),
        (lambda v: v["input"].update(name="../contest.npy"), "its input.name is not sound .*no path"),
        (lambda v: v["input"].update(name="\x1b[2J"), "its input.name is not sound .*printable"),
        (lambda v: v["input"].update(name="\ud800"), "its input.name is not sound .*printable"),
        (lambda v: v["input"].update(images=10**12), "its input.images is not sound"),
        (lambda v: v["input"].update(digest="abc"), "its input.digest is not sound"),
        (lambda v: v["ensemble"].update(members=[]), "its ensemble.members is not sound"),
        (lambda v: v["ensemble"]["members"][0].update(trial=-1), "its ensemble.members.0.trial is not sound"),
        (lambda v: v["ensemble"]["members"][0].update(trial="../1"), "its ensemble.members.0.trial is not sound"),
        (lambda v: v["ensemble"]["members"][0].update(run_id="../x"), "its ensemble.members.0.run_id is not sound"),
        (lambda v: v["ensemble"]["members"][0].update(weight=float("nan")), "its ensemble.members.0.weight"),
        (lambda v: v["versions"].update(numpy="\x1b[31m2.0"), "its versions.numpy is not sound"),
    ],
)
def test_a_manifest_that_was_changed_is_refused_in_one_line(tmp_path: Path, edit: Any, message: str) -> None:
    values = json.loads(json.dumps(SOUND))
    edit(values)
    path = tmp_path / "out.csv.manifest.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "is something else"),
        (b'{"network": {}, "training": {}}', "is something else"),
        (b'{"a": "' + b"x" * (5 << 20) + b'"}', "is larger than 4 MiB"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(data)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for path, message in (("pipe", "no plain file"), (".", "Is a directory"), ("none", "does not"), ("a\0", "cannot")):
        with pytest.raises(ManifestError, match=message):
            read_manifest(tmp_path / path)
