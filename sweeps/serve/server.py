"""Listens on loopback, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import threading
import time
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler, make_server

from mnistnn.errors import InputError
from sweeps.browser import open_pages
from sweeps.workers.signals import caught

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["serve"]

_HOST = "127.0.0.1"
_PORT = 5010
_MOST_BYTES = 1 << 16  # of what whoever has that port answers
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_IDLE_S = 20.0  # after which a connection that says nothing is closed


def serve(
    app: WSGIApplication,
    *,
    title: str,
    page: str = "",
    port: int | None = None,
    open_browser: bool = False,
    as_json: bool = False,
) -> None:
    """Shows the page's address on stdout, and serves it until Ctrl-C or SIGTERM.

    Args:
        app: what answers.
        title: what stands before the address.
        page: the path of the page to open.
        port: the port; by default 5010, or any other if that is taken.
        open_browser: whether to open the page in the browser.
        as_json: whether title and address are shown as JSON, on one line.

    Raises:
        InputError: the port is taken or not allowed.
    """
    told: list[int] = []
    with _listening(port) as listener, caught(told):
        number = listener.getsockname()[1]
        if port is None and number != _PORT:
            print(f"{_holder_of(_PORT)}; this one takes another port.", file=sys.stderr, flush=True)
        server = make_server(_HOST, number, app, threaded=True, request_handler=_Handler, fd=listener.fileno())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            address = f"http://{_HOST}:{number}{page}"
            print(json.dumps({"title": title, "url": address}) if as_json else f"{title}  {address}", flush=True)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
            if open_browser:
                open_pages(address)
            while not told and thread.is_alive():
                time.sleep(0.1)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _listening(wanted: int | None) -> socket.socket:
    """Returns a socket that listens already: between a look and a try another program could take the port."""
    for number in (wanted,) if wanted is not None else (_PORT, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else it waits for the last one's traces
            listener.bind((_HOST, number))
            listener.listen(64)
        except OSError as error:
            listener.close()
            failed = "is taken" if error.errno == errno.EADDRINUSE else f"is not ({error.strerror})"
            continue
        return listener
    raise InputError(f"the port must be free, but {wanted or _PORT} {failed}; name another, or none to take any.")


def _holder_of(number: int) -> str:
    """Returns who has a port, as a sentence without its end: a page of these, or nobody known."""
    address = f"http://{_HOST}:{number}"
    with contextlib.suppress(OSError, HTTPException, ValueError, AttributeError):
        with _LOOPBACK.open(f"{address}/ensemble", timeout=2) as answer:
            study = json.loads(answer.read(_MOST_BYTES)).get("study")
        if isinstance(study, str) and study.isprintable():
            return f"study {study[:100]} is served already, at {address}"
    return f"port {number} is taken by another program"


class _Handler(WSGIRequestHandler):
    """Werkzeug's, without a line on stderr for each request, and without patience."""

    timeout = _IDLE_S

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Says nothing of connections that browsers drop; what fails within an answer the application says."""
