from __future__ import annotations

from pathlib import Path

import pytest

from mnistnn.errors import CheckpointError
from sweeps.paths import Paths
from sweeps.single.models import find_model, weights_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a trained net and two studies, of which one has an ensemble."""
    files = ("mlruns/train/wide-1/weights.npz", "studies/contest/ensemble/ensemble.json", "studies/smoke/journal.log")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("contets", "did you mean 'contest'?"),
        ("wide-2", "did you mean 'wide-1'?"),
        ("zzz", "known are: contest, wide-1."),
        ("smok", "known are: contest, wide-1."),
    ],
)
def test_an_unknown_model_is_told_the_nearest_net_or_study(root: Path, name: str, remedy: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_model(name, root)
    kinds = "a .npz file or a trained net's name, or a study with an ensemble"
    assert str(caught.value) == f"a model must be {kinds}, but got {name!r}; {remedy}"


def test_a_training_begins_with_no_study(root: Path) -> None:
    with pytest.raises(CheckpointError, match="or a trained net's name, but got 'contets'; known are: wide-1"):
        weights_path("contets", root)


def test_without_any_model_a_training_is_advised(tmp_path: Path) -> None:
    assert not Paths(tmp_path).studies.exists()
    with pytest.raises(CheckpointError, match="train one with `train small`"):
        find_model("contest", tmp_path)
