"""What `clean` asks of MLflow: which ensemble is the champion, and to delete artifacts."""

from __future__ import annotations

from sweeps.errors import TrackingError
from sweeps.tracking import store
from sweeps.tracking.address import public, reason_of
from sweeps.tracking.inspect import RunStore, SeenRun
from sweeps.tracking.models import CHAMPION, DIGEST_TAG

__all__ = ["champion_digest", "delete_artifact"]

_MISSING = "RESOURCE_DOES_NOT_EXIST"


def champion_digest(runs: RunStore, model: str) -> str | None:
    """Returns the digest of the ensemble that is the champion of a registered model, or None if there is none.

    Raises:
        TrackingError: the store is away.
    """
    from mlflow.exceptions import MlflowException

    try:
        with store.without_warnings():
            return runs.mlflow.get_model_version_by_alias(model, CHAMPION).tags.get(DIGEST_TAG)
    except MlflowException as error:
        if error.error_code in (_MISSING, "INVALID_PARAMETER_VALUE"):  # no such model, no such alias
            return None
        raise _away(runs, error) from error
    except Exception as error:
        raise _away(runs, error) from error


def delete_artifact(runs: RunStore, run: SeenRun, name: str) -> bool:
    """Deletes a file among a run's artifacts, wherever they are kept. Returns False where that kind of store cannot.

    Raises:
        TrackingError: the store is away, or refuses.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        with store.without_warnings():
            get_artifact_repository(run.place, tracking_uri=runs.uri).delete_artifacts(name)  # type: ignore[no-untyped-call]
    except NotImplementedError:
        return False
    except Exception as error:  # each kind of store has its own
        raise _away(runs, error) from error
    return True


def _away(runs: RunStore, error: Exception) -> TrackingError:
    return TrackingError(f"the tracking store must answer, but {public(runs.uri)} does not ({reason_of(error)}).")
