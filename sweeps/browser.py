"""The user's browser, where there is one with a window."""

from __future__ import annotations

import contextlib
import os
import sys
import webbrowser

__all__ = ["open_pages"]


def open_pages(*addresses: str) -> None:
    """Opens pages in the user's browser, the last one in front.

    Where nothing can be seen in a window, as on a server, nothing happens: what Python would find there is a browser
    that takes over the terminal.
    """
    if not _has_windows():
        return
    with contextlib.suppress(webbrowser.Error):
        for address in addresses:
            webbrowser.open(address)


def _has_windows() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
