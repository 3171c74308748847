from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.config import StudyConfig, load_study
from sweeps.config.duration import duration_code, parse_duration
from sweeps.config.file import derive_study
from sweeps.config.toml import to_toml
from sweeps.errors import ConfigError

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_come_back_as_they_were(path: Path) -> None:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    written = to_toml(tables)
    assert tomllib.loads(written) == tables
    assert to_toml(tomllib.loads(written)) == written


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_derived_study_is_the_same_but_for_its_name(path: Path, tmp_path: Path) -> None:
    config = load_study(path, root=ROOT)
    made, tables = derive_study(config, "other")
    (tmp_path / "other.toml").write_text(to_toml(tables), encoding="utf-8")
    assert load_study(tmp_path / "other.toml", root=ROOT) == made
    assert made.name == "other"
    assert tables["budget"].get("time") == tomllib.loads(path.read_text(encoding="utf-8"))["budget"].get("time")
    assert made.space_hash == config.space_hash
    assert made.to_dict() | {"study": None} == config.to_dict() | {"study": None}


def test_ranges_stay_on_their_line_and_tables_have_heads() -> None:
    tables = {
        "study": {"seed": 1},
        "search": {
            "blocks": {"low": 1, "high": 3},
            "norm": {"batch_norm": {}},
            "optimizer": {"adam": {"learning_rate": {"low": 1e-5, "high": 0.01, "log": True}}},
        },
    }
    assert to_toml(tables) == (
        "[study]\nseed = 1\n\n"
        "[search]\nblocks = { low = 1, high = 3 }\n\n"
        "[search.norm.batch_norm]\n\n"
        "[search.optimizer.adam]\nlearning_rate = { low = 1e-05, high = 0.01, log = true }\n"
    )


def test_changes_hold_over_what_the_study_has() -> None:
    config = load_study("smoke", root=ROOT)
    made, tables = derive_study(config, "other", ["search.dropout.high=0.1", "pruner.type=none", "budget.time=10m"])
    assert made.search["dropout"] == {"low": 0.0, "high": 0.1}
    assert tables["pruner"] == {"type": "none"}
    assert tables["budget"] == {"trials": 4, "epochs": 2, "time": "10m"}
    assert config.search["dropout"] == {"low": 0.0, "high": 0.2}
    with pytest.raises(ConfigError, match=r'--set "search\.dropout\.high=7".* from 0 to 0\.9'):
        derive_study(config, "other", ["search.dropout.high=7"])
    with pytest.raises(ConfigError, match=r"leave study\.name out"):
        derive_study(config, "other", ["study.name=third"])


@pytest.mark.parametrize(
    ("seconds", "code"), [(60, "1m"), (5400, "1h30m"), (7200, "2h"), (3601, "1h1s"), (59, "59s"), (0.5, 0.5)]
)
def test_durations_are_written_as_people_do(seconds: float, code: str | float) -> None:
    assert duration_code(seconds) == code
    assert parse_duration(code) == seconds


_KEYS = st.text(max_size=8)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_whatever_can_be_written_is_read_back(tables: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(tables)) == tables


def test_what_toml_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="NoneType"):
        to_toml({"limits": {"macs": None}})


def test_a_config_survives_it() -> None:
    config = load_study("contest", root=ROOT)
    tables = {key: {k: v for k, v in table.items() if v is not None} for key, table in config.to_dict().items()}
    assert StudyConfig.from_dict(tomllib.loads(to_toml(tables))) == config
