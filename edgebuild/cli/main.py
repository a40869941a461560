"""The ``edgebuild`` command: finds commands lazily, and turns every failure into words.

A command is one module with a click command called ``command``, and one line in ``COMMANDS``.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from edgebuild.cli.failures import explain, report
from edgebuild.errors import EdgebuildError, Exit, InternalError, nearest
from edgebuild.interrupts import unwind_on_signals

COMMANDS: dict[str, tuple[str, str]] = {
    "build": ("edgebuild.cli.build", "Build, run and check a model for a target."),
    "search": ("edgebuild.cli.search", "Find the most accurate compression that fits a budget."),
    "synthesize": ("edgebuild.cli.synthesize", "Make inputs for a model that comes without data."),
    "bench": ("edgebuild.cli.bench", "Measure a build on a board, a phone or an Edge TPU."),
    "check": ("edgebuild.cli.check", "Check whether a model fits a target, without compiling."),
    "inspect": ("edgebuild.cli.inspect", "Show a model's layers, MACs and memory over time."),
    "init": ("edgebuild.cli.init", "Write a commented edgebuild.toml."),
    "targets": ("edgebuild.cli.targets", "List, show and check target profiles."),
    "ops": ("edgebuild.cli.ops", "List the supported operators and their limits."),
    "cache": ("edgebuild.cli.cache", "Show or clear what is kept to save work."),
    "doctor": ("edgebuild.cli.doctor", "Show what is installed, what is missing, how to get it."),
    "completion": ("edgebuild.cli.completion", "Print a shell completion script."),
}
"""Each command's module and its line in ``edgebuild --help``, which imports no module."""

_BROKEN_PIPE = 141  # what a shell reports for a tool that SIGPIPE ended


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = getattr(module, "command", None)
        if not isinstance(command, click.Command):
            raise InternalError(f"{module.__name__} has no click command called 'command'")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` begin with; an unknown one gets the nearest name."""
        name = args[0]
        if name.endswith((".keras", ".h5", ".tflite")):
            raise click.UsageError(
                f"'{name}' is a model, not a command: edgebuild build {name} --target cortex-m4",
                ctx,
            )
        if name not in COMMANDS and not name.startswith("-"):
            guess = nearest(name[:60], COMMANDS) or f"; commands: {', '.join(COMMANDS)}"
            raise click.UsageError(f"'{name}' is not a command{guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; end quietly when nobody reads the output any more."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            if _stdout_is_open():
                raise
            _discard_stdout()
            raise click.exceptions.Exit(_BROKEN_PIPE) from None


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"edgebuild {version('edgebuild')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Exit codes: 0 done and within budget, 1 a check failed, 2 bad input, "
    "3 a tool or device failed, 70 a bug in edgebuild.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """From a trained model to verified firmware."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Never raises, but for shell completion."""
    as_json = "--json" in arguments
    try:
        result = cli.main(list(arguments), prog_name="edgebuild", standalone_mode=False)
        code = int(result) if isinstance(result, int) else int(Exit.OK)
    except (Exception, KeyboardInterrupt) as error:
        failure = explain(error, arguments)
        _report(failure, as_json=as_json)
        code = int(failure.exit_code)
    return _flushed(code, arguments)


def main() -> NoReturn:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    unwind_on_signals()
    sys.exit(run(sys.argv[1:]))


def _report(failure: EdgebuildError, *, as_json: bool) -> None:
    """Print a failure; on standard error when standard output is what failed."""
    for json_form in (as_json, False):
        with suppress(OSError):
            report(failure, as_json=json_form)
            return
        _discard_stdout()


def _flushed(code: int, arguments: Sequence[str]) -> int:
    """Flush the output; a full disk under it is a failure, a closed pipe is not."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard_stdout()
        if error.errno == errno.EPIPE:
            return code or _BROKEN_PIPE
        failure = explain(error, arguments)
        _report(failure, as_json=False)
        return code or int(failure.exit_code)
    return code


def _stdout_is_open() -> bool:
    """Return whether somebody still reads the output: another pipe may be the broken one."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
    except (AttributeError, OSError, ValueError):
        return False
    gone = select.POLLERR | select.POLLHUP | select.POLLNVAL
    return not any(event & gone for _, event in poll.poll(0))


def _discard_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush is silent."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
