from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mnistnn.types import Floats, UInt8s
from sweeps.ensemble.carried import Carried
from sweeps.ensemble.evaluate import share_interval
from sweeps.ensemble.members import Member
from sweeps.robustness.evaluation import Subjects, evaluate
from sweeps.robustness.record import Figures, Robustness, read_robustness, save_robustness
from sweeps.robustness.variants import GROUPS
from sweeps.views.pictures.robustness import draw_robustness
from sweeps.views.robustness import as_markdown, as_text

SURE, WRONG = 0.91, 0.01  # what a reader gives to its digit, and to each other
CALLS: list[tuple[int, int]] = []  # which member answered for how many images


@dataclass(frozen=True)
class ReadsColumns:
    """An ensemble whose members say by how many columns right of column 9 a dot lies; each is off by its number."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]
    study: str = "dots"
    temperature: float = 1.0
    paths: Any = field(default=None, compare=False)

    def member_probs(self, images: UInt8s) -> Iterator[Floats]:
        for member in self.members:
            CALLS.append((member.number, len(images)))
            column = images.max(axis=1).argmax(axis=1).astype(int) - 9 + member.number
            probs = np.full((len(images), 10), WRONG, np.float32)
            probs[np.arange(len(images)), column.clip(0, 9)] = SURE
            yield probs


REPORT: Any = SimpleNamespace(
    title="ensemble of dots", digest="e" * 64, data={"name": "dots", "digest": "d" * 64}, carried=None
)


def members(*off: int) -> tuple[Member, ...]:
    return tuple(Member(number, f"off by {number}", "0" * 64, 0.1) for number in off)


def dots(count: int = 20) -> Subjects:
    images = np.zeros((count, 28, 28), np.uint8)
    labels = np.arange(count) % 10
    images[np.arange(count), 13, labels + 9] = 255
    return Subjects("validation", images, labels, np.ones((1, count), bool))


def tried(ensemble: ReadsColumns, subjects: Subjects, **more: Any) -> Robustness:
    CALLS.clear()
    return evaluate(REPORT, cast(Any, ensemble), subjects, **({"digits": False} | more))


@pytest.fixture(scope="module")
def found() -> Robustness:
    wanted = [group for group in GROUPS if group.name in ("as they are", "shift 2 px", "shift 6 px")]
    return evaluate(REPORT, cast(Any, ReadsColumns(members(0), (1.0,))), dots(), groups=wanted, digits=False)


def test_the_figures_of_a_known_shift_are_exact(found: Robustness) -> None:
    clean, two, six = found.groups
    assert clean.ensemble.accuracy == share_interval(1.0, 20)
    assert clean.ensemble.loss == pytest.approx(-np.log(SURE))
    assert clean.variants == {}
    assert clean.worst is None
    # Up and down change no column. To the left only 0 is still right, as nothing is less; to the right only 9.
    assert two.variants == {
        "up": 1, "down": 1, "left": 0.1, "right": 0.1,
        "up left": 0.1, "up right": 0.1, "down left": 0.1, "down right": 0.1,
    }  # fmt: skip
    share = (2 * 1 + 6 * 0.1) / 8
    assert two.ensemble.accuracy == share_interval(share, 20)
    assert two.ensemble.loss == pytest.approx(share * -np.log(SURE) + (1 - share) * -np.log(WRONG))
    assert two.worst == ("left", 0.1)
    assert two.members == (two.ensemble,)
    assert [clean.ink, two.ink, six.ink] == [1, 1, 1]
    assert [each.ensemble.images for each in found.groups] == [20, 20, 20]


def test_an_average_is_weighed_and_tempered() -> None:
    ensemble = ReadsColumns(members(0, 1), (0.7, 0.3), temperature=2.0)
    subjects = dots()
    subjects = Subjects("test", subjects.images, subjects.labels, np.ones((2, 20), bool), openings=3)
    found = tried(ensemble, subjects, groups=GROUPS[:1])
    (clean,) = found.groups
    assert [each.accuracy.estimate for each in clean.members] == [1.0, 0.1]  # 9 is right by being the last
    assert clean.ensemble.accuracy.estimate == 1.0
    roots = np.sqrt([0.7 * SURE + 0.3 * WRONG, 0.3 * SURE + 0.7 * WRONG, *[WRONG] * 8])
    alone = np.sqrt([SURE, *[WRONG] * 9])
    expected = -0.9 * np.log(roots[0] / roots.sum()) - 0.1 * np.log(alone[0] / alone.sum())
    assert clean.ensemble.loss == pytest.approx(expected, rel=1e-5)
    assert (found.part, found.test_openings, found.members) == ("test", 3, (("#000", "off by 0"), ("#001", "off by 1")))


def test_members_answer_only_for_what_they_were_not_trained_on() -> None:
    seen = np.zeros((2, 20), bool)
    seen[0, :10] = seen[1, 5:] = True  # on the middle five both may answer
    subjects = dots()
    subjects = Subjects("out-of-fold", subjects.images, subjects.labels, seen)
    found = tried(ReadsColumns(members(1, 0), (0.6, 0.4)), subjects, groups=GROUPS[:2])
    clean = found.groups[0]
    assert set(CALLS) == {(1, 10), (0, 15)}
    assert [each.images for each in clean.members] == [10, 15]
    assert [each.accuracy.estimate for each in clean.members] == [0.1, 1.0]
    # The one that is off decides the first ten, where it counts more; of them the digit 9 is right nevertheless.
    assert clean.ensemble.accuracy.estimate == (10 + 1) / 20
    assert "For each image answer only those members" in as_text(found)


def test_single_answers_have_the_temperature_of_single_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = np.zeros((2, 20), bool)
    seen[0, ::2] = seen[1, 1::2] = True
    subjects = dots()
    apart = Subjects("out-of-fold", subjects.images, subjects.labels, seen)
    together = Subjects("test", subjects.images, subjects.labels, np.ones((2, 20), bool))
    ensemble = ReadsColumns(members(0, 0), (0.5, 0.5), temperature=0.5)
    monkeypatch.setattr(REPORT, "carried", Carried(single=1.0, ratio=0.5, trials=2))
    losses = {one.part: tried(ensemble, one, groups=GROUPS[:1]).groups[0].ensemble.loss for one in (apart, together)}
    assert losses["out-of-fold"] == pytest.approx(-np.log(SURE), rel=1e-4)
    sharper = SURE**2 / (SURE**2 + 9 * WRONG**2)
    assert losses["test"] == pytest.approx(-np.log(sharper), rel=1e-4)


def test_a_member_that_was_trained_on_all_of_the_images_has_no_figure(tmp_path: Path) -> None:
    seen = np.zeros((3, 20), bool)
    seen[0] = seen[2] = True
    subjects = dots()
    subjects = Subjects("out-of-fold", subjects.images, subjects.labels, seen, sampled=20)
    found = tried(ReadsColumns(members(0, 2, 1), (0.5, 0.3, 0.2)), subjects, groups=GROUPS[:2])
    clean, two = found.groups
    assert {number for number, _ in CALLS} == {0, 1}
    assert clean.members[1] is two.members[1] is None
    assert clean.members[0] == share_of(1.0, clean.members[0])
    assert "10.00 – 100.00 %" in as_text(found)
    assert "has no figure (-)" in as_text(found).replace("\n", " ")
    page = as_markdown(found)
    assert "| 100.00 % | - | 10.00 % |" in page
    draw_robustness(found, subjects.images)
    save_robustness(found, tmp_path / "robustness.json")
    assert read_robustness(tmp_path / "robustness.json") == found


def share_of(share: float, figures: Figures | None) -> Figures:
    assert figures is not None
    return Figures(share_interval(share, 20), figures.loss, 20)


def test_occluded_and_cut_ink_is_told() -> None:
    images = np.full((10, 28, 28), 200, np.uint8)
    subjects = Subjects("validation", images, np.zeros(10, np.int64), np.ones((1, 10), bool))
    wanted = [group for group in GROUPS if group.name in ("as they are", "shift 6 px", "occlusion")]
    found = tried(ReadsColumns(members(0), (1.0,)), subjects, groups=wanted)
    assert found.group("occlusion").ink == pytest.approx(1 - 49 / 784)
    assert found.group("shift 6 px").ink == pytest.approx((4 * 22 * 28 + 4 * 22 * 22) / (8 * 784))
    assert "of all ink: shift 6 px 29.85 %" in as_text(found).replace("\n", " ")


def test_threads_change_nothing(found: Robustness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.robustness.evaluation.usable_cores", lambda: 1)
    wanted = [group for group in GROUPS if group.name in {each.name for each in found.groups}]
    assert tried(ReadsColumns(members(0), (1.0,)), dots(), groups=wanted).groups == found.groups


def test_it_is_told_as_text_and_as_a_page(found: Robustness) -> None:
    text, page = as_text(found), as_markdown(found)
    assert text.splitlines()[0] == "ensemble of dots · study dots, 20 validation images"
    (line,) = [line for line in text.splitlines() if line.startswith("shift 2 px")]
    assert line.split("  ")[-1] == "10.00 % left"
    assert "32.50 %" in line
    assert "have chosen the members" in text
    assert "| shift 2 px | moved along one axis or both | **32.50 %** |" in page
    assert "- #000: off by 0" in page
    assert "`sweeps robustness dots`" in page
    assert max(map(len, text.splitlines())) <= 110


def test_it_survives_json(found: Robustness, tmp_path: Path) -> None:
    path = tmp_path / "robustness.json"
    save_robustness(found, path)
    assert read_robustness(path) == found
    values = json.loads(path.read_text())
    for damage in (
        b"",
        b"[]",
        path.read_bytes()[:-30],
        json.dumps(values | {"format": 2}).encode(),
        json.dumps(values | {"images": "many"}).encode(),
        json.dumps(values | {"more": 1}).encode(),
        json.dumps(values | {"members": []}).encode(),
        json.dumps(values | {"groups": []}).encode(),
    ):
        path.write_bytes(damage)
        assert read_robustness(path) is None
    assert read_robustness(tmp_path / "absent.json") is None
