"""Studies' files, and what the command line sets over them, out of damaged text: a config or a ConfigError."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from mnistnn.errors import InputError, SpecError
from mnistnn.presets import PRESETS, preset
from mnistnn.recipe import Recipe
from sweeps.config import StudyConfig, load_study, parse_duration
from sweeps.config.file import parse_value
from sweeps.errors import ConfigError
from sweeps.study.space import Space
from tests.fuzz.inputs import any_json, fuzzed, mutated, mutated_json, refused

ROOT = Path(__file__).parents[2]
FILES = [path.read_bytes() for path in (*(ROOT / "studies").glob("*.toml"), ROOT / "tests" / "sweeps" / "example.toml")]
TABLES = [{"study": {"name": "mine"}} | tomllib.loads(data.decode()) for data in FILES]
for _tables in TABLES:
    _tables["study"].setdefault("name", "mine")
WORDS = [
    *(key for tables in TABLES for table in tables.values() for key in table), "type", "low", "high", "step", "log",
    "adam", "none", "augment", "conv", "schedule", "grid", "kernel_9",
]  # fmt: skip


def sound(config: StudyConfig) -> None:
    """Sees that what was taken is such as a study can be made of."""
    assert config.name.replace("-", "").replace("_", "").isalnum()
    assert StudyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert len(config.hash) == len(config.space_hash) == 16
    Space(config)


def read(path: Path, root: Path, overrides: list[str]) -> None:
    try:
        config = load_study(path, root=root, overrides=overrides)
    except ConfigError as error:
        refused(error)
        return
    sound(config)


@fuzzed(mutated(*FILES))
def test_files(place: Path, data: bytes) -> None:
    path = place / "mine.toml"
    path.write_bytes(data)
    read(path, place, [])


@fuzzed(mutated_json(*TABLES))
def test_tables(tables: Any) -> None:
    if not isinstance(tables, dict):
        return
    try:
        config = StudyConfig.from_dict(tables)
    except ConfigError as error:
        refused(error)
        return
    sound(config)


_keys = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), min_size=1, max_size=5).map(".".join)
_values = st.one_of(
    any_json.map(lambda value: json.dumps(value)),
    st.text(max_size=30),
    st.sampled_from(["[1, 2]", "{low = 1}", "1e400"]),
)


@fuzzed(st.lists(st.tuples(_keys, st.sampled_from(["=", "", "=="]), _values).map("".join), max_size=3))
def test_overrides(place: Path, overrides: list[str]) -> None:
    path = place / "mine.toml"
    path.write_bytes(FILES[0])
    read(path, place, overrides)


@fuzzed(st.text(max_size=40) | _values | mutated(b"1h30m", b"90s", b"600").map(lambda data: data.decode("latin-1")))
def test_durations_and_values(text: str) -> None:
    parse_value(text)
    try:
        assert 0 < parse_duration(text) <= 366 * 24 * 3600
    except ConfigError as error:
        refused(error)


@fuzzed(
    st.text(max_size=200) | st.sampled_from(["../x", "/etc/passwd", "a\0b", "x" * 10_000, "a/../../b", "~root", "."])
)
def test_names(place: Path, name: str) -> None:
    try:
        load_study(name, root=place)
    except ConfigError as error:
        refused(error)


RECIPES = [json.loads(json.dumps(preset(name).to_dict())) for name in PRESETS]


@fuzzed(mutated_json(*RECIPES))
def test_recipes(values: Any) -> None:
    if not isinstance(values, dict):
        return
    try:
        recipe = Recipe.from_dict(values)
    except SpecError as error:
        refused(error)
        return
    text = json.dumps(recipe.to_dict())  # compared as text, for NaN is not even itself
    assert json.dumps(Recipe.from_dict(json.loads(text)).to_dict()) == text


def test_what_is_damaged_is_sound_before(place: Path) -> None:
    for tables in TABLES:
        sound(StudyConfig.from_dict(tables))
    with pytest.raises(InputError):
        load_study("nothing", root=place)
