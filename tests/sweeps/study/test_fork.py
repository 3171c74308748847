from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mnistnn.data import Dataset, Split
from mnistnn.errors import InputError
from mnistnn.files import sha256_file
from sweeps.config import StudyConfig, load_study
from sweeps.config.toml import to_toml
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths
from sweeps.study import storage as storages
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import claim
from sweeps.study.enqueue import enqueue
from sweeps.study.extend import extend
from sweeps.study.fork import Forked, fork
from sweeps.study.lineage import seed_of
from sweeps.study.lookup import find_trial, values_of
from sweeps.study.space import Space
from sweeps.tracking.events import EVENTS, Event, parse
from tests.sweeps.command import ROOT, Home
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config

SHARED = ("weights.npz", "recipe.json", "val_probs.npz", "history.csv", "final.npz")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A project whose study `small` has a baseline, two trials, one beside the ranges, one extended, and one failed."""
    root = tmp_path_factory.mktemp("begun")
    config = small_config(study__baselines=["mlp3"], budget={"trials": 3, "epochs": 1})
    (root / "studies").mkdir()
    tables = config.model_dump(by_alias=True, exclude_defaults=True)
    (root / "studies" / "small.toml").write_text(to_toml(tables), encoding="utf-8")
    train, validation = sample.split(config.seed)
    bench = make_bench(
        config,
        root,
        sample,
        train=Split(train.images, train.labels, train.indices[:100]),
        validation=Split(validation.images, validation.labels, validation.indices[:50]),
    )
    study, paths = make_study(config, root, sample), paths_of(config, root)
    while run_next(study, bench) is not None:
        continue
    enqueue(study, paths, ["filters=3", "dropout=0.25"], budget=config)
    extend(study, paths, 1, 2, budget=config)
    while run_next(study, bench) is not None:
        continue
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"filters_1": 2})
    return root


@pytest.fixture
def root(begun: Path, tmp_path: Path) -> Path:
    return shutil.copytree(begun, tmp_path / "project")


def forked(root: Path, name: str = "new", *overrides: str, **more: Any) -> Forked:
    return fork(load_study("small", root=root), name, root=root, overrides=overrides, **more)


def trials_of(root: Path, name: str, url: str | None = None) -> list[FrozenTrial]:
    return storages.load_study(name, url, Paths(root).study(name)).trials


def events_of(folder: Path) -> list[Event]:
    found = [parse(line) for line in (folder / EVENTS).read_bytes().splitlines()]
    return [event for event in found if event is not None]


def test_all_that_ended_comes_along(root: Path) -> None:
    before = {path: sha256_file(path) for path in root.rglob("*") if path.is_file() and "lock" not in path.name}
    made = forked(root)
    assert (made.trials, made.complete, made.pruned, made.waiting) == (7, 5, 0, 0)
    assert made.left_out == {"failed": 1, "waiting": 1}
    assert "imported  5 of 7 trials" in str(made)
    theirs, ours = trials_of(root, "small"), trials_of(root, "new")
    for number, (old, new) in enumerate(zip(theirs[:5], ours, strict=True)):
        assert (new.number, new.value, new.params) == (number, old.value, old.params)
        assert new.intermediate_values == old.intermediate_values
        assert (new.datetime_start, new.datetime_complete) == (old.datetime_start, old.datetime_complete)
        origin = 1 if "extends" in old.user_attrs else number
        imported = {"study": "small", "trial": number, "seed": 3, "origin": origin}
        assert new.user_attrs == old.user_attrs | {"imported": imported}
        assert seed_of(new, 99) == seed_of(old, 3) == (3, origin)
        folder, source = (Paths(root).study(name).trial(number) for name in ("new", "small"))
        for file in SHARED:
            assert (folder / file).samefile(source / file)
        assert not (folder / "lock").exists()
        assert not (folder / "shipped.json").exists()
    assert all(sha256_file(path) == digest for path, digest in before.items())
    assert Tally.of(ours).finished == 0
    assert Budget(3).has_room(Tally.of(ours))


def test_its_file_says_where_it_is_from(root: Path) -> None:
    made = forked(root, "new", "search.dropout.high=0.2", "budget.trials=9")
    text = (root / made.file).read_text(encoding="utf-8")
    assert text.startswith("# Forked from study 'small' on 20")
    assert "with search.dropout.high=0.2, budget.trials=9." in text.splitlines()[0]
    config = load_study("new", root=root)
    assert config.name == "new"
    assert config.search["dropout"] == {"low": 0.0, "high": 0.2}
    assert config.budget.trials == 9
    study = storages.load_study("new", None, Paths(root).study("new"))
    assert study.user_attrs["config"] == config.to_dict()
    assert storages.open_study(config, study._storage, study.user_attrs["data_digest"]) is not None


def test_runs_are_new_ones_of_its_own(root: Path) -> None:
    forked(root, "new", "search.filters=[3, 4]", "fixed.batch_size=100")
    old = {event["key"] for n in range(5) for event in events_of(Paths(root).study("small").trial(n))[:1]}
    ours = trials_of(root, "new")
    config = load_study("new", root=root)
    for trial in ours:
        imported = trial.user_attrs.get("imported")
        if imported is None:
            continue
        source = events_of(Paths(root).study("small").trial(imported["trial"]))
        events = events_of(Paths(root).study("new").trial(trial.number))
        start, before = events[0], source[0]
        assert start["key"] not in old
        assert start["name"] == before["name"].replace(f"#{imported['trial']:03d}", f"#{trial.number:03d}")
        tags = {"study": "new", "config_hash": config.hash, "trial": str(trial.number)}
        assert start["tags"] | tags == start["tags"]
        assert start["tags"]["imported"] == f"small #{imported['trial']:03d}"
        assert start["metrics"] == before["metrics"] | {"trial_number": trial.number}
        assert (start["params"], start["time_ms"]) == (before["params"], before["time_ms"])
        assert events[1:] == source[1:]


def test_what_does_not_fit_is_counted_by_its_reason(root: Path) -> None:
    old = {trial.number: trial for trial in trials_of(root, "small")}
    made = forked(root, "new", "search.dropout.high=0.1", "search.optimizer.adam.learning_rate.low=0.005")
    space = Space(load_study("new", root=root))
    fits = {}
    for number in range(5):
        beside = old[number].user_attrs.get("overrides", {})
        values = values_of(old[number], Space(load_study("small", root=root)))
        outside = [name for name in space.place(values)[2] if name not in beside]
        fits[number] = number == 0 or not outside  # the baseline is one wherever it lies
    ours = trials_of(root, "new")
    assert [t.user_attrs["imported"]["trial"] for t in ours] == [number for number, fit in fits.items() if fit]
    assert made.complete == sum(fits.values()) < 5
    assert sum(made.left_out.values()) == made.trials - made.complete
    assert any("outside the new ranges" in reason for reason in made.left_out)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("study.seed=4", "of another seed (3)"),
        ("study.metric=val_accuracy", "of another metric (val_loss)"),
        ("budget.epochs=3", "of another budget.epochs (1)"),
        ("fixed.batch_size=50", "with batch_size outside the new ranges"),
        ("fixed.schedule=cosine", "with schedule outside the new ranges"),
    ],
)
def test_what_cannot_be_compared_stays(root: Path, override: str, reason: str) -> None:
    made = forked(root, "new", override)
    stays = override.startswith("fixed.batch_size")  # beside which the baseline may lie
    assert made.complete == (1 if stays else 0)
    assert made.left_out == {reason: 4 if stays else 5, "failed": 1, "waiting": 1}
    assert made.waiting == (0 if stays else 1)  # the baseline is tried anew


def test_limits_hold_but_for_baselines(root: Path) -> None:
    made = forked(root, "new", "limits.params=6500")
    large = [t.number for t in trials_of(root, "small")[:5] if t.user_attrs["params"] > 6500]
    assert 0 in large
    assert made.left_out == {"beyond limits.params": len(large) - 1, "failed": 1, "waiting": 1}
    assert [t.user_attrs["imported"]["trial"] for t in trials_of(root, "new")] == [
        number for number in range(5) if number not in large[1:]
    ]


def test_values_change_sides_with_the_ranges(root: Path) -> None:
    made = forked(root, "new", "search.filters=[2, 3, 4]")
    asked = next(t for t in trials_of(root, "small") if t.user_attrs.get("overrides", {}).get("filters_1") == 3)
    ours = find_trial(storages.load_study("new", None, Paths(root).study("new")), asked.number)
    assert made.complete == 5
    assert ours.params["filters_1"] == 3
    assert ours.user_attrs["overrides"] == {}


def test_a_fork_of_a_fork_knows_the_first_study(root: Path) -> None:
    forked(root, "second", "limits.params=6500")
    made = fork(load_study("second", root=root), "third", root=root)
    second, third = trials_of(root, "second"), trials_of(root, "third")
    assert made.complete == len(second) == len(third)
    assert [t.user_attrs["imported"] for t in third] == [t.user_attrs["imported"] for t in second]
    assert second[-1].user_attrs["imported"]["trial"] != second[-1].number
    starts = [events_of(Paths(root).study("third").trial(t.number))[0] for t in third]
    assert all(start["tags"]["study"] == "third" for start in starts)


def test_an_extended_trial_names_its_first_under_the_new_number(root: Path) -> None:
    theirs = trials_of(root, "small")
    rate, other = (theirs[number].params["adam.learning_rate"] for number in (1, 2))
    assert other != rate
    # Numbers move up, for the second trial stays, and the one that was asked for.
    forked(root, "new", f"search.optimizer.adam.learning_rate=[{rate!r}]")
    ours = {trial.user_attrs["imported"]["trial"]: trial for trial in trials_of(root, "new")}
    assert ours.keys() == {0, 1, 4}
    extended = next(trial for trial in ours.values() if "extends" in trial.user_attrs)
    assert extended.user_attrs["extends"]["trial"] == ours[1].number
    start = events_of(Paths(root).study("new").trial(extended.number))[0]
    assert start["tags"]["extends"] == str(ours[1].number)


def test_a_grid_does_not_repeat_what_was_imported(root: Path) -> None:
    learning_rate = trials_of(root, "small")[1].params["adam.learning_rate"]
    dropout = trials_of(root, "small")[1].params["dropout"]
    made = forked(
        root,
        "new",
        "sampler.type=grid",
        f"search.dropout=[0.0, {dropout!r}]",
        f"search.optimizer.adam.learning_rate=[{learning_rate!r}]",
    )
    imported = sum("point" in t.user_attrs for t in trials_of(root, "new") if t.state == TrialState.COMPLETE)
    assert imported >= 1
    assert made.waiting == 4 - len(
        {
            t.user_attrs.get("point")
            for t in trials_of(root, "new")
            if t.state == TrialState.COMPLETE and "point" in t.user_attrs
        }
    )


def test_the_new_study_goes_on(root: Path, sample: Dataset) -> None:
    forked(root)
    config, paths = load_study("new", root=root), Paths(root).study("new")
    study = make_study(config, root, sample)
    claimed = claim(study, paths, Budget(3))
    assert claimed is not None
    assert claimed.trial.number == 5
    claimed.lock.release()


@pytest.mark.parametrize("shared", ["sqlite", "journal"])
def test_both_may_be_in_one_storage(root: Path, tmp_path: Path, shared: str) -> None:
    small = Paths(root).study("small")
    url = f"sqlite:///{tmp_path}/x.db" if shared == "sqlite" else str(tmp_path / "shared.log")
    target = storages.open_storage(url, small)
    optuna.copy_study(
        from_study_name="small",
        from_storage=storages.open_storage(None, small),
        to_storage=target,
    )
    small.journal.unlink()
    assert forked(root, storage_url=url).complete == 5
    assert len(trials_of(root, "new", url)) == 5
    assert not Paths(root).study("new").journal.exists()
    (root / "studies" / "new.toml").unlink()
    shutil.rmtree(Paths(root).study("new").folder)
    with pytest.raises(StudyError, match="the storage has one of this name"):
        forked(root, storage_url=url)
    assert not Paths(root).study("new").folder.exists()
    assert len(trials_of(root, "new", url)) == 5


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("../new", [], "letters, digits"),
        ("", [], "letters, digits"),
        ("a" * 101, [], "letters, digits"),
        ("train", [], "must not be 'train'"),
        ("small", [], "small.toml is there already"),
        ("there", [], "the folder studies/there/ is there already"),
        ("new", ["search.droput.high=1"], "droput"),
        ("new", ["study.name=other"], "leave study.name out"),
        ("new", ["limits.params=1", "study.baselines=[]"], "possible architecture"),
    ],
)
def test_what_cannot_be_forked_is_said_and_leaves_nothing(
    root: Path, name: str, overrides: Sequence[str], message: str
) -> None:
    (root / "studies" / "there").mkdir()
    (root / "studies" / "there" / "notes.txt").write_text("mine")
    before = sorted(path for path in root.rglob("*") if not path.name.endswith("lock"))
    with pytest.raises(InputError, match=message) as error:
        forked(root, name, *overrides)
    assert "\n" not in str(error.value)
    assert sorted(path for path in root.rglob("*") if not path.name.endswith("lock")) == before


def test_a_study_that_was_never_run_is_refused(tmp_path: Path) -> None:
    config = small_config()
    (tmp_path / "studies").mkdir()
    with pytest.raises((StudyError, ConfigError), match="must have been run"):
        fork(config, "new", root=tmp_path)
    assert not list((tmp_path / "studies").iterdir())


# Dies by SIGKILL at the n-th change of the file system, and says how many there were if it lived.
_DYING = """
import os, signal, sys
from pathlib import Path
from sweeps.config import load_study
from sweeps.study.fork import fork
root, deadly, url = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
source, count = load_study("small", root=root), 0

