"""Addresses of tracking stores: which is meant, whether it answers, how it may be shown. MLflow is not imported."""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import os
import re
import sqlite3
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from sweeps.errors import TrackingError
from sweeps.paths import Paths

__all__ = ["check_reachable", "is_server", "public", "reason_of", "resolve_uri", "sqlite_path"]

_SQLITE = re.compile(r"^sqlite(\+\w+)?://")
_DATABASES = ("postgresql", "mysql", "mssql")
_TIMEOUT_S = 4.0


def resolve_uri(uri: str | None, root: Path) -> str:
    """Returns the tracking store's address: the option, else MLFLOW_TRACKING_URI, else the project's own database.

    Raises:
        TrackingError: MLflow has no such store.
    """
    uri = (uri or os.environ.get("MLFLOW_TRACKING_URI") or "").strip()
    if not uri:
        return _sqlite_uri("sqlite://", Paths(root).mlruns.resolve() / "mlflow.db")
    if match := _SQLITE.match(uri):
        path = _sqlite_file(uri[match.end() :])
        if path in ("", ":memory:"):
            raise TrackingError(
                f"a tracking store must outlive the process, but {public(uri)} does not; use sqlite:///FILE."
            )
        return _sqlite_uri(match.group(), Path(path).absolute())  # a relative one would mean another file elsewhere
    try:
        scheme = urllib.parse.urlsplit(uri).scheme
    except ValueError as error:  # brackets in it that hold no address of the network
        reason = reason_of(error, uri)
        raise TrackingError(f"the tracking store must be an address, but {public(uri)} is none ({reason}).") from None
    file_store = scheme in ("", "file") or len(scheme) == 1
    if file_store and uri not in ("databricks", "databricks-uc") and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        raise TrackingError(
            f"the tracking store must be a database or a server, but {public(uri)} is a folder; use sqlite:///FILE."
        )
    if not (file_store or is_server(uri) or scheme.partition("+")[0] in _DATABASES or "databricks" in uri):
        raise TrackingError(
            f"the tracking store must be a database or a server, but {public(uri)} is neither; use sqlite:///FILE, "
            f"http://HOST:PORT or a database's URL ({', '.join(_DATABASES)})."
        )
    return uri.rstrip("/") if is_server(uri) else uri


def _sqlite_uri(scheme: str, path: Path) -> str:
    if "%" in str(path) or "?" in str(path):  # SQLAlchemy reads escapes and options where MLflow reads a file's name
        raise TrackingError(f"a tracking database's path must hold no % or ?, but {path} does; name another place.")
    return f"{scheme}/{path}"


def is_server(uri: str) -> bool:
    """Returns whether `uri` is that of a tracking server."""
    return uri.startswith(("http://", "https://"))


def sqlite_path(uri: str) -> Path | None:
    """Returns the file of a SQLite address, else None."""
    match = _SQLITE.match(uri)
    return Path(_sqlite_file(uri[match.end() :])) if match else None


def _sqlite_file(text: str) -> str:
    """Returns the file's name out of what follows `sqlite://`, without options, and without the `file:` they take."""
    return text.removeprefix("/").split("?")[0].removeprefix("file:")


def public(text: str) -> str:
    """Returns an address, or a message that may hold some, without the passwords in it.

    Drivers differ in where they think that a password ends, so it is taken to end at the last place that any of them
    does: `//ann@corp:p/w:d@e@host` hides all from the second colon to the last @.
    """
    text = _AT_START.sub(r"\1:***@", text)
    text = _WITHIN.sub(r"\1:***@", text)
    return _NAMED.sub(r"\1=***", text)


# A password may hold blanks where the whole text is an address; within a message an address ends at a blank.
_AT_START = re.compile(r"^(\w[\w+.-]*://[^/\s:]*):.*@", re.DOTALL)
_WITHIN = re.compile(r"(\w://[^/\s:]*):\S*@")
_SECRET = "passw|passphrase|pwd|token|secret|credential|api_?key|access_?key|signature|odbc_connect"
_NAMED = re.compile(rf"""(?i)([\w-]*(?:{_SECRET})[\w-]*)=('[^']*'|"[^"]*"|[^&\s'"]+)""")


