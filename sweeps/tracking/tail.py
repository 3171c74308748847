"""The last epoch of a run that is written at this moment, read from the end of its events."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.tracking.events import EVENTS, parse

__all__ = ["EpochTail"]

_BLOCK = 1 << 16  # bytes: an epoch's line has three hundred


@dataclass(slots=True)
class EpochTail:
    """Follows the events of one run. A look at a file that has not grown takes microseconds.

    Attributes:
        folder: the run's folder.
        epoch: the last one that ended; 0 before the first.
        val_accuracy: of the last one that was validated.
        images_per_s: of the last one.
        time_ms: when it ended, or, if none has since, when the run last started or was resumed; 0 if it never was.
    """

    folder: Path
    epoch: int = 0
    val_accuracy: float | None = None
    images_per_s: float | None = None
    time_ms: int = 0
    _offset: int = field(default=0, repr=False)

    def look(self) -> EpochTail:
        """Reads what is new, as far as it is whole."""
        try:
            with open(self.folder / EVENTS, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size <= self._offset:
                    return self
                start = max(self._offset, size - _BLOCK)
                new = os.pread(file.fileno(), size - start, start)
        except OSError:
            return self
        whole = new.rfind(b"\n") + 1
        for line in new[:whole].splitlines():
            self._take(line)
        self._offset = start + whole
        return self

    def _take(self, line: bytes) -> None:
        event = parse(line)
        if event is None or event["kind"] not in ("start", "resume", "epoch"):
            return
        self.time_ms = event["time_ms"]
        if event["kind"] == "epoch":
            self.epoch = event["step"]
            known = event["metrics"]
            self.images_per_s = float(known["images_per_s"]) if "images_per_s" in known else None
            if "val_accuracy" in known:
                self.val_accuracy = float(known["val_accuracy"])
