"""Tests that need what a machine may not have: they are skipped there, with a reason, and never where CI runs."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import NoReturn

import pytest

__all__ = ["missing", "need"]

#: Set by .ci/run, which installs everything that any test needs.
CI_VARIABLE = "SWEEPS_CI"


def need(module: str, reason: str = "") -> ModuleType:
    """Returns an optional module, or skips the tests that asked for it and says why.

    Called at the top of a file it skips the file.

    Args:
        module: its name for `import`.
        reason: why it is needed and how it is installed, for the line of the skip.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing(f"needs {module} ({error})" + (f": {reason}" if reason else ""))


def missing(reason: str) -> NoReturn:
    """Skips a test for a reason found when it began: a server that does not start, a mount that is not allowed.

    Where CI runs it fails instead: a test that nobody runs would pass for ever.
    """
    if os.environ.get(CI_VARIABLE) == "1":
        pytest.fail(f"{reason}, and with {CI_VARIABLE}=1 no test may be skipped for that", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
