"""A study in MLflow's own UI, as who opens it sees it: with no set-up, by the addresses that `ui` prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import Tracked
from tests.sweeps.command import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Opened = Callable[[str], Any]
_WAIT_MS = 60_000  # a busy machine; what is there is not waited for


@pytest.fixture(scope="module")
def page(browser: Any, tracked: Tracked) -> Iterator[Any]:
    """One page for all: MLflow's UI is 12 MB of code, which a new one would have to read again."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(_WAIT_MS)
    # The assistant's panel opens by itself once in a browser's life, and takes a third of the width.
    context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    page = context.new_page()
    away: list[str] = []
    inside = (tracked.address + "/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(inside) else away.append(request.url))
    yield page
    context.close()
    assert away == [], "nothing leaves the machine"


@pytest.fixture
def opened(page: Any) -> Opened:
    """Opens an address afresh: a change behind its # alone would keep what MLflow has in mind."""

    def open_it(address: str) -> Any:
        page.goto("about:blank")
        page.goto(address)
        return page

    return open_it


def names(page: Any) -> list[str]:
    """Returns the names of the table's rows, from above."""
    page.wait_for_selector(".ag-center-cols-container .ag-row, .ag-pinned-left-cols-container .ag-row")
    read = """() => [...document.querySelectorAll(".ag-row a[href*='/runs/']")]
        .map(link => [link.closest('.ag-row').getAttribute('row-index'), link.innerText])
        .sort((one, other) => one[0] - other[0]).map(pair => pair[1])"""
    return [str(name) for name in page.evaluate(read)]


def test_the_table_lists_the_trials_best_first(opened: Opened, tracked: Tracked) -> None:
    page = opened(tracked.views["table"])
    page.wait_for_selector("text=10 matching runs")
    shown = names(page)
    wanted = [run.info.run_name for run in tracked.runs]
    assert shown == wanted
    assert shown[-1] == "study smoke"
    trials = [name for name in shown if name.startswith("#")]
    assert len(trials) == 8
    assert all(re.fullmatch(r"#\d{3} (pruned · )?[a-z0-9 -]+ (adam|momentum) \d\.\de?-?\d*", name) for name in trials)
    status = {run.info.run_name: run.info.status for run in tracked.runs}
    assert {name for name in trials if " pruned · " in name} == {name for name in trials if status[name] == "KILLED"}
    heads = page.locator(".ag-header-cell-text, .ag-header-cell").all_inner_texts()
    for name in ("best_val_loss", "best_val_accuracy", "seconds", "params_count", "Models"):
        assert name in [head.strip() for head in heads], heads
    models = page.locator(".ag-row [col-id='attributes.`Models`']").all_inner_texts()
    named = [number for number, text in enumerate(models) if "sweeps-smoke" in text]
    assert named == [next(i for i, name in enumerate(shown) if name.startswith("ensemble"))], "the registered model"
    data = page.locator(".ag-row [col-id='attributes.`Dataset`']").all_inner_texts()
    assert all("mnist" in text for text in data)
    assert page.get_by_role("button", name="Trials, best first").is_visible()
    cut = """() => [...document.querySelectorAll(".ag-row a[href*='/runs/'], .ag-header-cell-text")]
        .filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText)"""
    assert page.evaluate(cut) == []


def test_the_charts_are_not_empty(opened: Opened, tracked: Tracked) -> None:
    page = opened(tracked.views["charts"])
    page.set_viewport_size({"width": 1440, "height": 2000})  # charts are drawn when they come in sight
    for section in ("What the best have in common", "Accuracy, and what it costs", "Epoch by epoch"):
        page.wait_for_selector(f"text={section}")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .scatterlayer .point').length >= 24")
    page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .lines .js-line').length >= 3")
    # Parallel coordinates, each axis with its name.
    page.wait_for_selector("text=Parallel Coordinates")
    page.wait_for_function("() => document.querySelectorAll('.parcoords svg, svg .parcoords, .axis').length > 0")
    for axis in ("learning_rate", "optimizer", "best_val_loss"):
        assert page.get_by_text(axis, exact=False).count() >= 1
    assert page.get_by_text("No charts in this section").count() == 0
    titles = page.get_by_text(re.compile("^[a-z_]+ vs. best_val_accuracy$"))
    assert titles.count() == 3
    assert titles.evaluate_all("all => all.every(each => each.scrollWidth <= each.clientWidth)")
    page.set_viewport_size({"width": 1440, "height": 900})


def test_the_notes_links_lead_to_both_views(opened: Opened, tracked: Tracked) -> None:
    page = opened(f"{tracked.address}/#/experiments/{tracked.experiment}/runs?workflowType=machine_learning")
    best = next(run.info.run_name for run in tracked.runs if run.info.run_name.startswith("#"))
    page.wait_for_selector(f"text={best}")
    for word, mark in (("table", "Trials, best first"), ("charts", "Charts")):
        link = page.get_by_role("link", name=word, exact=True)
        assert tracked.views[word].endswith(link.get_attribute("href"))
        with page.context.expect_page() as info:
            link.click()
        other = info.value
        other.get_by_test_id("saved-views-trigger").filter(has_text=mark).wait_for()
        other.close()


def test_trials_are_nested_under_the_study(opened: Opened, tracked: Tracked) -> None:
    page = opened(
        f"{tracked.address}/#/experiments/{tracked.experiment}/runs?workflowType=machine_learning"
        "&compareRunsMode=TABLE&orderByKey=attributes.start_time&orderByAsc=false"
    )
    page.wait_for_selector("text=study smoke")
    assert names(page) == ["study smoke"]
    page.locator(".ag-row [aria-label*='xpand'], .ag-row [class*='xpander'], .ag-row button").first.click()
    page.wait_for_selector("text=/^#000 /")
    shown = names(page)
    assert shown[0] == "study smoke"
    assert len(shown) == 10


def test_five_trials_are_compared(opened: Opened, tracked: Tracked) -> None:
    five = [run for run in tracked.runs if run.info.run_name.startswith("#")][:5]
    query = {"runs": json.dumps([run.info.run_id for run in five]), "experiments": json.dumps([tracked.experiment])}
    page = opened(f"{tracked.address}/#/compare-runs?{urllib.parse.urlencode(query)}")
    page.wait_for_selector("text=Comparing 5 Runs from 1 Experiment")
    text = page.locator("body").inner_text()
    for run in five:
        assert run.info.run_name in " ".join(text.split())
    for name in ("learning_rate", "best_val_accuracy", "params_count"):
        assert name in text


def test_artifacts_are_shown_in_place(opened: Opened, tracked: Tracked) -> None:
    ensemble = next(run for run in tracked.runs if run.info.run_name.startswith("ensemble"))
    best = next(run for run in tracked.runs if run.info.run_name.startswith("#"))
    base = f"{tracked.address}/#/experiments/{tracked.experiment}/runs"
    page = opened(f"{base}/{ensemble.info.run_id}/artifacts/pictures/members.png")
    loaded = "() => [...document.images].some(image => image.naturalWidth > 300 && image.src.startsWith('blob:'))"
    page.wait_for_function(loaded)
    page = opened(f"{base}/{ensemble.info.run_id}/artifacts/report.md")
    page.get_by_role("heading", name="Ensemble of 2").first.wait_for()
    page = opened(f"{base}/{best.info.run_id}/artifacts/history.csv")
    page.wait_for_selector("text=Previewing the first 2 rows")
    study = next(run for run in tracked.runs if run.info.run_name == "study smoke")
    page = opened(f"{base}/{study.info.run_id}/artifacts/report.html")
    report = page.frame_locator("iframe")
    report.get_by_role("heading", level=1, name="read right").wait_for()
    assert report.locator("#pictures img").first.evaluate("image => image.naturalWidth") > 300


def test_the_champion_is_registered(opened: Opened, tracked: Tracked) -> None:
    page = opened(f"{tracked.address}/#/models/sweeps-smoke")
    page.wait_for_selector("text=Version 1")
    page.wait_for_selector("text=champion")


def test_mlflows_command_line_knows_the_study(tracked: Tracked) -> None:
    """Of one Python, for each call of `mlflow` takes seconds to begin."""
    best = next(run.info.run_id for run in tracked.runs if run.info.run_name.startswith("#"))
    code = (
        "import sys; from click.testing import CliRunner; from mlflow.cli import cli\n"
        "for line in sys.argv[1:]:\n"
        "    result = CliRunner().invoke(cli, line.split())\n"
        "    print(result.output)\n"
        "    assert result.exit_code == 0, result"
    )
    lines = [
        "experiments search",
        f"runs list --experiment-id {tracked.experiment}",
        f"artifacts list --run-id {best}",
    ]
    environment = tracked.home.environment | {"MLFLOW_TRACKING_URI": tracked.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *lines],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=True,
    )  # fmt: skip
    assert "sweeps-smoke" in done.stdout
    for run in tracked.runs:
        assert f"{run.info.run_name}" in done.stdout
    assert '"path": "weights.npz"' in done.stdout
