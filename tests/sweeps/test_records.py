from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeps.records import DAMAGED, from_plain, read_plain, save_plain, to_plain


@dataclass(frozen=True)
class Result:
    name: str
    shares: tuple[float | None, ...]


def test_a_record_survives_json(tmp_path: Path) -> None:
    record = Result("é", (0.5, None))
    save_plain(to_plain(record), tmp_path / "record.json")
    assert from_plain(Result, read_plain(tmp_path / "record.json")) == record
    assert json.loads((tmp_path / "record.json").read_text("utf-8")) == {
        "format": 1, "name": "é", "shares": [0.5, None],
    }  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"shares": "half"}, {"shares": [1, "2"]}, {"more": 1}, {"name": None}]
)
def test_what_is_no_such_record_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DAMAGED):
        from_plain(Result, to_plain(Result("x", ())) | change)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b" " * (5 << 20)])
def test_what_is_no_json_or_too_much_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "record.json").write_bytes(data)
    with pytest.raises(DAMAGED):
        read_plain(tmp_path / "record.json")
