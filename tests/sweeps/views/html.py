"""A page of HTML as tests look at it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Reads a page.

    Attributes:
        tags: all elements in their order: name and attributes.
        scripts: what is within the elements called so.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._texts: list[tuple[str, str]] = []
        self.feed(text)
        assert self._open == [], "elements that do not end"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts.append(data)
        elif "style" not in self._open:
            self._texts.append((self._open[-1] if self._open else "", data))

    @property
    def text(self) -> str:
        """What a reader sees, with single spaces."""
        return " ".join("".join(data for _, data in self._texts).replace("\N{NO-BREAK SPACE}", " ").split())

    def all(self, *names: str) -> Iterator[dict[str, str]]:
        """Yields the attributes of the elements of some names."""
        return (attributes for tag, attributes in self.tags if tag in names)
