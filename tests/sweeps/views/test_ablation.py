from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy import stats

from mnistnn.data import Dataset
from sweeps.config import load_study
from sweeps.ensemble.difference import holm, mean_interval, paired_difference
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import StudyPaths
from sweeps.views.ablation import Ablation, compare_arms
from sweeps.views.ablation_page import fill, render_page, write_page
from sweeps.views.ablation_verdict import combined, judge, read_conditions
from tests.sweeps.arms import arms_config
from tests.sweeps.command import ROOT, Home
from tests.sweeps.small import small_config

LOSSES: dict[str, list[float | None]] = {
    "conv": [0.10, 0.20, 0.30],
    "dropout": [0.11, 0.212, 0.309],
    "sgd": [0.10, 0.21, None],
    "sigmoid": [0.25, 0.14, 0.26],
}


def study_of(losses: Mapping[str, Sequence[float | None]], seeds: int = 3) -> optuna.Study:
    """Returns a study with trials of these losses; one without a loss diverged. Accuracy is what is left of 1."""
    config = arms_config(seeds=seeds)
    study = optuna.create_study(study_name="small", direction=config.direction)
    study.set_user_attr("config", config.to_dict())
    study.set_user_attr("enqueued", True)
    study.set_user_attr("elapsed_s", 65.0)
    for name, values in losses.items():
        for seed, loss in enumerate(values, 1):
            attributes: dict[str, Any] = {"label": f"net {name}", "arm": {"name": name, "seed": seed}}
            if name == "sigmoid":
                attributes |= {"start_saturated": 0.1 * seed, "start_overflow": 0.0, "start_largest": 9.0}
            if loss is not None:
                attributes |= {"val_loss": loss, "val_accuracy": 1 - loss, "best_epoch": seed}
                attributes |= {"last_val_loss": loss + 0.05, "last_train_loss": loss - 0.01}
            state = TrialState.PRUNED if loss is None else TrialState.COMPLETE
            study.add_trial(create_trial(state=state, value=loss, user_attrs=attributes))
    return study


def compared(losses: Mapping[str, Sequence[float | None]] = LOSSES, seeds: int = 3) -> Ablation:
    return compare_arms(study_of(losses, seeds), StudyPaths(Path("nowhere")))


def test_a_paired_difference_is_students() -> None:
    first, second = [0.1, 0.4, 0.2, 0.9], [0.2, 0.3, 0.1, 0.5]
    found, right = paired_difference(first, second), stats.ttest_rel(first, second)
    assert found is not None
    assert found.p_value == pytest.approx(right.pvalue)
    ends = right.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))
    assert paired_difference([1.0], [2.0]) is None
    same, other = paired_difference([1.0, 2.0], [1.0, 2.0]), paired_difference([2.0, 3.0], [1.0, 2.0])
    assert (same and same.p_value, other and other.p_value) == (1.0, 0.0)


def test_means_and_differences_in_pairs() -> None:
    found = compared()
    conv, dropout, sgd, sigmoid = found.arms
    assert conv.means["val_loss"] == mean_interval(LOSSES["conv"])  # type: ignore[arg-type]
    assert (conv.against, sgd.against) == ((), ("conv", "dropout"))
    assert (dropout.network, dropout.trials, dropout.missing) == ("net dropout", {1: 3, 2: 4, 3: 5}, 0)
    assert (sgd.diverged, sgd.values["val_loss"]) == (1, {1: 0.10, 2: 0.21})
    assert conv.values["gap"] == pytest.approx({1: 0.06, 2: 0.06, 3: 0.06})
    assert conv.values["rise"] == pytest.approx({1: 0.05, 2: 0.05, 3: 0.05})
    assert "start_saturated" not in conv.values
    assert sigmoid.values["start_saturated"] == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})
    pairs = [(each.arm, each.against, each.pairs["val_loss"]) for each in found.differences]
    assert pairs == [("dropout", "conv", 3), ("sgd", "conv", 2), ("sgd", "dropout", 2), ("sigmoid", "conv", 3)]
    plain = [
        paired_difference(first, second)
        for first, second in (
            (LOSSES["dropout"], LOSSES["conv"]),
            (LOSSES["sgd"][:2], LOSSES["conv"][:2]),
            (LOSSES["sgd"][:2], LOSSES["dropout"][:2]),
            (LOSSES["sigmoid"], LOSSES["conv"]),
        )
    ]
    assert [each.contrasts["val_loss"] for each in found.differences] == plain
    corrected = holm([each.p_value for each in plain if each is not None])
    assert [each.p_values["val_loss"] for each in found.differences] == corrected
    assert found.differences[0].differs("val_loss")  # 0.01 in each pair, although the arms lie 0.1 apart by seed
    assert not found.differences[3].differs("val_loss")
    values = json.loads(json.dumps(found.to_dict()))
    assert values["differences"][0]["differs"]["val_loss"] is True


