"""What a run was made by, as tags: they are alike on every machine with the same versions, and name no host or user."""

from __future__ import annotations

from sweeps import provenance

__all__ = ["environment_tags"]


def environment_tags() -> dict[str, str]:
    """Returns the tags that every run carries: the commit (where there is one), Python, NumPy and its BLAS."""
    tags = dict(provenance.versions())
    if commit := provenance.commit():
        bare = commit.removesuffix("-dirty")
        tags["git_commit"] = bare
        tags["git_dirty"] = "true" if commit != bare else "false"
        tags["mlflow.source.git.commit"] = bare  # MLflow's own column "Version"
    return tags
