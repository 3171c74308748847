from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError
from sweeps.ensemble import load_ensemble, load_report
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.serve import Champion
from tests.sweeps.serve.study import MEMBERS


def test_it_answers_as_the_ensemble_does(champion: StudyPaths, sample: Dataset) -> None:
    images = sample.split(1)[1].take()[0][:40]
    ensemble, served = load_ensemble(champion), Champion.load(champion)
    alone = np.stack(list(ensemble.member_probs(images)), axis=1)
    for image, members, probs in zip(images, alone, ensemble.predict_proba(images), strict=True):
        mean, each = served.predict_proba(image)
        np.testing.assert_allclose(mean, probs, atol=1e-6)
        np.testing.assert_allclose(each, members, atol=1e-6)
        assert each.shape == (MEMBERS, 10)


def test_answers_at_once_do_not_mix(champion: StudyPaths, sample: Dataset) -> None:
    images = sample.split(1)[1].take()[0][:30]
    served = Champion.load(champion)
    one_by_one = [served.predict_proba(image)[1] for image in images]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda image: served.predict_proba(image)[1], images))
    np.testing.assert_array_equal(one_by_one, at_once)


def test_networks_have_memory_for_one_image(champion: StudyPaths) -> None:
    served = Champion.load(champion)
    assert [network.batch_size for network in served._networks] == [1] * MEMBERS


def test_five_members_answer_in_fifty_milliseconds(champion: StudyPaths) -> None:
    report = load_report(champion)
    members = (report.members * 5)[:5]
    served = Champion(replace(report, members=tuple(replace(each, weight=0.2) for each in members)), champion)
    image = np.zeros((28, 28), np.uint8)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        served.predict_proba(image)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


def test_without_an_ensemble_there_is_none_to_ask(champion: StudyPaths) -> None:
    with pytest.raises(StudyError, match="must have an ensemble, but has none yet"):
        Champion.load(StudyPaths(champion.folder.with_name("another")))


def test_other_weights_are_refused(champion: StudyPaths) -> None:
    report = load_report(champion)
    member = replace(report.best.member, weights_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="must be those it ended with"):
        Champion(replace(report, members=(replace(report.best, member=member),)), champion)
