"""The race as it is shown: pictures, recordings, plain lines, and how its processes end."""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import replace
from fcntl import ioctl
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.race.__main__ import cli
from benchmarks.race.picture import Line, compose
from benchmarks.race.processes import Competitors, Finish, Lap, Ready, SideFailed, pick_cores
from benchmarks.race.recording import Moment, check_recording, frames, write_gif
from benchmarks.race.scene import Scene, verdict
from benchmarks.race.settings import SETTINGS, load_settings
from benchmarks.race.summary import Result
from mnistnn.data import Dataset
from mnistnn.errors import OutputError

ROOT = Path(__file__).parents[2]
RACE = load_settings()
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch (make setup-bench)")
READY = [Ready(0, "NumPy 2", 10.0), Ready(1, "2.13, channels_last", 20.0)]


def scene_of(*events: Lap | Finish) -> Scene:
    scene = Scene.of(RACE, READY, 0, 60_000)
    for event in events:
        scene.take(event)
    return scene


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def course(side: int, step_s: float, accuracy: float) -> list[Lap | Finish]:
    """Returns what a side reports that comes to `accuracy`."""
    laps: list[Lap | Finish] = [
        Lap(side, part * RACE.steps // 10, part * RACE.steps // 10 * step_s, accuracy - 0.5 ** (part + 1))
        for part in range(1, 11)
    ]
    return [*laps, Finish(side, RACE.steps * step_s, accuracy)]


@given(st.integers(1, 140), st.integers(1, 50), st.integers(0, 22))
def test_a_picture_fits_whatever_the_window(width: int, height: int, events: int) -> None:
    lines = text_of(compose(scene_of(*(course(0, 0.01, 0.9912) + course(1, 0.02, 0.989))[:events]), width, height))
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_picture_has_both_curves_on_one_time_axis() -> None:
    scene = scene_of(*course(0, 0.01, 0.9912), *course(1, 0.02, 0.9905))
    lines = text_of(compose(scene, 90, 24))
    panels = [
        [line[:43] for line in lines if "│ " in line[43:47]],
        [line[46:] for line in lines if "│ " in line[43:47]],
    ]
    ends = [max(len(row.rstrip(" ┄")) for row in panel if re.search("[\u2801-\u28ff]", row)) for panel in panels]
    assert (ends[0] - 6) / (ends[1] - 6) == pytest.approx(0.5, abs=0.06)
    assert any("99%┤" in line for line in lines)
    assert "this network wins: 99.12%" in lines[-1]
    assert "2.00 times as fast as PyTorch" in lines[-1]


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.9901, 0.9901), "this network wins"),
        ((0.9899, 0.99), "PyTorch wins: 99.00% after"),
        ((0.99, 0.9899), "PyTorch stayed below 99%"),
        ((0.9899, 0.9899), "Nobody reached 99%"),
    ],
)
def test_who_misses_the_goal_cannot_win(accuracies: tuple[float, float], said: str) -> None:
    events = course(0, 0.01, accuracies[0])
    assert verdict(scene_of(*events)) == ""
    assert said in verdict(scene_of(*events, *course(1, 0.02, accuracies[1])))


def test_the_time_axis_grows_with_what_is_measured() -> None:
    expected = 0.02 * RACE.steps
    assert expected <= scene_of().seconds <= 1.5 * expected
    assert scene_of(Lap(1, 1, 10 * expected, None)).seconds > 10 * expected


def test_a_recording_is_in_real_time_and_small(tmp_path: Path) -> None:
    moments: list[Moment] = [(event.seconds * 1.1, event) for event in course(0, 0.01, 0.9912)]
    moments += [(event.seconds * 1.1, event) for event in course(1, 0.02, 0.9905)]
    moments.sort(key=lambda moment: moment[0])
    before = scene_of()
    write_gif(tmp_path / "race.gif", before, moments)
    assert before.tracks[0].steps == 0
    shown = 0
    with Image.open(tmp_path / "race.gif") as image:
        for number in range(image.n_frames):
            image.seek(number)
            shown += image.info["duration"]
    assert shown / 1000 == pytest.approx(moments[-1][0] + 3.0, abs=0.3)
    assert (tmp_path / "race.gif").stat().st_size < 1e6
    assert text_of(list(frames(before, moments))[-1])[-1].startswith("this network wins")
    with pytest.raises(OutputError, match=r"must be a \.gif"):
        check_recording(tmp_path / "race.png")


def test_without_pytorch_a_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else original(name, *rest)
    )
    for arguments in (["live"], ["seeds", "2"]):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: a race must have PyTorch")
        assert "`make race` installs it" in line


@needs_torch
def test_what_could_not_be_written_is_refused_before_the_race() -> None:
    for arguments in (["live", "--record", "x.png"], ["seeds", "2", "--output", "x.txt"], ["seeds", "0"]):
        done = CliRunner().invoke(cli, arguments)
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