def test_the_table_for_people() -> None:
    text = compared().text()
    assert max(map(len, text.splitlines())) <= 100
    row = "dropout 3 0.2103 0.2472 conv +0.0103 [+0.0065, +0.0141]"
    assert row in " ".join(text.split())
    assert "Diverged, and in no mean: sgd (1)." in text
    assert "have not ended" not in text
    assert "saturated at first, %" in compared().text(["start_saturated"])
    with pytest.raises(ConfigError, match="'val_los' is not; did you mean 'val_loss'"):
        compared().text(["val_los"])


def test_what_has_not_ended_is_said() -> None:
    found = compared({"conv": [0.1], "dropout": [0.2]})
    assert found.missing == 2 + 2 + 3 + 3
    assert found.differences[0].contrasts == {}
    assert "10 trials have not ended; `run small` goes on with them." in found.text()
    assert "**10 trainings have not ended.**" in render_page(found)
    assert compared(LOSSES, seeds=2).arms[0].trials == {1: 0, 2: 1}  # seeds that are not asked for any more


def test_a_study_without_arms_has_none_to_compare() -> None:
    study = optuna.create_study()
    study.set_user_attr("config", small_config().to_dict())
    study.set_user_attr("enqueued", True)
    with pytest.raises(StudyError, match="'small' has none") as error:
        compare_arms(study, StudyPaths(Path("nowhere")))
    assert "\n" not in str(error.value)


# The page.

PAGE = """# Ours

Words that stay.

<!-- ablation conv dropout: val_loss gap -->
old
<!-- /ablation -->

<!-- ablation -->
<!-- /ablation -->
The end: <!-- another mark -->
"""


def test_marks_are_filled_and_all_else_stays() -> None:
    page, marks = fill(PAGE, compared())
    assert marks == 2
    first = page.partition("<!-- ablation conv dropout: val_loss gap -->\n")[2].partition("<!-- /ablation -->")[0]
    lines = first.splitlines()
    assert lines[0] == "| | network | seeds | val loss | last val − train loss |"
    assert lines[2].startswith("| `conv` | net conv | 3 | 0.2000 ± 0.2484 | 0.0600 ± 0.0000 |")
    assert lines[4] == "| `dropout` − `conv` | | 3 | **+0.0103 [+0.0065, +0.0141]** | +0.0000 [+0.0000, +0.0000] |"
    assert len(lines) == 5
    assert "| `sgd` | net sgd | 2, 1 diverged |" in page
    assert "4 arms by 3 seeds (study seed 3), 2 epochs each, no commit, 1:05 in all." in page
    assert "\nold\n" not in page
    assert "Words that stay." in page
    assert page.endswith("The end: <!-- another mark -->\n")
    assert fill(page, compared()) == (page, 2)  # as often as anyone likes


