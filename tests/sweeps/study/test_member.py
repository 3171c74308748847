"""A member of the final stage as it is trained, judged, resumed, replayed and handed on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data import Dataset
from mnistnn.data.dataset import Split
from mnistnn.metrics import accuracy, cross_entropy
from mnistnn.schedules import OneCycle
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.replay import replay_trial
from sweeps.ensemble.choice import choose
from sweeps.errors import StudyError
from sweeps.study.extend import extend
from sweeps.study.final import FinalStage
from sweeps.study.forecast import Forecast
from sweeps.study.fork import fork
from sweeps.study.lookup import find_trial
from sweeps.study.recovery import recover
from sweeps.study.repeat import chosen
from sweeps.study.storage import load_study
from sweeps.views.compare import compare
from sweeps.views.pictures.facts import gather
from sweeps.views.report.gather import gather_facts
from sweeps.views.trials import render_best, source_of, trials_frame
from tests.sweeps.care.lab import Lab, Tiny
from tests.sweeps.small import Killed, stop_after

CHANGES: dict[str, Any] = {
    "search__dropout": 0.2,
    "final": {"top": 2, "epochs": 2, "folds": 3, "members": 2},
    "budget__trials": 2,
}


class Few(Tiny):
    """Also parted into folds."""

    def fold(self, number: int, count: int, seed: int) -> tuple[Split, Split]:
        train, left_out = self._sample.fold(number, count, seed)
        return (
            Split(train.images, train.labels, train.indices[:200]),
            Split(left_out.images, left_out.labels, left_out.indices[:100]),
        )


@pytest.fixture(scope="module")
def few(sample: Dataset) -> Any:
    return Few(sample)


def queue(lab: Lab) -> int:
    """Queues the next member, as a worker does that takes it up."""
    stage = FinalStage(lab.config, Forecast(lab.config, lab.study.sampler._space, 200), lab.paths, 300)  # type: ignore[attr-defined]
    queued = stage.next(lab.study, lab.study.get_trials(deepcopy=False))
    assert queued is not None
    return queued.number


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, few: Any) -> Lab:
    """A study of two trials that ended, and its two members. Not to be changed."""
    lab = Lab(tmp_path_factory.mktemp("begun"), few, **CHANGES)
    for _ in range(2):
        lab.run()
    for number in (2, 3):
        assert queue(lab) == number
        assert run(lab, number) == TrialState.COMPLETE
    return lab


def run(lab: Lab, number: int, **options: Any) -> TrialState | None:
    """Runs the trial that waits, whatever the budget says of it."""
    trial = find_trial(lab.study, number)
    lab.study._storage.set_trial_user_attr(trial._trial_id, "asked", True)
    return lab.run(**options)


@pytest.fixture
def lab(begun: Lab, tmp_path: Path, few: Any) -> Lab:
    shutil.copytree(begun.root, tmp_path / "lab")
    return Lab(tmp_path / "lab", few, **CHANGES)


def member(lab: Lab, number: int = 2) -> FrozenTrial:
    return find_trial(lab.study, number)


def test_what_a_member_leaves(begun: Lab, few: Any) -> None:
    trial = member(begun)
    final = trial.user_attrs["final"]
    train, left_out = few.fold(final["fold"], 3, final["seed"])
    with np.load(begun.file("val_probs.npz", 2)) as file:
        probs, labels, indices = file["probs"], file["labels"], file["indices"]
    np.testing.assert_array_equal(indices, left_out.indices)
    np.testing.assert_array_equal(labels, left_out.take()[1])
    assert not np.isin(train.indices, indices).any()
    network = load_model(begun.file("weights.npz", 2))
    np.testing.assert_allclose(network.predict_proba(left_out.take()[0]), probs, atol=1e-5)
    assert trial.value == trial.user_attrs["val_loss"] == pytest.approx(cross_entropy(labels, probs), rel=1e-4)
    assert trial.user_attrs["val_accuracy"] == pytest.approx(accuracy(labels, probs))
    assert (trial.user_attrs["epochs_run"], trial.user_attrs["best_epoch"]) == (2, 2)
    said = read_header(begun.file("weights.npz", 2))
    assert said["extra"] == {
        "study": "small", "trial": 2, "seed": 3, "final": {"fold": final["fold"], "folds": 3, "seed": 3},
    }  # fmt: skip
    assert said["training"]["epochs"] == 2


def test_no_image_that_it_left_out_is_looked_at_before_its_end(begun: Lab) -> None:
    epochs = begun.events("epoch", 2)
    assert [sorted(event["metrics"]) for event in epochs] == [
        ["epoch_seconds", "images_per_s", "learning_rate", "train_accuracy", "train_loss"]
    ] * 2
    (end,) = begun.events("end", 2)
    assert end["metrics"]["best_val_loss"] == member(begun).value
    # What it reports tells how far it is, and how well it knows what it learns from.
    assert member(begun).intermediate_values == {event["step"]: event["metrics"]["train_loss"] for event in epochs}


def test_its_run_says_what_it_is(begun: Lab) -> None:
    (start,) = begun.events("start", 2)
    of, fold = (member(begun).user_attrs["final"][name] for name in ("of", "fold"))
    assert start["name"].startswith(f"#002 final {fold}/3 conv ")
    assert {name: start["tags"][name] for name in ("stage", "final_of", "fold")} == {
        "stage": "final",
        "final_of": str(of),
        "fold": f"{fold} of 3",
    }
    assert f"member of the final stage #{of:03d}, fold {fold} of 3" in start["note"]
    assert start["params"]["epochs"] == 2


def test_members_are_other_trainings_of_the_same_and_come_out_again(begun: Lab) -> None:
    digests = {member(begun, number).user_attrs["weights_sha256"] for number in (2, 3)}
    assert len(digests) == 2
    for number in (2, 3):
        found = begun.replay(number)
        assert (found.exit_code, found.same_state, found.broken) == (0, True, ()), found.text()


@pytest.mark.parametrize("steps", [1, 3])
def test_a_stop_or_a_death_changes_nothing(begun: Lab, lab: Lab, steps: int) -> None:
    lab.config = lab.config.model_copy(update={"final": lab.config.final.model_copy(update={"members": 3})})  # type: ignore[union-attr]
    number = queue(lab)
    assert run(lab, number, stop=stop_after(steps)) == TrialState.WAITING
    with pytest.raises(Killed):
        run(lab, number, stop=stop_after(1, Killed))
    assert recover(lab.study, lab.paths) == [number]
    assert run(lab, number) == TrialState.COMPLETE
    assert lab.replay(number).is_same


PLANNED: dict[str, Any] = CHANGES | {
    "final": {"top": 2, "epochs": 8, "folds": 3, "members": 2},
    "fixed": {"blocks": 1, "kernel": 3, "batch_size": 100, "schedule": {"one_cycle": {"warmup": 0.25}}},
}


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets time run short after a member's fourth epoch: it holds two more."""
    monkeypatch.setattr(
        "sweeps.study.member.fewer_epochs", lambda done, *rest: 6 if (done, rest[0]) == (4, 8) else None
    )


