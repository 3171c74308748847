"""What a shell completes: names of studies, presets and nets, and numbers of trials; and the verb that sets it up."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sweeps.cli.options import options, show_as
from sweeps.paths import Paths, project_root

__all__ = ["MODEL", "PRESET", "STUDY", "TRIAL", "completion"]

_SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "sweeps"


class _StudyName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """The name of a file in studies/, or a path to one."""

    name = "study"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        return _matching(_studies(), incomplete) or _files(incomplete)


class _PresetName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """The name of a network with its recipe."""

    name = "preset"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        from mnistnn.presets import PRESETS

        return _matching(PRESETS, incomplete)


class _ModelName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A study, a net that was trained, or a file of weights."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        names = [*_studies(), *_folders(Paths(project_root()).trained)]
        return _matching(names, incomplete) or _files(incomplete)


class _TrialNumber(click.IntRange):
    """The number of a trial of the study that stands before it."""

    name = "trial"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
        study = ctx.params.get("study") or next(iter(ctx.args), None)  # after an option click has not placed it yet
        if not isinstance(study, str):
            return []
        folders = _folders(Paths(project_root()).study(Path(study).stem).trials)
        return _matching((str(int(name)) for name in folders if name.isdigit()), incomplete)


STUDY, PRESET, MODEL, TRIAL = _StudyName(), _PresetName(), _ModelName(), _TrialNumber(min=0)


def _studies() -> list[str]:
    return sorted(path.stem for path in Paths(project_root()).studies.glob("*.toml"))


def _folders(parent: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(parent) if entry.is_dir())
    except OSError:
        return []


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem[Any]]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem[Any]]:
    return [CompletionItem(incomplete, type="file")]


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False, metavar="[bash|zsh|fish]")
@options("json")
@click.pass_context
def completion(ctx: click.Context, /, shell: str | None, as_json: bool) -> None:
    """Print what makes a shell complete verbs, studies and trials.

    Without a shell's name it is for the one that SHELL names. Once: eval "$(sweeps completion bash)", or zsh; for good
    the same line in ~/.bashrc or ~/.zshrc. In fish: sweeps completion fish | source.
    """
    from click.shell_completion import get_completion_class

    shell = shell or Path(os.environ.get("SHELL", "")).name
    known = get_completion_class(shell) if shell in _SHELLS else None
    if known is None:
        raise click.UsageError(f"the shell must be bash, zsh or fish, but got {shell or 'none'!r:.60}; name it", ctx)
    template = known(ctx.find_root().command, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE")
    # Not its `source`, which starts a bash to see how old it is.
    script = template.source_template % template.source_vars()
    show_as(script, {"shell": shell, "script": script}, as_json)
