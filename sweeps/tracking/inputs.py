"""Data sets as MLflow shows them beside a run, made without `mlflow.data`, which wants the images themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

__all__ = ["dataset_inputs"]

_DIGEST_LENGTH = 16  # MLflow allows 36 and shows it whole; the run's tags hold the full one


def dataset_inputs(inputs: Iterable[Mapping[str, Any]]) -> list[DatasetInput]:
    """Returns the inputs of a run: each has name, digest, source (an address or a path), rows and context."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    made: list[DatasetInput] = []
    for entry in inputs:
        source = str(entry.get("source", ""))
        remote = source.startswith(("http://", "https://"))
        rows, context = entry.get("rows"), str(entry.get("context", "training"))
        dataset = Dataset(
            name=f"{entry.get('name', 'data')} {context}",  # MLflow keeps one of each name and digest
            digest=str(entry.get("digest", ""))[:_DIGEST_LENGTH],
            source_type="http" if remote else "local",
            source=json.dumps({"url": source} if remote else {"uri": source}),
            schema=_SCHEMA,
            profile=json.dumps(_profile(rows)) if isinstance(rows, int) else None,
        )
        made.append(DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)]))
    return made


def _tensor(dtype: str, *shape: int) -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}])


_SCHEMA = json.dumps({"mlflow_tensorspec": {"features": _tensor("uint8", 28, 28), "targets": _tensor("uint8")}})


def _profile(rows: int) -> dict[str, Any]:
    return {"num_rows": rows, "features_shape": [rows, 28, 28], "targets_shape": [rows]}