def test_a_table_has_the_differences_of_its_own_arms() -> None:
    page, _ = fill("<!-- ablation dropout sgd conv: val_loss -->\n<!-- /ablation -->", compared())
    assert [line.split(" |")[0] for line in page.splitlines()[3:-1]] == [
        "| `dropout`",
        "| `sgd`",
        "| `conv`",
        "| `dropout` − `conv`",
        "| `sgd` − `conv`",
        "| `sgd` − `dropout`",
    ]


def test_a_file_with_marks_is_filled_and_another_becomes_a_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    assert write_page(path, compared()) == 0
    assert path.read_text() == render_page(compared())
    assert "saturated at first, %" in path.read_text()
    path.write_text(PAGE)
    assert write_page(path, compared()) == 2
    assert "Words that stay." in path.read_text()


@pytest.mark.parametrize(
    ("mark", "message"),
    [("convv", "'convv' is none; did you mean 'conv'"), ("conv: gapp", "'gapp' is not; did you mean 'gap'")],
)
def test_a_mark_that_names_nothing_is_refused_and_the_page_stays(tmp_path: Path, mark: str, message: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text := f"<!-- ablation {mark} -->\n<!-- /ablation -->\n")
    with pytest.raises(ConfigError, match=message):
        write_page(path, compared())
    assert path.read_text() == text


# Verdicts.


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("dropout - conv val_loss > 0", "yes"),
        ("dropout - conv val_loss > 0.006", "yes"),
        ("dropout - conv val_loss > 0.007", "open"),
        ("dropout - conv val_loss > 0.02", "no"),
        ("conv - dropout val_loss < -0.006", "yes"),
        ("dropout - conv val_accuracy < -0.6", "yes"),  # in points, as the tables have it
        ("dropout - conv val_accuracy > 0", "no"),
        ("sigmoid - conv val_loss > 0", "open"),
        ("conv val_loss < 0.5", "yes"),
        ("conv val_loss > -1", "yes"),
        ("sigmoid - conv - sigmoid + conv gap < 0.1", "yes"),
        ("dropout + conv val_loss > 0.3", "open"),
        ("conv start_saturated < 5", "open"),  # it has no sigmoid
    ],
)
def test_a_condition_is_met_where_its_interval_lies_beyond_the_bound(condition: str, answer: str) -> None:
    found = compared()
    (read,) = read_conditions(condition, found)
    assert read.answer(found) == answer


def test_a_difference_of_differences_is_taken_seed_by_seed() -> None:
    found = compared()
    (read,) = read_conditions("dropout - conv - sgd + sigmoid val_loss > 0", found)
    values = [[each[seed] or 0.0 for seed in (0, 1)] for each in LOSSES.values()]  # the third of `sgd` diverged
    conv, dropout, sgd, sigmoid = values
    expected = mean_interval([b - a - c + d for a, b, c, d in zip(conv, dropout, sgd, sigmoid, strict=True)])
    interval = read.interval(found)
    assert interval is not None
    assert expected is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert read.text(found).startswith("- `dropout` − `conv` − `sgd` + `sigmoid`: val loss +0.0")


@pytest.mark.parametrize(
    ("answers", "of_all", "of_any", "parts"),
    [
        (["yes", "yes"], "yes", "yes", "yes"),
        (["yes", "no"], "no", "yes", "partly"),
        (["yes", "open"], "open", "yes", "partly"),
        (["no", "open"], "no", "open", "open"),
        (["no", "no"], "no", "no", "no"),
        (["open"], "open", "open", "open"),
        (["partly", "no"], "no", "open", "partly"),
    ],
)
def test_what_answers_come_to(answers: list[Any], of_all: str, of_any: str, parts: str) -> None:
    assert (judge(answers, all_of=True), judge(answers, all_of=False)) == (of_all, of_any)
    assert combined(answers) == parts


JUDGED = """<!-- verdicts -->
<!-- /verdicts -->
## 1. It loses
<!-- holds if all: dropout - conv val_loss > 0; sigmoid - conv val_loss > 0 -->
<!-- /holds -->
## 2. It wins
<!-- holds if any: dropout - conv val_loss < 0 -->
<!-- /holds -->
<!-- holds if any: dropout - conv val_loss > 0 -->
<!-- /holds -->
## No claim
"""


