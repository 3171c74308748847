from __future__ import annotations

from sweeps.tracking.environment import environment_tags
from sweeps.tracking.notes import experiment_note, merged, study_note, trial_note, views


def test_a_study_says_what_it_is_and_how_to_do_it_again() -> None:
    note = study_note("default", {"budget": "5 min", "seed": 0, "data": None, "metric": "a|b"}, "abc123-dirty")
    assert "Study **default**" in note
    assert "| budget | 5 min |" in note
    assert "data" not in note
    assert "a\\|b" in note
    assert "git checkout abc123\nmake sweep STUDY=default" in note
    assert "differed from that commit" in note
    assert "git" not in study_note("default", {})


def test_a_trial_is_one_line() -> None:
    assert trial_note("conv 32-64", {"optimizer": "adamw", "learning rate": 0.00123456}) == (
        "`conv 32-64`: optimizer adamw, learning rate 0.001235."
    )


def test_an_experiments_note_is_in_paragraphs() -> None:
    note = experiment_note("default")
    assert [part.partition(":")[0] for part in note.split("\n\n")] == ["**Study default", "**Reading"]
    told = merged(note, {"Study default": f"{views()} · done.", "Result": "100 trials."}, "7")
    first, reading, result = told.split("\n\n")
    assert first.startswith("**Study default:** [table](#/experiments/7/runs?")
    assert first.endswith("· done.")
    assert reading == note.split("\n\n")[1]
    assert result == "**Result:** 100 trials."
    assert merged(told, {"Result": "100 trials."}, "7") == told
    assert merged("", {}) == ""


def test_the_environment_names_no_host_and_no_user() -> None:
    tags = environment_tags()
    assert {"python", "numpy", "blas", "machine"} <= tags.keys()
    assert all(isinstance(value, str) and value for value in tags.values())
    assert environment_tags() == tags
    if "git_commit" in tags:
        assert len(tags["git_commit"]) == 40
        assert tags["git_dirty"] in ("true", "false")
        assert tags["mlflow.source.git.commit"] == tags["git_commit"]
