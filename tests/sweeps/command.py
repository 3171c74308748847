"""The command line as tests use it: a project's folder of its own, and what a call said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mnistnn.files import sha256_file
from sweeps.cli import main
from tests.stores import give_database

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Said:
    """What a call of the command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Home:
    """A project's folder with the shipped studies, on which the command line is called."""

    root: Path
    data: Path

    @classmethod
    def make(cls, root: Path, data: Path, database: Path | None = None) -> Home:
        """Makes the folder; `database` is an empty tracking database, which MLflow would take seconds to make."""
        (root / "studies").mkdir(parents=True)
        if database is not None:
            give_database(root, database)
        for study in (ROOT / "studies").glob("*.toml"):
            shutil.copy(study, root / "studies")
        return cls(root, data)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return kept | {"SWEEPS_HOME": str(self.root), "MNIST_DIR": str(self.data), "OPENBLAS_NUM_THREADS": "1"}

    def __call__(self, *arguments: object) -> Said:
        """Calls the command line in this process."""
        blank = {name: None for name in os.environ if name.startswith("MLFLOW_")}
        result = CliRunner().invoke(main, [str(each) for each in arguments], env={**blank, **self.environment})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    def process(self, *arguments: object, **more: str) -> Said:
        """Calls the command line in a process of its own."""
        command = [sys.executable, "-m", "sweeps", *(str(each) for each in arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment | more, capture_output=True, text=True, timeout=300, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def files(self) -> Mapping[str, str]:
        """Returns the digest of every file but the locks, which only say who held them last."""
        paths = sorted(path for path in self.root.rglob("*") if path.is_file() and not path.name.endswith("lock"))
        return {str(path.relative_to(self.root)): sha256_file(path) for path in paths}
