"""What commands print: tables and JSON, 80 columns, plain where there is no terminal."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli.failures import printable
from edgebuild.versions import JSON_SCHEMA

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80


@cache
def console(err: bool = False) -> Console:
    """Return the console of standard output or error: at most 80 columns, no markup."""
    from rich.console import Console

    made = Console(stderr=err, markup=False, highlight=False, emoji=False)
    made.width = min(WIDTH, made.width) if made.is_terminal else WIDTH
    return made


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON document, with the version of its keys first."""
    click.echo(json.dumps({"schema": JSON_SCHEMA, **value}, indent=2, allow_nan=False))


def line(text: str = "", style: str = "") -> None:
    """Print one line of text. It is not wrapped, as it may hold a path or a command to copy."""
    console().print(printable(text), style=style or None, soft_wrap=True)


def prose(text: str, indent: str = "") -> None:
    """Print sentences, wrapped at words and indented."""
    for part in textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False
    ):
        line(part)


def heading(text: str) -> None:
    """Print a heading with an empty line before it."""
    console().print()
    console().print(printable(text), style="bold")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[int] = (),
    styles: Sequence[str] = (),
) -> None:
    """Print a table without lines. ``right`` are the columns that hold numbers; ``styles`` are
    those of the rows."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
    for index, column in enumerate(columns):
        made.add_column(
            column,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index in right,
        )
    for index, row in enumerate(rows):
        style = styles[index] if index < len(styles) else None
        made.add_row(*(printable(cell) for cell in row), style=style or None)
    console().print(made)


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on a terminal (standard error) that ``text`` is going on; nothing elsewhere."""
    if not console(err=True).is_terminal:
        yield
        return
    with console(err=True).status(printable(text)):
        yield
