"""Hyperparameter sweeps of `mnistnn` networks: Optuna studies, tracked in MLflow, ended by an ensemble.

In a notebook, `from sweeps import Study`; it is imported when it is used, so that the command line starts at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.notebook import Study

__all__ = ["Study"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sweeps' has no attribute {name!r}")
    return getattr(importlib.import_module("sweeps.notebook"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
