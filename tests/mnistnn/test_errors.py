from __future__ import annotations

import pytest

from mnistnn import errors
from mnistnn.errors import InputError, nearest


def test_what_users_cause_is_one_family() -> None:
    for name in ("CheckpointError", "DataError", "OutputError", "SpecError"):
        assert issubclass(getattr(errors, name), InputError)
    assert issubclass(InputError, ValueError)
    for ending in (errors.Diverged, errors.Stopped):
        assert not issubclass(ending, ValueError)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("relo", "did you mean 'relu'?"), ("Sigmoid", "did you mean 'sigmoid'?"), ("xyz", "known are: relu, sigmoid.")],
)
def test_nearest_helps(name: str, hint: str) -> None:
    assert nearest(name, ["sigmoid", "relu"]) == hint
