from __future__ import annotations

from benchmarks.augmentation import ALL, measure_augmentation
from mnistnn.registry import augmentation


def test_each_augmentation_and_all_of_them_have_their_part_of_a_step() -> None:
    found = measure_augmentation("mlp3", rounds=2)
    assert [*found] == ["step", *augmentation.names(), ALL]
    for name, (ms, part) in found.items():
        assert 0 < ms.low <= ms.middle <= ms.high
        assert (name == "step") == (part.low == part.high == 1.0)
    assert found[ALL][0].middle > found["translation"][0].middle