def test_verdicts_are_written_below_their_conditions_and_summed_up() -> None:
    page, marks = fill(JUDGED, compared())
    assert marks == 4
    assert "| 1. It loses | undecided |\n| 2. It wins | holds in part |\n\n<!-- /verdicts -->" in page
    assert "No claim |" not in page
    assert "**Undecided.**\n\n- `dropout` − `conv`: val loss +0.0103 [+0.0065, +0.0141], above 0: yes\n" in page
    assert "- `sigmoid` − `conv`: val loss +0.0167 [−0.2713, +0.3046], above 0: undecided\n" in page
    assert "**Does not hold.**" in page
    assert fill(page, compared()) == (page, 4)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("dropout - conv val_loss", "must be like `dense - conv val_accuracy < -0.5`, but got"),
        ("dropout - conf val_loss > 0", "'conf' is none; did you mean 'conv'"),
        ("dropout - conv val_los > 0", "'val_los' is not; did you mean 'val_loss'"),
        ("dropout conv val_loss > 0", "must have + or - between its arms"),
        ("dropout - val_loss > 0", "must end its sum with an arm"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(condition: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        fill(f"<!-- holds if all: {condition} -->\n<!-- /holds -->", compared())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_shipped_page_fits_the_shipped_study() -> None:
    config = load_study("ablation", root=ROOT)
    study = optuna.create_study(study_name="ablation")
    study.set_user_attr("config", config.to_dict())
    study.set_user_attr("enqueued", True)
    found = compare_arms(study, StudyPaths(Path("nowhere")))
    page, marks = fill((ROOT / "docs" / "findings.md").read_text(encoding="utf-8"), found)
    assert marks == 9 + 11 + 1
    assert page.count(" | undecided |") == 8


# The command.

STUDY = """
[study]
seed = 5
[budget]
epochs = 1
[fixed]
dense_units = 8
blocks = 0
[fixed.optimizer.adam]
learning_rate = 1e-3
[arms]
seeds = 2
[arms.plain]
[arms.sigmoid]
activation = "sigmoid"
[arms.large]
against = ["plain", "sigmoid"]
activation = "sigmoid"
init_scale = 10.0
"""


@pytest.mark.slow
def test_it_is_run_compared_and_tracked(home: Home, sample: Dataset) -> None:
    (home.root / "studies" / "arms.toml").write_text(STUDY)
    said = home("ablation", "arms")
    assert (said.code, said.err.count("\n")) == (2, 1)
    said = home.process("run", "arms", "--workers", "1")
    assert said.code == 0, said.err
    assert "3 arms by 2 seeds" in said.err
    assert "ablation arms" in said.err
    page = home.root / "page.md"
    page.write_text(PAGE.replace("conv dropout", "plain large"))
    said = home("ablation", "arms", "--output", page, "--json")
    assert said.code == 0, said.err
    assert "warning" not in said.err
    found = said.json
    assert [(arm["name"], arm["missing"]) for arm in found["arms"]] == [("plain", 0), ("sigmoid", 0), ("large", 0)]
    assert len(found["differences"]) == 3
    usual, large = (arm["means"]["start_saturated"]["estimate"] for arm in found["arms"][1:])
    assert usual < large
    assert "| `large` − `plain` | | 2 |" in page.read_text()
    assert len(list((home.root / "mlruns").rglob("ablation.md"))) == 1
    again = home("ablation", "arms", "--figure", "start_saturated")
    assert again.code == 0, again.err
    assert "saturated at first, %" in again.out
    for verb in ("run", "status", "trials", "report"):
        said = home(verb, "arms")
        assert said.code == 0, (verb, said.out, said.err)
    findings = home("doctor", "arms", "--json").json["findings"]
    assert {each["check"] for each in findings} <= {"place"}  # the database was another project's
    assert "arm large, seed 2" in home("trials", "arms").out
