"""A contest's answers: how they are written and read again, and the probabilities that are kept beside them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from mnistnn.errors import CheckpointError
from mnistnn.files import atomic_write, sha256_bytes
from mnistnn.npz import open_plain, read_arrays
from mnistnn.types import Floats, Ints
from sweeps.ensemble.predictions import are_probs

__all__ = ["FORMATS", "load_answer_probs", "parse_answers", "probs_path", "save_answer_probs"]

_KAGGLE = b"ImageId,Label\n"
_PROBS_BYTES = 40  # ten float32 an image
_AROUND_BYTES = 4096  # at most, what an .npz puts around one array


def _kaggle(digits: Ints) -> str:
    return _KAGGLE.decode() + "".join(f"{number},{digit}\n" for number, digit in enumerate(digits, start=1))


def _digits(digits: Ints) -> str:
    return "".join(f"{digit}\n" for digit in digits)


#: How answers are written: Kaggle's columns with ids from 1, or one digit a line.
FORMATS: dict[str, Callable[[Ints], str]] = {"kaggle": _kaggle, "digits": _digits}


def parse_answers(data: bytes, format: str, count: int) -> Ints | None:
    """Reads what `FORMATS` wrote, with the ends of lines of any system.

    Returns:
        The digits, or None if these are not `count` answers in that format.
    """
    lines = data.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    if format == "kaggle" and f"{lines.pop(0).decode('latin-1')}\n".encode() != _KAGGLE:
        return None
    if len(lines) != count:
        return None
    digits = np.empty(count, np.int64)
    for number, line in enumerate(lines, start=1):
        expected = rb"[0-9]" if format == "digits" else b"%d,[0-9]" % number
        if not re.fullmatch(expected, line):
            return None
        digits[number - 1] = line[-1] - ord("0")
    return digits


def probs_path(output: Path) -> Path:
    """Returns where the probabilities of a submission lie: beside it."""
    return output.with_name(f"{output.name}.probs.npz")


def save_answer_probs(path: Path, probs: Floats) -> str:
    """Writes the probabilities that answers were chosen by. The same ones give the same bytes.

    Returns:
        The SHA-256 of the file.

    Shape:
        probs: (N, 10) float32

    Raises:
        OutputError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, probs=np.asarray(probs, np.float32))
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return sha256_bytes(buffer.getvalue())


def load_answer_probs(path: Path, digest: str, count: int) -> Floats | None:
    """Reads what `save_answer_probs` wrote; never more bytes than the probabilities of `count` images take.

    Returns:
        The probabilities, or None if there is no such file.

    Shape: → (count, 10) float32

    Raises:
        CheckpointError: the file is not the one with that digest, or no probabilities of so many images.
    """
    most = count * _PROBS_BYTES + _AROUND_BYTES
    try:
        with open_plain(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError("it is too long")
        if (found := sha256_bytes(data)) != digest:
            raise ValueError(f"its sha256 is {found[:12]}…, not {digest[:12]}…")
        probs = read_arrays(path, {"probs"})["probs"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"the probabilities of a submission must be those that its manifest names, but {path.name} is not "
            f"({getattr(error, 'strerror', None) or error}); remove it to do without."
        ) from error
    if not are_probs(probs, count):
        raise CheckpointError(
            f"the probabilities of a submission must be ten an image, but {path.name} holds others; remove it to do "
            "without."
        )
    return cast("Floats", np.asarray(probs, np.float32))
