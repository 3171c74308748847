"""Small tables in HTML, by which a notebook shows an object."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sweeps.views.trials import LAYOUTS

if TYPE_CHECKING:
    import pandas

__all__ = ["facts_html", "trials_html"]

_ROWS = 10
_COLUMNS = ["trial", "state", "network", "val_loss", "val_accuracy", "epochs", "seconds", "params"]


def facts_html(title: str, facts: Mapping[str, str]) -> str:
    """Returns a table of names and texts, and a title above it."""
    rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in facts.items())
    return f"<p><b>{html.escape(title)}</b></p><table>{''.join(rows)}</table>"


def trials_html(title: str, frame: pandas.DataFrame) -> str:
    """Returns the first rows of a table of trials, in the columns that say most."""
    formatters = {name: _formatter(layout) for name, layout in LAYOUTS.items() if name in _COLUMNS}
    table = frame[_COLUMNS].head(_ROWS).to_html(index=False, formatters=formatters, na_rep="", border=0)
    rest = len(frame) - _ROWS
    more = f"<p>… and {rest} more: <code>.trials()</code></p>" if rest > 0 else ""
    return f"<p><b>{html.escape(title)}</b></p>{table}{more}"


def _formatter(layout: str) -> Callable[[Any], str]:
    return lambda value: "" if value is None or value != value else layout.format(value)  # NaN
