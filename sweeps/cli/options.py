"""What the verbs share: options that mean the same everywhere, how most begin and end, the one place for errors."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.core import ParameterSource
from click.exceptions import NoArgsIsHelpError

from mnistnn.errors import Diverged, InputError, OutputError
from sweeps.paths import Paths, project_root

if TYPE_CHECKING:
    from mnistnn.data.dataset import Dataset
    from sweeps.config import StudyConfig

__all__ = [
    "PATH",
    "Section",
    "VerbWithNames",
    "Verbs",
    "columns",
    "duration",
    "find_data",
    "log_to",
    "options",
    "read_study",
    "refuse_beside",
    "refuse_without",
    "show",
    "show_as",
]

Command = TypeVar("Command", bound=Callable[..., Any])
Section = tuple[str, list[tuple[str, str]]]


class Verbs(click.Group):
    """A group of commands that turns every end into an exit code.

    0 is done, 1 failed, 2 cannot be done as asked (one line on stderr says what to change), 130 stopped by Ctrl-C.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections: list[tuple[str, Sequence[click.Command]]] = []

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Adds commands, which the help lists together under `title`."""
        for command in commands:
            self.add_command(command)
        self._sections.append((title, commands))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their work, which is that of the file

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self._sections:
            super().format_commands(ctx, formatter)
            return
        width = formatter.width - 6 - max(map(len, self.commands))
        column = max(map(len, self.commands)) + 2  # the same in all sections
        for title, commands in self._sections:
            with formatter.section(title):
                rows = [(str(each.name).ljust(column - 2), each.get_short_help_str(width)) for each in commands]
                formatter.write_dl(rows)

    def main(  # type: ignore[override]  # it always exits
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Runs the command line and exits."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name, **extra)
        except NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = 2
        except click.UsageError as error:
            asked = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
            code = _say(error.format_message().rstrip(".") + asked, 2)
        except click.ClickException as error:
            code = _say(error.format_message(), 2)
        except InputError as error:
            code = _say(str(error), 2)
        except Diverged as error:
            code = _say(f"the training diverged: {error}; try a lower --learning-rate.", 1)
        except (KeyboardInterrupt, click.Abort):
            code = 130
        sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code


def show(text: str) -> None:
    """Prints a result.

    Raises:
        OutputError: standard output cannot be written.
        SystemExit: nobody reads it any more; that is no fault, and the code is that of a process that SIGPIPE ended.
    """
    try:
        click.echo(text)
    except OSError as error:
        with contextlib.suppress(OSError):  # or Python would try again at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(141) from None
        raise OutputError(f"the result must be writable, but standard output is not ({error.strerror}).") from error


class VerbWithNames(click.Command):
    """A verb whose `--help` ends with what is registered in this checkout, looked up when the help is asked for.

    Args:
        names: gives the sections: a title, and pairs of a name and what it means.
    """

    def __init__(self, *args: Any, names: Callable[[], Sequence[Section]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names = names

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, entries in self._names():
            with formatter.section(title):
                formatter.write_dl(entries)


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Returns the seconds that 600, 90s, 30m or 2h mean: the callback of an option."""
    if value is None or ctx.resilient_parsing:  # a shell that completes must not wait for imports
        return None
    from sweeps.config import parse_duration

    return parse_duration(value)