@pytest.mark.usefixtures("slower")
@pytest.mark.parametrize("steps", [None, 9, 11])
def test_a_member_that_would_not_end_in_time_comes_to_an_earlier_end(
    tmp_path: Path, few: Any, steps: int | None
) -> None:
    lab = Lab(tmp_path, few, **PLANNED)
    for _ in range(2):
        lab.run()
    number = queue(lab)
    said: list[str] = []
    if steps is not None:  # a step after it was shortened, or before the last epoch
        with pytest.raises(Killed):
            run(lab, number, left_s=lambda: 1.0, say=said.append, stop=stop_after(steps, Killed))
        assert recover(lab.study, lab.paths) == [number]
    assert run(lab, number, left_s=lambda: 1.0, say=said.append) == TrialState.COMPLETE
    trial = member(lab, number)
    final = trial.user_attrs["final"]
    assert (final["epochs"], final["plans"], final["until"]) == (6, [8], [4])
    assert trial.user_attrs["epochs_run"] == 6
    rates = [event["metrics"]["learning_rate"] for event in lab.events("epoch", number)]
    assert len(rates) == 6
    longer = OneCycle(warmup=0.25)
    steps_of = 2  # an epoch has
    whole = [longer.factor(steps_of * epoch - 1, 8 * steps_of) for epoch in range(1, 5)]
    short = [longer.factor(steps_of * epoch - 1, 6 * steps_of) for epoch in (5, 6)]
    highest = rates[0] / whole[0]
    assert rates == pytest.approx([highest * factor for factor in (*whole, *short)])
    assert read_header(lab.file("weights.npz", number))["training"]["epochs"] == 6
    how = "6 epochs instead of 8, from epoch 4 on"
    assert [event["tags"] for event in lab.events("tags", number)] == [{"shortened": how}]
    assert f"trial {number}: {how}, as there is no time for more" in said
    found = lab.replay(number)
    assert (found.exit_code, found.same_state, found.broken) == (0, True, ()), found.text()


def test_a_member_that_ends_in_time_stays_as_long_as_it_is(tmp_path: Path, few: Any) -> None:
    lab = Lab(tmp_path, few, **PLANNED)
    for _ in range(2):
        lab.run()
    number = queue(lab)
    assert run(lab, number, left_s=lambda: 1000.0) == TrialState.COMPLETE
    assert member(lab, number).user_attrs["epochs_run"] == member(lab, number).user_attrs["final"]["epochs"] == 8
    assert "plans" not in member(lab, number).user_attrs["final"]


