"""A few lines at the bottom of a terminal that are drawn again and again, while others are printed above them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

__all__ = ["Screen", "cut", "is_live", "size_of"]

_DEFAULT_SIZE = 80, 24


def is_live(stream: Any) -> bool:
    """Says whether lines may be drawn over on a stream: on a terminal, but not in the log of a CI, which keeps all."""
    try:
        shown = stream.isatty()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False
    return bool(shown) and os.environ.get("TERM", "") not in ("", "dumb") and not os.environ.get("CI")


def size_of(stream: Any) -> tuple[int, int]:
    """Returns the columns and rows of a stream's terminal, as they are now."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        columns, rows = os.get_terminal_size(stream.fileno())
        if columns > 0 and rows > 0:
            return columns, rows
    columns, rows = shutil.get_terminal_size(_DEFAULT_SIZE)
    return columns, rows


def cut(text: str, width: int) -> str:
    """Returns a text of at most `width` characters, with an ellipsis where something is missing."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[:width]


class Screen:
    """Draws a block of lines, and keeps it below whatever else comes to standard error.

    The cursor rests below the block, so that what a key or a kill leaves there stands apart. No line reaches the last
    column, where terminals differ on whether the next character begins a new one.

    Args:
        stream: a terminal; standard error as it is when the first block is drawn, if not given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream: Any = stream or sys.stderr
        self._lock = threading.RLock()
        self._lines: list[str] = []  # that stand there
        self._depth = 0  # of blocks that print beside the lines
        self._caught: _Caught | None = None
        # A terminal that gets narrower breaks lines that no longer fit into several; xterm itself cuts them.
        self._breaks = "XTERM_VERSION" not in os.environ or "TMUX" in os.environ

    @property
    def width(self) -> int:
        """How many characters a line may have now."""
        return size_of(self._stream)[0] - 1

    @property
    def height(self) -> int:
        """How many lines there is room for now."""
        return size_of(self._stream)[1] - 1

    def draw(self, lines: Sequence[str]) -> None:
        """Puts these lines in the place of those that are there."""
        with self._lock:
            self._catch()
            if self._depth:
                return
            width, height = self.width, self.height
            fitting = [cut(line, width) for line in lines[: max(1, height)]]
            text = "".join(f"{line}\x1b[K\n" for line in fitting)
            self._write(f"{self._up()}{text}\x1b[J")
            self._lines = fitting

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the lines away while something is printed in their place, and draws them again below it."""
        with self._lock:
            lines = self._lines
            if lines:
                self._write(f"{self._up()}\x1b[J")
                self._lines = []
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if lines:
                    self.draw(lines)

    def print(self, text: str) -> None:
        """Prints a text above the lines."""
        with self.aside():
            self._write(text if text.endswith("\n") else f"{text}\n")

    def close(self) -> None:
        """Takes the lines away, and leaves standard error as it was."""
        with self._lock:
            if self._caught is not None:
                self._caught.rest()
                if sys.stderr is self._caught:
                    sys.stderr = self._stream
                self._caught = None
            if self._lines:
                self._write(f"{self._up()}\x1b[J")
                self._lines = []

    def _up(self) -> str:
        """Returns what brings the cursor to the block's first line."""
        columns = size_of(self._stream)[0]
        rows = sum(-(-len(line) // columns) or 1 for line in self._lines) if self._breaks else len(self._lines)
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _catch(self) -> None:
        """Leads what others print to standard error, such as warnings, above the lines."""
        if self._caught is None and sys.stderr is self._stream:
            self._caught = _Caught(self, self._stream)
            sys.stderr = self._caught  # a stream, for all that is asked of it

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


class _Caught(io.TextIOBase):
    """Standard error while lines stand at its end. Who keeps it for longer writes to the real one."""

    def __init__(self, screen: Screen, stream: Any) -> None:
        self._screen, self._stream = screen, stream
        self._begun = ""  # a line without its end
        self._open = True

    def write(self, text: str) -> int:
        if not self._open:
            return int(self._stream.write(text))
        with self._screen._lock:
            whole, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._screen.print(whole)
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def rest(self) -> None:
        """Writes what has no end yet, and catches nothing more."""
        if self._begun:
            self._screen.print(self._begun)
        self._begun, self._open = "", False

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._stream.encoding)

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    @property
    def buffer(self) -> Any:
        """For who writes bytes; they come as they come."""
        return self._stream.buffer
