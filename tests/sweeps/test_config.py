from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.presets import PRESETS
from sweeps.config import StudyConfig, load_study, parse_duration
from sweeps.config.file import derive_study
from sweeps.errors import ConfigError
from sweeps.study.budget import Budget

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = str(ROOT / "tests" / "sweeps" / "example.toml")

TINY = "[budget]\ntrials = 2\nepochs = 2\n"
SMALL: dict[str, Any] = {"study": {"name": "small"}, "budget": {"trials": 3, "epochs": 2}}


def write(folder: Path, text: str, name: str = "mine") -> Path:
    (folder / "studies").mkdir(exist_ok=True)
    path = folder / "studies" / f"{name}.toml"
    path.write_text(text)
    return path


def small(**tables: Any) -> StudyConfig:
    return StudyConfig.from_dict(SMALL | tables)


@pytest.mark.parametrize("name", ["default", "contest", "smoke"])
def test_the_shipped_studies_are_legal_and_survive_json(name: str) -> None:
    config = load_study(name, root=ROOT)
    again = StudyConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert (again.hash, again.space_hash) == (config.hash, config.space_hash)
    assert config.name == name
    assert set(config.baselines) <= set(PRESETS)


def test_the_file_gives_the_name_and_the_metric_the_direction(tmp_path: Path) -> None:
    write(tmp_path, '[study]\nmetric = "val_accuracy"\n[budget]\ntime = "1h30m"\nepochs = 2\n')
    config = load_study("mine", root=tmp_path)
    assert (config.name, config.metric, config.direction) == ("mine", "val_accuracy", "maximize")
    assert (config.budget.time_s, config.budget.trials) == (5400.0, None)
    assert (config.pruner.type, config.sampler.type, config.ensemble.top) == ("median", "tpe", 5)


def test_a_study_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[budget]\ntrials = 1\nepochs = 2\n")
    monkeypatch.chdir(tmp_path / "studies")
    for name in ("mine", "studies/mine.toml", "mine.toml", "./mine.toml", str(path)):
        assert load_study(name, root=tmp_path).name == "mine"


def test_overrides_hold_over_the_file() -> None:
    config = load_study(
        EXAMPLE,
        root=ROOT,
        overrides=[
            "search.optimizer.adam.learning_rate.high=0.01",
            'search.norm=["none"]',
            "search.dropout=0.25",
            "study.name = my-study",
            "budget.time=90s",
            "budget.trials=7",
            "limits.macs=5e6",
        ],
    )
    assert config.search["optimizer"]["adam"]["learning_rate"] == {"low": 1e-3, "high": 0.01}
    assert (config.search["norm"], config.search["dropout"], config.name) == (["none"], 0.25, "my-study")
    assert (config.budget.time_s, config.budget.trials, config.limits.macs) == (90.0, 7, 5_000_000)


