"""A contest's submission: the ensemble's answer to each image, and a manifest that says what it was made from.

What a manifest names is whole before the manifest is: the probabilities are written first, then the answers.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mnistnn.data import Dataset, read_images
from mnistnn.data.dataset import FILES
from mnistnn.errors import OutputError, nearest
from mnistnn.files import atomic_write, sha256_bytes
from mnistnn.types import Floats, Ints
from sweeps.ensemble.answers import FORMATS, probs_path, save_answer_probs
from sweeps.ensemble.build import Echo, build_ensemble, to_stderr
from sweeps.ensemble.likeness import prepare
from sweeps.ensemble.members import load_network
from sweeps.ensemble.outside import TEST, input_key, outside_probs
from sweeps.ensemble.probs import PROBS, load_test_probs
from sweeps.ensemble.record import RECORD, EnsembleReport, load_report
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths
from sweeps.provenance import commit, versions

if TYPE_CHECKING:
    from sweeps.config import StudyConfig

__all__ = ["MANIFEST_FORMAT", "manifest_path", "write_submission"]

MANIFEST_FORMAT = 1


def manifest_path(output: Path) -> Path:
    """Returns where the manifest of a submission lies: beside it."""
    return output.with_name(f"{output.name}.manifest.json")


def write_submission(
    config: StudyConfig,
    *,
    root: Path,
    dataset: Dataset | Callable[[], Dataset],
    input: Path | None,
    output: Path,
    format: str = "kaggle",
    as_mnist: bool = False,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    echo: Echo = to_stderr,
) -> Path:
    """Writes the answers of the study's ensemble, which is built first if there is none, and their manifest.

    Beside them lie the probabilities that they were chosen by, for `verify` to compare with.

    Args:
        config: the study.
        root: the project's folder.
        dataset: the study's, or what finds it; wanted only where there is no input, or no ensemble yet.
        input: the contest's images, in any format that `read_images` takes; None for the data set's test images, of
            which the ensemble keeps what it predicted when it was built.
        output: the file to write. Through a link, the file that it leads to is replaced.
        format: "kaggle" or "digits".
        as_mnist: whether to invert, scale and centre the input as MNIST was made, before anybody answers for it.
        storage_url: where the trials are, for an ensemble that is to be built; by default the study's own journal.
        tracking_uri: MLflow's store, likewise.
        echo: takes lines of progress.

    Returns:
        The manifest's path.

    Raises:
        ConfigError: there is no such format.
        OutputError: the output cannot be written; seen before any work is done.
        DataError: the input cannot be read, or a member from outside has not answered for it.
        StudyError: there is no ensemble and none can be built, or the data set is not the one that the study saw.
        CheckpointError: a member's weights are damaged.
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown submission format {format!r}; {nearest(format, FORMATS)}")
    output = Path(output)
    target = _writable(output, input)
    read = None if input is None else read_images(input)
    find = dataset if callable(dataset) else lambda: dataset
    report = _ensemble(config, root, find, storage_url, tracking_uri, echo)
    if input is None or read is None:
        probs, source = _of_test_images(report, find(), Paths(root), echo)
    else:
        images = prepare(read.images, report.data["digest"], Paths(root).data, find, as_mnist=as_mnist, echo=echo)
        ensemble = report.ensemble(Paths(root).study(config.name))
        probs = ensemble.predict_proba(images, input_key(read.digest))
        source = {"name": _name(input), "format": read.format, "digest": read.digest, "images": len(probs)}
        source |= {"as_mnist": True} if as_mnist else {}
    if (theirs := _replaced(output, config.name)) is not None:
        echo(
            f"warning: this replaces the submission of study {theirs!r} in {_shown(output.name)}; `submit {theirs}` "
            "makes that again, and --output keeps the two apart."
        )
    if not target.parent.is_dir():
        echo(f"there is no folder {target.parent} yet: making it")
    text = FORMATS[format](cast("Ints", probs.argmax(axis=1))).encode()
    kept = probs_path(output)
    probs_digest = save_answer_probs(kept, probs)
    with atomic_write(target) as file:
        file.write(text)
    written = {"name": _shown(output.name), "format": format, "sha256": sha256_bytes(text)}
    manifest = manifest_path(output)
    with atomic_write(manifest, "w") as file:
        values = _manifest(report, source, written, {"name": _shown(kept.name), "sha256": probs_digest})
        json.dump(values, file, indent=2, ensure_ascii=False)
        file.write("\n")
    return manifest


