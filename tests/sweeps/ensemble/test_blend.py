"""Ensembles across studies, of chosen trials, with models from outside, and with views."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, DataError
from mnistnn.files import sha256_file
from mnistnn.metrics import cross_entropy
from sweeps import Study
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.clean.references import find_references
from sweeps.config import StudyConfig, load_study
from sweeps.ensemble import (
    as_markdown,
    as_text,
    build_ensemble,
    choose_members,
    load_ensemble,
    load_report,
    preview,
    write_submission,
)
from sweeps.ensemble.evaluate import score
from sweeps.ensemble.evidence import Reader
from sweeps.ensemble.members import load_network
from sweeps.ensemble.outside import outside_path
from sweeps.ensemble.temperature import tempered
from sweeps.ensemble.verify import verify_submission
from sweeps.ensemble.views import predict
from sweeps.errors import StudyError
from sweeps.paths import Paths
from sweeps.study.bench import Bench
from sweeps.study.objective import run_trial
from sweeps.study.space import Space
from sweeps.study.storage import open_storage, open_study
from sweeps.views.pictures.ensemble_facts import gather_ensemble
from tests.sweeps.ensemble.conftest import TRIALS, Home
from tests.sweeps.ensemble.finals import add_final

AWAY = "http://127.0.0.1:9"  # nothing listens there


def _build(home: Home, sample: Dataset, **more: Any) -> Any:
    return build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda _: None, **more)


@pytest.fixture(scope="session")
def night_trained(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> tuple[StudyConfig, Path]:
    """Another study of two trials, by another seed, so that it left other images out."""
    root = tmp_path_factory.mktemp("night")
    (root / "studies").mkdir()
    text = (Path(__file__).parents[3] / "studies" / "smoke.toml").read_text()
    (root / "studies" / "night.toml").write_text(text.replace('name = "smoke"', 'name = "night"'))
    config = load_study("night", root=root, overrides=["pruner.type=none", "study.seed=77", "budget.epochs=1"])
    paths = Paths(root).study(config.name)
    study = open_study(config, open_storage(None, paths), sample.digest)
    train, validation = sample.split(config.seed)
    bench = Bench(
        config=config,
        dataset=sample,
        space=Space(config),
        train=train,
        validation=validation,
        paths=paths,
        tags={},
        inputs=[],
        stop=lambda: False,
        say=lambda line: None,
    )
    for _ in range(2):
        run_trial(study, study.ask(), bench)
    return config, paths.folder


@pytest.fixture
def night(home: Home, night_trained: tuple[StudyConfig, Path]) -> StudyConfig:
    """The other study, beside that of `home`."""
    config, folder = night_trained
    shutil.copytree(folder, home.root / "studies" / "night")
    shutil.copy(folder.parent / "night.toml", home.root / "studies")
    return config


@pytest.fixture
def outside(home: Home, sample: Dataset) -> Path:
    """A model from outside: surely right on half of the digits, and clueless about the others."""
    rows = np.arange(0, len(sample.train_labels), 3)
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
    np.save(home.root / "contest.npy", images)

    def guess(labels: np.ndarray) -> np.ndarray:
        probs = np.full((len(labels), 10), 0.1, np.float32)
        known = labels < 5
        probs[known] = 0.01
        probs[known, labels[known]] = 0.91
        return probs

    test = sample.open_test("this test", home.root / "another.jsonl")
    path = home.root / "torch.npz"
    np.savez(
        path,
        val=guess(sample.train_labels[rows]),
        indices=rows,
        test=guess(test.labels),
        **{f"input_{sha256_file(home.root / 'contest.npy')}": guess(np.arange(6))},
    )
    return path


def test_trials_of_two_studies_are_averaged_by_what_each_has_not_seen(
    home: Home, night: StudyConfig, sample: Dataset
) -> None:
    report = _build(home, sample, others=[night], method="mean", top=2)
    studies = sorted(each.member.study for each in report.members)
    assert studies == ["", "", "night", "night"]
    assert report.considered == 4
    assert report.finished == TRIALS + 2
    ours, theirs = (sample.split(config.seed)[1].indices for config in (home.config, night))
    assert report.data["validation_images"] == len(np.union1d(ours, theirs)) > len(ours)
    losses = [each.member.calibrated_loss for each in report.members]
    assert losses == sorted(losses)
    images = sample.open_test("this test", home.root / "another.jsonl").images
    parts = [each.member.folder(home.paths) for each in report.members]
    assert sum("night" in part.parts for part in parts) == 2
    with np.load(home.paths.ensemble / "probs.npz") as file:
        np.testing.assert_allclose(load_ensemble(home.paths).predict_proba(images), file["test"], atol=1e-6)
    for text in (as_text(report), as_markdown(report)):
        assert "of 4 candidates, trials of smoke and night" in text
        assert "night#00" in text
    assert max(map(len, as_text(report).splitlines())) <= 120
    assert load_report(home.paths).members == report.members


def test_members_of_final_stages_are_ranked_by_their_networks(home: Home, night: StudyConfig, sample: Dataset) -> None:
    best, *_, worst = home.ranked()
    for fold, of in enumerate((best, worst, worst)):
        add_final(home, sample, of, fold)
    add_final(Home(home.root, night), sample, 0, 3)
    chosen, _ = choose_members(home.config, root=home.root, dataset=sample, others=[night])
    assert chosen.stage == "final"
    losses: dict[str, list[float]] = {}
    for member in chosen.ensemble.members:
        assert member.calibrated_loss is not None
        losses.setdefault(member.label, []).append(member.calibrated_loss)
    means = [np.mean(each) for each in losses.values()]
    assert len(means) >= 2
    assert means == sorted(means)
    places = [list(losses).index(member.label) for member in chosen.ensemble.members]
    assert places == sorted(places)  # one network's members stand together
    assert {member.study for member in chosen.ensemble.members} == {"", "night"}


def test_chosen_trials_are_the_members(home: Home, night: StudyConfig, sample: Dataset) -> None:
    report = _build(home, sample, others=[night], method="mean", numbers={"smoke": [4, 0], "night": [1]})
    assert {each.member.name for each in report.members} == {"#004", "#000", "night#001"}
    ours = _build(home, sample, method="mean", numbers={"smoke": [4, 0]})
    assert f"(2 of {TRIALS} finished trials, as named)" in as_text(ours)
    alone = _build(home, sample, others=[night], method="mean", numbers={"smoke": [], "night": [1]})
    assert [each.member.name for each in alone.members] == ["night#001"]
    with pytest.raises(StudyError, match="must be finished trials, but 9 of study 'night' is none; see `trials night`"):
        _build(home, sample, others=[night], numbers={"smoke": [1], "night": [9]})


def test_a_study_of_other_data_is_refused(home: Home, night: StudyConfig, sample: Dataset) -> None:
    study = open_study(night, open_storage(None, Paths(home.root).study("night")), sample.digest)
    study.set_user_attr("data_digest", "0" * 64)
    with pytest.raises(StudyError, match="study 'night' must be evaluated on the data it was run on"):
        _build(home, sample, others=[night])
    assert home.openings == 0


def test_a_model_from_outside_counts_like_any_other(home: Home, outside: Path, sample: Dataset) -> None:
    report = _build(home, sample, add=[outside], method="mean", top=2)
    (added,) = [each for each in report.members if each.member.outside]
    assert (added.member.name, added.member.weights_sha256) == ("+torch", sha256_file(outside))
    assert (report.stage, report.chosen_by) == ("mixed", "held-out")
    assert "and 1 from outside" in as_text(report)
    with np.load(outside) as file, np.load(home.paths.ensemble / "probs.npz") as kept:
        rows, test = file["indices"], file["test"]
        np.testing.assert_array_equal(kept["val_indices"], np.union1d(rows, sample.split(home.config.seed)[1].indices))
        images = sample.open_test("this test", home.root / "another.jsonl").images
        ensemble = load_ensemble(home.paths)
        nets = list(ensemble.member_probs(images, "test"))
        mean = np.mean(nets, axis=0, dtype=np.float64).astype(np.float32)
        np.testing.assert_allclose(kept["test"], tempered(mean, report.temperature), atol=1e-6)
        assert any(np.array_equal(each, test) for each in nets)
    outside.unlink()  # a copy is kept
    assert _build(home, sample, method="mean", top=2).digest != report.digest


def test_a_preview_with_a_model_from_outside_keeps_no_copy_of_it(home: Home, outside: Path, sample: Dataset) -> None:
    chosen, _ = choose_members(home.config, root=home.root, dataset=sample, add=[outside], keep=False)
    found = preview(chosen)
    assert any(each.name.startswith("+") for each in found.members)
    assert found.chosen_by == "held-out"
    assert not home.paths.ensemble.exists()
    assert home.openings == 0


def test_who_came_from_outside_answers_only_for_what_it_has_predicted(
    home: Home, outside: Path, sample: Dataset
) -> None:
    _build(home, sample, add=[outside], method="mean", top=1)
    output, known, other = home.root / "out.csv", home.root / "contest.npy", home.root / "other.npy"
    np.save(other, np.zeros((3, 28, 28), np.uint8))

    def submit(images: Path | None) -> Path:
        return write_submission(
            home.config, root=home.root, dataset=sample, input=images, output=output, echo=lambda _: None
        )

    manifest = submit(known)
    members = json.loads(manifest.read_text())["ensemble"]["members"]
    assert {member.get("outside", "") for member in members} == {"", "torch"}
    assert verify_submission(manifest, root=home.root, dataset=lambda: sample, echo=lambda _: None).same_bytes
    manifest = submit(None)
    assert verify_submission(manifest, root=home.root, dataset=lambda: sample, echo=lambda _: None).same_bytes
    with pytest.raises(DataError, match=r"\+torch came from outside, without its network, and has not predicted") as no:
        submit(other)
    assert f"input_{sha256_file(other)}" in str(no.value)
    assert "\n" not in str(no.value)
    (copy,) = home.paths.ensemble.glob("outside-*.npz")
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="must be as it was added"):
        submit(known)
    copy.unlink()
    with pytest.raises(CheckpointError, match="build the ensemble again with --add"):
        submit(known)


def test_what_a_model_from_outside_predicted_is_read_from_its_copy(home: Home, outside: Path, sample: Dataset) -> None:
    report = _build(home, sample, add=[outside], method="mean", top=2)
    facts = gather_ensemble(report, home.paths, sample, seed=home.config.seed)
    row = facts.names.index("+torch")
    with np.load(outside) as file, np.load(home.paths.ensemble / "probs.npz") as kept:
        rows, val = file["indices"], file["val"]
        np.testing.assert_array_equal(kept["val_indices"][facts.seen[row]], rows)
        np.testing.assert_array_equal(facts.member_probs[row, facts.seen[row]], val)
        np.testing.assert_array_equal(facts.probs, kept["val"])
        np.testing.assert_array_equal(facts.images, sample.train_images[kept["val_indices"]])
    ensemble = Study("smoke", root=home.root).ensemble()
    assert ensemble.val_accuracy.estimate == report.scores.val.accuracy
    assert "+torch" in repr(ensemble)
    with pytest.raises(StudyError, match=r"but \+torch came from elsewhere") as error:
        _ = ensemble.members
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"\+torch came from outside, without its network"):
        ensemble.predict(facts.images[:2])
    member = report.members[row].member
    with pytest.raises(CheckpointError, match="name the data set"):
        Reader(home.paths).one(member)
    outside_path(home.paths, member.weights_sha256).unlink()
    with pytest.raises(CheckpointError, match="build the ensemble again with --add"):
        gather_ensemble(report, home.paths, sample, seed=home.config.seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("val"), "has no array 'val'"),
        (lambda arrays: arrays.pop("test"), "has no array 'test'"),
        (lambda arrays: arrays.update(val=arrays["val"][1:]), "holds in `val` no ten probabilities for each of its"),
        (lambda arrays: arrays.update(val=arrays["val"] * 2), "holds in `val` no ten probabilities"),
        (lambda arrays: arrays.update(test=arrays["test"][1:]), "holds in `test` no ten probabilities"),
        (lambda arrays: arrays.update(indices=arrays["indices"] * 0), "names by `indices` no places among"),
        (lambda arrays: arrays.update(indices=arrays["indices"] + 10**7), "names by `indices` no places among"),
        (lambda arrays: arrays.update(indices=np.array(3)), "names by `indices` no places among"),
    ],
)
def test_a_file_from_outside_that_cannot_be_used_is_refused(
    home: Home, outside: Path, sample: Dataset, change: Any, message: str
) -> None:
    with np.load(outside) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(outside, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        _build(home, sample, add=[outside])
    assert "\n" not in str(caught.value)
    assert home.openings == 0


def test_what_is_no_archive_is_refused(home: Home, sample: Dataset) -> None:
    path = home.root / "model.npz"
    with pytest.raises(DataError, match="cannot be read"):
        _build(home, sample, add=[path])
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="cannot be read"):
        _build(home, sample, add=[path])


def test_views_are_averaged_wherever_the_ensemble_answers(home: Home, sample: Dataset) -> None:
    plain = _build(home, sample, method="mean", top=2)
    report = _build(home, sample, method="mean", top=2, tta=1)
    assert report.digest != plain.digest
    assert report.tta_gain is not None
    assert "members average five views: the image, and it shifted by 1 pixel in four" in as_text(report)
    assert max(map(len, as_text(report).splitlines())) <= 120
    ensemble = load_ensemble(home.paths)
    assert ensemble.tta == 1
    with np.load(home.paths.ensemble / "probs.npz") as file:
        images = sample.train_images[file["val_indices"]]
        np.testing.assert_allclose(ensemble.predict_proba(images), file["val"], atol=1e-5)
        assert cross_entropy(file["val_labels"], file["val"]) == pytest.approx(report.scores.val.loss, rel=1e-5)
    np.save(home.root / "contest.npy", images[:9])
    manifest = write_submission(
        home.config,
        root=home.root,
        dataset=sample,
        input=home.root / "contest.npy",
        output=home.root / "out.csv",
        echo=lambda _: None,
    )
    assert json.loads(manifest.read_text())["ensemble"]["tta"] == 1
    found = verify_submission(manifest, root=home.root, dataset=lambda: sample, echo=lambda _: None)
    assert (found.same_bytes, found.probs_difference) == (True, 0)


def test_by_views_pictures_and_notebook_have_the_figures_of_the_record(
    home: Home, sample: Dataset, sample_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _build(home, sample, method="mean", top=2, tta=2)
    path = home.paths.ensemble / "probs.npz"
    facts = gather_ensemble(report, home.paths, sample, seed=home.config.seed)
    assert cross_entropy(facts.labels, facts.probs) == pytest.approx(report.scores.val.loss, rel=1e-6)
    for scored, probs, seen in zip(report.members, facts.member_probs, facts.seen, strict=True):
        assert score(facts.labels[seen], probs[seen]) == scored.scores.val
        network = load_network(scored.member, home.paths)
        np.testing.assert_allclose(probs[seen], predict(network, facts.images[seen], 2), atol=1e-6)
        assert not np.allclose(probs[seen], predict(network, facts.images[seen]), atol=1e-2)
    study = Study("smoke", root=home.root)
    assert study.ensemble().val_accuracy.estimate == report.scores.val.accuracy

    # Asked for with views that the study's file has, the notebook builds the same one.
    monkeypatch.setenv("MNIST_DIR", str(sample_dir))
    tables = home.config.to_dict()
    tables["ensemble"] |= {"tta": 2}
    home.study.set_user_attr("config", tables)
    again = Study("smoke", root=home.root).ensemble(top=2, method="mean")
    assert again._ensemble.digest == report.digest
    assert again.val_accuracy.estimate == report.scores.val.accuracy

    # An ensemble that has not kept what its members made of views has kept what it made of them itself.
    with np.load(path) as file:
        older = {name: file[name] for name in file.files if name not in ("val_seen", "val_members")}
    np.savez(path, **older)
    np.testing.assert_array_equal(
        gather_ensemble(report, home.paths, sample, seed=home.config.seed).probs, older["val"]
    )


def test_without_views_nothing_more_is_kept(home: Home, sample: Dataset) -> None:
    _build(home, sample, method="mean", top=2)
    with np.load(home.paths.ensemble / "probs.npz") as file:
        assert set(file.files) == {"ensemble", "data", "val", "val_labels", "val_indices", "test", "test_labels"}


def test_weights_that_are_gone_are_told_with_the_study_that_they_are_of(
    home: Home, night: StudyConfig, sample: Dataset
) -> None:
    _build(home, sample, others=[night], method="mean", numbers={"smoke": [2], "night": [1]})
    np.save(home.root / "contest.npy", sample.train_images[:9])
    submitted = {"input": home.root / "contest.npy", "output": home.root / "out.csv", "echo": lambda _: None}
    manifest = write_submission(home.config, root=home.root, dataset=sample, **submitted)
    (Paths(home.root).study("night").trial(1) / "weights.npz").unlink()
    with pytest.raises(CheckpointError, match="trial 1 of study 'night' .* `replay night 1 --keep` makes them again"):
        verify_submission(manifest, root=home.root, dataset=lambda: sample, echo=lambda _: None)


def test_what_another_studys_ensemble_averages_is_not_cleaned_away(
    home: Home, night: StudyConfig, sample: Dataset
) -> None:
    _build(home, sample, others=[night], numbers={"smoke": [2], "night": [1]})
    paths = Paths(home.root).study("night")
    snapshot = Snapshot.of(optuna.load_study(study_name="night", storage=open_storage(None, paths)))
    found = find_references(snapshot, paths, home.root, keep=0, old_ensembles=False, champion=None)
    assert 1 in found.averaged
    assert 2 not in found.averaged  # that is the other's
