"""Makes the pictures of the README again, from a finished study: `make screenshots STUDY=default`.

The study must have its ensemble. Its pages are served and photographed in the system's chromium, and a run of its first
minute is shown in a terminal; that one lives in a folder of its own, which is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sweeps.paths import Paths, project_root
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.sweeps.views.terminal import terminal

MOST_BYTES = 150_000
WAIT_MS = 90_000
WIDTH = 1280
COLUMNS, ROWS = 100, 22
RUN_S = 75  # of a run in a terminal, when workers are at later trials and some have ended
FONT_PX, MARGIN_PX = 15, 16
INK, GROUND = "#d8dee9", "#1e222a"


def main() -> None:
    """Makes the pictures that were asked for, or all."""
    makers: dict[str, Callable[[Browser, str, Path], None]] = {
        "ui": shoot_ui,
        "report": shoot_report,
        "serve": shoot_serve,
        "terminal": lambda browser, study, folder: shoot_terminal(study, folder),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--only", choices=list(makers), nargs="+", default=list(makers))
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER")
    chosen = parser.parse_args()
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        parser.exit(2, "error: a browser must be there, but there is no chromium; install it.\n")
    if not Paths(project_root()).study(chosen.study).folder.is_dir():
        parser.exit(2, f"error: study {chosen.study!r} must have been run before; `make sweep STUDY={chosen.study}`.\n")
    with sync_playwright() as driver, driver.chromium.launch(executable_path=program, args=ARGUMENTS) as browser:
        for name in chosen.only:
            makers[name](browser, chosen.study, chosen.output)


@contextlib.contextmanager
def opened(browser: Browser, width: int, height: int, scale: float = 1.0) -> Iterator[Page]:
    """Yields an empty page in light colours."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale, color_scheme="light"
    )
    context.set_default_timeout(WAIT_MS)
    # MLflow's assistant opens by itself once in a browser's life, and takes a third of the width.
    context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    yield context.new_page()
    context.close()


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[list[str]]:
    """Yields the lines that a verb which serves pages prints before it waits."""
    command = [sys.executable, "-m", "sweeps", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEPS_HOME": str(project_root())}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            assert process.stderr is not None
            assert process.stdout is not None
            said = ""
            while "Ctrl-C" not in said:
                line = process.stderr.readline()
                if not line:
                    sys.exit(f"{' '.join(arguments)}: {said}")
                said += line
            os.set_blocking(process.stdout.fileno(), False)
            yield process.stdout.read().splitlines()
        finally:
            process.send_signal(signal.SIGINT)


def shoot_ui(browser: Browser, study: str, folder: Path) -> None:
    """The views of a study in MLflow: its table and its charts."""
    with serving("ui") as lines:
        # NAME  table  ADDRESS, and on the next line the charts'.
        number = next(at for at, line in enumerate(lines) if line.split()[0] == f"sweeps-{study}")
        table, charts = (line.split()[-1] for line in lines[number : number + 2])
        with opened(browser, 1440, 760) as page:
            page.goto(table)
            page.wait_for_selector(".ag-row a[href*='/runs/']")
            page.wait_for_timeout(3000)
            save(page.screenshot(), folder / "ui.png", WIDTH)
        with opened(browser, 1440, 1720) as page:
            page.goto(charts)
            page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .point').length > 5")
            page.wait_for_timeout(6000)
            save(page.screenshot(), folder / "ui-charts.png", WIDTH)


def shoot_report(browser: Browser, study: str, folder: Path) -> None:
    """The report's beginning, on a desk and on a phone."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "report.html"
        sweeps("report", study, "--output", str(output), "--quiet")
        for name, width, height, scale in (("report", WIDTH, 1000, 1.0), ("report-phone", 360, 740, 2.0)):
            with opened(browser, width, height, scale) as page:
                page.goto(output.as_uri())
                page.wait_for_function("() => [...document.images].every(image => image.complete)")
                save(page.screenshot(), folder / f"{name}.png")


def shoot_serve(browser: Browser, study: str, folder: Path) -> None:
    """The champion's page, on which a 3 was drawn."""
    with serving("serve", study) as lines, opened(browser, 1100, 760) as page:
        page.goto(lines[-1].split()[-1])
        box = page.locator("#pad").bounding_box()
        assert box is not None
        page.wait_for_selector("#members tbody tr")
        for number, (x, y) in enumerate(three()):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if number == 0:
                page.mouse.down()
        page.mouse.up()
        page.wait_for_function("() => document.getElementById('digit').textContent === '3' && !asking")
        page.mouse.move(2, 2)
        page.wait_for_timeout(500)
        save(page.screenshot(full_page=True), folder / "serve.png")


def three() -> Iterator[tuple[float, float]]:
    """A 3 in one line, in a square of side 1."""
    arcs = ((0.45, 0.32, 0.17, 0.15, -150, 90), (0.45, 0.66, 0.2, 0.19, -90, 150))
    for across, down, wide, high, first, last in arcs:
        for step in range(25):
            angle = math.radians(first + (last - first) * step / 24)
            yield across + wide * math.cos(angle), down + high * math.sin(angle)


def shoot_terminal(study: str, folder: Path) -> None:
    """A run of the study, as a terminal shows it after a while."""
    with tempfile.TemporaryDirectory() as scratch, terminal(COLUMNS, ROWS) as shown:
        paths, home = Paths(project_root()), Paths(Path(scratch))
        home.studies.mkdir()
        shutil.copy(paths.studies / f"{study}.toml", home.studies)
        home.data.symlink_to(paths.data)
        more = {"SWEEPS_HOME": scratch, "TERM": "xterm-256color"}
        environment = {name: value for name, value in os.environ.items() if name != "CI"} | more
        stream = shown.stream
        command = [sys.executable, "-m", "sweeps", "run", study]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=stream, stdout=stream, stderr=stream)
        end = time.monotonic() + RUN_S
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.2)
            lines = shown.lines  # which reads, or the run would wait
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            time.sleep(0.2)
            shown.lines
    text = [f"$ sweeps run {study}", *lines]
    save(paint(text[:1] + text[1:][-(ROWS - 1) :]), folder / "terminal.png")


def paint(lines: Sequence[str]) -> bytes:
    """Returns lines as a terminal's picture."""
    path = font_manager.findfont("DejaVu Sans Mono")
    scale = 2
    font = ImageFont.truetype(path, FONT_PX * scale)
    cell = round(font.getlength("0")), round(FONT_PX * scale * 1.35)
    margin = MARGIN_PX * scale
    columns = max(map(len, lines))
    image = Image.new("RGB", (columns * cell[0] + 2 * margin, len(lines) * cell[1] + 2 * margin), GROUND)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            draw.text((margin + column * cell[0], margin + row * cell[1]), character, fill=INK, font=font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def sweeps(*arguments: str) -> None:
    """Calls a verb, which must succeed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEPS_HOME": str(project_root())}
    subprocess.run([sys.executable, "-m", "sweeps", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)


def save(png: bytes, path: Path, width: int | None = None) -> None:
    """Writes a picture in as many colours as its weight allows, smaller if it must be; `width` scales it down."""
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    width = width or whole.width
    while True:
        size = width, round(whole.height * width / whole.width)
        image = whole if size == whole.size else whole.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 128, 64):
            buffer = io.BytesIO()
            image.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
            if buffer.tell() <= MOST_BYTES:
                path.write_bytes(buffer.getvalue())
                print(f"{path}  {size[0]} × {size[1]}, {buffer.tell() // 1000} kB, {colours} colours", flush=True)
                return
        width = round(width * 0.9)


if __name__ == "__main__":
    main()
