"""The view of an experiment's runs that opens by itself: flat, best first, with the columns that tell trials apart.

MLflow keeps a shared view in a tag of the experiment. It has no documentation: this is what the UI's own "share" button
writes, so the range of MLflow's versions is pinned.
"""

from __future__ import annotations

import json
import urllib.parse
from typing import Final

__all__ = ["VIEW_TAG", "address", "view_state"]

_KEY: Final = "trials"

VIEW_TAG: Final = f"mlflow.sharedViewState.{_KEY}"

_ORDER: Final = "metrics.`best_val_loss`"

_COLUMNS: Final = (
    *(f"metrics.`{name}`" for name in ("best_val_loss", "best_val_accuracy", "epochs_run", "macs", "params_count")),
    *(f"params.`{name}`" for name in ("architecture", "norm", "optimizer", "learning_rate", "batch_size", "shift")),
    *(f"params.`{name}`" for name in ("dropout", "dense_dropout")),
    "tags.`state`",
)


def view_state() -> str:
    """Returns the value of the tag `VIEW_TAG`."""
    return json.dumps(
        {
            "selectedColumns": list(_COLUMNS),
            "orderByKey": _ORDER,
            "orderByAsc": True,
            "compareRunsMode": "TABLE",
        }
    )


def address(server: str, experiment_id: str) -> str:
    """Returns the address of the view: in the training UI, not the one for language models."""
    query = urllib.parse.urlencode({"workflowType": "machine_learning", "viewStateShareKey": _KEY})
    return f"{server}/#/experiments/{experiment_id}/runs?{query}"