def count_changes(event, args):
    global count
    if event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate"):
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

import optuna, sweeps.study.objective
sys.addaudithook(count_changes)
fork(source, "new", root=root, storage_url=url)
print(count)
"""


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_killed_fork_is_no_study_and_can_be_done_again(root: Path, tmp_path: Path, storage: str) -> None:
    url = ""
    if storage == "sqlite":
        url, small = f"sqlite:///{tmp_path}/x.db", Paths(root).study("small")
        target = storages.open_storage(url, small)
        optuna.copy_study(from_study_name="small", from_storage=storages.open_storage(None, small), to_storage=target)

    def call(deadly: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _DYING, str(root), str(deadly), url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    file = root / "studies" / "new.toml"
    for deadly in (3, 37) if storage == "journal" else (15,):  # at the start, among the trials
        done = call(deadly)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not file.exists()
        with pytest.raises(ConfigError, match="must be in studies/"):
            load_study("new", root=root)
    forked(root, storage_url=url or None)
    trials = trials_of(root, "new", url or None)
    assert [t.user_attrs["imported"]["trial"] for t in trials] == [0, 1, 2, 3, 4]
    assert sorted(os.listdir(Paths(root).study("new").trials)) == [f"{number:05d}" for number in range(5)]
    assert not (Paths(root).study("new").folder / "fork.json").exists()
    with pytest.raises(StudyError, match="is there already"):
        forked(root, storage_url=url or None)


@pytest.mark.slow
def test_the_ensemble_of_a_fork_works_at_once(swept: Home, tmp_path: Path) -> None:
    shutil.copytree(swept.root, tmp_path / "home")
    home = Home(tmp_path / "home", swept.data)
    said = home("fork", "smoke", "other", "--set", "ensemble.top=1")
    assert said.code == 0, said.err
    assert "mlflow    has its runs" in said.out
    built = home("ensemble", "other", "--json")
    assert built.code == 0, built.err
    member = built.json["members"][0]["member"]
    theirs = json.loads((home.root / "studies/smoke/ensemble/ensemble.json").read_text())["members"][0]["member"]
    assert member["weights_sha256"] == theirs["weights_sha256"]
    assert home("fork", "smoke", "other").code == 2
    assert StudyConfig.from_dict(load_study("other", root=home.root).to_dict()).ensemble.top == 1

    from mlflow import MlflowClient

    from sweeps.tracking.store import resolve_uri

    client = MlflowClient(resolve_uri(None, home.root))
    experiment = client.get_experiment_by_name("sweeps-other")
    runs = client.search_runs([experiment.experiment_id], filter_string="tags.imported LIKE 'smoke #%'")
    assert f"imported  {len(runs)} of {len(runs)} trials" in said.out
    parent = client.search_runs([experiment.experiment_id], filter_string="tags.forked_from = 'smoke'")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent[0].info.run_id}
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
