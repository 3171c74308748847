from __future__ import annotations

import json

import numpy as np
import pytest

from mnistnn.files import sha256_file
from sweeps.errors import StudyError
from sweeps.study.locks import FileLock
from sweeps.tracking.cleaned import CLEANED, note_cleaned
from tests.sweeps.care.lab import Lab


@pytest.mark.parametrize("name", ["weights.npz", "recipe.json", "val_probs.npz", "final.npz"])
@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_what_is_missing_or_damaged_is_put_back(lab: Lab, name: str, damage: str) -> None:
    path = lab.file(name)
    before = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(before[: len(before) // 2])
    found = lab.replay()
    assert (found.is_same, found.broken, found.kept) == (True, (name,), ())
    assert f"  files       {name} is missing or damaged; --keep puts it back" in found.text()
    found = lab.replay(keep=True)
    assert (found.is_same, found.broken, found.kept) == (True, (), (name,))
    assert found.text().endswith(f"\n  put back    {name}")
    if name != "final.npz":  # whose history says how long the epochs took
        assert path.read_bytes() == before
    assert lab.replay(keep=True).kept == ()


def test_a_changed_weight_is_found_and_mended(lab: Lab) -> None:
    path = lab.file("weights.npz")
    before = bytearray(path.read_bytes())
    before[len(before) // 2] ^= 1
    path.write_bytes(before)
    found = lab.replay(keep=True)
    assert (found.is_same, found.kept) == (True, ("weights.npz",))
    assert sha256_file(path) == found.weights_sha256


def test_a_cleaned_trial_becomes_whole_again(lab: Lab) -> None:
    names = ("weights.npz", "final.npz")
    note_cleaned(lab.paths.trial(0), {name: {"bytes": 1} for name in names})
    for name in names:
        lab.file(name).unlink()
    assert lab.replay(keep=True).kept == names
    assert not lab.file(CLEANED).exists()


def test_a_recipe_that_is_not_what_the_parameters_come_to_is_remarked(lab: Lab) -> None:
    lab.file("weights.npz").unlink()  # its header would tell
    recipe = json.loads(lab.file("recipe.json").read_text())
    recipe["training"]["label_smoothing"] = 0.25
    lab.file("recipe.json").write_text(json.dumps(recipe))
    found = lab.replay()
    assert found.exit_code == 1
    assert "recipe.json, which is not what the trial's parameters come to" in found.remarks[0]
    assert "training.label_smoothing 0.25, not 0.0" in found.remarks[0]
    many = {**recipe, "network": {**recipe["network"], "layers": recipe["network"]["layers"] * 10_000}}
    for text in ("[" * 100_000, "{}", "[]", '{"network": {"layers": 1}}', json.dumps(many)):
        lab.file("recipe.json").write_text(text)
        assert lab.replay().is_same  # by the parameters
    assert lab.replay(keep=True).kept == ("weights.npz", "recipe.json")


def test_a_trial_that_somebody_holds_is_not_mended(lab: Lab) -> None:
    lab.file("recipe.json").unlink()
    lock = FileLock(lab.file("lock"))
    assert lock.acquire()
    with pytest.raises(StudyError, match="another process holds #000; try again"):
        lab.replay(keep=True)
    assert not lab.file("recipe.json").exists()
    lock.release()
    assert lab.replay(keep=True).kept == ("recipe.json",)


def test_predictions_without_their_rows_are_whole_and_those_of_other_rows_are_not(lab: Lab) -> None:
    path = lab.file("val_probs.npz")
    arrays = dict(np.load(path))
    np.savez(path, probs=arrays["probs"], labels=arrays["labels"])  # as older versions wrote them
    assert lab.replay().broken == ()
    np.savez(path, **arrays | {"indices": arrays["indices"] + 1})
    assert lab.replay().broken == ("val_probs.npz",)
