"""The registry of models: an ensemble becomes a version of its study's model, and its champion."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.parse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import mnistnn
from sweeps.errors import TrackingError
from sweeps.tracking import store
from sweeps.tracking.address import reason_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

__all__ = ["CHAMPION", "DIGEST_TAG", "Part", "register_champion"]

CHAMPION = "champion"
DIGEST_TAG = "ensemble_digest"

_CODE = Path(__file__).with_name("champion_model.py")
_VERSIONS = "mlflow.modelVersions"
_MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Part:
    """One member of the model: its file of weights, their digest, and how much it counts."""

    name: str
    weights: Path
    sha256: str
    weight: float


def register_champion(
    uri: str,
    *,
    name: str,
    run_id: str,
    digest: str,
    parts: Sequence[Part],
    params: Mapping[str, str],
    description: str,
    temperature: float = 1.0,
    tta: int = 0,
) -> str:
    """Registers an ensemble as a version of the model `name`, unless it is one already, and makes it the champion.

    Each step finds what an earlier call left, so a call that was cut short is completed by the next.

    Args:
        uri: the tracking store, which must be prepared; its registry is used.
        name: the registered model's.
        run_id: the ensemble's run.
        digest: names the ensemble; the same one is registered once.
        parts: the members.
        params: what the model was made by, for MLflow's table of models.
        description: of the version.
        temperature: the ensemble's.
        tta: by how many pixels it shifts images for the views that it averages.

    Returns:
        The version's number.

    Raises:
        TrackingError: the store is away, or refuses.
    """
    try:
        mlflow = store.client(uri)
        version = _version(mlflow, name, digest)
        if version is None:
            more = {"temperature": temperature, "tta": tta}
            model = _logged_model(mlflow, name, run_id, digest, parts, params, more)
            _create_registered(mlflow, name)
            created = mlflow.create_model_version(
                name,
                # Not `models:/m-…`: MLflow would look that up in its global store, which need not be this one.
                source=model.artifact_location,
                run_id=run_id,
                model_id=model.model_id,
                tags={DIGEST_TAG: digest},
                description=description,
            )
            version = str(created.version)
        _link(mlflow, name, version, run_id, digest)
        if _champion(mlflow, name) != version:
            mlflow.set_registered_model_alias(name, CHAMPION, version)
        experiment = mlflow.get_run(run_id).info.experiment_id
        link = f"[{name}, version {version}](#/models/{urllib.parse.quote(name, safe='')}/versions/{version})"
        store.describe(mlflow, experiment, {}, {"Ensemble": f"{description} It is the {CHAMPION}: {link}."})
    except Exception as error:  # MLflow's, SQLAlchemy's, requests', the file system's
        reason = reason_of(error, uri)
        raise TrackingError(
            f"the ensemble must be registered as {name!r}, but {store.public(uri)} did not take it ({reason}); "
            "build it again when it is back."
        ) from error
    return version


def _version(mlflow: MlflowClient, name: str, digest: str) -> str | None:
    """Returns the newest version that is this ensemble, or None."""
    found = mlflow.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
    return str(max(int(version.version) for version in found)) if found else None


def _link(mlflow: MlflowClient, name: str, version: str, run_id: str, digest: str) -> None:
    """Lets MLflow's page of an experiment's models show that one of them is registered, as its fluent API does."""
    model = _ready(mlflow, run_id, digest)
    if model is not None and _VERSIONS not in model.tags:
        known = json.dumps([{"name": name, "version": version}])
        mlflow.set_logged_model_tags(model.model_id, {_VERSIONS: known})


def _champion(mlflow: MlflowClient, name: str) -> str | None:
    aliases = mlflow.get_registered_model(name).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def _create_registered(mlflow: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        mlflow.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        mlflow.create_registered_model(
            name, description="The ensemble of a study's best trials; see the alias champion."
        )


def _logged_model(
    mlflow: MlflowClient,
    name: str,
    run_id: str,
    digest: str,
    parts: Sequence[Part],
    params: Mapping[str, str],
    more: Mapping[str, float],
) -> LoggedModel:
    """Returns MLflow's record of the model, with its files uploaded; that of an earlier call if it came to its end."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    ready = _ready(mlflow, run_id, digest)
    if ready is not None:
        return ready
    experiment = mlflow.get_run(run_id).info.experiment_id
    model = mlflow.create_logged_model(
        experiment,
        name=name,
        source_run_id=run_id,
        tags={DIGEST_TAG: digest},
        params=dict(params),
        model_type="ensemble",
    )
    with tempfile.TemporaryDirectory(prefix="sweeps-model-") as temporary:
        saved = Path(temporary) / "model"
        _save(saved, Path(temporary) / "members", model, run_id, parts, more)
        mlflow.log_model_artifacts(model.model_id, str(saved))
    mlflow.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    _log_metrics(mlflow, run_id, model.model_id)
    return mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _ready(mlflow: MlflowClient, run_id: str, digest: str) -> LoggedModel | None:
    from mlflow.entities import LoggedModelStatus

    experiment = mlflow.get_run(run_id).info.experiment_id
    known = mlflow.search_logged_models([experiment], filter_string=f"tags.{DIGEST_TAG} = '{digest}'")
    ready = [model for model in known if model.status == LoggedModelStatus.READY and model.source_run_id == run_id]
    return ready[0] if ready else None


def _save(
    folder: Path, members: Path, model: LoggedModel, run_id: str, parts: Sequence[Part], more: Mapping[str, float]
) -> None:
    """Writes the model as MLflow keeps models: this project's code for it, `mnistnn`, and the members' weights."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    members.mkdir()
    entries = []
    for part in parts:
        file = f"{part.name}.npz"
        shutil.copyfile(part.weights, members / file)
        entries.append({"file": file, "sha256": part.sha256, "weight": part.weight})
    (members / "members.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    (members / "ensemble.json").write_text(json.dumps(dict(more)) + "\n", encoding="utf-8")
    with warnings.catch_warnings():  # of an input example that would say no more than the signature
        warnings.simplefilter("ignore")
        from mlflow import pyfunc

        pyfunc.save_model(
            str(folder),
            python_model=str(_CODE),
            code_paths=[str(Path(mnistnn.__file__).parent)],
            artifacts={"members": str(members)},
            # No schema of the inputs: it would take one type and one shape only.
            signature=ModelSignature(outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 10))])),
            pip_requirements=[f"numpy=={np.__version__}"],
            mlflow_model=Model(
                model_id=model.model_id,
                model_uuid=model.model_id,
                run_id=run_id,
                artifact_path=model.artifact_location,
            ),
        )


def _log_metrics(mlflow: MlflowClient, run_id: str, model_id: str) -> None:
    """Shows the run's results beside the model, unchanged in time and step, so that the run's own curves stay."""
    from mlflow.entities import Metric

    mlflow.log_batch(
        run_id,
        metrics=[
            Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id, run_id=run_id)
            for key in mlflow.get_run(run_id).data.metrics
            for point in mlflow.get_metric_history(run_id, key)
        ],
    )
