"""What every registered Spec keeps to, whatever it describes. A new file is tested here unasked."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.domains import Choice, Domain, FloatRange, IntRange, domains_of
from mnistnn.errors import SpecError
from mnistnn.registry import Registry, augmentation, layer, optimizer, schedule

REGISTRIES = (layer, optimizer, schedule, augmentation)
ALL = [pytest.param(kind, name, id=f"{kind.kind}-{name}") for kind in REGISTRIES for name in kind.names()]


def values_of(domain: Domain) -> st.SearchStrategy[Any]:
    match domain:
        case FloatRange():
            return st.floats(domain.low, domain.high)
        case IntRange():
            return st.integers(0, (domain.high - domain.low) // domain.step).map(lambda k: domain.low + k * domain.step)
        case Choice():
            return st.sampled_from(domain.values)


def outside(domain: Domain) -> list[Any]:
    if isinstance(domain, Choice):
        return ["no such choice", None]
    return [domain.low - 1, domain.high + 1, float("nan"), float("inf"), "1", None, True]


def test_each_registry_found_its_files() -> None:
    maps = {"conv2d", "max_pool2d", "global_avg_pool2d", "flatten", "fork", "add"}
    assert maps | {"dense", "sigmoid", "relu", "batch_norm", "dropout", "input"} <= set(layer.names())
    assert {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamw"} <= set(optimizer.names())
    assert {"constant", "step", "cosine", "one_cycle"} <= set(schedule.names())
    assert "translation" in augmentation.names()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_default_is_legal_and_described(kind: Registry, name: str) -> None:
    spec_class = kind.get(name)
    spec = spec_class()
    assert kind.name_of(spec) == name
    # A dataclass without a docstring of its own shows its signature in the place of one.
    assert not (inspect.getdoc(spec_class) or spec_class.__name__).startswith(spec_class.__name__)
    for field in dataclasses.fields(spec):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, field.name, getattr(spec, field.name))


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_it_survives_toml(kind: Registry, name: str, through_toml: Callable[..., dict[str, Any]]) -> None:
    domains = domains_of(kind.get(name))

    @given(st.fixed_dictionaries({field: values_of(domain) for field, domain in domains.items()}))
    def survives(values: dict[str, Any]) -> None:
        spec = kind.get(name)(**values)
        assert kind.from_dict(through_toml(kind.to_dict(spec))) == spec

    survives()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_values_outside_a_domain_are_refused_in_one_line(kind: Registry, name: str) -> None:
    for field, domain in domains_of(kind.get(name)).items():
        for value in outside(domain):
            with pytest.raises(SpecError, match=field) as caught:
                kind.from_dict({"type": name, field: value})
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_an_unknown_field_is_refused(kind: Registry, name: str) -> None:
    with pytest.raises(SpecError, match="no field 'no_such_field'"):
        kind.from_dict({"type": name, "no_such_field": 1})
