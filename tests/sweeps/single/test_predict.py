from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistnn.checkpoint import save_model
from mnistnn.errors import InputError
from mnistnn.network import Network
from mnistnn.presets import preset
from sweeps.single.predict import Answer, predict_files

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    network = Network(preset("mlp3").network, batch_size=4, seed=1)
    save_model(tmp_path / "net.npz", network)
    return network


def _predict(tmp_path: Path, *files: Path) -> list[Answer]:
    return predict_files(files, str(tmp_path / "net.npz"), root=tmp_path, echo=lambda line: None)


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path)


def test_pictures_of_a_folder_go_by_their_own_names_in_natural_order(tmp_path: Path, network: Network) -> None:
    names = ["1.png", "2.png", "10.png"]
    for name, image in zip(names, IMAGES, strict=True):
        _save(tmp_path / "digits" / name, image)
    answers = _predict(tmp_path, tmp_path / "digits")
    assert [answer.path for answer in answers] == [str(tmp_path / "digits" / name) for name in names]
    assert [answer.index for answer in answers] == [None] * 3
    assert [answer.digit for answer in answers] == network.predict(IMAGES).tolist()
    assert str(answers[2]).startswith(f"{tmp_path / 'digits' / '10.png'}  ")


def test_the_only_picture_of_a_folder_goes_by_its_name_too(tmp_path: Path, network: Network) -> None:
    _save(tmp_path / "digits" / "seven.png", IMAGES[0])
    (answer,) = _predict(tmp_path, tmp_path / "digits")
    assert (answer.path, answer.index) == (str(tmp_path / "digits" / "seven.png"), None)


def test_images_without_names_go_by_their_number(tmp_path: Path, network: Network) -> None:
    np.save(tmp_path / "three.npy", IMAGES)
    answers = _predict(tmp_path, tmp_path / "three.npy")
    assert [str(answer).split("  ")[0] for answer in answers] == [f"{tmp_path / 'three.npy'}[{n}]" for n in (1, 2, 3)]


def test_an_answer_is_one_line_whatever_the_name() -> None:
    assert str(Answer("a\nb\x1b\udcff  c.png", None, 3, 0.5)) == "a?b??  c.png  3  0.5000"


DIGIT = np.zeros((28, 28), np.uint8)
DIGIT[5:23, 12:16] = 255


def test_dark_ink_and_blank_images_are_told(tmp_path: Path, network: Network) -> None:
    np.save(tmp_path / "four.npy", np.stack([DIGIT, 255 - DIGIT, np.zeros_like(DIGIT), 255 - DIGIT]))
    _save(tmp_path / "light.png", 255 - DIGIT)
    said: list[str] = []
    files = [tmp_path / "four.npy", tmp_path / "light.png"]
    plain = predict_files(files, str(tmp_path / "net.npz"), root=tmp_path, echo=said.append)
    assert said[
        0
    ] == f"warning: {tmp_path}/four.npy[3] shows no digit, or too faint a one; what is said of it means " + ("nothing.")
    assert said[1].startswith(
        f"warning: 3 of 5 images ({tmp_path}/four.npy[2] the first) show dark ink on light ground"
    )
    assert "--as-mnist" in said[1]
    said.clear()
    made = predict_files(files, str(tmp_path / "net.npz"), root=tmp_path, as_mnist=True, echo=said.append)
    assert [line for line in said if "light ground" in line] == []
    assert made[0].probability == made[1].probability == made[4].probability
    assert made[1] != plain[1]


def test_a_picture_of_another_size_is_taken_as_mnist(tmp_path: Path, network: Network) -> None:
    _save(tmp_path / "photo.png", 255 - np.kron(DIGIT, np.ones((10, 12), np.uint8)))
    with pytest.raises(InputError, match=r"holds 280×336; bring it to 28×28, or let --as-mnist do that\.$"):
        _predict(tmp_path, tmp_path / "photo.png")
    (answer,) = predict_files(
        [tmp_path / "photo.png"], str(tmp_path / "net.npz"), root=tmp_path, as_mnist=True, echo=lambda line: None
    )
    assert 0 < answer.probability <= 1
