"""A browser for all tests that need one, and a finished study in MLflow's own UI."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeps.tracking import store
from sweeps.tracking.address import resolve_uri
from tests.optional import missing, need
from tests.sweeps.command import ROOT, Home

# Debian's, which .ci/run installs, and what others call it. Playwright's own download is never asked for.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser without a window. Playwright bears one driver in a process, so all tests share it."""
    playwright = need("playwright.sync_api", "`make setup-dev` installs it")
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        missing("needs a chromium: Debian's package of that name")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Tracked:
    """A finished study with its ensemble and its report, and the server that shows it.

    Attributes:
        home: the project.
        address: the server's.
        views: the addresses of the study's views, as the command line printed them.
        experiment: the id of the study's experiment.
    """

    home: Home
    address: str
    views: dict[str, str]
    experiment: str

    @property
    def uri(self) -> str:
        """The tracking store, without the server."""
        return resolve_uri(None, self.home.root)

    @property
    def runs(self) -> list[Any]:
        """The study's runs, best first."""
        order = ["metrics.best_val_loss ASC"]
        return list(store.client(self.uri).search_runs([self.experiment], order_by=order))


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory, sample_dir: Path, database: Path) -> Iterator[Tracked]:
    """A project in which the study `smoke` has run, of eight trials, with ensemble and report, in MLflow's UI."""
    home = Home.make(tmp_path_factory.mktemp("tracked") / "home", sample_dir, database)
    for verb in (
        ("run", "smoke", "--set", "budget.trials=8", "--workers", 1),
        ("ensemble", "smoke"),
        ("report", "smoke"),
    ):
        said = home.process(*verb)
        assert said.code == 0, said.err
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps", "ui"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=home.environment,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(3)]
        (_, address), (_, _, table), (_, charts) = lines
        uri = resolve_uri(None, home.root)
        experiment = store.client(uri).get_experiment_by_name("sweeps-smoke").experiment_id
        yield Tracked(home, address, {"table": table, "charts": charts}, experiment)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
