"""The facts of a study as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from sweeps.views.pictures.facts import METRICS
from sweeps.views.report.facts import ReportFacts
from sweeps.views.report.words import FILTERS

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Image", "columns", "render"]

_CAPTION, _LETTERS = 0.05, 62  # of a line below a picture: its height in widths, and how many letters it has


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture for the page.

    Attributes:
        title: what it shows.
        caption: how to read it.
        png: its bytes.
    """

    title: str
    caption: str
    png: bytes

    @property
    def address(self) -> str:
        """The picture itself, as an address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, so that the page does not jump when it is shown."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])

    @property
    def length(self) -> float:
        """Its height with its caption's, in widths of the column that it stands in."""
        width, height = self.size
        return height / max(1, width) + _CAPTION * (1 + len(f"{self.title} {self.caption}") // _LETTERS)


def columns(pictures: Sequence[Image]) -> tuple[list[Image], list[Image]]:
    """Returns the pictures in two columns, each in the order given, that end as nearly at the same height as can be.

    Args:
        pictures: a dozen at most: all ways to part them are tried.
    """
    whole, first = sum(picture.length for picture in pictures), pictures[:1]
    parts = (
        [*first, *chosen]
        for size in range(len(pictures[1:]) + 1)
        for chosen in itertools.combinations(pictures[1:], size)
    )
    left = min(parts, key=lambda part: abs(whole - 2 * sum(picture.length for picture in part)))
    return left, [picture for picture in pictures if picture not in left]


def render(facts: ReportFacts, pictures: Iterable[Image] = (), ensemble_pictures: Iterable[Image] = ()) -> str:
    """Returns the page. The same facts and pictures give the same text.

    Args:
        facts: what it says. Whatever is in them is shown as text, and never taken for HTML.
        pictures: of the study.
        ensemble_pictures: of its ensemble.
    """
    template = _environment().get_template("page.html")
    return template.render(facts=facts, pictures=tuple(pictures), ensemble_pictures=tuple(ensemble_pictures))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS | {"columns": columns}
    made.globals["metrics"] = METRICS
    # Both are ours, and hold nothing of a study.
    script = _text("page.js")
    made.globals |= {"css": Markup(_text("page.css")), "js": Markup(script)}
    # The page's policy lets this script run and no other, should an escape ever be forgotten.
    made.globals["js_digest"] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return made


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
