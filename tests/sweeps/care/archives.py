"""Studies to be exported, archives as nobody should write them, and processes that are killed in between."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mnistnn.data import Dataset
from mnistnn.files import sha256_bytes
from sweeps.care.archive import export_study, import_study
from sweeps.care.archive.container import MANIFEST
from sweeps.config import StudyConfig
from sweeps.config.toml import to_toml
from sweeps.paths import Paths
from tests.sweeps.small import make_study, small_config

Files = dict[str, bytes]


def read(archive: Path) -> Files:
    """Returns an archive's files, in their order."""
    with tarfile.open(archive, "r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def pack(files: Mapping[str, bytes], change: Callable[[tarfile.TarInfo], object] = lambda info: None) -> bytes:
    """Returns an archive of `files` with a manifest that is right, unless they hold one."""
    table = {name: {"size": len(data), "sha256": sha256_bytes(data)} for name, data in files.items()}
    manifest = {"format": 1, "study": "small", "files": table}
    everything = {MANIFEST: json.dumps(manifest).encode()} | dict(files)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in everything.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def make_small(root: Path, dataset: Dataset, **changes: Any) -> tuple[StudyConfig, Any]:
    """Makes the study `small` in a project of its own, without trials yet."""
    config = small_config(**changes)
    study = make_study(config, root, dataset)
    toml = Paths(root).studies / f"{config.name}.toml"
    tables = config.to_dict()
    tables["limits"] = {name: value for name, value in tables["limits"].items() if value is not None}
    toml.write_text(f"# as it was\n{to_toml(tables)}")
    return config, study


def export(config: StudyConfig, root: Path, output: Path, **changes: Any) -> Path:
    paths = Paths(root)
    export_study(
        config, paths.studies / f"{config.name}.toml", paths=paths.study(config.name), output=output, **changes
    )
    return output


def bring(archive: Path, root: Path, **changes: Any) -> Any:
    """Imports an archive where no MLflow answers, which is not what these tests are about."""
    return import_study(archive, root=root, **({"tracking_uri": "http://127.0.0.1:9"} | changes))


def killed(call: Callable[[], object]) -> None:
    """Runs `call` in a process that is gone the moment it calls `die`, as SIGKILL would have it."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(1)  # it should have died before
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def die(*_: object, **__: object) -> Any:
    os._exit(9)


def tree(folder: Path) -> dict[str, bytes]:
    """Returns all files under a folder but locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("lock")
    }
