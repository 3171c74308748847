from __future__ import annotations

import base64
import io
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client, TestResponse

from mnistnn.data import Dataset, as_mnist
from mnistnn.types import UInt8s
from sweeps.ensemble import load_ensemble
from sweeps.paths import StudyPaths
from sweeps.serve import App
from sweeps.serve.app import MAX_BYTES
from tests.mnistnn.data.formats import png, png_header
from tests.sweeps.serve.study import MEMBERS, NAME


@pytest.fixture(scope="module")
def digits(sample: Dataset) -> UInt8s:
    return sample.split(1)[1].take()[0][:20]


def ask(client: Client, picture: bytes, kind: str = "image/png", **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/predict", data=picture, content_type=kind, headers=sent)


def picture_of(said: Any) -> UInt8s:
    return np.frombuffer(base64.b64decode(said["picture"]), np.uint8).reshape(28, 28)


def refused(response: TestResponse, status: int) -> str:
    """The error line of an answer, which is one line of JSON."""
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert response.text.count("\n") == 1
    assert response.text.endswith("\n")
    (line,) = json.loads(response.text).values()
    assert "Traceback" not in line
    return str(line)


def test_mnists_own_are_answered_as_by_the_ensemble(client: Client, champion: StudyPaths, digits: UInt8s) -> None:
    wanted = load_ensemble(champion).predict_proba(digits)
    for digit, probs in zip(digits, wanted, strict=True):
        said = ask(client, png(digit)).json
        np.testing.assert_allclose(said["probs"], probs, atol=1e-6)
        assert said["digit"] == probs.argmax()
        assert (said["as_it_was"], said["inverted"]) == (True, False)
        np.testing.assert_array_equal(picture_of(said), digit)


def test_the_answer_is_for_the_image_that_it_shows(client: Client, champion: StudyPaths, digits: UInt8s) -> None:
    paper = 255 - np.pad(np.asarray(Image.fromarray(digits[3]).resize((200, 200))), ((20, 300), (90, 10)))
    said = ask(client, png(paper, "RGB")).json
    given = picture_of(said)
    np.testing.assert_array_equal(given, as_mnist(paper))
    ensemble = load_ensemble(champion)
    np.testing.assert_allclose(said["probs"], ensemble.predict_proba(given[None])[0], atol=1e-6)
    members = [probs[0] for probs in ensemble.member_probs(given[None])]
    np.testing.assert_allclose(said["members"], members, atol=1e-6)
    assert (said["as_it_was"], said["inverted"]) == (False, True)
    assert 0 < said["predict_ms"] < 1000


def test_a_light_28_by_28_is_inverted(client: Client, digits: UInt8s) -> None:
    said = ask(client, png(255 - digits[0])).json
    assert said["inverted"]
    np.testing.assert_array_equal(picture_of(said), as_mnist(digits[0]))


def test_jpeg(client: Client, digits: UInt8s) -> None:
    large = np.asarray(Image.fromarray(digits[5]).resize((280, 280)))
    said = ask(client, png(large, kind="JPEG"), "image/jpeg").json
    assert said["digit"] == ask(client, png(large)).json["digit"]


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (b"", "must be a PNG or a JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "picture must be"),
        (b"\x80\x04cos\nsystem\n", "must be a PNG or a JPEG"),
        (b"<svg onload='alert(1)'/>", "must be a PNG or a JPEG"),
        (png_header(50_000, 50_000), "at most 25,000,000 pixels"),
        (png_header(6_000, 6_000), "at most 25,000,000 pixels"),
        (png_header(100, 100), "is damaged"),
        (png(np.full((50, 50), 255, np.uint8)), "is blank"),
        (png(np.zeros((28, 28), np.uint8)), "is blank"),
        (png(np.full((28, 28), 9, np.uint8)), "is blank"),
    ],
)
def test_hostile_pictures_are_one_line(client: Client, picture: bytes, words: str) -> None:
    assert words in refused(ask(client, picture), 400)


