"""A submission made again from its manifest, and held against the one that was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from mnistnn.checkpoint import load_model
from mnistnn.data import Dataset, all_as_mnist, read_images
from mnistnn.data.dataset import FILES as DATA_FILES
from mnistnn.errors import CheckpointError, DataError, InputError
from mnistnn.files import sha256_bytes, sha256_file
from mnistnn.npz import open_plain
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.answers import FORMATS, load_answer_probs, parse_answers
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.build import Echo, to_stderr
from sweeps.ensemble.manifest import Manifest, ManifestError, ManifestMember, read_manifest
from sweeps.ensemble.members import BLOCK, Member
from sweeps.ensemble.outside import TEST, input_key, outside_path, outside_probs
from sweeps.ensemble.probs import PROBS, load_test_probs
from sweeps.ensemble.verification import Verification
from sweeps.ensemble.views import predict
from sweeps.paths import Paths, StudyPaths
from sweeps.provenance import changes

__all__ = ["verify_submission"]

_LINE_BYTES = 16  # the longest line of an answer: an image's number, a comma, a digit and two ends of line


def verify_submission(
    path: Path, *, root: Path, dataset: Callable[[], Dataset], input: Path | None = None, echo: Echo = to_stderr
) -> Verification:
    """Makes a submission again from its manifest, by the nets that it names, and writes nothing.

    Args:
        path: the manifest.
        root: the project's folder, where the study is.
        dataset: finds the study's data set; asked only where the answers are for its test images, which are opened for
            it (and counted): what the ensemble keeps of them would be its own witness.
        input: the images; by default those of the name in the manifest, beside it or in the current folder.
        echo: takes lines of progress.

    Raises:
        ManifestError: the manifest is missing, damaged, of another version, or contradicts itself.
        CheckpointError: a member's weights are nowhere to be found.
        DataError: the images are not, or are others.
    """
    manifest = read_manifest(path)
    paths = Paths(root).study(manifest.study)
    _check_digest(manifest, paths)
    files = [_find_weights(member, manifest.study, paths, root) for member in manifest.ensemble.members]
    ensemble = _ensemble(manifest, paths)
    kept, notes = _kept_probs(manifest, path.parent)
    images = _find_images(manifest, path, input, dataset, Paths(root), echo)
    echo(f"answering for {len(images):,} images by {len(files)} of the nets of study {manifest.study}")
    key = TEST if manifest.input.data_digest is not None else input_key(manifest.input.digest)
    probs = ensemble.combine(_predict(ensemble, files, images, key))
    digits = cast("Ints", probs.argmax(axis=1))
    rebuilt = sha256_bytes(FORMATS[manifest.output.format](digits).encode())
    found, file_digits = _beside(manifest, path.parent)
    recorded = digits if rebuilt == manifest.output.sha256 else None
    if recorded is None and found == manifest.output.sha256:
        recorded = file_digits
    if recorded is None and kept is not None:
        recorded = cast("Ints", kept.argmax(axis=1))
    return Verification(
        name=manifest.output.name,
        study=manifest.study,
        members=len(files),
        images=len(digits),
        sha256=manifest.output.sha256,
        rebuilt_sha256=rebuilt,
        differing=None if recorded is None else int(np.sum(recorded != digits)),
        file_differing=None if file_digits is None else int(np.sum(file_digits != digits)),
        is_foreign=found not in (None, manifest.output.sha256) and file_digits is None,
        probs_difference=None if kept is None else float(np.abs(kept - probs).max()),
        changed=changes(manifest.made_by),
        notes=tuple(notes),
    )


def _check_digest(manifest: Manifest, paths: StudyPaths) -> None:
    """Raises ManifestError where members and weights are not those that the ensemble's digest stands for."""
    ensemble = _ensemble(manifest, paths)
    if ensemble.digest != manifest.ensemble.digest:
        raise ManifestError(
            f"a manifest's members must be those of its ensemble (digest {manifest.ensemble.digest[:12]}…), but they "
            f"come to {ensemble.digest[:12]}…: it was changed; take the one that was written beside the submission."
        )


def _ensemble(manifest: Manifest, paths: StudyPaths) -> Ensemble:
    entries = manifest.ensemble.members
    members = tuple(map(_member, entries))
    weights = tuple(each.weight for each in entries)
    return Ensemble(manifest.study, members, weights, paths, manifest.ensemble.temperature, manifest.ensemble.tta)


def _member(entry: ManifestMember) -> Member:
    return Member(
        entry.trial,
        "",
        entry.weights_sha256,
        0.0,
        study=entry.study,
        epoch=entry.epoch,
        outside=entry.outside,
    )


