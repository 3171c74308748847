"""What the parent tells its workers to do."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import StudyError

if TYPE_CHECKING:
    from mnistnn.data import Dataset
    from sweeps.config import StudyConfig

__all__ = ["Order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is to do; plain values, so that it can go to another process, or another machine.

    Attributes:
        config: the study's configuration, as `StudyConfig.to_dict` writes it.
        root: the project's folder.
        data: the data set's place.
        data_digest: what the data set must be.
        storage: an Optuna URL or a journal's path; None for the study's own.
        heartbeat_s: seconds between two signs of life, where the storage is a database.
        trials: the study's budget in trials.
        most: how many trials may have ended when this call ends.
        only: the trials that this call is about, by the numbers that they began under; None: all.
        left_s: how long until its budget in time is used up, from when the order is read; None sets no limit.
        workers: how many are started with this order.
        parent: the process that started the worker; when it is gone, the worker leaves. None: nobody did.
        tags: of every run.
        inputs: the data sets, for every run.
    """

    config: dict[str, Any]
    root: str
    data: str
    data_digest: str
    storage: str | None = field(default=None, repr=False)  # it may hold a password
    heartbeat_s: int = 60
    trials: int | None = None
    most: int | None = None
    only: list[int] | None = None
    left_s: float | None = None
    workers: int = 1
    parent: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        config: StudyConfig,
        root: Path,
        dataset: Dataset,
        *,
        storage: str | None,
        trials: int | None,
        most: int | None = None,
        only: Collection[int] | None = None,
        heartbeat_s: int = 60,
    ) -> Order:
        """Returns the order for workers of this process."""
        from sweeps.tracking.environment import environment_tags

        tags = environment_tags() | {
            "study": config.name,
            "config_hash": config.hash,
            "seed": str(config.seed),
            "data": dataset.name,
            "data_digest": dataset.digest,
        }
        return cls(
            config=config.to_dict(),
            root=str(root),
            data=str(dataset.path),
            data_digest=dataset.digest,
            storage=storage,
            heartbeat_s=heartbeat_s,
            trials=trials,
            most=most,
            only=None if only is None else sorted(only),
            parent=os.getpid(),
            tags=tags,
            inputs=_inputs(dataset),
        )

    @property
    def study(self) -> str:
        """The study's name."""
        return str(self.config["study"]["name"])

    def to_json(self) -> str:
        """Returns what `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Builds the order that `to_json` wrote.

        Raises:
            StudyError: it is none.
        """
        from pydantic import TypeAdapter

        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except (ValueError, RecursionError) as error:  # pydantic's shows values, of which one may be a password
            raise StudyError(
                f"a worker's order must be such as `run` gives, but is not ({type(error).__name__}); start workers by "
                "`run` or `worker`."
            ) from None


def _inputs(dataset: Dataset) -> list[dict[str, Any]]:
    common = {"name": dataset.name, "digest": dataset.digest, "source": str(dataset.path)}
    total = len(dataset.train_labels)
    validation = total // 6  # as Dataset.split has it
    return [
        common | {"rows": total - validation, "context": "training"},
        common | {"rows": validation, "context": "validation"},
    ]