def test_another_pruner_does_not_inherit_the_options_of_the_files() -> None:
    assert load_study(EXAMPLE, root=ROOT, overrides=["pruner.type=none"]).pruner.type == "none"
    config = load_study(EXAMPLE, root=ROOT, overrides=["pruner.type=hyperband", "pruner.min_epochs=2"])
    assert config.to_dict()["pruner"] == {"type": "hyperband", "min_epochs": 2, "reduction_factor": 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.trails=3", "budget.trails is not a key of a study; did you mean 'trials'?"),
        ("serach.x=3", "serach is not a key of a study; did you mean 'search'?"),
        ("budget.epochs=0", "budget.epochs must be greater than or equal to 1, but got 0"),
        ("budget.epochs=few", 'budget.epochs must be a valid integer, but got "few"'),
        ("budget.epochs=true", "budget.epochs must be a valid integer, but got true"),
        ("budget.time=5x", "budget.time does not hold: a duration must be"),
        ("study.metric=val_los", "study.metric must be known, but \"val_los\" is not; did you mean 'val_loss'?"),
        ("study.direction=maximize", "study.direction must be 'minimize' for 'val_loss'"),
        ("study.name=../up", "study.name must be letters, digits"),
        ("study.name=-x", "study.name must be letters, digits"),
        ("study.name=train", "study.name must not be 'train'"),
        ('study.baselines=["conv3"]', "study.baselines must be presets, but got \"conv3\"; did you mean 'conv2'?"),
        ("sampler.type=tpee", "sampler.type must be known, but \"tpee\" is not; did you mean 'tpe'?"),
        ("pruner.type=medain", "pruner has an unknown type \"medain\"; did you mean 'median'?"),
        ("pruner.warmup=3", "pruner.warmup is not a key of a study; did you mean 'warmup_epochs'?"),
        ("limits.macs=3.5", "limits.macs must be a valid integer, but got 3.5"),
        ("search.filtrs=3", "search.filtrs is not a key of a study; did you mean 'filters'?"),
        ("search.kernel_1=[3, 4]", "search.kernel_1 must be one of 3, 5, 7, but got 4"),
        ("search.kernel_1={low=3}", "search.kernel_1 must be a list out of [3, 5, 7]"),
        ("search.dropout.high=1.0", "search.dropout.high must be a number from 0 to 0.9, but got 1.0"),
        ("search.dropout={low=0.5, high=0.1}", "search.dropout is no range: `low <= high` must hold"),
        ("search.dropout={lo=0.5}", "search.dropout.lo is no key of a range; did you mean 'low'?"),
        ("search.dropout={low=0, high=0.5, step=0.2}", "search.dropout must be whole steps from low to high"),
        ("search.filters_1={low=8, high=16, step=2.5}", "search.filters_1.step must be a whole number above 0"),
        ("search.filters_1=8.0", "search.filters_1 must be a whole number from 1 to 512, but got 8.0"),
        ("search.dropout=[0.1, 0.1]", "each given once, but got [0.1, 0.1]"),
        ("search.dropout=nan", "search.dropout must be a number from 0 to 0.9, but got nan"),
        ("search.optimizer.adm={}", "search.optimizer.adm must be known, but \"adm\" is not; did you mean 'adam'?"),
        ("search.optimizer.adam.lr=1", "search.optimizer.adam.lr is no key of 'adam'; known are: beta1"),
        ("search.optimizer.adam.learning_rate.high=3", "adam.learning_rate.high must be a number from 1e-06 to 0.1"),
        ('search.optimizer=["adam", "adam"]', "search.optimizer must name each once"),
        ("search.learning_rate=0.1", "search.learning_rate belongs to optimizer; write it under [search.optimizer."),
        ("search.translation.shift=1", "write it under [search.augment.translation]"),
        ("search.epochs=3", "search.epochs belongs into [budget]"),
        ("fixed.activation=rleu", "fixed.activation must be known, but \"rleu\" is not; did you mean 'relu'?"),
        ("search.activation.my_swish={}", "; if it was known before, put the file back that registered it."),
        ('fixed.activation=["relu", "sigmoid"]', "fixed.activation must be one under [fixed]"),
        ("fixed.dropout=0.3", "search.dropout must not also stand in [fixed]"),
        ("fixed.pool={low=0}", "fixed.pool must be one value under [fixed]"),
        ("search.augment=3", "search.augment must be names or tables of them, but got 3"),
        ("sampler.type=grid", "search.dropout must be a list or have a step for the sampler 'grid'"),
        ("budget.epochs.x=3", "budget.epochs must be a table, but is 3"),
        ("final.tops=2", "final.tops is not a key of a study; did you mean 'top'?"),
        ("final.folds=1", "final.folds must be greater than or equal to 2, but got 1"),
        ("budget.epochs", "--set must be like"),
        ("=3", "--set must be like"),
        ("epochs=3", "--set must be like"),
        ("search..x=3", "--set must be like"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(EXAMPLE, root=ROOT, overrides=[override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--set" in str(caught.value) or "example.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "studies/mine.toml: budget must be given"),
        ("[budget]\nepochs = 2\n", "studies/mine.toml: budget must say when the study ends"),
        ("[budget]\ntrials = 2\n", "studies/mine.toml: budget.epochs must be given"),
        ("final = 3\n" + TINY, "studies/mine.toml: final must be a table, but got 3; write it as [final]."),
        ("budget = 3\n", "studies/mine.toml: budget must be a table, but got 3"),
        ("[budget\n", "studies/mine.toml: must be TOML, but:"),
        ("a = " + "[" * 5000, "studies/mine.toml: must be TOML, but:"),
        ("#" * 250_001, "studies/mine.toml: a study's file must have at most 250,000 bytes"),
        (
            TINY + "[fixed.schedule.one_cycle]\n[search]\nschedule = 3\n",
            "search.schedule must not also stand in [fixed]",
        ),
        (TINY + "[search]\nschedule = 'constant'\n", "search.schedule is fixed within a study"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_study("mine", root=tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_final_stage_has_a_beginning_and_an_end() -> None:
    def final(budget: dict[str, Any], **keys: Any) -> StudyConfig:
        return small(budget={"epochs": 2} | budget, final=keys)

    timed = final({"time": "2h"}, time="75m")
    assert timed.final is not None
    assert (timed.final_s, timed.final.top, timed.final.epochs, timed.final.folds) == (4500.0, 3, 14, 10)
    assert StudyConfig.from_dict(timed.to_dict()) == timed
    assert final({"trials": 3}, members=4).final is not None
    assert small().final is None
    assert small().hash == small(final=None).hash
    assert "final" not in small().to_dict()
    for budget, keys, message in (
        (
            {"time": "2h"},
            {"time": "2h"},
            "final.time must be less than budget.time, of which it is a part, but got 2:0",
        ),
        ({"time": "2h"}, {"members": 3}, 'final must say what part of budget.time .* like time = "50%"'),
        ({"trials": 3}, {}, "final must say how many members the final stage has"),
        ({"trials": 3}, {"time": "5m"}, "final.time must be a part of budget.time, but there is none"),
        ({"trials": 3}, {"time": "50%", "members": 2}, "final.time must be a part of budget.time, but there is none"),
        ({"time": "2h"}, {"time": "100%"}, "final.time does not hold: a share must be above 0 and below 100 %"),
        ({"time": "2h"}, {"time": "0.0%"}, "a share must be above 0 and below 100 %, like \"70%\", but got '0.0%'"),
        ({"time": "2h"}, {"time": "-5%"}, "a share must be above 0"),
        ({"time": "2h"}, {"time": "%"}, "a share must be above 0"),
        ({"time": "2h"}, {"time": "much"}, "final.time does not hold: a duration must be seconds above 0"),
        ({"time": "2h"}, {"time": True}, "final.time does not hold: a duration must be seconds above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            final(budget, **keys)


def test_a_final_stages_share_is_of_whatever_time_the_budget_has(tmp_path: Path) -> None:
    text = TINY + "[final]\ntime = '70 %'\n"
    write(tmp_path, text)
    config = load_study("mine", root=tmp_path, overrides=["budget.time=2h"])
    assert config.final is not None
    assert (config.final.time, config.final_s) == ("70%", 5040.0)
    assert Budget.of(config).search_s == 2160.0
    assert StudyConfig.from_dict(config.to_dict()) == config
    shorter = load_study("mine", root=tmp_path, overrides=["budget.time=30m"])
    assert (shorter.final_s, shorter.space_hash) == (1260.0, config.space_hash)
    forked, tables = derive_study(config, "new", ["budget.time=10m"])
    assert (forked.final_s, tables["final"]["time"]) == (420.0, "70%")
    plain, tables = derive_study(config, "new", ["final.time=80m"])
    assert (plain.final_s, tables["final"]["time"]) == (4800.0, "80m")


def test_the_contest_takes_any_budget() -> None:
    for minutes in (10, 30, 115):
        config = load_study("contest", root=ROOT, overrides=[f"budget.time={minutes}m"])
        assert config.final_s == pytest.approx(0.75 * 60 * minutes)


def test_a_final_stage_may_change_once_a_study_has_trials() -> None:
    given = {"budget": {"time": "2h", "epochs": 2}}
    one, other = (small(**given, final={"time": time}) for time in ("20m", "30m"))
    assert one.space_hash == other.space_hash == small(**given).space_hash
    assert one.hash != other.hash


@pytest.mark.parametrize("name", ["", "mein", "../mine", "a\0b", "studies", "no/such.toml", "/etc", "mine\n"])
def test_a_study_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path, "[budget]\ntrials = 1\nepochs = 2\n")
    with pytest.raises(ConfigError, match=r"^a study") as caught:
        load_study(name, root=tmp_path)
    assert "\n" not in str(caught.value)
    if name == "mein":
        assert "did you mean 'mine'?" in str(caught.value)


def test_a_value_for_all_blocks_that_none_takes_is_refused_where_the_call_sets_it(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--set .*search\.filters changes nothing.*change filters_1, filters_2, filters_3\.$"
    ):
        load_study("default", root=ROOT, overrides=["search.filters={low = 8, high = 64}"])
    wider = load_study("default", root=ROOT, overrides=["search.filters_3.high=96", "search.convs=[1, 2, 3]"])
    assert wider.search["filters_3"]["high"] == 96
    space = "[budget]\ntrials = 1\nepochs = 2\n[search]\nblocks = [1]\nfilters_1 = [4, 8]\nfilters = [2, 4]\n"
    write(tmp_path, space)  # a file that was begun with such a key stays usable
    assert load_study("mine", root=tmp_path).search["filters"] == [2, 4]
    assert load_study("mine", root=tmp_path, overrides=["search.blocks=[1, 2]", "search.filters=[4]"])


def test_a_name_that_no_study_may_have_is_said_where_the_file_is_there(tmp_path: Path) -> None:
    write(tmp_path, "[budget]\ntrials = 1\nepochs = 2\n").rename(tmp_path / "studies" / "my.study.toml")
    with pytest.raises(ConfigError, match=r"must be letters, digits, - and _.*my\.study.; give its file in studies/"):
        load_study("my.study", root=tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, "").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="must be TOML"):
        load_study("mine", root=tmp_path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("600", 600), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), (5, 5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "m", "5x", "30m1h", "nan", "inf", "1e3", "9999999999h", "5 m", "٣m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="a duration must be"):
        parse_duration(text)


def test_the_space_hash_holds_what_must_not_change() -> None:
    config = small(search={"dropout": {"low": 0.0, "high": 0.5}})
    for harmless in (
        {"budget": {"trials": 300, "time": "2h", "epochs": 2}},
        {"ensemble": {"top": 3}},
        {"pruner": {"type": "none"}},
        {"sampler": {"startup_trials": 3}},
        {"study": {"name": "other", "baselines": ["mlp3"]}},
    ):
        other = small(**{"search": config.search} | harmless)
        assert other.space_hash == config.space_hash
        assert other.hash != config.hash
        assert config.space_difference(other.to_dict()) == []


def test_a_difference_is_shown_key_by_key() -> None:
    before = small(search={"dropout": {"low": 0.0, "high": 0.5}, "kernel": [3, 5]}, fixed={"dense_units": 64})
    after = StudyConfig.from_dict(
        {
            "study": {"name": "small", "seed": 3},
            "budget": {"trials": 3, "epochs": 4},
            "search": {"dropout": {"low": 0.0, "high": 0.3}, "kernel": [5, 3], "norm": ["none", "batch_norm"]},
        }
    )
    assert before.space_hash != after.space_hash
    assert after.space_difference(json.loads(json.dumps(before.to_dict()))) == [
        "study.seed: 0 → 3",
        "budget.epochs: 2 → 4",
        "fixed.dense_units: 64 → not there",
        "search.dropout.high: 0.5 → 0.3",
        "search.kernel: [3, 5] → [5, 3]",
        'search.norm: not there → ["none", "batch_norm"]',
    ]


_KEYS = ["study", "name", "budget", "epochs", "trials", "time", "search", "fixed", "optimizer", "adam", "learning_rate"]
_KEYS += ["low", "high", "step", "log", "kernel", "filters_2", "norm", "augment", "pruner", "type", "schedule", "x\n"]
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.sampled_from(["adam", "none", "median", "5m", "\n"])
)
_TABLES = st.recursive(
    _VALUES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["study", "pruner", "sampler", "search", "fixed", "limits", "y"]), _TABLES))
def test_whatever_the_tables_hold_only_a_line_comes_out(tables: dict[str, Any]) -> None:
    try:
        StudyConfig.from_dict(SMALL | tables)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


@given(st.text(max_size=40), st.text(max_size=20))
def test_whatever_is_set_only_a_line_comes_out(key: str, value: str) -> None:
    try:
        load_study("smoke", root=ROOT, overrides=[f"search.{key}={value}"])
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
