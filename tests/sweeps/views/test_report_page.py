"""The report's page: what it shows, that it shows text as text, and that it stands whatever is missing."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.ensemble import build_ensemble
from sweeps.ensemble.record import RECORD
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.views.report import write_report
from sweeps.views.report.page import Image, columns, render
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config
from tests.sweeps.views.html import Page
from tests.sweeps.views.recorded import DIGEST, Recorded

AWAY = "http://127.0.0.1:9"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
SOURCES = resources.files("sweeps.views.report")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> tuple[Path, StudyPaths, str]:
    """A project with a study that was trained, its ensemble, and the report on it."""
    root = tmp_path_factory.mktemp("real")
    config = small_config(ensemble__top=2)
    study, bench = make_study(config, root, sample), make_bench(config, root, sample)
    while run_next(study, bench) is not None:
        pass
    build_ensemble(config, root=root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    written = write_report(config.name, root=root, tracking_uri=AWAY)
    return root, paths_of(config, root), written.path.read_text(encoding="utf-8")


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def page_of(recorded: Recorded) -> Page:
    return Page(render(recorded.facts()))


def test_the_answer_comes_first(real: tuple[Path, StudyPaths, str]) -> None:
    root, paths, text = real
    record = json.loads((paths.ensemble / RECORD).read_text())
    page = Page(text)
    accuracy = f"{100 * record['scores']['test']['accuracy']:.2f} %"
    best = f"{100 * record['members'][0]['scores']['test']['accuracy']:.2f} %"
    assert page.text.startswith(f"Study small: {accuracy}") or page.text.startswith(f"Study small: {best}")
    assert "Of 3 networks tried," in page.text
    assert "Believe " in page.text
    assert "they were opened once" in page.text


def test_it_is_whole(real: tuple[Path, StudyPaths, str]) -> None:
    page = Page(real[2])
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    images = list(page.all("img"))
    assert len(images) >= 5
    assert all(len(image["alt"]) > 10 and int(image["width"]) > 100 for image in images)
    assert all("scope" in heading for heading in page.all("th"))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    links = [attributes["href"] for attributes in page.all("a")]
    assert set(links) <= {f"#{identifier}" for identifier in identifiers}


def test_nothing_leads_out_of_the_file(real: tuple[Path, StudyPaths, str]) -> None:
    root, _, text = real
    page = Page(text)
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert "url(" not in text
    assert "@import" not in text
    assert str(root) not in text  # it may be sent to anybody
    assert page.scripts == [SOURCES.joinpath("page.js").read_text(encoding="utf-8")]
    policy = next(each["content"] for each in page.all("meta") if "content" in each and "http-equiv" in each)
    assert policy.startswith("default-src 'none'")


def test_the_same_record_gives_the_same_bytes(real: tuple[Path, StudyPaths, str]) -> None:
    root, _, text = real
    again = write_report("small", root=root, output=root / "elsewhere" / "r.html", tracking_uri=AWAY)
    assert again.path.read_text(encoding="utf-8") == text
    assert again.kept.read_text(encoding="utf-8") == text
    assert "r.html" in again.text()


def test_text_is_never_html(recorded: Recorded) -> None:
    recorded.complete(0.9, 0.3, label=EVIL, preset=EVIL, role="baseline")
    recorded.add(TrialState.FAIL, reason=EVIL)
    recorded.add(TrialState.PRUNED, reason=f"diverged: {EVIL}", label=EVIL)
    recorded.ledger(json.dumps({"time": EVIL, "purpose": EVIL, "digest": DIGEST}))
    text = render(recorded.facts(), [Image(title=EVIL, caption=EVIL, png=b"\x89PNG\r\n\x1a\n" + bytes(20))])
    page = Page(text)
    assert len(page.scripts) == 1
    assert len(list(page.all("img"))) == 1
    assert text.count("<script>") == 1
    assert page.text.count("<script>alert(1)</script>") >= 7


def test_a_reason_is_cut(recorded: Recorded) -> None:
    recorded.add(TrialState.FAIL, reason="x" * 5000)
    assert sorted(map(len, re.findall("x{50,}", page_of(recorded).text))) == [120, 400]


def test_pruned_diverged_and_failed_are_told_apart(recorded: Recorded) -> None:
    recorded.complete(0.9, 0.3)
    recorded.add(TrialState.PRUNED, reason="pruned after epoch 1 of 4", epochs_run=1)
    recorded.add(TrialState.PRUNED, reason="diverged: loss is nan", epochs_run=1)
    recorded.add(TrialState.FAIL, reason="ValueError: broken")
    text = render(recorded.facts())
    rows = re.findall(r'<tr class="(\w+)">', text)
    assert rows == ["complete", "pruned", "diverged", "failed"]
    assert "1 of 4 trials was stopped early" in Page(text).text
    assert "1 trial more ended as the loss stopped being a number" in Page(text).text
    assert "1 trial failed for good" in Page(text).text


def test_repeats_have_a_table(recorded: Recorded) -> None:
    recorded.complete(0.9, 0.3)
    assert "repeat small --top 5 --seeds 5" in page_of(recorded).text
    recorded.complete(0.88, 0.2, asked=True, repeats={"trial": 0, "seed": 1})
    assert "deviation, pooled" not in page_of(recorded).text
    recorded.complete(0.90, 0.2, asked=True, repeats={"trial": 0, "seed": 2})
    assert "moves by 1.414 points (standard deviation, pooled over the rows)" in page_of(recorded).text


def test_no_trials_yet(recorded: Recorded) -> None:
    page = page_of(recorded)
    assert "There are no trials yet" in page.text
    assert "Nothing was trained. So there is nothing to believe yet." in page.text


def test_only_failures(recorded: Recorded) -> None:
    recorded.add(TrialState.FAIL, reason="ValueError: broken")
    recorded.add(TrialState.FAIL, reason="MemoryError")
    page = page_of(recorded)
    assert "No trial came to its end, so there is no winner" in page.text
    assert (
        "Of 2 trials, 0 stopped early and 2 failed. Without a finished trial there is nothing to believe." in page.text
    )
    assert "MemoryError" in page.text


def test_one_trial(recorded: Recorded) -> None:
    recorded.complete(0.9, 0.3)
    page = page_of(recorded)
    assert "is the only network that was trained to its end: it reads 90.00 % of the validation digits" in page.text
    assert "One trial ran to its end, so nothing was chosen among several." in page.text
    assert "No ensemble was built yet." in page.text


def test_a_trial_that_runs(recorded: Recorded) -> None:
    recorded.add(TrialState.WAITING)
    page = page_of(recorded)
    assert "No trial has finished yet" in page.text


def test_without_predictions_and_images_it_says_so(recorded: Recorded) -> None:
    recorded.complete(0.9, 0.3)
    recorded.complete(0.8, 0.4)
    (recorded.paths.trial(0)).mkdir(parents=True)
    (recorded.paths.trial(0) / "val_probs.npz").write_bytes(b"damaged")
    page = page_of(recorded)
    assert "The trials' predictions for the validation images are not there" in page.text
    assert "replay small N --keep" in page.text
    assert "Luck of one trial" not in page.text  # which takes the number of images


@pytest.mark.parametrize("damage", ["{", "{}", "null", '{"format": 1, "study": "<script>alert(1)</script>"}'])
def test_a_damaged_ensemble_is_none(recorded: Recorded, damage: str) -> None:
    recorded.complete(0.9, 0.3)
    recorded.paths.ensemble.mkdir(parents=True)
    (recorded.paths.ensemble / RECORD).write_text(damage)
    assert "The ensemble's record cannot be read" in page_of(recorded).text


def test_an_ensemble_of_impossible_figures_is_none(real: tuple[Path, StudyPaths, str], recorded: Recorded) -> None:
    record = json.loads((real[1].ensemble / RECORD).read_text())
    record["scores"]["test"]["accuracy"] = 7.0
    recorded.paths.ensemble.mkdir(parents=True)
    (recorded.paths.ensemble / RECORD).write_text(json.dumps(record))
    recorded.complete(0.9, 0.3)
    assert "The ensemble's record cannot be read: a share from 0 to 1" in page_of(recorded).text


def test_impossible_results_are_none(recorded: Recorded) -> None:
    recorded.complete(7.0, 0.3, seconds=float("nan"))
    facts = recorded.facts()
    (trial,) = facts.trials
    assert (trial.val_accuracy, trial.seconds) == (None, None)
    assert "Trial #000 is the best so far" in Page(render(facts)).text


def test_a_study_that_was_never_run(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must have been run before"):
        write_report("nothing", root=tmp_path)


def test_colours_have_contrast() -> None:
    css = SOURCES.joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in css.split("@media", 2)[:2])
    for colours in (light, light | dark):
        for ink in ("ink", "quiet", "accent"):
            for ground in ("ground", "card", "soft"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
        assert contrast(colours["ink"], colours["wrong"]) >= 4.5
        for mark in ("complete", "failed"):
            assert contrast(colours[mark], colours["card"]) >= 3


def contrast(first: str, second: str) -> float:
    """Returns the contrast of two colours. Source: WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def picture(title: str, height: int) -> Image:
    return Image(title=title, caption="", png=bytes(16) + (840).to_bytes(4) + height.to_bytes(4))


def test_columns_of_pictures_end_together() -> None:
    heights = {"a": 300, "b": 450, "c": 800, "d": 1080, "e": 330, "f": 500, "g": 230}
    both = columns([picture(title, height) for title, height in heights.items()])
    titles = ["".join(each.title for each in column) for column in both]
    assert sorted("".join(titles)) == sorted(heights)
    assert all(list(column) == sorted(column) for column in titles)
    ends = [sum(heights[title] for title in column) for column in titles]
    assert abs(ends[0] - ends[1]) <= 60
    alone = picture("a", 300)
    assert columns([alone]) == ([alone], [])
    assert columns([]) == ([], [])
