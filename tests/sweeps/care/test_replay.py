from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from mnistnn.files import sha256_file
from sweeps import provenance
from sweeps.care.replay import replay_trial
from sweeps.errors import StudyError
from sweeps.study.extend import extend
from sweeps.study.fork import fork
from sweeps.study.lookup import find_trial
from sweeps.study.recovery import recover
from tests.sweeps import command
from tests.sweeps.care.lab import MANY_EPOCHS, Lab, PruneAfter
from tests.sweeps.workers.runs import wait_for


def test_a_finished_trial_comes_out_the_same_and_nothing_is_written(lab: Lab) -> None:
    before = lab.files()
    found = lab.replay()
    assert (found.exit_code, found.epochs, found.same_state, found.changed) == (0, 3, True, {})
    assert found.replayed_sha256 == sha256_file(lab.file("weights.npz"))
    assert found.text().splitlines() == [
        "trial 0 of study small: the same",
        f"  weights     sha256 {str(found.weights_sha256)[:12]}…, as recorded",
        "  curve       3 epochs, each value as recorded",
        "  last state  as kept in final.npz",
    ]
    assert lab.files() == before


def test_the_studys_file_and_the_trials_own_folder_need_not_be_there(lab: Lab) -> None:
    shutil.rmtree(lab.paths.trial(0))
    found = lab.replay()
    assert found.is_same
    assert found.broken == ("weights.npz", "recipe.json", "val_probs.npz", "final.npz")
    assert not lab.paths.trial(0).exists()


def test_a_pruned_trial_is_replayed_as_far_as_it_went(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny, budget__epochs=5)
    assert lab.run(pruner=PruneAfter()) == TrialState.PRUNED
    found = lab.replay()
    assert (found.exit_code, found.epochs, found.same_state, found.weights_sha256) == (0, 2, True, None)
    assert "  curve       2 epochs, each value as recorded\n  end         pruned after epoch 2 of 5\n" in found.text()
    lab.file("final.npz").unlink()
    assert lab.replay(keep=True).kept == ("final.npz",)
    assert lab.replay().same_state
    assert sorted(path.name for path in lab.paths.trial(0).iterdir()) == [
        "events.jsonl",
        "final.npz",
        "history.csv",
        "lock",
    ]


@pytest.mark.parametrize(("batch_size", "whole_epochs"), [(5, 0), (10, 1)])
def test_a_diverged_trial_diverges_in_the_same_step(
    tmp_path: Path, tiny: Any, batch_size: int, whole_epochs: int
) -> None:
    lab = Lab(tmp_path, tiny, budget__epochs=12)
    deep = {f"{name}_{block}": value for block in (2, 3) for name, value in (("filters", 8), ("convs", 2))}
    wild = {"momentum.learning_rate": 1.0, "momentum.momentum": 0.999, "momentum.weight_decay": 0.1}
    net = {
        "blocks": 3,
        "norm": "none",
        "dense_units": 64,
        "batch_size": batch_size,
        "optimizer": "momentum",
        "filters_1": 8,
    }
    lab.study.enqueue_trial({}, user_attrs={"overrides": deep | wild | net})
    assert lab.run() == TrialState.PRUNED
    trial = lab.study.trials[0]
    assert trial.user_attrs["epochs_run"] == whole_epochs
    reason = trial.user_attrs["reason"]
    found = lab.replay()
    assert (found.exit_code, found.reason, found.replayed_reason) == (0, reason, reason)
    assert f"  end         diverged: the loss is nan in epoch {whole_epochs + 1}, step " in found.text()


def test_baselines_are_replayed_with_what_they_override(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny, study__baselines=["mlp3"], budget__epochs=2)
    assert lab.run() == TrialState.COMPLETE
    assert lab.study.trials[0].user_attrs["overrides"]
    assert lab.replay().is_same
    for name in ("weights.npz", "recipe.json"):
        lab.file(name).unlink()
    assert lab.replay().is_same  # by the parameters alone