def _secrets_of(uri: str) -> list[str]:
    """Returns the passwords in an address and their parts, as a message may quote them, the longest first."""
    found = [match[1]] if (match := re.match(r"\w[\w+.-]*://[^/\s:]*:(.*)@", uri, re.DOTALL)) else []
    found += [match[2].strip("'\"") for match in _NAMED.finditer(uri)]
    whole = {
        form for secret in found for form in (secret, urllib.parse.unquote(secret), urllib.parse.unquote_plus(secret))
    }
    # A driver that parts the address elsewhere takes the rest of a password for a host, and says so.
    parts = {part for secret in whole for part in re.split(r"[\W_]+", secret)}
    for secret in whole:
        for match in itertools.islice(re.finditer(r"[:@/?#]", secret), 20):
            parts |= {secret[: match.start()], secret[match.end() :]}
    return sorted((secret for secret in whole | parts if len(secret) > 2), key=len, reverse=True)


def reason_of(error: BaseException, uri: str = "") -> str:
    """Returns what an error says, as a clause of one line: no SQL, no links, no passwords, none of those in `uri`."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = re.split(r" ?\[SQL: | ?\(Background on this error", " ".join(str(reason).split()))[0]
    for secret in _secrets_of(uri):
        reason = reason.replace(secret, "***")
    return public(reason)[:200].rstrip(". ")


def check_reachable(uri: str) -> None:
    """Sees that the store can be used, within a few seconds. A database server is left to SQLAlchemy.

    Raises:
        TrackingError: it cannot.
    """
    if is_server(uri):
        _check_server(uri)
    elif (path := sqlite_path(uri)) is not None:
        _check_sqlite(path)


def _check_server(uri: str) -> None:
    shown = public(uri)
    parts = urllib.parse.urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    remedy = "start it (mlflow server), or name another with --tracking-uri"
    try:
        request = urllib.request.Request(parts._replace(netloc=host).geturl() + "/health", headers=_credentials(parts))
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_tls()), _Redirects())
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            body = answer.read(64)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        raise TrackingError(f"the tracking server must answer, but {shown} gave HTTP {error.code}; {remedy}.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)  # URLError's is an error itself, or a text
        reason = reason_of(cause if isinstance(cause, BaseException) else error, uri)
        raise TrackingError(f"the tracking server must answer, but {shown} did not ({reason}); {remedy}.") from None
    if not body.startswith(b"OK"):
        raise TrackingError(f"the tracking server must be MLflow's, but {shown} is something else; {remedy}.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address of its own host; elsewhere nobody gets the password."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and request.host != req.host:
            request.remove_header("Authorization")
        return request


def _credentials(parts: urllib.parse.SplitResult) -> dict[str, str]:
    """Returns the header that MLflow's client would send."""
    user = urllib.parse.unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = urllib.parse.unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if user:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"))
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _check_sqlite(path: Path) -> None:
    away = f"move it away ({path.name} → {path.name}.old) and run again: what the studies recorded is sent anew"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if not path.exists():
            return
        with open(path, "r+b") as file:
            if (magic := file.read(16)) and magic != b"SQLite format 3\0":
                raise TrackingError(f"the tracking store must be an SQLite database, but {path} is not; {away}.")
    except OSError as error:
        raise TrackingError(
            f"the tracking store must be writable, but {path} is not ({reason_of(error)}); use another --tracking-uri."
        ) from None
    if magic and not _is_migrated(path):
        raise TrackingError(f"the tracking database must be whole, but {path} was left half made; {away}.")


def _is_migrated(path: Path) -> bool:
    """Returns whether MLflow's migrations ran to their end in this database. If another process locks it, they did."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        return "locked" in str(error) or "busy" in str(error)
    except sqlite3.DatabaseError:
        return False
    if not tables:
        return True  # an empty file: MLflow fills it
    return {"alembic_version", "experiments"} <= tables and not any(name.startswith("_alembic_tmp_") for name in tables)
