"""The copies of trials' files among MLflow's artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.care.clean.removal import Removal
from sweeps.errors import TrackingError
from sweeps.tracking.address import is_server, resolve_uri
from sweeps.tracking.cursor import Cursor
from sweeps.tracking.inspect import RunStore, SeenRun, local_path, open_runs
from sweeps.tracking.store import experiment_name

__all__ = ["WEIGHTS", "Artifacts"]

#: What a complete trial keeps besides tables: the files, and of which kind they are.
WEIGHTS = {"weights.npz": "weights", "val_probs.npz": "predictions"}

_KIND = "artifacts"


@dataclass(slots=True)
class Artifacts:
    """The artifacts of a study's runs. MLflow is imported when they are first asked for.

    Attributes:
        uri: the tracking store.
        model: the study's experiment, which is its registered model's name too.
        notes: what could not be freed, and why; each in a line.
    """

    uri: str
    model: str
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, tracking_uri: str | None, root: Path, study: str) -> Artifacts:
        """Returns those of a study."""
        return cls(resolve_uri(tracking_uri, root), experiment_name(study))

    def champion(self) -> str | None:
        """Returns the digest of the ensemble that is the champion, or None if there is none.

        Raises:
            TrackingError: the store does not answer.
        """
        from sweeps.tracking.upkeep import champion_digest

        runs = open_runs(self.uri, self.model)
        return None if runs is None else champion_digest(runs, self.model)

    def clean(self, folders: Mapping[int, Path], removal: Removal, gone: Mapping[int, set[str]]) -> None:
        """Removes the copies of what trials have lost.

        Args:
            folders: all trials' folders.
            removal: removes, or only counts.
            gone: the files that a trial has lost, or would have.

        Raises:
            TrackingError: the store does not answer.
        """
        runs = open_runs(self.uri, self.model) if gone else None
        if runs is None:
            return
        known = {run.run_id: run for run in runs.runs()}
        absent = refused = 0
        for origin, folder in folders.items():
            cursor = Cursor.load(folder)
            run = known.get(cursor.run_id or "") if cursor.store == runs.identity else None
            if run is None:
                continue
            place, lost = local_path(run.place), gone.get(origin, set())
            if place is None and not lost:
                continue  # each look at a server's artifacts is a question to it
            if place is not None and not place.is_dir():
                absent += bool(lost)
                continue
            for name, size in sorted(runs.artifacts(run).items()):
                if name in lost:
                    refused += not self._remove(runs, run, place, name, size, removal)
                elif name in WEIGHTS and place is not None:
                    removal.keep(place / name, _KIND)
        if absent:
            remedy = "they lie on the server's machine" if is_server(self.uri) else "`doctor --fix` sees to that"
            self.notes.append(
                f"the artifacts of {absent} runs are not where MLflow has them on this machine; {remedy}."
            )
        if refused:
            self.notes.append(f"{refused} artifacts stay: their store cannot delete; see to its own rules of expiry.")

    def _remove(self, runs: RunStore, run: SeenRun, place: Path | None, name: str, size: int, removal: Removal) -> bool:
        from sweeps.tracking.upkeep import delete_artifact

        if place is not None:
            try:
                removal.remove(place / name, _KIND)
            except OSError as error:
                raise TrackingError(f"{place / name} cannot be removed ({error.strerror}).") from error
            return True
        if not removal.dry_run and not delete_artifact(runs, run, name):
            return False
        removal.note(size, _KIND)
        return True