def test_residual_blocks_are_replayed(tmp_path: Path, tiny: Any) -> None:
    net = {"blocks": 2, "convs_2": 2, "stride_2": 2, "norm": "batch_norm", "block_dropout": 0.1, "ema": 0.9}
    fixed = {f"fixed__{name}": value for name, value in net.items()}
    lab = Lab(tmp_path, tiny, **fixed, search__residual_2=[True, False])
    lab.study.enqueue_trial({"residual_2": True})
    count = iter(range(100))
    assert lab.run(stop=lambda: next(count) >= 3) == TrialState.WAITING  # in its second epoch
    assert lab.run() == TrialState.COMPLETE
    assert "x2r k3 strided 2 bn" in lab.study.trials[0].user_attrs["label"]
    found = lab.replay()
    assert (found.is_same, found.same_state) == (True, True)


def test_a_trial_that_was_stopped_twice_and_lost_a_checkpoint_is_the_same(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny)
    for calls in (3, 3):  # of two steps an epoch
        count = iter(range(100))
        assert lab.run(stop=lambda count=count, calls=calls: next(count) >= calls) == TrialState.WAITING
    lab.file("checkpoint.npz").write_bytes(b"PK")
    assert lab.run() == TrialState.COMPLETE
    assert lab.replay().is_same


def test_extended_trials_are_replayed_stage_by_stage(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny, budget__epochs=5, budget__trials=9)
    assert lab.run(pruner=PruneAfter()) == TrialState.PRUNED
    assert extend(lab.study, lab.paths, 0, 6, budget=lab.config).trial == 1
    assert lab.run() == TrialState.COMPLETE
    assert extend(lab.study, lab.paths, 1, 8, budget=lab.config).trial == 2
    count = iter(range(100))
    assert lab.run(stop=lambda: next(count) >= 2) == TrialState.WAITING
    assert lab.run() == TrialState.COMPLETE
    for number, epochs in enumerate((2, 6, 8)):
        found = lab.replay(number)
        assert (found.is_same, found.same_state, found.epochs) == (True, True, epochs), found.text()
    lab.file("weights.npz", 2).unlink()
    lab.file("recipe.json", 2).unlink()
    assert lab.replay(2).broken == ("weights.npz", "recipe.json")  # by the parameters alone


@pytest.mark.parametrize("is_kept", [True, False])
def test_an_extension_has_the_snapshots_of_its_own_epochs_and_so_has_its_replay(
    tmp_path: Path, tiny: Any, is_kept: bool
) -> None:
    lab = Lab(tmp_path, tiny, budget__epochs=6, fixed__schedule={"cosine": {"cycles": 3}})
    assert lab.run() == TrialState.COMPLETE
    if not is_kept:  # so its epochs are trained again first
        lab.file("final.npz").unlink()
    assert extend(lab.study, lab.paths, 0, 12, budget=lab.config).trial == 1
    assert lab.run() == TrialState.COMPLETE
    for number, epochs in ((0, ["2", "4"]), (1, ["8"])):
        assert list(find_trial(lab.study, number).user_attrs["snapshots"]) == epochs
        found = lab.replay(number)
        assert (found.is_same, found.broken) == (True, () if is_kept or number else ("final.npz",))
    lab.file("snapshot-08.npz", 1).unlink()
    assert lab.replay(1).broken == ("snapshot-08.npz",)


