"""Finding a study's file, reading it, and the values that a call sets over it."""

from __future__ import annotations

import datetime
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mnistnn.domains import Choice, IntRange
from mnistnn.errors import nearest
from sweeps.config.duration import duration_code
from sweeps.config.fault import Fault, shown
from sweeps.config.legal import BLOCK
from sweeps.config.model import StudyConfig, build
from sweeps.errors import ConfigError
from sweeps.paths import Paths

__all__ = ["derive_study", "find_study", "load_study", "parse_value"]

_LARGEST_BYTES = 250_000  # a hundred times as many as ours have
# Characters of a line: a key of thousands of dots takes gigabytes to read.
_LONGEST_LINE = 4000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def load_study(name_or_path: str | Path, *, root: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Reads a study's file and checks all of it.

    Args:
        name_or_path: the name of a file under `studies/`, or any TOML's path.
        root: the project's folder.
        overrides: "dotted.key=value" each; they hold over what the file says.

    Raises:
        ConfigError: there is no such file, it is no TOML, or a key or value breaks a rule; one line that names it.
    """
    path = find_study(str(name_or_path), root)
    shown_path = " ".join(str(path.relative_to(root) if path.is_relative_to(root) else path).splitlines())
    return _build(_read(path, shown_path), overrides, path.stem, shown_path)


def derive_study(config: StudyConfig, name: str, overrides: Sequence[str] = ()) -> tuple[StudyConfig, dict[str, Any]]:
    """Changes a study into one of another name.

    Args:
        config: the study.
        name: what the new one is called.
        overrides: "dotted.key=value" each; they hold over what the study has.

    Returns:
        The new study, and the tables for its file: what is not as it would be without them.

    Raises:
        ConfigError: a key or value breaks a rule; one line that names it.
    """
    tables = config.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    tables["study"].pop("direction")  # which follows from the metric
    tables["study"]["name"] = name
    if config.budget.time_s is not None:
        tables["budget"]["time"] = duration_code(config.budget.time_s)
    if config.final is not None and isinstance(config.final.time, float):
        tables["final"]["time"] = duration_code(config.final.time)
    made = _build(tables, overrides, name, f"study {name!r}")
    if made.name != name:
        raise ConfigError(f"the new study is called {name!r}, but --set says {made.name!r}; leave study.name out.")
    del tables["study"]["name"]  # it is the file's
    return made, {key: table for key, table in tables.items() if table}


def _build(tables: dict[str, Any], overrides: Sequence[str], name: str, shown_path: str) -> StudyConfig:
    """Builds what `tables` describe when the overrides are set in them, as they are afterwards."""
    set_paths = {_override(tables, override): override for override in overrides}
    study = tables.setdefault("study", {})
    if isinstance(study, dict):
        study.setdefault("name", name)
    try:
        made = build(tables)
        for keys in set_paths:
            _check_used(made, keys)
        return made
    except Fault as fault:
        for keys, override in set_paths.items():
            if fault.path[: len(keys)] == keys or keys[: len(fault.path)] == fault.path:
                raise ConfigError(f"--set {shown(override)}: {fault}") from None
        raise ConfigError(f"{shown_path}: {fault}") from None


def _check_used(config: StudyConfig, keys: tuple[str, ...]) -> None:
    """Sees that a value for all blocks is one that a block takes; in a file it may stand beside values for each.

    Raises:
        Fault: each block has a value of its own.
    """
    table, key = keys[:2]
    if table not in ("fixed", "search") or key not in BLOCK or config.arms:
        return
    space = config.search_space()
    blocks = space.domains["blocks"]
    most = max(blocks.values) if isinstance(blocks, Choice) else blocks.high if isinstance(blocks, IntRange) else 0
    own = [f"{key}_{number}" for number in range(1, most + 1)]
    if own and all(space.paths.get(name) != (table, key) for name in own):
        raise Fault((table, key), f"changes nothing, for each block has a value of its own; change {', '.join(own)}.")


def find_study(name_or_path: str, root: Path) -> Path:
    """Returns the file of the study that is called so, or lies there.

    Raises:
        ConfigError: there is none.
    """
    if "\0" in name_or_path or not name_or_path.strip():
        raise ConfigError(f"a study must be the name or the path of a TOML, but got {shown(name_or_path)}.")
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path)  # Path.is_file raises on a name that is too long
        if not os.path.isfile(path) and not path.is_absolute() and os.path.isfile(root / path):
            path = root / path
        if not os.path.isfile(path):
            raise ConfigError(f"a study's file must be there, but {shown(name_or_path)} is not; correct the path.")
        return path.resolve()
    studies = Paths(root).studies
    path = studies / f"{name_or_path}.toml"
    if not _NAME.fullmatch(name_or_path) and os.path.lexists(path):
        raise ConfigError(
            f"a study's name must be letters, digits, - and _, the first no sign, but got {shown(name_or_path)}; give "
            f"its file in {path.parent.name}/ another name."
        )
    if not _NAME.fullmatch(name_or_path) or not os.path.isfile(path):
        known = [file.stem for file in studies.glob("*.toml")]
        remedy = nearest(name_or_path, known) if known else f"write one to {path.parent.name}/."
        raise ConfigError(f"a study must be in studies/, but {shown(name_or_path)} is not; {remedy}")
    return path.resolve()


def _read(path: Path, shown_path: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        if len(content) > _LARGEST_BYTES:
            rule = f"a study's file must have at most {_LARGEST_BYTES:,} bytes, but has more; is it the right one?"
            raise ConfigError(f"{shown_path}: {rule}")
        return _parse(content.decode())
    except OSError as error:
        raise ConfigError(f"{shown_path}: must be readable, but: {error.strerror}; see to its permissions.") from None
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        reason = " ".join(str(error).split())
        raise ConfigError(f"{shown_path}: must be TOML, but: {reason}; correct it there.") from None


def _parse(text: str) -> dict[str, Any]:
    """Reads TOML whose lines are such as people write.

    Raises:
        ValueError, RecursionError: it is none.
    """
    if max(map(len, text.split("\n"))) > _LONGEST_LINE:
        raise ValueError(f"a line is longer than {_LONGEST_LINE:,} characters")
    return tomllib.loads(text)


def _override(tables: dict[str, Any], override: str) -> tuple[str, ...]:
    """Sets one value in the tables and returns the keys that lead to it."""
    name, equals, text = override.partition("=")
    keys = tuple(key.strip() for key in name.split("."))
    if not equals or not all(keys) or len(keys) < 2:
        raise ConfigError(f"--set must be like search.optimizer.adam.learning_rate=0.01, but got {shown(override)}.")
    table = tables
    for depth, key in enumerate(keys[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            here = ".".join(keys[:depth])
            raise ConfigError(f"--set {shown(override)}: {here} must be a table, but is {shown(table)}; set that.")
    value = parse_value(text.strip())
    if keys == ("pruner", "type") and value != table.get("type", "median"):
        table.clear()  # the file's other keys are those of another pruner
    table[keys[-1]] = value
    return keys


def parse_value(text: str) -> Any:
    """Reads a value of the command line as TOML would; what is none is taken as a string."""
    try:
        parsed = _parse(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    # A date is none of our values, but 2024-01-01 may be a name.
    return text if len(parsed) > 1 or isinstance(value, datetime.date | datetime.time) else value
