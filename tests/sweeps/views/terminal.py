"""A terminal: a real pseudo-terminal to write to, and what would be seen on its screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

_TOKEN = re.compile(r"\x1b\[(?P<count>\d*)(?P<code>[A-Za-z])|(?P<char>.)", re.DOTALL)


@dataclass
class _Row:
    text: str = ""
    continues: bool = False  # the one above, which was too long


class Terminal:
    """What a terminal shows of what was written to it; it knows no more than the display needs.

    Args:
        columns: its width.
        rows: its height.
        breaks: whether lines that no longer fit are broken when it gets narrower, as most do; else they are cut.
    """

    def __init__(self, columns: int, rows: int = 24, *, breaks: bool = True) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self.columns, self.rows, self._breaks = columns, rows, breaks
        self._lines = [_Row()]
        self._row = self._column = 0
        self.wraps = 0
        self.received = ""
        self._set_size()

    def resize(self, columns: int) -> None:
        """Changes the width."""
        self._read()
        below = len(self._lines) - self._row
        if self._breaks:
            whole: list[str] = []
            for row in self._lines:
                if row.continues:
                    whole[-1] += row.text
                else:
                    whole.append(row.text)
            self._lines = []
            for text in whole:
                parts = [text[at : at + columns] for at in range(0, max(1, len(text)), columns)]
                self._lines += [_Row(part, number > 0) for number, part in enumerate(parts)]
        else:
            self._lines = [_Row(row.text[:columns]) for row in self._lines]
        self.columns = columns
        self._row = len(self._lines) - below
        self._set_size()

    @property
    def lines(self) -> list[str]:
        """All that is seen, with what was scrolled out above."""
        self._read()
        lines = [row.text.rstrip() for row in self._lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _set_size(self) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", self.rows, self.columns, 0, 0))

    def _read(self) -> None:
        self.stream.flush()
        data = b""
        while select.select([self._master], [], [], 0)[0]:
            data += os.read(self._master, 1 << 16)
        text = data.decode()
        self.received += text
        for token in _TOKEN.finditer(text):
            if token["code"] is not None:
                self._control(token["code"], int(token["count"] or 0))
            else:
                self._put(token["char"])

    def _control(self, code: str, count: int) -> None:
        if code == "A":
            top = max(0, len(self._lines) - self.rows)
            self._row = max(top, self._row - max(1, count))
        elif code in "JK" and not count:
            row = self._lines[self._row]
            row.text = row.text[: self._column]
            if code == "J":
                del self._lines[self._row + 1 :]
        else:
            raise AssertionError(f"no such control: {code!r}")

    def _put(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._down(continues=False)
        else:
            assert char.isprintable(), char
            if self._column == self.columns:
                self.wraps += 1
                self._down(continues=True)
                self._column = 0
            row = self._lines[self._row]
            row.text = f"{row.text[: self._column]:{self._column}}{char}{row.text[self._column + 1 :]}"
            self._column += 1

    def _down(self, *, continues: bool) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append(_Row())
        self._lines[self._row].continues = continues

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@contextlib.contextmanager
def terminal(columns: int, rows: int = 24, *, breaks: bool = True) -> Iterator[Terminal]:
    """A terminal for as long as the block runs."""
    opened = Terminal(columns, rows, breaks=breaks)
    try:
        yield opened
    finally:
        opened.close()
