"""A submission's manifest as it is read: by whoever got it from somewhere, so nothing in it is believed unseen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mnistnn.errors import InputError
from mnistnn.npz import open_plain
from sweeps.config.sections import NAME_PATTERN
from sweeps.ensemble.submission import MANIFEST_FORMAT
from sweeps.ensemble.views import MOST_PIXELS

__all__ = ["Manifest", "ManifestError", "read_manifest"]

_LARGEST = 4 << 20  # bytes: a thousand times as long as that of five members
_MOST_IMAGES = 10_000_000
_MOST_MEMBERS = 10_000
_LONGEST_NAME = 255


class ManifestError(InputError):
    """A manifest that cannot be used, or that what it names does not agree with."""


def _printable(text: str) -> str:
    """Keeps what would steer a terminal out of what is shown."""
    if len(text) > _LONGEST_NAME or not text.isprintable():
        raise ValueError(f"must be printable text of at most {_LONGEST_NAME} characters")
    return text


def _plain_name(name: str) -> str:
    """Keeps a name within its folder."""
    if _printable(name) in ("", ".", "..") or os.path.basename(name) != name or "\\" in name:
        raise ValueError("must be the name of a file, and no path")
    return name


Text = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, AfterValidator(_plain_name)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    # A later version may say more, and mean the same by what this one knows.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class Input(_Part):
    """The images; with `data_digest` those of a data set's test set, whose name is no file's."""

    name: Text
    digest: Digest
    images: int = Field(ge=1, le=_MOST_IMAGES)
    data_digest: Digest | None = None
    as_mnist: bool = False


class Output(_Part):
    """The answers."""

    name: Name
    format: Literal["kaggle", "digits"]
    sha256: Digest


class Probabilities(_Part):
    """What the answers were chosen by."""

    name: Name
    sha256: Digest


class ManifestMember(_Part):
    """A trial in the ensemble, of its own study or of the one that is named; or a model from outside."""

    trial: int = Field(ge=0, le=10**9)
    run_id: str | None = Field(default=None, pattern="^[0-9A-Za-z]{1,64}$")
    weights_sha256: Digest
    weight: float = Field(gt=0, le=1)
    study: str = Field(default="", pattern=f"^$|{NAME_PATTERN}")
    epoch: int | None = Field(default=None, ge=1, le=1000)
    outside: Text = ""


class ManifestEnsemble(_Part):
    """Whose average the answers are."""

    digest: Digest
    members: list[ManifestMember] = Field(min_length=1, max_length=_MOST_MEMBERS)
    temperature: float = Field(default=1.0, gt=0, le=1000)
    tta: int = Field(default=0, ge=0, le=MOST_PIXELS)


class Manifest(_Part):
    """What a submission was made from."""

    study: str = Field(pattern=NAME_PATTERN)
    input: Input
    output: Output
    ensemble: ManifestEnsemble
    probabilities: Probabilities | None = None
    versions: dict[Text, Text] = Field(default={}, max_length=20)
    commit: Text | None = None

    @property
    def made_by(self) -> dict[str, str | None]:
        """The versions and the commit, as `provenance.made_by` has them."""
        return {**self.versions, "commit": self.commit}


def read_manifest(path: Path) -> Manifest:
    """Reads the manifest of a submission.

    Raises:
        ManifestError: it is missing, damaged, or of another version; one line.
    """
    values = _values(path)
    try:
        manifest = Manifest.model_validate(values)
        if manifest.input.data_digest is None:
            _plain_name(manifest.input.name)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, details["loc"])) or "manifest"
        reason = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise _unusable(path, f"its {place} is not sound ({reason})") from None
    except ValueError as error:
        raise _unusable(path, f"its input.name is not sound ({error})") from None
    return manifest


def _values(path: Path) -> Any:
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ManifestError(
            f"a manifest must exist, but {path} does not; `submit` writes it beside the answers as NAME.manifest.json."
        ) from None
    except (OSError, ValueError) as error:
        raise _unusable(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > _LARGEST:
        raise _unusable(path, f"is larger than {_LARGEST >> 20} MiB")
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unusable(path, f"is no JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict) or "ensemble" not in values or "output" not in values:
        raise _unusable(path, "is something else")
    if (format := values.get("format")) != MANIFEST_FORMAT:
        raise ManifestError(
            f"a manifest must be of format {MANIFEST_FORMAT}, but {path} is of format {str(format)[:20]!r}; verify it "
            "by the version of this project that wrote it."
        )
    return values


def _unusable(path: Path, reason: str) -> ManifestError:
    return ManifestError(
        f"a manifest must be whole and such as `submit` writes, but {path} {reason}; take the one that was written "
        "beside the submission."
    )
