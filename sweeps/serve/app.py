"""The page as a WSGI application: its files, what the ensemble is, and answers to pictures."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import (
    Forbidden,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    SecurityError,
    UnsupportedMediaType,
)
from werkzeug.wrappers import Request, Response

from mnistnn.data.checks import CLASSES, SIDE
from mnistnn.data.mnist_like import BLANK, as_mnist, has_light_ground, is_blank
from mnistnn.data.photo import MAX_PIXELS, read_photo
from mnistnn.errors import DataError, InputError
from sweeps.serve.champion import Champion

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["MAX_BYTES", "App"]

MAX_BYTES = 16 << 20
"""What a picture may weigh; a phone's photo has a quarter of it."""

_HOSTS = ("127.0.0.1", "localhost")
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/pad.js": ("pad.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
}
# No form can send these, and no page from elsewhere may without asking first, which is never allowed.
_TYPES = ("image/png", "image/jpeg")
_NAME = Path("this one")  # what an error calls a picture: the name it had is not asked for

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # another study may be served at this address tomorrow
}


class App:
    """Answers a browser on this machine, and nobody else.

    A request must name this machine as its host, or a page from elsewhere could give itself a name that leads here; a
    POST must come from the page itself. No path that a request names is ever opened. An error is one line of JSON.

    Args:
        champion: whom to ask.
    """

    def __init__(self, champion: Champion) -> None:
        self._champion = champion
        package = resources.files("sweeps.serve")
        self._files = {path: (package.joinpath(name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        self._reading = threading.Lock()  # one picture at a time is decoded, which takes up to 200 MB

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        request = Request(environ)
        request.trusted_hosts = list(_HOSTS)
        request.max_content_length = MAX_BYTES
        try:
            response = self._answer(request)
        except HTTPException as error:
            response = _say(error.description or error.name, error.code or 500)
            if isinstance(error, MethodNotAllowed):
                response.headers["Allow"] = ", ".join(error.valid_methods or ())
        except InputError as error:
            response = _say(str(error), 400)
        except Exception:  # a fault of ours: it ends one answer, not the server
            traceback.print_exc(file=sys.stderr)
            response = _say("the server failed; what happened stands in its terminal.", 500)
        response.headers.update(_HEADERS)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        _check_source(request)
        if request.path == "/predict":
            _check_method(request, "POST")
            return _as_json(self._predict(request))
        if request.path == "/ensemble":
            _check_method(request, "GET", "HEAD")
            limits = {"max_bytes": MAX_BYTES, "max_pixels": MAX_PIXELS, "classes": CLASSES, "side": SIDE}
            return _as_json(self._champion.describe() | limits)
        if request.path in self._files:
            _check_method(request, "GET", "HEAD")
            content, kind = self._files[request.path]
            return Response(content, content_type=f"{kind}; charset=utf-8")
        raise NotFound("there is no such page here; open the address without a path.")

    def _predict(self, request: Request) -> dict[str, Any]:
        if request.mimetype not in _TYPES:
            raise UnsupportedMediaType(f"a picture must be sent as {' or '.join(_TYPES)}; save it as one of these.")
        try:
            content = request.get_data(cache=False)
        except RequestEntityTooLarge:
            raise RequestEntityTooLarge(f"a picture must have at most {MAX_BYTES:,} bytes; scale it down.") from None
        with self._reading:
            picture = read_photo(io.BytesIO(content), _NAME)
        if is_blank(picture):
            raise DataError(BLANK)
        started = time.perf_counter()
        inverted = has_light_ground(picture)
        # Such as `predict` takes is given to the nets as `predict` gives it.
        as_it_was = picture.shape == (SIDE, SIDE) and not inverted
        image = picture if as_it_was else as_mnist(picture)
        prepared = time.perf_counter()
        probs, members = self._champion.predict_proba(image)
        ended = time.perf_counter()
        return {
            "digit": int(probs.argmax()),
            "probs": probs.tolist(),
            "members": members.tolist(),
            "picture": base64.b64encode(image.tobytes()).decode("ascii"),
            "inverted": inverted,
            "as_it_was": as_it_was,
            "prepare_ms": round((prepared - started) * 1e3, 2),
            "predict_ms": round((ended - prepared) * 1e3, 2),
        }


def _check_source(request: Request) -> None:
    """Raises Forbidden where a request is not from a page of ours, or from a program on this machine."""
    try:
        host = request.host
    except SecurityError:
        raise Forbidden(f"the host must be {' or '.join(_HOSTS)}; open the address that `serve` printed.") from None
    if request.method in ("GET", "HEAD"):
        return
    origin = request.headers.get("Origin")  # which browsers send, and a program need not
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if (origin is not None and origin != f"http://{host}") or site not in ("same-origin", "none"):
        raise Forbidden("a picture must be sent by the page of this server; open the address that `serve` printed.")


def _check_method(request: Request, *allowed: str) -> None:
    if request.method not in allowed:
        raise MethodNotAllowed(allowed, f"{request.path} answers to {' and '.join(allowed)} only.")


def _as_json(values: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(values) + "\n", status=status, content_type="application/json")


def _say(message: str, status: int) -> Response:
    return _as_json({"error": " ".join(message.split())}, status)
