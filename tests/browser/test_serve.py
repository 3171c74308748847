"""The champion's page in a browser: a drawn 3 is told, by mouse, touch and keys, and nothing leaves the machine."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.serving import WSGIRequestHandler, make_server

from mnistnn.data import Dataset
from sweeps.serve import App, Champion
from tests.mnistnn.data.formats import png
from tests.sweeps.serve.study import MEMBERS, make_champion

pytestmark = pytest.mark.browser

WIDTHS = {"phone": (360, 740), "desktop": (1280, 900)}
Opened = Callable[..., Any]


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Iterator[str]:
    paths = make_champion(tmp_path_factory.mktemp("champion"), sample)
    server = make_server("127.0.0.1", 0, App(Champion.load(paths)), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def opened(browser: Any, address: str) -> Opened:
    """Opens the page; at the end no console line, no failed request and none to elsewhere may have been seen."""

    @contextmanager
    def open_page(width: str = "desktop", scheme: str = "light", **more: Any) -> Iterator[Any]:
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        context = browser.new_context(viewport=size, color_scheme=scheme, **more)
        seen: list[str] = []
        page = context.new_page()
        page.on("console", lambda line: seen.append(f"console: {line.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("requestfailed", lambda request: seen.append(f"failed: {request.url}"))
        page.on("request", lambda request: None if at_home(request.url, address) else seen.append(request.url))
        page.goto(address)
        page.wait_for_function(f"() => document.querySelectorAll('#members tbody tr').length === {MEMBERS}")
        yield page
        context.close()
        assert seen == []

    return open_page


def at_home(url: str, address: str) -> bool:
    return url.startswith((address + "/", "data:", "blob:"))


def three() -> list[tuple[float, float]]:
    """A 3 in one line, in a square of side 1."""
    points = []
    for across, down, wide, high, first, last in (
        (0.45, 0.32, 0.17, 0.15, -150, 90),
        (0.45, 0.66, 0.2, 0.19, -90, 150),
    ):
        for step in range(13):
            angle = math.radians(first + (last - first) * step / 12)
            points.append((across + wide * math.cos(angle), down + high * math.sin(angle)))
    return points


def on_pad(page: Any, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    box = page.locator("#pad").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    first, *others = on_pad(page, points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point)
    page.mouse.up()


def expect(page: Any, digit: str) -> None:
    page.wait_for_function("digit => document.getElementById('digit').textContent === digit", arg=digit, timeout=10_000)


def settled(page: Any) -> None:
    """Waits until nothing is asked any more."""
    page.wait_for_function("() => !asking")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_a_drawn_three_is_told(opened: Opened, width: str, scheme: str) -> None:
    with opened(width, scheme) as page:
        draw(page, three())
        expect(page, "3")
        settled(page)
        expect(page, "3")
        values = page.locator("#bars .value").all_inner_texts()
        assert len(values) == 10
        assert page.locator("#bars .top").inner_text().startswith("3")
        heights = page.locator("#bars .value").evaluate_all("all => all.map(each => each.getClientRects()[0].height)")
        assert max(heights) - min(heights) < 3, "each on one line"
        beyond = "all => all.filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText)"
        assert page.locator("#bars .value").evaluate_all(beyond) == []
        assert float(values[3].strip("> \u00a0%")) > 50
        cells = page.locator("#members tbody td").all_inner_texts()
        assert len(cells) == MEMBERS * 10
        ink = page.evaluate("[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]")
        image = np.reshape(ink, (28, 28, 4))[..., 0]
        assert image.max() > 200
        assert not image[:3].any()  # centred, with MNIST's margin
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
        if width == "phone":  # both without scrolling
            for name in ("#digit", "#pad"):
                box = page.locator(name).bounding_box()
                assert box["y"] + box["height"] <= WIDTHS[width][1]


def test_undo_and_clear(opened: Opened) -> None:
    with opened() as page:
        assert page.locator("#undo").is_disabled()
        draw(page, three())
        expect(page, "3")
        draw(page, [(0.1, 0.1), (0.9, 0.9)])
        page.keyboard.press("Control+z")
        settled(page)
        expect(page, "3")
        page.click("#undo")
        expect(page, "–")
        draw(page, three())
        expect(page, "3")
        page.click("#clear")
        expect(page, "–")
        settled(page)
        assert page.locator("#digit").inner_text() == "–"
        assert page.locator("#clear").is_disabled()


def test_touch(opened: Opened) -> None:
    with opened("phone", has_touch=True, is_mobile=True) as page:
        session = page.context.new_cdp_session(page)
        points = [{"x": x, "y": y} for x, y in on_pad(page, three())]
        before = page.evaluate("scrollY")
        session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        for point in points[1:]:
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect(page, "3")
        assert page.evaluate("scrollY") == before  # the finger drew, and did not scroll


def test_keys_alone_draw_a_one(opened: Opened) -> None:
    with opened() as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pad"
        page.keyboard.press(" ")
        for _ in range(15):
            page.keyboard.press("ArrowDown")
        page.keyboard.press(" ")
        expect(page, "1")
        page.keyboard.press("Escape")
        expect(page, "–")
        reached = set()
        for _ in range(6):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
        assert "file" in reached


def test_a_photo_is_chosen_and_dropped(opened: Opened, sample: Dataset) -> None:
    split = sample.split(1)[1]
    images, labels = split.take()
    digit = images[int(np.flatnonzero(labels == 3)[0])]
    large = np.asarray(Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC))
    photo = np.full((600, 800), 230, np.uint8)
    photo[200:480, 60:340] -= (large * 0.8).astype(np.uint8)
    given = png(photo, kind="JPEG", quality=90)
    with opened() as page:
        chosen = {"name": "three.jpg", "mimeType": "image/jpeg", "buffer": given}
        page.set_input_files("#file", chosen)
        expect(page, "3")
        assert "Inverted" in page.locator("#note").inner_text()
        page.click("#clear")
        expect(page, "–")
        drop = """async bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "three.jpg", { type: "image/jpeg" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }"""
        page.evaluate(drop, list(given))
        expect(page, "3")
        page.set_input_files("#file", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no picture"})
        page.wait_for_selector("#error:not([hidden])")
        assert "must be a PNG or a JPEG" in page.locator("#error").inner_text()
        draw(page, three())
        expect(page, "3")
        assert page.locator("#error").is_hidden()
