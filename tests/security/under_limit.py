"""Reads files with little memory to be had; run as a program of its own: `python under_limit.py FOLDER`.

Prints a JSON line for each file: its name, the error that reading it ended in, and by how much the process grew.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401  # so that what is measured is the reading, not the import
from PIL import Image, JpegImagePlugin, PngImagePlugin  # noqa: F401

from mnistnn.checkpoint import check_checkpoint, load_model, read_header
from mnistnn.data import idx, read_images
from mnistnn.data.gz import unpack_idx
from mnistnn.data.sources import _members, _Unavailable
from mnistnn.errors import InputError
from sweeps.config import load_study
from sweeps.ensemble.manifest import read_manifest
from sweeps.ensemble.members import Member
from sweeps.ensemble.predictions import load_val_probs
from sweeps.ensemble.probs import load_test_probs
from sweeps.ensemble.record import read_report
from sweeps.paths import StudyPaths
from sweeps.tracking.cursor import Cursor, pending_events
from sweeps.tracking.events import TrialLog

LEFT_BYTES = 700 << 20  # of addresses, which is more than of memory


def _val_probs(path: Path) -> Any:
    paths = StudyPaths(path.parent / "study")
    paths.trial(0).mkdir(parents=True, exist_ok=True)
    os.replace(path, paths.trial(0) / "val_probs.npz")
    return load_val_probs(Member(0, "", "", 0.0), paths, np.zeros(3, np.int64))


def _events(path: Path) -> Any:
    folder = path.with_suffix(".run")
    folder.mkdir()
    os.replace(path, folder / "events.jsonl")
    pending_events(folder)
    TrialLog.has_ended(folder)
    with TrialLog(folder) as log:
        return log.state


def _cursor(path: Path) -> Any:
    os.replace(path, path.parent / "shipped.json")
    return Cursor.load(path.parent)


READERS: dict[str, Callable[[Path], Any]] = {
    "images": read_images,
    "idx": lambda path: unpack_idx(path, idx.IMAGES, path.parent / "cache"),
    "tarball": lambda path: list(_members(path)),
    "model": load_model,
    "header": read_header,
    "checkpoint": check_checkpoint,
    "valprobs": _val_probs,
    "probs": lambda path: load_test_probs(path, ensemble="e", data="d", count=3),
    "record": lambda path: read_report(path, "mine"),
    "manifest": read_manifest,
    "study": lambda path: load_study(path, root=path.parent),
    "events": _events,
    "cursor": _cursor,
}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (10 if sys.platform == "linux" else 0)


def main() -> None:
    """Reads each file by the reader that its name begins with."""
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + LEFT_BYTES, resource.RLIM_INFINITY))
    for path in sorted(Path(sys.argv[1]).iterdir()):
        if not path.is_file():
            continue
        before, error, detail = _peak(), "none", ""
        try:
            READERS[path.name.split("-")[0]](path)
        except (InputError, _Unavailable) as refused:
            error, detail = "refused", str(refused)
        except BaseException as other:
            error, detail = type(other).__name__, traceback.format_exc()
        print(json.dumps({"name": path.name, "error": error, "detail": detail, "grew": _peak() - before}), flush=True)


if __name__ == "__main__":
    main()
