"""A race's pictures as an animated GIF, in real time: the lines that the terminal shows, in DejaVu Sans Mono."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race.picture import DOTS, Line, compose
from benchmarks.race.processes import Finish, Lap
from benchmarks.race.scene import Scene
from mnistnn.errors import OutputError
from mnistnn.files import atomic_write

__all__ = ["Moment", "check_recording", "frames", "write_gif"]

Colour = tuple[int, int, int]
Moment = tuple[float, Lap | Finish]
"""Seconds on the wall since the start, and what was reported then."""

COLUMNS, ROWS = 88, 21
_FPS = 10
_HOLD_S = 3.0
_SIZE = 16  # of the font, in pixels
_MARGIN = 14
_BACKGROUND: Colour = (22, 24, 29)
_COLOURS: dict[str, Colour] = {
    "": (214, 217, 222),
    "bold": (255, 255, 255),
    "dim": (150, 157, 168),
    "goal": (222, 184, 80),
    "side0": (98, 209, 120),
    "side1": (226, 120, 200),
}
_SHADES = 4  # of each colour on the background, for the edges of the letters


def check_recording(path: Path) -> None:
    """Refuses a name that is no GIF's, before the race.

    Raises:
        OutputError: it has another ending.
    """
    if path.suffix.lower() != ".gif":
        raise OutputError(f"a recording must be a .gif, but got {path}; name it so.")


def frames(scene: Scene, moments: Sequence[Moment]) -> Iterator[list[Line]]:
    """Yields what the terminal showed, ten times a second, from the scene before the start to the verdict."""
    scene = copy.deepcopy(scene)
    rest = list(moments)
    for number in range(int(moments[-1][0] * _FPS) + 2):
        while rest and rest[0][0] <= number / _FPS:
            scene.take(rest.pop(0)[1])
        yield compose(scene, COLUMNS, ROWS)


def write_gif(path: Path, scene: Scene, moments: Sequence[Moment]) -> None:
    """Writes the recording.

    Raises:
        OutputError: the file cannot be written.
    """
    painter = _Painter()
    images = [painter.paint(lines) for lines in frames(scene, moments)]
    durations = [1000 // _FPS] * (len(images) - 1) + [int(_HOLD_S * 1000)]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True, disposal=1
    )
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


class _Painter:
    """Sets lines of styled text in pixels of one small palette."""

    def __init__(self) -> None:
        from matplotlib import font_manager
        from PIL import Image, ImageDraw, ImageFont

        self._image: Any = Image
        self._draw: Any = ImageDraw
        self._fonts = {
            weight: ImageFont.truetype(
                font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans Mono", weight=weight)), _SIZE
            )
            for weight in ("normal", "bold")
        }
        self._cell = round(self._fonts["normal"].getlength("0")), round(_SIZE * 1.25)
        self._palette = _palette_of(Image)

    def paint(self, lines: Sequence[Line]) -> Any:
        width, height = (COLUMNS * self._cell[0] + 2 * _MARGIN, ROWS * self._cell[1] + 2 * _MARGIN)
        image = self._image.new("RGB", (width, height), _BACKGROUND)
        draw = self._draw.Draw(image)
        for row, line in enumerate(lines):
            characters = [(character, style) for text, style in line for character in text]
            for column, (character, style) in enumerate(characters):
                place = (_MARGIN + column * self._cell[0], _MARGIN + row * self._cell[1])
                self._character(draw, character, style, *place)
        return image.quantize(palette=self._palette, dither=self._image.Dither.NONE)

    def _character(self, draw: Any, character: str, style: str, x: int, y: int) -> None:
        """Draws one cell; braille, blocks and frames are drawn as terminals do, to fill the cell whatever the font."""
        width, height = self._cell
        colour = _COLOURS[style]
        code = ord(character)
        if 0x2800 <= code < 0x2900:
            for row, bits in enumerate(DOTS):
                for column, bit in enumerate(bits):
                    if code & bit:
                        left, top = x + (1 + 2 * column) * width / 4, y + (1 + 2 * row) * height / 8
                        draw.ellipse((left - 1.6, top - 1.6, left + 1.6, top + 1.6), fill=colour)
        elif character == "█":
            draw.rectangle((x, y + 3, x + width - 1, y + height - 4), fill=colour)
        elif character == "░":
            draw.rectangle((x, y + 3, x + width - 1, y + height - 4), fill=_mixed(colour, 0.35))
        elif character in "│┤":
            middle = x + width // 2
            draw.line((middle, y, middle, y + height - 1), fill=colour)
            if character == "┤":
                draw.line((x, y + height // 2, middle, y + height // 2), fill=colour)
        elif character != " ":
            font = self._fonts["bold" if style in ("bold", "side0", "side1") else "normal"]
            draw.text((x, y + 1), character, fill=colour, font=font)


_BRAILLE = {
    0x01: (0, 0),
    0x02: (0, 1),
    0x04: (0, 2),
    0x08: (1, 0),
    0x10: (1, 1),
    0x20: (1, 2),
    0x40: (0, 3),
    0x80: (1, 3),
}


def _palette_of(image: Any) -> Any:
    """Returns the palette: each colour, and its mixtures with the background."""
    entries = [_BACKGROUND]
    for colour in _COLOURS.values():
        entries += [_mixed(colour, part / _SHADES) for part in range(1, _SHADES + 1)]
    entries.append(_mixed(_COLOURS["dim"], 0.35))
    palette = image.new("P", (1, 1))
    palette.putpalette([value for entry in entries for value in entry] + [*_BACKGROUND] * (256 - len(entries)))
    return palette


def _mixed(colour: Colour, part: float) -> Colour:
    red, green, blue = (round(b + (c - b) * part) for c, b in zip(colour, _BACKGROUND, strict=True))
    return red, green, blue
