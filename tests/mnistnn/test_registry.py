from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from mnistnn.domains import FloatRange, IntRange
from mnistnn.errors import SpecError
from mnistnn.registry import Registry
from mnistnn.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup(Spec):
    """Hot."""

    salt: Annotated[float, FloatRange(0.0, 1.0)] = 0.1
    bowls: Annotated[int, IntRange(1, 9)] = 1
    size: tuple[int, ...] = (1, 2)


@pytest.fixture
def dishes() -> Registry:
    registry = Registry("dish", "mnistnn.layers")
    registry("soup", role="starter")(Soup)
    return registry


def test_a_spec_goes_to_plain_values_and_back(dishes: Registry) -> None:
    soup = Soup(salt=0.3, size=(4,))
    assert dishes.to_dict(soup) == {"type": "soup", "salt": 0.3, "bowls": 1, "size": [4]}
    assert dishes.from_dict(dishes.to_dict(soup)) == soup
    assert dishes.from_dict({"type": "soup"}) == Soup()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"type": "soap"}, "unknown dish 'soap'; did you mean 'soup'?"),
        (
            {"type": "tea"},
            "unknown dish 'tea'; known are: soup; if it was known before, put the file back that registered it.",
        ),
        ({"type": "soup", "bowl": 2}, "dish 'soup' has no field 'bowl'; did you mean 'bowls'?"),
        ({"type": "soup", "bowls": 2.0}, "`bowls` must be a whole number from 1 to 9, but got 2.0."),
        ({"type": "soup", "salt": "much"}, "`salt` must be a number from 0 to 1, but got 'much'."),
        ({"salt": 1}, "a dish must be a table with a `type`, but got {'salt': 1}."),
        ({"type": 3}, "a dish must be a table with a `type`, but got {'type': 3}."),
        ([1], "a dish must be a table with a `type`, but got [1]."),
    ],
)
def test_what_is_wrong_is_said(dishes: Registry, values: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        dishes.from_dict(values)
    assert str(caught.value) == message


def test_names_by_role(dishes: Registry) -> None:
    assert dishes.names() == dishes.names("starter") == ["soup"]
    assert dishes.names("dessert") == []
    assert dishes.get("soup") is Soup


def test_a_name_is_given_once(dishes: Registry) -> None:
    with pytest.raises(SpecError, match="'soup' is taken"):
        dishes("soup")(Soup)


def test_a_new_file_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CONTRIBUTING promises: nothing but the file has to be written for it to be known."""
    package = tmp_path / "kitchen_of_this_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cake.py").write_text(
        "from dataclasses import dataclass\n"
        "from mnistnn.spec import Spec\n"
        "from tests_registry_of_cakes import cakes\n"
        "@cakes('cake')\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class Cake(Spec):\n"
        "    layers: int = 3\n"
    )
    cakes = Registry("cake", "kitchen_of_this_test")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tests_registry_of_cakes", type("Module", (), {"cakes": cakes})())
    assert cakes.names() == ["cake"]
    assert cakes.from_dict({"type": "cake", "layers": 2}).layers == 2