def _replaced(output: Path, study: str) -> str | None:
    """Returns the other study whose submission lies there, if its manifest can be read."""
    from sweeps.ensemble.manifest import ManifestError, read_manifest

    try:
        found = read_manifest(manifest_path(output)).study if output.is_file() else study
    except ManifestError:  # none, or damaged: nobody can say whose it was
        return None
    return found if found != study else None


def _ensemble(
    config: StudyConfig,
    root: Path,
    find: Callable[[], Dataset],
    storage_url: str | None,
    tracking_uri: str | None,
    echo: Echo,
) -> EnsembleReport:
    paths = Paths(root).study(config.name)
    if (paths.ensemble / RECORD).exists():
        return load_report(paths)
    echo(f"study {config.name!r} has no ensemble yet: building it")
    report = build_ensemble(
        config, root=root, dataset=find(), storage_url=storage_url, tracking_uri=tracking_uri, echo=echo
    )
    if report.untracked:
        echo(f"warning: {report.untracked}")
    return report


def _of_test_images(report: EnsembleReport, data: Dataset, paths: Paths, echo: Echo) -> tuple[Floats, dict[str, Any]]:
    """Returns the ensemble's probabilities for the test images, which are opened only if it does not keep them.

    Raises:
        StudyError: the study was run on other data.
        CheckpointError: a member's weights are damaged.
    """
    seen = str(report.data["digest"])
    if data.digest != seen:
        raise StudyError(
            f"study {report.study!r} must answer for the data it was run on (digest {seen[:12]}), but {data.name} is "
            f"other data ({data.digest[:12]}); name the same --data-dir, or the contest's images with --input."
        )
    study = paths.study(report.study)
    ensemble = report.ensemble(study)
    for member in ensemble.members:
        if member.outside:
            outside_probs(member, study, TEST, data.test_count)
            continue
        load_network(member, study)  # the manifest names their weights, and no damage shall cost an opening
    said = f"no input given: answering for the {data.test_count:,} test images of {data.name}"
    probs = load_test_probs(study.ensemble / PROBS, ensemble=ensemble.digest, data=seen, count=data.test_count)
    if probs is not None:
        echo(f"{said}, as predicted when the ensemble was built; nothing was opened")
        origin = f"{PROBS} of the ensemble"
    else:
        test = data.open_test(f"submission of study {report.study}", paths.test_ledger)
        echo(f"{said} (opened {test.openings} times)")
        probs, origin = ensemble.predict_proba(test.images, TEST), "predicted for this submission"
    return probs, {
        "name": f"test images of {data.name}",
        "digest": data.digests[FILES.index("t10k-images-idx3-ubyte")],
        "data_digest": data.digest,
        "probabilities": origin,
        "images": len(probs),
    }


def _manifest(
    report: EnsembleReport, source: dict[str, Any], output: dict[str, str], probabilities: dict[str, str]
) -> dict[str, Any]:
    """Says all that the answers depend on; names of files, but no paths."""
    return {
        "format": MANIFEST_FORMAT,
        "study": report.study,
        "input": source,
        "output": output,
        "probabilities": probabilities,
        "ensemble": {
            "digest": report.digest,
            "method": report.method,
            "temperature": report.temperature,
            "tta": report.tta,
            "members": [
                {
                    "trial": each.member.number,
                    "run_id": each.member.run_id,
                    "weights_sha256": each.member.weights_sha256,
                    "weight": each.weight,
                    **{name: value for name in ("study", "epoch", "outside") if (value := getattr(each.member, name))},
                }
                for each in report.members
            ],
        },
        "versions": versions(),
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _writable(output: Path, input: Path | None) -> Path:
    """Returns the file that writing to `output` replaces, once it is sure that it can be.

    Raises:
        OutputError: it cannot.
    """

    def refuse(reason: str) -> OutputError:
        return OutputError(f"the output must be a file that can be written, but {output} {reason}; name another place.")

    try:
        target = Path(os.path.realpath(output))  # a link stays, and what it leads to is replaced
        if target.exists() and not target.is_file():
            raise refuse("is a folder" if target.is_dir() else "is no plain file")
        if input is not None and target == Path(os.path.realpath(input)):
            raise refuse("is the input")
        for path in (target, manifest_path(output), probs_path(output)):
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            # As `atomic_write` will name it: a name may be too long only with what is put around it.
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.", suffix=".tmp"):
                pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OutputError):
            raise
        raise refuse(f"is not ({getattr(error, 'strerror', None) or error})") from error
    return target


def _name(path: Path) -> str:
    return _shown(path.name or path.resolve().name)  # "." and ".." have a name elsewhere


def _shown(name: str) -> str:
    """Returns a file's name as a manifest can hold it: one may be of bytes that are no text, or steer a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)