def _find_weights(member: ManifestMember, study: str, paths: StudyPaths, root: Path) -> Path:
    """Returns a file with a member's weights: the trial's own, or one of the copies that MLflow has of them.

    Of a model from outside it is the copy of its predictions.

    Raises:
        CheckpointError: there is none with the manifest's digest.
    """
    if member.outside:
        return outside_path(paths, member.weights_sha256)  # which is checked when it is read
    for path in _candidates(member, paths, Paths(root)):
        try:
            if path.is_file() and sha256_file(path) == member.weights_sha256:
                return path
        except OSError:
            continue
    owner = member.study or study
    raise CheckpointError(
        f"a submission is made again by the weights of its members, but those of trial {member.trial} of study "
        f"{owner!r} (sha256 {member.weights_sha256[:12]}…) are neither in its folder nor among MLflow's artifacts; "
        f"`replay {owner} {member.trial} --keep` makes them again."
    )


def _candidates(member: ManifestMember, paths: StudyPaths, project: Paths) -> Iterator[Path]:
    """Yields where a member's weights may lie, the likeliest place first."""
    known = _member(member)
    yield known.weights(paths)
    if member.run_id is not None:
        yield from project.mlruns.glob(f"artifacts/*/{member.run_id}/artifacts/weights.npz")
    yield from project.mlruns.glob(f"artifacts/*/models/*/artifacts/artifacts/members/{known.file_name}")
    # A study that was imported under another name has the same numbers.
    yield from (replace(known, study="").weights(StudyPaths(study)) for study in project.studies.glob("*/"))


def _predict(ensemble: Ensemble, files: list[Path], images: UInt8s, key: str) -> Iterator[Floats]:
    """Yields each net's softmax outputs, one net in memory at a time, as the ensemble itself does."""
    for member, file in zip(ensemble.members, files, strict=True):
        if member.outside:
            yield outside_probs(member, ensemble.paths, key, len(images))
        else:
            yield predict(load_model(file, batch_size=BLOCK), images, ensemble.tta)


def _find_images(
    manifest: Manifest, path: Path, given: Path | None, dataset: Callable[[], Dataset], paths: Paths, echo: Echo
) -> UInt8s:
    """Returns the images that the answers are for.

    Raises:
        DataError: they are not there, or others.
    """
    if manifest.input.data_digest is not None:
        if given is not None:
            raise DataError(
                f"--input must be left out where the answers are for the {manifest.input.name}, but got {given}; name "
                "the data set by --data-dir."
            )
        return _open_test_images(manifest, dataset(), paths, echo)
    name = manifest.input.name
    refusal: InputError | None = None
    for candidate in [given] if given is not None else [path.parent / name, Path(name)]:
        if given is None and not candidate.exists():
            continue
        try:
            read = read_images(candidate)
        except InputError as error:
            refusal = error
            continue
        if read.digest == manifest.input.digest and len(read) == manifest.input.images:
            return all_as_mnist(read.images)[0] if manifest.input.as_mnist else read.images
        refusal = DataError(
            f"the images must be those that were answered for (sha256 {manifest.input.digest[:12]}…), but {candidate} "
            f"holds others ({read.digest[:12]}…); name the right ones by --input."
        )
    raise refusal or DataError(
        f"the images that were answered for must be there, but {name} is neither beside the manifest nor in this "
        "folder; name them by --input."
    )


def _open_test_images(manifest: Manifest, data: Dataset, paths: Paths, echo: Echo) -> UInt8s:
    wanted = manifest.input
    if (data.digest, data.digests[DATA_FILES.index("t10k-images-idx3-ubyte")]) != (wanted.data_digest, wanted.digest):
        raise DataError(
            f"the answers are for the {wanted.name} (data digest {str(wanted.data_digest)[:12]}…), but {data.name} is "
            f"other data ({data.digest[:12]}…); name the same --data-dir."
        )
    study = paths.study(manifest.study)
    test = data.open_test(f"verify submission of study {manifest.study}", paths.test_ledger)
    known = load_test_probs(
        study.ensemble / PROBS, ensemble=manifest.ensemble.digest, data=data.digest, count=data.test_count
    )
    besides = "; the ensemble keeps its answers for them, but shall give them again" if known is not None else ""
    echo(f"test images of {data.name}: opened {test.openings} times{besides}")
    return test.images


def _kept_probs(manifest: Manifest, folder: Path) -> tuple[Floats | None, list[str]]:
    """Returns the probabilities that were kept beside the submission, or why they cannot be compared with."""
    if manifest.probabilities is None:
        return None, []
    path = folder / manifest.probabilities.name
    try:
        return load_answer_probs(path, manifest.probabilities.sha256, manifest.input.images), []
    except CheckpointError as error:
        return None, [str(error)]


def _beside(manifest: Manifest, folder: Path) -> tuple[str | None, Ints | None]:
    """Returns digest and answers of the submission beside the manifest; None, None without one."""
    most = (manifest.input.images + 1) * _LINE_BYTES
    try:
        with open_plain(folder / manifest.output.name) as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError):
        return "", None
    return sha256_bytes(data), parse_answers(data, manifest.output.format, manifest.input.images)