def test_an_older_extensions_snapshots_are_made_again_as_they_are_recorded(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of epochs that it had to train again were its own once."""
    lab = Lab(tmp_path, tiny, budget__epochs=6, fixed__schedule={"cosine": {"cycles": 3}})
    lab.run()
    lab.file("final.npz").unlink()
    extend(lab.study, lab.paths, 0, 12, budget=lab.config)
    with monkeypatch.context() as then:
        then.setattr("sweeps.study.lineage.inherited_epochs", lambda trial: 0)
        assert lab.run() == TrialState.COMPLETE
    assert list(find_trial(lab.study, 1).user_attrs["snapshots"]) == ["2", "4", "8"]
    lab.file("snapshot-02.npz", 1).unlink()
    found = lab.replay(1)
    assert (found.is_same, found.broken) == (True, ("snapshot-02.npz",))


def test_imported_trials_are_replayed_as_those_of_the_study_that_they_come_from(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny, budget__trials=9)
    assert lab.run(pruner=PruneAfter()) == TrialState.PRUNED
    assert lab.run() == TrialState.COMPLETE
    assert extend(lab.study, lab.paths, 1, 4, budget=lab.config).trial == 2
    assert lab.run() == TrialState.COMPLETE
    forked = fork(lab.config, "forked", root=tmp_path, overrides=["search.filters=[2, 4, 8]"])
    assert forked.complete + forked.pruned == 3
    for number in range(3):
        found = replay_trial("forked", number, root=tmp_path, dataset=tiny, progress=False)
        assert (found.is_same, found.remarks, found.changed) == (True, (), {}), found.text()


def test_another_attempts_trial_is_found_by_the_number_it_began_under(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny)
    failed = False

    def fail_once() -> bool:
        nonlocal failed
        if not failed:
            failed = True
            raise RuntimeError("the first attempt")
        return False

    assert lab.run(stop=fail_once) == TrialState.FAIL
    assert lab.run() == TrialState.COMPLETE
    assert [trial.number for trial in lab.study.trials] == [0, 1]
    found = lab.replay(0)
    assert (found.is_same, found.number) == (True, 0)
    with pytest.raises(StudyError, match="study 'small' has 0 to 0 and no 1"):
        lab.replay(1)


def test_a_changed_curve_is_found_where_it_begins_to_differ(lab: Lab) -> None:
    def change(event: dict[str, Any]) -> None:
        if event["step"] >= 2:
            event["metrics"]["train_loss"] = 0.5

    lab.edit(change, "epoch")
    found = lab.replay(keep=True)
    assert found.exit_code == 1
    assert found.difference is not None
    assert (found.difference.epoch, found.difference.name, found.difference.recorded) == (2, "train_loss", 0.5)
    assert found.difference.replayed == pytest.approx(2.0, abs=1.0)
    lines = found.text().splitlines()
    assert lines[0] == "trial 0 of study small: different"
    assert lines[1].endswith("as recorded")  # the weights are
    assert lines[2] == (
        f"  curve       epoch 2: train_loss 0.5 in events.jsonl, {found.difference.replayed!r} now; "
        "so it is in 2 epochs"
    )
    assert "  made by     the same versions and commit" in lines
    assert lines[-1] == "  note        nothing was put back: what came out is not what is recorded"


def test_other_weights_than_the_recorded_ones_are_different(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnistnn.training import Trainer

    restore = Trainer.restore_best

    def spoil(self: Trainer) -> None:  # as a last bit that came out otherwise
        restore(self)
        self.network.arena.params[-1] = np.nextafter(self.network.arena.params[-1], np.float32(np.inf))

    monkeypatch.setattr(Trainer, "restore_best", spoil)
    lab.file("weights.npz").unlink()
    found = lab.replay(keep=True)
    assert (found.exit_code, found.difference, found.kept) == (1, None, ())
    assert f"now, {str(found.weights_sha256)[:12]}… recorded" in found.text()
    assert not lab.file("weights.npz").exists()


def test_what_changed_since_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40 + "-dirty")
    lab.edit(lambda event: event["tags"].update(numpy="1.99.0"), "start")
    found = lab.replay()
    assert found.is_same
    numpy = np.__version__
    assert found.changed == {"numpy": ("1.99.0", numpy), "commit": ("a" * 40, "b" * 40 + "-dirty")}
    assert f"  made by     numpy 1.99.0, now {numpy}; commit aaaaaaaaaa, now bbbbbbbbbb-dirty" in found.text()


def test_what_cannot_be_replayed_is_refused_in_one_line(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny)
    with pytest.raises(StudyError, match="study 'small' has none and no 0"):
        lab.replay()

    class Other:
        digest = "0" * 64

    lab.run(stop=lambda: True)
    with pytest.raises(StudyError, match="must have ended well to be replayed, but #000 is WAITING; wait for its end"):
        lab.replay()
    for _ in range(3):
        lab.run(stop=lambda: 1 / 0 > 0)
    with pytest.raises(StudyError, match=r"#000 is FAIL \(ZeroDivisionError.*\); nothing of it was finished") as caught:
        lab.replay()
    assert "\n" not in str(caught.value)
    lab.study.ask()
    with pytest.raises(StudyError, match="is RUNNING; wait for its end"):
        lab.replay(max(trial.number for trial in lab.study.trials))
    lab.run()
    number = max(trial.number for trial in lab.study.trials)
    with pytest.raises(StudyError, match="but got other data"):
        lab.replay(number, dataset=Other())
    with pytest.raises(StudyError, match="must have been run before"):
        replay_trial("another", 0, root=tmp_path, dataset=tiny, progress=False)


def test_the_verb_prints_and_exits(tmp_path: Path, sample_dir: Path, sample: Dataset) -> None:
    home = command.Home.make(tmp_path, sample_dir)
    lab = Lab(tmp_path, sample, budget__epochs=1)
    assert lab.run() == TrialState.COMPLETE
    (tmp_path / "studies" / "small.toml").write_text(
        '[study]\nseed = 99\n[budget]\ntrials = 1\nepochs = 7\n[search]\noptimizer = "sgd"\n'
    )  # not as it was run: that is in the storage
    said = home("replay", "small", 0)
    assert (said.code, said.out.splitlines()[0]) == (0, "trial 0 of study small: the same")
    assert said.err == ""  # no bar where nobody watches it
    said = home("replay", "small", 0, "--json", "--quiet")
    assert (said.code, said.json["same"], said.json["epochs"], said.err) == (0, True, 1, "")
    lab.edit(lambda event: event["metrics"].update(val_loss=9.0), "epoch")
    assert home("replay", "small", 0, "-q").code == 1
    said = home("replay", "small", 5, "-q")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)


@pytest.mark.slow
def test_a_shell_that_gives_blas_two_threads_changes_nothing(tmp_path: Path, sample_dir: Path, sample: Dataset) -> None:
    home = command.Home.make(tmp_path, sample_dir)
    lab = Lab(tmp_path, sample, study__baselines=["mlp3"], budget__epochs=2)
    (tmp_path / "studies" / "small.toml").write_text("[budget]\ntrials = 1\nepochs = 2\n")
    assert lab.run() == TrialState.COMPLETE  # a wide dense net, of which two threads give other bytes
    said = home.process("replay", "small", 0, "-q", OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert (said.code, said.out.partition("\n")[0]) == (0, "trial 0 of study small: the same"), said


@pytest.mark.slow
@pytest.mark.kill
def test_a_trial_whose_workers_were_killed_comes_out_the_same(
    tmp_path: Path, sample_dir: Path, sample: Dataset
) -> None:
    lab = Lab(tmp_path, sample, budget__epochs=MANY_EPOCHS)
    for epochs in (2, 8):
        recover(lab.study, lab.paths)
        code = f"from tests.sweeps.care.lab import work; work({str(tmp_path)!r}, {str(sample_dir)!r})"
        worker = subprocess.Popen([sys.executable, "-c", code], cwd=command.ROOT)
        wait_for(lambda epochs=epochs: len(lab.events("epoch")) >= epochs)
        worker.kill()
        assert worker.wait() == -signal.SIGKILL
    assert recover(lab.study, lab.paths) == [0]
    assert lab.run() == TrialState.COMPLETE
    assert len(lab.events("resume")) == 2
    found = lab.replay()
    assert (found.is_same, found.same_state, found.broken, found.epochs) == (True, True, (), MANY_EPOCHS), found.text()