def test_averaged_weights_are_what_is_kept(tmp_path: Path, few: Any) -> None:
    lab = Lab(tmp_path, few, **CHANGES, fixed__ema=0.9, search__norm=["batch_norm"])
    for _ in range(2):
        lab.run()
    number = queue(lab)
    assert run(lab, number) == TrialState.COMPLETE
    trial = member(lab, number)
    with np.load(lab.file("val_probs.npz", number)) as file:
        assert trial.value == pytest.approx(cross_entropy(file["labels"], file["probs"]), rel=1e-4)
    found = lab.replay(number)
    assert (found.is_same, found.same_state, found.broken) == (True, True, ()), found.text()


# What others make of it.


def test_the_ensemble_is_made_of_members(begun: Lab, sample: Dataset) -> None:
    choice = choose(begun.study, begun.config, begun.paths)
    assert (choice.stage, sorted(each.number for each in choice.ensemble.members)) == ("final", [2, 3])
    # A third of the images, which one member of each architecture left out: so they can be held against each other.
    assert (len(choice.evidence), choice.evidence.answers) == (100, 2.0)


def test_it_is_neither_repeated_nor_extended(begun: Lab) -> None:
    assert set(chosen(begun.study)) == {0, 1}
    with pytest.raises(StudyError, match="#002 is a member of the final stage, which was trained on other images"):
        chosen(begun.study, numbers=[2])
    with pytest.raises(StudyError, match="must be one of the search, but #002 is a member of the final stage"):
        extend(begun.study, begun.paths, 2, 9, budget=begun.config)


def test_tables_and_pictures_tell_it_from_the_search(begun: Lab) -> None:
    of, fold = (member(begun).user_attrs["final"][name] for name in ("of", "fold"))
    assert source_of(member(begun)) == f"final of #{of:03d}, fold {fold} of 3"
    frame = trials_frame(begun.study)
    assert frame.set_index("trial").loc[2, "from"] == source_of(member(begun))
    best, members = render_best(begun.study).split("\n\nfinal stage, each judged by the images that it left out\n\n")
    assert all(f"#{number:03d}" in best for number in (0, 1))
    assert "#002" not in best
    assert all(f"#{number:03d}" in members for number in (2, 3))
    facts = gather(begun.study, begun.paths)
    assert [trial.number for trial in facts.trials] == [0, 1]
    assert [trial.number for trial in facts.members] == [2, 3]


def test_the_report_has_a_winner_of_the_search_and_lists_members(begun: Lab) -> None:
    facts = gather_facts(begun.study, begun.paths, begun.root)
    assert facts.winner is not None
    assert facts.winner.trial.number in (0, 1)
    assert facts.effort.members == 2
    roles = {trial.number: trial.role for trial in facts.trials}
    assert roles[2].startswith("final of #00")
    assert roles[0] == ""


def test_nets_that_left_out_other_images_are_not_compared_by_them(begun: Lab) -> None:
    found = compare(begun.study, begun.paths, 0, 2)
    assert found.images is None
    assert "predicted other images each" in found.why_not
    assert found.picked_from == 2
    alike = compare(begun.study, begun.paths, 2, 3)  # which left out the same ones
    assert alike.images is not None
    assert alike.images.images == 100
    assert "Of 100 images that both left out #002 alone is right on" in alike.verdict()[0]
    assert "each was validated once, at its end" in str(alike)


def test_a_fork_brings_members_along(lab: Lab) -> None:
    made = fork(lab.config, "new", root=lab.root, overrides=["final.members=1"])
    assert made.complete == 4
    new = load_study("new", None, type(lab.paths)(lab.root / "studies" / "new"))
    assert [source_of(trial)[:10] for trial in new.trials[2:]] == ["final of #", "final of #"]
    for number in (2, 3):
        found = replay_trial("new", number, root=lab.root, dataset=lab.data, progress=False)
        assert (found.is_same, found.remarks) == (True, ()), found.text()


def test_an_archive_keeps_what_it_is_a_member_of(lab: Lab) -> None:
    snapshot = Snapshot.parse(Snapshot.of(lab.study).journal())
    assert snapshot.trials[2].user_attrs == lab.study.trials[2].user_attrs
    for name, value in (("of", "../x"), ("fold", 4), ("epochs", 0)):
        wrong = Snapshot.of(lab.study)
        wrong.trials[2].user_attrs["final"][name] = value
        with pytest.raises(StudyError, match="what a trial is a member of"):
            Snapshot.parse(wrong.journal())