def test_the_cores_are_two_and_usable() -> None:
    cores = pick_cores()
    if cores is not None:
        assert len(set(cores)) == 2
        assert set(cores) <= os.sched_getaffinity(0)


@needs_torch
@pytest.mark.slow
def test_sides_race_together_and_in_turns_to_the_same_accuracies(sample: Dataset, tmp_path: Path) -> None:
    short = replace(RACE, steps=12, batch_size=32)
    test = sample.open_test("a test", tmp_path / "ledger.jsonl")
    with Competitors(short, sample, test, cache=tmp_path) as competitors:
        ready = competitors.ready()
        assert [each.side for each in ready] == [0, 1]
        assert all(each.step_ms > 0 for each in ready)
        live = list(competitors.race(1, curve=3, together=True))
        turns = list(competitors.race(1))
        first = list(competitors.race(2))
    assert [type(event) for event in turns] == [Finish, Finish]
    assert [event.side for event in turns] == [1, 0]  # an odd seed lets PyTorch go first
    assert [event.side for event in first] == [0, 1]
    for side in (0, 1):
        laps = [event for event in live if isinstance(event, Lap) and event.side == side]
        assert [lap.steps for lap in laps] == [4, 8, 12]
        assert all(lap.accuracy is not None for lap in laps)
        assert [lap.seconds for lap in laps] == sorted(lap.seconds for lap in laps)
    assert Result.of(1, iter(live)).accuracies[0] == Result.of(1, iter(turns)).accuracies[0]
    with Competitors(short, sample, test, cache=tmp_path) as fresh:
        fresh._processes[1].kill()
        with pytest.raises(SideFailed, match="the torch side ended with code -9"):
            fresh.ready()


@pytest.fixture
def environment(tmp_path: Path, sample_dir: Path) -> dict[str, str]:
    return os.environ | {"SWEEPS_HOME": str(tmp_path), "MNIST_DIR": str(sample_dir), "TERM": "xterm"}


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """Gives the command of a race of some steps."""

    def build(steps: int, *arguments: str) -> list[str]:
        text = re.sub(r"(?m)^steps = \d+", f"steps = {steps}", SETTINGS.read_text())
        text = re.sub(r"(?m)^batch_size = \d+", "batch_size = 32", text)
        (tmp_path / "settings.toml").write_text(text)
        settings = ["--settings", str(tmp_path / "settings.toml")]
        return [sys.executable, "-m", "benchmarks.race", *arguments, *settings]

    return build


@needs_torch
@pytest.mark.slow
def test_in_a_pipe_there_are_plain_lines(
    command: Callable[..., list[str]], environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        command(8, "live", "--record", str(tmp_path / "race.gif")),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout
    assert lines[0].startswith("MNIST from scratch to 99%")
    assert sum("of all test images" in line for line in lines) == 2
    assert lines[-1] == "Nobody reached 99% with this seed."
    assert (tmp_path / "race.gif").read_bytes().startswith(b"GIF89a")
    assert len((tmp_path / "mlruns" / "test_openings.jsonl").read_text().splitlines()) == 1


@needs_torch
@pytest.mark.slow
def test_in_a_terminal_the_picture_is_redrawn_and_stays(
    command: Callable[..., list[str]], environment: dict[str, str]
) -> None:
    parent, child = pty.openpty()
    ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    process = subprocess.Popen(
        command(16, "live"), cwd=ROOT, env=environment, stdin=child, stdout=child, stderr=subprocess.DEVNULL
    )
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 60)[0]:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not piece:
            break
        shown += piece
    assert process.wait(60) == 0
    os.close(parent)
    before, drawn = shown.decode().split("\x1b[?1049h")
    drawn, after = drawn.split("\x1b[?1049l")
    assert before == ""
    assert drawn.count("\x1b[H") >= 3
    plain = re.sub(r"\x1b\[[0-9;]*m", "", after).splitlines()
    assert plain[-1] == "Nobody reached 99% with this seed."
    assert max(map(len, plain)) < 60
    assert after.count("█") > 50


def children_of(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.add(int(stat.parent.name))
    return found


@needs_torch
@pytest.mark.slow
@pytest.mark.kill
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_race_leaves_no_process(
    number: signal.Signals, command: Callable[..., list[str]], environment: dict[str, str]
) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        command(3_000, "live"), cwd=ROOT, env=environment, text=True, start_new_session=True, **pipes
    )
    assert process.stdout is not None
    while "%" not in (line := process.stdout.readline()) or "from scratch" in line:
        assert line, process.communicate()[1]
    children = children_of(process.pid)
    assert len(children) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: all of its processes get it
    else:
        process.send_signal(number)
    with process:
        said = process.communicate(timeout=60)[1]
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a side's process is still there"
        time.sleep(0.05)
