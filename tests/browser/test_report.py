"""The report in a browser: it asks for nothing, fits a phone, sorts its trials, and stays readable in the dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.ensemble import build_ensemble
from sweeps.views.report import write_report
from tests.sweeps.small import make_bench, make_study, run_next, small_config

pytestmark = pytest.mark.browser

WIDTHS = {360: 740, 1280: 900}
AWAY = "http://127.0.0.1:9"
EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> str:
    """A report on a study that was trained, with trials that were pruned or failed."""
    root = tmp_path_factory.mktemp("report")
    config = small_config(budget__trials=4, ensemble__top=2)
    study, bench = make_study(config, root, sample), make_bench(config, root, sample)
    while run_next(study, bench) is not None:
        pass
    build_ensemble(config, root=root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    for state, reason in ((TrialState.PRUNED, "pruned after epoch 1 of 2"), (TrialState.FAIL, EVIL)):
        trial = study.ask()
        bench.space.suggest_with(trial)
        attributes = {"label": f"conv {'64x2-' * 12}64 {EVIL}", "reason": reason, "epochs_run": 1}
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        study.tell(trial, state=state)
    return write_report(config.name, root=root, tracking_uri=AWAY).path.as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Opened:
    """Opens the report; at the end no console line and no request but for the file itself may have been seen."""

    @contextmanager
    def open_page(width: int = 1280, scheme: str = "light", **more: Any) -> Iterator[Any]:
        context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme, **more)
        seen: list[str] = []
        page = context.new_page()
        page.on("console", lambda line: seen.append(f"console: {line.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("requestfailed", lambda request: seen.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: None if request.url.startswith((address, "data:")) else seen.append(request.url),
        )
        page.goto(address)
        yield page
        context.close()
        assert seen == []

    return open_page


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_for_nothing(opened: Opened, width: int, scheme: str) -> None:
    with opened(width, scheme) as page:
        assert page.title().startswith("Study small: ")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
        # Whatever is wider than the page scrolls within a box of its own, which the keyboard reaches.
        beyond = """[...document.querySelectorAll("body *")].filter(each =>
            each.getBoundingClientRect().right > innerWidth && !each.closest(".wide, pre")).map(each => each.tagName)"""
        assert page.evaluate(beyond) == []
        assert page.locator(".wide:not([tabindex='0'])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(opened: Opened, scheme: str) -> None:
    """Looks at each text where it stands: its colour on the first ground behind it."""
    measure = """() => {
      const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
      const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = each => {
        for (; each; each = each.parentElement) {
          const found = numbers(getComputedStyle(each).backgroundColor);
          if (found.length === 3 || found[3] > 0) return found;
        }
        return [255, 255, 255];
      };
      const poor = [];
      for (const each of document.querySelectorAll("body *")) {
        const own = [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !each.checkVisibility()) continue;
        const both = [luminance(numbers(getComputedStyle(each).color)), luminance(ground(each))].sort((a, b) => b - a);
        if ((both[0] + 0.05) / (both[1] + 0.05) < 4.5) poor.push(each.textContent);
      }
      return poor;
    }"""
    with opened(1280, scheme) as page:
        assert page.evaluate(measure) == []


def test_a_click_sorts(opened: Opened) -> None:
    with opened() as page:
        rows = page.locator(".trials tbody tr")
        assert rows.count() == 6
        first = [rows.nth(i).locator("th").inner_text() for i in range(6)]
        page.get_by_role("button", name="Trial").click()
        assert [rows.nth(i).locator("th").inner_text() for i in range(6)] == [f"#00{i}" for i in range(6)]
        heading = page.locator(".trials thead th").first
        assert heading.get_attribute("aria-sort") == "ascending"
        page.get_by_role("button", name="Trial").press("Enter")
        assert rows.first.locator("th").inner_text() == "#005"
        assert heading.get_attribute("aria-sort") == "descending"
        for _ in range(2):  # what has no loss stays last, either way
            page.get_by_role("button", name="Val. loss").click()
            assert sorted(rows.nth(i).locator("th").inner_text() for i in (4, 5)) == ["#004", "#005"]
        assert heading.get_attribute("aria-sort") is None
        page.get_by_role("button", name="Val. loss").click()
        assert [rows.nth(i).locator("th").inner_text() for i in range(4)] == first[:4]


def test_all_choices_are_shown_when_asked_for(opened: Opened) -> None:
    with opened(360) as page:
        extra = page.locator(".trials thead .extra").first
        assert not extra.is_visible()
        page.get_by_label("Show all choices as columns").check()
        assert extra.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_is_whole_without_scripts(opened: Opened) -> None:
    with opened(java_script_enabled=False) as page:
        assert page.locator(".trials tbody tr").count() == 6
        assert page.locator(".trials button").count() == 0
        assert not page.locator(".sorting").is_visible()
        page.get_by_label("Show all choices as columns").check()
        assert page.locator(".trials thead .extra").first.is_visible()


def test_what_a_study_says_is_text(opened: Opened) -> None:
    with opened() as page:
        assert page.title() != "taken"
        assert "<script>document.title" in page.locator("#trials").inner_text()
        assert page.evaluate("document.querySelectorAll('#trials img, #trials script, #believe img').length") == 0


def test_in_print_nothing_is_cut(opened: Opened) -> None:
    with opened(1280, "dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        page.set_viewport_size({"width": 690, "height": 1000})  # of A4 between its margins
        assert page.evaluate("document.documentElement.scrollWidth") == 690
        assert page.evaluate("[...document.querySelectorAll('table')].every(each => each.offsetWidth <= 690)")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('#trials')).breakBefore") == "page"
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_what_is_folded_is_printed(opened: Opened) -> None:
    with opened() as page:
        file = page.locator("details pre")
        assert not file.is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert file.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert not file.is_visible()


def test_pictures_stand_side_by_side_where_there_is_room(opened: Opened) -> None:
    for width, columns in ((1280, 2), (360, 1)):
        with opened(width) as page:
            places = page.locator("#pictures figure").evaluate_all("all => all.map(each => each.offsetLeft)")
            assert len(set(places)) == columns
