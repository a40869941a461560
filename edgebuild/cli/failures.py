"""Failures as the user sees them: what, where, what to try, an exit code, never a traceback."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import click

from edgebuild.cli.options import BadValue
from edgebuild.errors import EdgebuildError, Exit, InternalError
from edgebuild.files import explain_os_error
from edgebuild.versions import JSON_SCHEMA


class CommandLineError(EdgebuildError):
    """The command line itself is wrong."""


class InterruptedByUserError(EdgebuildError):
    """The user pressed Ctrl-C."""

    exit_code = Exit.INTERRUPTED


def explain(error: BaseException, arguments: Sequence[str]) -> EdgebuildError:
    """Return the failure that explains ``error``. An unexpected one is logged to a file."""
    if isinstance(error, InternalError):
        return _bug(error, arguments, error.message, error.details)
    if isinstance(error, EdgebuildError):
        return error
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return InterruptedByUserError("interrupted; no incomplete output was left behind")
    if isinstance(error, click.ClickException):
        return _usage(error, arguments)
    if isinstance(error, OSError) and (explanation := explain_os_error(error)) is not None:
        return explanation
    if isinstance(error, MemoryError):
        return _out_of_memory()
    return _bug(error, arguments, f"{type(error).__name__}: {error}"[:500], ())


def report(failure: EdgebuildError, *, as_json: bool) -> None:
    """Print a failure: JSON to standard output, or text to standard error."""
    if as_json:
        click.echo(json.dumps({"schema": JSON_SCHEMA, "error": failure_json(failure)}, indent=2))
        return
    _say("error: ", failure.message, fg="red", bold=True)
    for line in failure.details:
        _say("  ", line)
    if failure.hint:
        _say("try: ", failure.hint, fg="cyan")


def _say(label: str, text: str, **style: Any) -> None:
    """Print a paragraph to standard error. A terminal gets it wrapped at words, never inside a path
    or an option; a file gets whole lines, which are easier to search."""
    lines = printable(text).splitlines() or [""]
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns - len(label)
        wrap = TextWrapper(max(columns, 20), break_long_words=False, break_on_hyphens=False)
        lines = [part for line in lines for part in wrap.wrap(line) or [""]]
    click.echo(f"{click.style(label, **style)}{lines[0]}", err=True)
    for line in lines[1:]:
        click.echo(f"{' ' * len(label)}{line}" if sys.stderr.isatty() else line, err=True)


def failure_json(failure: EdgebuildError) -> dict[str, object]:
    """Return a failure as plain JSON values."""
    return {
        "message": failure.message,
        "details": list(failure.details),
        "hint": failure.hint,
        "exit_code": int(failure.exit_code),
        **failure.facts,
    }


def printable(text: str) -> str:
    """Return ``text`` with control characters escaped, so that names cannot drive a terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _usage(error: click.ClickException, arguments: Sequence[str]) -> EdgebuildError:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return CommandLineError(f"which command?\n\n{error.ctx.get_help() if error.ctx else ''}")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _command(arguments)
    message = _STRAY_BRACKETS.sub(r"\1", error.format_message()).rstrip(".")
    hint = f"run `{command} --help`"
    if isinstance(error, click.NoSuchOption):
        message, hint = _unknown_option(error, arguments, hint)
    elif found := _UNKNOWN_COMMAND.fullmatch(message):
        hint = _corrected(arguments, found[1], found[2]) or hint
    elif (extra := _EXTRA.fullmatch(message)) and context is not None:
        named = [
            p.human_readable_name
            for p in context.command.get_params(context)
            if isinstance(p, click.Argument)
        ]
        if len(named) == 1:
            message = f"only one {named[0].lower()} per command (also given: {extra[1]})"
            hint = f"run {command} once for each {named[0].lower()}"
    elif isinstance(error, BadValue):
        hint = error.hint
    elif (
        isinstance(error, click.BadParameter)
        and (option := next(iter(getattr(error.param, "opts", ())), "")) in _INSTEAD
    ):
        hint = _INSTEAD[option]
    elif isinstance(error, click.BadOptionUsage) and "requires an argument" in message:
        message = f"{error.option_name} needs a value after it"
        hint = _VALUES.get(error.option_name, f"`{command} --help` shows which")
    return CommandLineError(message[:1].lower() + message[1:], hint=hint)


