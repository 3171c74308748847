"""The errors of the orchestration that a user can cause."""

from __future__ import annotations

from mnistnn.errors import InputError

__all__ = ["ConfigError", "StudyError", "TrackingError"]


class ConfigError(InputError):
    """A study's TOML, or an option, that cannot be used."""


class StudyError(InputError):
    """A study's storage that cannot be used as asked."""


class TrackingError(InputError):
    """A tracking store that cannot be used or does not answer."""
