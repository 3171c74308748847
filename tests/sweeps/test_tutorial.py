"""The tutorials run, on the sample; and what is in docs/ is what they would be now, but for the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.tutorial import EXECUTED, ROOT, Cell, Runner, read_cells, run_copied, skeleton

TUTORIALS = ("tutorial", "tutorial_layer")


def read(path: str) -> str:
    return (ROOT / path).read_text()


# Seconds instead of minutes: both studies of the tutorials, small.
QUICK = {
    "studies/default.toml": read("studies/smoke.toml").replace("epochs = 2", "epochs = 1"),
    "docs/tutorial/activation.toml": (
        read("docs/tutorial/activation.toml")
        .replace("trials = 12", "trials = 3")
        .replace("filters = 16", "filters = 2")
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_and_is_current(
    name: str, tmp_path: Path, sample_dir: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DIR", str(sample_dir))
    changed = {path: text.encode() for path, text in QUICK.items()}
    changed["mlruns/mlflow.db"] = database.read_bytes()  # which MLflow would take seconds to make
    run_copied(ROOT / "docs" / f"{name}.py", tmp_path / f"{name}.md", changed)
    made = (tmp_path / f"{name}.md").read_text()
    assert str(sample_dir) not in made
    assert str(tmp_path) not in made
    pictures = {path.name for path in (tmp_path / "tutorial").iterdir()}
    assert pictures
    assert all(f"](tutorial/{picture})" in made for picture in pictures)

    kept = read(f"docs/{name}.md")
    assert skeleton(kept) == skeleton(made), f"docs/{name}.md is not what docs/{name}.py gives; run `make tutorial`"
    assert {path.name for path in (ROOT / "docs" / "tutorial").glob(f"{name}-*.png")} == pictures


@pytest.mark.parametrize("name", TUTORIALS)
def test_what_is_kept_was_executed_and_says_by_what(name: str) -> None:
    kept = read(f"docs/{name}.md")
    last = kept.splitlines()[-1]
    assert last.startswith(f"{EXECUTED} by `make tutorial` at commit ")
    assert "changed" not in last
    assert "Traceback" not in kept


def test_cells() -> None:
    cells = read_cells(
        "# above\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\n# !ls\n# !pwd\n# %% a picture\nx = 1\n\nx\n"
    )
    assert cells == [
        Cell("markdown", "", "# Title\n\ntext"),
        Cell("shell", "", "ls\npwd"),
        Cell("python", "a picture", "x = 1\n\nx"),
    ]


def test_what_cells_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = Runner("t", tmp_path)
    assert runner.run(Cell("python", "", "x = 2\nprint('so')\nx")) == (
        "```python\nx = 2\nprint('so')\nx\n```\n\n```text\nso\n2\n```\n"
    )
    assert runner.run(Cell("python", "", "y = x")) == "```python\ny = x\n```\n"
    assert "```text\n…/f\n```" in runner.run(Cell("shell", "", 'echo "$PWD/f"'))
    with pytest.raises(RuntimeError, match="ended with 3:\nwhy"):
        runner.run(Cell("shell", "", "echo why >&2\nexit 3"))
    drawn = runner.run(Cell("python", "a net", "class P:\n    def _repr_png_(self):\n        return b'png'\n\nP()"))
    assert drawn.endswith(f"\n![a net]({tmp_path.name}/t-1.png)\n")
    assert (tmp_path / "t-1.png").read_bytes() == b"png"


def test_skeleton_leaves_out_what_was_printed() -> None:
    made = "text\n\n```python\nx\n```\n\n```text\n{}\n```\n\n*Executed by `make tutorial` at commit {}.*\n"
    assert skeleton(made.format("1\n2", "a")) == skeleton(made.format("3", "b"))
    assert skeleton(made.format("1", "a")) != skeleton(made.format("1", "a").replace("x", "y"))
