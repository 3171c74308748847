"""Durations as people write and read them."""

from __future__ import annotations

import re

from sweeps.errors import ConfigError

__all__ = ["clock", "duration_code", "parse_duration", "parse_part", "part_s"]

_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?", re.ASCII)
_SHARE = re.compile(r"(\d+(?:\.\d+)?) ?%", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST_S = 366 * 24 * 3600.0


def parse_duration(text: str | float) -> float:
    """Returns the seconds that `text` means: "600", "90s", "30m", "2h", "1h30m", or a number of seconds.

    Raises:
        ConfigError: it means none, or not more than 0 and at most a year.
    """
    seconds = 0.0
    if match := _DURATION.fullmatch(str(text).strip()):
        seconds = sum(float(number) * _SECONDS[unit] for unit, number in match.groupdict().items() if number)
    if not 0 < seconds <= _LONGEST_S:
        raise ConfigError(f"a duration must be seconds above 0, or like 90s, 30m, 2h or 1h30m, but got {text!r:.60}.")
    return seconds


def parse_part(text: str | float) -> float | str:
    """Returns what `text` means as a part of a time: seconds, as `parse_duration` reads them, or a share like "70%".

    Raises:
        ConfigError: it means none, or a share that is not above 0 and below 100 %.
    """
    if "%" not in str(text):
        return parse_duration(text)
    match = _SHARE.fullmatch(str(text).strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise ConfigError(f'a share must be above 0 and below 100 %, like "70%", but got {text!r:.60}.')
    return f"{match[1]}%"


def part_s(part: float | str, whole_s: float) -> float:
    """Returns the seconds that a part, as `parse_part` gave it, has of so many."""
    return whole_s * float(part.removesuffix("%")) / 100 if isinstance(part, str) else part


def duration_code(seconds: float) -> str | float:
    """Returns the shortest way to write a duration that `parse_duration` reads: "2h", "1h30m", "59s", 0.5."""
    if seconds != int(seconds):
        return seconds
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest_s, "s")) if count)


def clock(seconds: float) -> str:
    """Returns a duration as people read it: 48 s, 3:05, 2:01:07."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
