"""Optuna Dashboard on a study's storage: it shows everything, and takes notes, but changes nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import SecurityError
from werkzeug.wrappers import Request, Response

from sweeps.errors import StudyError
from sweeps.study.lookup import config_of
from sweeps.study.storage import load_study
from sweeps.study.validation import reported

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from sweeps.paths import StudyPaths

__all__ = ["Dashboard"]

_HOSTS = ("127.0.0.1", "localhost")
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note")
_MAX_BYTES = 1 << 20
# The dashboard's own. By `set_metric_names` Optuna's command line would lay out its tables in another way, too.
_METRICS = "dashboard:objective_names"


class Dashboard:
    """Optuna Dashboard as a WSGI application, for browsers on this machine.

    It opens the study as a worker does, for its lock must be a worker's: `optuna-dashboard` by itself takes Optuna's,
    which is another file, and its lines and a worker's could be written into each other. The lock does not make every
    change harmless. A deleted or renamed study, a trial that is told a result or gets other attributes would part the
    storage from the trials' files and from what workers are at, so of its changes only notes are let through. What it
    calls the metric, which would be "Objective 0", is kept beside them.

    Args:
        name: the study.
        url: the storage, as `--storage` has it.
        paths: the study's.

    Raises:
        StudyError: there is no such study, its storage cannot be opened, or Optuna Dashboard is not installed.
    """

    def __init__(self, name: str, url: str | None, paths: StudyPaths) -> None:
        try:
            import optuna_dashboard
        except ImportError:
            raise StudyError(
                "Optuna Dashboard must be installed for this, but it is not there; `make dashboard` installs it, or "
                "`pip install optuna-dashboard`."
            ) from None
        study = load_study(name, url, paths)
        metrics = [reported(config_of(study))]
        if study._storage.get_study_system_attrs(study._study_id).get(_METRICS) != metrics:
            with contextlib.suppress(Exception):  # each storage has its own; a metric without a name hides nothing
                study._storage.set_study_system_attr(study._study_id, _METRICS, metrics)
        self._app: WSGIApplication = optuna_dashboard.wsgi(study._storage)
        self.page = f"/dashboard/studies/{study._study_id}"
        """The study's own page: a database may hold others too."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        refused = _refuse(Request(environ))
        return self._app(environ, start_response) if refused is None else refused(environ, start_response)


def _refuse(request: Request) -> Response | None:
    """Returns the answer to a request that is not for the dashboard, or None."""
    request.trusted_hosts = list(_HOSTS)
    try:
        host = request.host
    except SecurityError:
        return _say(f"the host must be {' or '.join(_HOSTS)}; open the address that `dashboard` printed.")
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("Origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
        return _say("a note must be sent by the page of this server; open the address that `dashboard` printed.")
    if request.method != "PUT" or not _NOTE.fullmatch(request.path.rstrip("/")):
        return _say("notes alone are written here: other changes would part a study from its files and its workers.")
    if not 0 <= (request.content_length if request.content_length is not None else -1) <= _MAX_BYTES:
        return _say(f"a note must say its length, of at most {_MAX_BYTES:,} bytes; shorten it.")
    return None


def _say(reason: str) -> Response:
    """Returns an error as the dashboard's pages show it."""
    body: dict[str, Any] = {"reason": reason}
    return Response(json.dumps(body) + "\n", status=403, content_type="application/json")
