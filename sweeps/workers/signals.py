"""The signals that ask a process to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["caught", "interrupting", "stop_signals"]


def stop_signals() -> list[signal.Signals]:
    """Returns the signals that ask a process to end: Ctrl-C, kill, and a terminal that is closed, unless by nohup."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    return wanted if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [*wanted, signal.SIGHUP]


@contextlib.contextmanager
def caught(signals: list[int]) -> Iterator[None]:
    """Notes the signals that ask a process to end in a list, instead of dying of them."""
    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return

    def note(number: int, _: Any) -> None:
        signals.append(number)

    with _handled_by(note):
        yield


@contextlib.contextmanager
def interrupting() -> Iterator[None]:
    """Lets every signal that asks a process to end raise KeyboardInterrupt, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled_by(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    known = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield
    finally:
        for number, former in known.items():
            signal.signal(number, former)