def _whole_seconds(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if ctx.resilient_parsing:
        return None
    from sweeps.config import parse_duration

    return max(1, round(parse_duration(value)))


def refuse_beside(ctx: click.Context, option: str, *names: str) -> None:
    """Raises a UsageError where one of the params `names`, of no use beside `option`, was given on the command line."""
    for given in _given(ctx, names):
        raise click.UsageError(
            f"{given} must not stand beside {option}, which has no use for it; leave one of them out"
        )


def refuse_without(ctx: click.Context, option: str, *names: str) -> None:
    """Raises a UsageError where one of the params `names`, of use beside `option` only, was given."""
    for given in _given(ctx, names):
        raise click.UsageError(f"{given} must stand beside {option}; give that too, or leave {given} out")


def _given(ctx: click.Context, names: Sequence[str]) -> list[str]:
    """Returns those of the params that the user gave, as he writes them."""
    return [
        param.opts[0]
        for param in ctx.command.params
        if param.name in names and ctx.get_parameter_source(param.name) == ParameterSource.COMMANDLINE
    ]


PATH = click.Path(path_type=Path)

_OPTIONS: dict[str, Callable[[Command], Command]] = {
    "data_dir": click.option(
        "--data-dir",
        type=PATH,
        metavar="DIR",
        help="A folder of four IDX files, or a Kaggle train.csv; else MNIST_DIR, else MNIST itself.",
    ),
    "storage": click.option(
        "--storage",
        metavar="URL",
        envvar="SWEEPS_STORAGE",  # a password in it is then not to be seen among the processes
        help="An Optuna URL, or a file for its journal; else SWEEPS_STORAGE, else the study's own journal.",
    ),
    "heartbeat": click.option(
        "--heartbeat",
        "heartbeat_s",
        callback=_whole_seconds,
        default="60s",
        show_default=True,
        metavar="TIME",
        help="Between a worker's signs of life in a database; when three are missing, its trial goes on elsewhere.",
    ),
    "executor": click.option(
        "--executor", type=click.Choice(["local", "dask"]), default="local", help="Where workers run."
    ),
    "scheduler": click.option(
        "--scheduler", metavar="URL", help="Dask's: tcp://HOST:PORT.  [default: a cluster on this machine]"
    ),
    "tracking_uri": click.option(
        "--tracking-uri", metavar="URI", help="MLflow's store; else MLFLOW_TRACKING_URI, else mlruns/mlflow.db."
    ),
    "overrides": click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a key of the study for this call, such as search.optimizer.adam.learning_rate.high=0.01.",
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", help="What everything random derives from."
    ),
    "json": click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    "pictures": click.option(
        "--pictures/--no-pictures",
        default=True,
        envvar="SWEEPS_PICTURES",
        help="Draw what came of it at the end.  [default: pictures, unless SWEEPS_PICTURES=0]",
    ),
    "open": click.option(
        "--open/--no-open", "open_browser", default=False, help="Open a browser on it, if there is one with a window."
    ),
    "quiet": click.option("--quiet", "-q", is_flag=True, help="Show no progress."),
}


def options(*names: str) -> Callable[[Command], Command]:
    """Returns a decorator that adds shared options, in the given order."""

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate


def find_data(data_dir: Path | None, quiet: bool) -> Dataset:
    """Returns the data set that a call is about."""
    from mnistnn.data.sources import find_dataset

    return find_dataset(data_dir, cache=Paths(project_root()).data, progress=not quiet)


def read_study(name: str, overrides: Sequence[str] = (), seed: int | None = None) -> StudyConfig:
    """Returns the study that is called so, or lies there, with what the call sets over its file."""
    from sweeps.config import load_study

    changes = [*overrides, *([f"study.seed={seed}"] if seed is not None else [])]
    return load_study(name, root=project_root(), overrides=changes)


def log_to(quiet: bool) -> Callable[[str], None]:
    """Returns what shows a line of progress, or with `quiet` only warnings."""

    def log(line: str) -> None:
        if not quiet or line.startswith("warning:"):
            click.echo(line, err=True)

    return log


def columns() -> int | None:
    """Returns the width of the terminal that results go to; None where they go elsewhere, and may be as wide."""
    from sweeps.views.screen import size_of

    return size_of(sys.stdout)[0] if sys.stdout.isatty() else None


def show_as(text: str, values: Any, as_json: bool) -> None:
    """Prints a result as text or as JSON, which has no numbers that are not finite: they become null."""
    if as_json:
        try:
            text = json.dumps(values, indent=2, ensure_ascii=False, default=str, allow_nan=False)
        except ValueError:
            text = json.dumps(_finite(values), indent=2, ensure_ascii=False, default=str)
    show(text)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