def _unknown_option(
    error: click.NoSuchOption, arguments: Sequence[str], hint: str
) -> tuple[str, str]:
    """Return message and hint for an option that does not exist, with the one that was meant."""
    name = error.option_name
    close = difflib.get_close_matches(name[:60], error.possibilities or (), 1, _CLOSE)
    if not close:
        return f"no such option '{name}'", _ELSEWHERE.get(name, hint)
    said = f"no such option '{name}'; did you mean '{close[0]}'?"
    return said, _corrected(arguments, name, close[0]) or hint


def _corrected(arguments: Sequence[str], wrong: str, right: str) -> str:
    """Return the command line with one word put right; empty where the word is not in it."""
    fixed = [
        right + word[len(wrong) :] if word == wrong or word.startswith(f"{wrong}=") else word
        for word in arguments
    ]
    return f"edgebuild {shlex.join(fixed)}" if fixed != list(arguments) else ""


_CLOSE = 0.75
"""From which similarity an option was probably meant: fewer than one letter in four differs."""
_UNKNOWN_COMMAND = re.compile(r"'(.*)' is not a command; did you mean '(.*)'\?", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument \((.*)\)", re.DOTALL)
_STRAY_BRACKETS = re.compile(r"\((Did you mean [^()]*)\)")
_NAMES = "--target cortex-m4; `edgebuild targets list` shows all names"
_DATA = "--data set.npz, a folder of images, or package.module:function"
_LABELS = "put the labels in the data set (--data), as y"
_TARGET = "--target names a core or a board; `edgebuild targets list` shows all of them"
_CALIBRATION = "--data gives calibration data"
_FORMAT = "int8 is the default; --format chooses another number format"
_ELSEWHERE = {
    "--class-names": "put the names of the classes in the data set (--data), as classes",
    "--labels": _LABELS,
    "--calibration-data": _CALIBRATION,
    "--representative-dataset": _CALIBRATION,
    "--int8": _FORMAT,
    "--quantize": _FORMAT,
    "--board": _TARGET,
    "--chip": _TARGET,
    "--core": _TARGET,
    "--mcu": _TARGET,
}
"""What to try for options that other tools have by another name."""

_INSTEAD = {
    "--run": "to run on a real board: flash firmware.elf of the build, then `edgebuild bench "
    "build/NAME --port /dev/ttyACM0`",
}
"""What is worth more than the command's help where an option has no such choice."""

_VALUES = {"--target": _NAMES, "-t": _NAMES, "--data": _DATA}
"""What is worth more than the command's help where an option's value is missing."""


def _command(arguments: Sequence[str]) -> str:
    """Return the command that was run, as far as its name is there."""
    named = bool(arguments) and arguments[0].isalpha()
    return f"edgebuild {arguments[0]}" if named else "edgebuild"


def _out_of_memory() -> EdgebuildError:
    failure = EdgebuildError(
        "out of memory", hint="close other programs, or use a smaller model or fewer samples"
    )
    failure.exit_code = Exit.TOOL_FAILED
    return failure


def _bug(
    error: BaseException, arguments: Sequence[str], message: str, details: tuple[str, ...]
) -> InternalError:
    log = write_log(error, arguments)
    return InternalError(
        f"a bug in edgebuild: {message}",
        details=details,
        hint=f"report it, with {log or 'the command'}",
    )


def write_log(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write a log to paste into a bug report; None when no folder can be written."""
    import platform
    import tempfile
    import time
    import traceback
    from importlib.metadata import PackageNotFoundError, version

    from platformdirs import user_log_path

    try:
        own_version = version("edgebuild")
    except PackageNotFoundError:
        own_version = "not installed"
    text = "\n".join(
        [
            f"edgebuild {own_version}, Python {sys.version.split()[0]}, {platform.platform()}",
            f"arguments: {list(arguments)!r}",
            "",
            *traceback.format_exception(error),
            getattr(error, "log", ""),
        ]
    )
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (user_log_path("edgebuild"), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="replace")
        except OSError:
            continue
        return folder / name
    return None