def test_a_bomb_takes_no_memory(client: Client) -> None:
    ask(client, png_header(10, 10))  # what is imported once
    tracemalloc.start()
    try:
        refused(ask(client, png_header(12_000, 12_000)), 400)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_too_many_bytes_are_refused_unread(client: Client) -> None:
    environ = {"CONTENT_LENGTH": str(MAX_BYTES + 1), "wsgi.input": io.BytesIO(b"short")}
    response = client.post("/predict", content_type="image/png", environ_overrides=environ)
    assert "at most 16,777,216 bytes" in refused(response, 413)


def test_bytes_without_a_length_are_bounded_too(client: Client) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.given += len(buffer)
            return len(buffer)

    body = Endless()
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, **chunked}
    response = client.post("/predict", content_type="image/png", environ_overrides=environ)
    refused(response, 400)  # what comes after the bound is never read, and the rest is no picture
    assert body.given <= MAX_BYTES


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/svg+xml", ""]
)
def test_what_a_form_can_send_is_refused(client: Client, digits: UInt8s, kind: str) -> None:
    assert "must be sent as image/png or image/jpeg" in refused(ask(client, png(digits[0]), kind), 415)


@pytest.mark.parametrize("host", ["localhost", "localhost:5010", "127.0.0.1:80", "127.0.0.1:65535"])
def test_this_machine_is_answered(client: Client, host: str) -> None:
    for path in ("/", "/ensemble"):
        assert client.get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5010",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.0.2",
        "",
        "[::1",
    ],
)
def test_another_host_is_refused(client: Client, digits: UInt8s, host: str) -> None:
    for path in ("/", "/page.js", "/ensemble", "/nothing"):
        assert "the host must be" in refused(client.get(path, headers={"Host": host}), 403)
    assert "the host must be" in refused(ask(client, png(digits[0]), Host=host), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:8888"},  # another program's page on this machine
        {"Origin": "http://localhost", "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_picture_from_another_origin_is_refused(client: Client, digits: UInt8s, headers: dict[str, str]) -> None:
    assert "by the page of this server" in refused(ask(client, png(digits[0]), **headers), 403)


def test_a_picture_from_the_page_is_taken(client: Client, digits: UInt8s) -> None:
    headers = {"Host": "127.0.0.1:5010", "Origin": "http://127.0.0.1:5010", "Sec_Fetch_Site": "same-origin"}
    assert ask(client, png(digits[0]), **headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/page.html",
        "/../app.py",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/page.css/",
        "/predict/x",
        "/%00",
    ],
)
def test_no_other_path_leads_anywhere(client: Client, path: str) -> None:
    assert "there is no such page" in refused(client.get(path), 404)


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("GET", "/predict"), ("DELETE", "/ensemble")])
def test_other_methods_are_refused(client: Client, method: str, path: str) -> None:
    response = client.open(path, method=method)
    assert "only" in refused(response, 405)
    assert response.headers["Allow"]


def test_no_page_from_elsewhere_may_ask_or_frame(client: Client) -> None:
    answers = [
        client.get("/"),
        client.get("/nothing"),
        client.options("/predict", headers={"Origin": "http://evil.example"}),
        ask(client, b""),
    ]
    for response in answers:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_the_page_names_nothing_elsewhere(client: Client) -> None:
    page = client.get("/").text
    assert "<script>" not in page
    assert " style=" not in page
    for path in ("/", "/page.css", "/pad.js", "/page.js"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text


def test_the_ensemble_is_described(client: Client) -> None:
    said = client.get("/ensemble").json
    assert said["study"] == NAME
    assert len(said["members"]) == MEMBERS
    assert said["members"][0].keys() == {"name", "trial", "label", "weight", "test_accuracy"}
    assert said["test_images"] == 500
    assert said["max_bytes"] == MAX_BYTES


def test_a_fault_of_ours_ends_one_answer(
    app: App, client: Client, digits: UInt8s, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(image: UInt8s) -> None:
        raise RuntimeError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(app._champion, "predict_proba", fail)
        assert "secret" not in refused(ask(client, png(digits[0])), 500)
    assert "a secret" in capsys.readouterr().err
    assert ask(client, png(digits[0])).status_code == 200
