"""A scene as lines of styled text: two panels with a braille curve each, side by side, or below each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from benchmarks.race.scene import Scene, Track, verdict

__all__ = ["DOTS", "Line", "compose"]

Line = list[tuple[str, str]]
"""Pieces of text, each with the name of its style: "", "dim", "bold", "goal", "side0" or "side1"."""

_SIDE_BY_SIDE = 70
_TICKS = (0.5, 0.9, 0.98, 0.99, 0.95, 0.995, 0.8, 0.97)  # the first come first where there is no room for all
_BOTTOM, _TOP = 0.5, 0.996
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of a braille character's dots, by row and column."""

_GUTTER = 6


def compose(scene: Scene, width: int, height: int) -> list[Line]:
    """Returns the picture in at most `width` columns and `height` rows, whatever these are."""
    beside = width >= _SIDE_BY_SIDE
    panel_width = (width - 3) // 2 if beside else width
    fixed = len(scene.head) + 3  # a blank line, one before the verdict, the verdict
    rows = (height - fixed) if beside else (height - fixed) // 2
    panels = [_panel(scene, number, panel_width, max(2, min(rows, 16))) for number in range(len(scene.tracks))]
    lines: list[Line] = [[(scene.head[0], "bold")], *([(text, "dim")] for text in scene.head[1:]), []]
    if beside:
        lines += [[*_padded(left, panel_width), (" │ ", "dim"), *right] for left, right in zip(*panels, strict=True)]
    else:
        lines += [line for panel in panels for line in panel]
    lines += [[], [(verdict(scene), "bold")]]
    if len(lines) > height:
        lines = lines[len(scene.head) :][-height:]  # the clocks and the verdict matter most
    return [_clipped(line, width) for line in lines]


def _panel(scene: Scene, number: int, width: int, height: int) -> list[Line]:
    """One side: its name, the curve where there is room, and how far it is."""
    track, style = scene.tracks[number], f"side{number}"
    lines: list[Line] = [_clipped([(track.label, style), (f"  {track.detail}", "dim")], width)]
    plot_rows = height - 4
    if plot_rows >= 3 and width >= _GUTTER + 12:
        lines += _plot(scene, track, style, width - _GUTTER, plot_rows)
        lines.append(_time_axis(scene.seconds, width))
    lines.append(_progress(track.steps / scene.steps, style, width))
    lines.append(_clipped(_status(scene, track, style), width))
    return lines


def _status(scene: Scene, track: Track, style: str) -> Line:
    clock = (f"{track.seconds:6.2f} s  ", style)
    if track.accuracy is None:
        return [clock]
    if not track.finished:
        return [clock, (f"{track.accuracy:.1%}", "")]
    reached = track.accuracy >= scene.goal
    return [clock, (f"{track.accuracy:.2%} {'✓' if reached else f'✗ below {scene.goal:.0%}'}", "bold")]


def _progress(part: float, style: str, width: int) -> Line:
    cells = max(1, width - 6)
    full = round(part * cells)
    return [("█" * full, style), ("░" * (cells - full), "dim"), (f" {part:4.0%}", "")]


def _plot(scene: Scene, track: Track, style: str, columns: int, rows: int) -> list[Line]:
    """The curve of the accuracy over the seconds, the goal as a line, and the scale at the left."""
    dots = [[0] * columns for _ in range(rows)]
    points = [(s / scene.seconds * (columns * 2 - 1), _level(a) * (rows * 4 - 1)) for s, a in track.curve]
    for x, y in _polyline(points):
        dots[rows - 1 - y // 4][x // 2] |= DOTS[3 - y % 4][x % 2]
    scale: dict[int, str] = {}
    goal_row = _row(scene.goal, rows)
    scale[goal_row] = f"{scene.goal:.0%}"
    for tick in _TICKS:
        row = _row(tick, rows)
        if not scale.keys() & {row - 1, row, row + 1}:
            scale[row] = f"{tick * 100:g}%"
    lines: list[Line] = []
    for row, cells in enumerate(dots):
        edge = "┤" if row in scale else "│"
        line: Line = [(f"{scale.get(row, ''):>{_GUTTER - 1}}{edge}", "goal" if row == goal_row else "dim")]
        for cell in cells:
            if cell:
                line.append((chr(0x2800 + cell), style))
            else:
                line.append(("┄", "goal") if row == goal_row else (" ", ""))
        lines.append(_joined(line))
    return lines


def _time_axis(seconds: float, width: int) -> Line:
    columns = width - _GUTTER
    step = next(unit for unit in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if seconds / unit * 6 <= columns)
    text = [" "] * columns
    for number in range(int(seconds / step + 1e-9) + 1):
        label = f"{number * step:g}"
        at = min(round(number * step / seconds * (columns - 1)), columns - len(label))
        text[at : at + len(label)] = label
    if not "".join(text[-2:]).strip():
        text[-1] = "s"
    return [(" " * _GUTTER + "".join(text), "dim")]


def _level(accuracy: float) -> float:
    """Returns the height from 0 to 1: by the logarithm of the error, for the last per cent is the longest way."""
    low, high = (-math.log10(1 - end) for end in (_BOTTOM, _TOP))
    return min(1.0, max(0.0, (-math.log10(max(1 - accuracy, 1e-9)) - low) / (high - low)))


def _row(accuracy: float, rows: int) -> int:
    return rows - 1 - round(_level(accuracy) * (rows * 4 - 1)) // 4


def _polyline(points: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int]]:
    """Yields the dots of the line through the points."""
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        length = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))
        for part in range(length + 1):
            yield round(x0 + (x1 - x0) * part / length), round(y0 + (y1 - y0) * part / length)
    if len(points) == 1:
        yield round(points[0][0]), round(points[0][1])


def _joined(line: Line) -> Line:
    """Puts neighbours of one style together."""
    joined: Line = []
    for text, style in line:
        if joined and joined[-1][1] == style:
            joined[-1] = (joined[-1][0] + text, style)
        else:
            joined.append((text, style))
    return joined


def _clipped(line: Line, width: int) -> Line:
    kept: Line = []
    for text, style in line:
        if width <= 0:
            break
        kept.append((text[:width], style))
        width -= len(text)
    return kept


def _padded(line: Line, width: int) -> Line:
    return [*line, (" " * (width - sum(len(text) for text, _ in line)), "")]
