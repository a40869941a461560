"""Options that several commands share: ``--json``, ``--target``, budgets, and their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from edgebuild.budget import Budget
from edgebuild.errors import EdgebuildError
from edgebuild.profile import INPUT_BY, Optimize
from edgebuild.units import (
    parse_count,
    parse_duration_us,
    parse_frequency,
    parse_growth,
    parse_memory,
    parse_range,
    parse_ratio,
)

Command = TypeVar("Command", bound=Callable[..., Any])


class BadValue(click.BadParameter):
    """A value that a parser refuses; ``hint`` is how to write it."""

    def __init__(
        self, message: str, hint: str, ctx: click.Context | None, param: click.Parameter | None
    ) -> None:
        super().__init__(message, ctx, param)
        self.hint = hint


class Parsed(click.ParamType):
    """A click type made of a parser from ``edgebuild.units``."""

    def __init__(self, name: str, parse: Callable[[Any], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; raise BadValue with the parser's words otherwise."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except EdgebuildError as error:
            raise BadValue(error.message, error.hint, ctx, param) from error


SIZE = Parsed("size", parse_memory)
DURATION = Parsed("duration", parse_duration_us)
FREQUENCY = Parsed("frequency", parse_frequency)
SECONDS = Parsed("duration", lambda text: parse_duration_us(text) / 1e6)
PERCENT = Parsed("percent", parse_ratio)
GROWTH = Parsed("percent", parse_growth)
COUNT = Parsed("count", parse_count)
RANGE = Parsed("range", parse_range)


def json_option(command: Command) -> Command:
    """Add ``--json``, passed as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def complete_target(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of shipped targets, and files for anything else."""
    from edgebuild.targets import target_names

    names = [CompletionItem(name) for name in target_names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def target_option(*, multiple: bool = False, **extra: Any) -> Callable[[Command], Command]:
    """Return the ``--target`` option, passed as ``target``, or ``targets`` when ``multiple``."""
    return click.option(
        "--target",
        "-t",
        "targets" if multiple else "target",
        multiple=multiple,
        metavar="NAME|FILE",
        shell_complete=complete_target,
        help="Target profile: a name from `edgebuild targets list`, or a .toml file."
        + (" Repeatable." if multiple else ""),
        **extra,
    )


def fail_on_option(command: Command) -> Command:
    """Add ``--fail-on``, passed as ``fail_on``: a tuple of words."""
    return click.option(
        "--fail-on",
        multiple=True,
        metavar="WHAT",
        help="Phones, Coral: fail on `fallback` or `partitions:N`. Repeatable.",
    )(command)


def place_option(command: Command) -> Command:
    """Add ``--place``, passed as ``place``: a tuple of what ``parse_place`` reads."""
    return click.option(
        "--place",
        multiple=True,
        metavar="ROLE=REGION",
        help="Memory region for code, kernels, weights, arena or data: weights=qspi, "
        "arena=dtcm,ram. May be repeated.",
    )(command)


def optimize_option(command: Command) -> Command:
    """Add ``--optimize``, passed as ``optimize``."""
    return click.option(
        "--optimize",
        type=click.Choice([str(one) for one in Optimize]),
        help="Choose kernels for this [balanced, or what keeps the budget].",
    )(command)


def input_by_option(command: Command) -> Command:
    """Add ``--input-by``, passed as ``input_by``."""
    return click.option(
        "--input-by",
        type=click.Choice(INPUT_BY),
        help="Take the input whole before each run, or row by row in less RAM, as a camera gives "
        "it [run].",
    )(command)


BUDGETS = (
    *("max_flash", "max_ram", "max_latency", "max_accuracy_drop", "max_class_drop"),
    *("max_error_increase", "min_similarity"),
)
"""The parameters of the options that ``budget_options`` adds."""


def budget_options(command: Command) -> Command:
    """Add ``--max-flash``, ``--max-ram``, ``--max-latency``, ``--max-accuracy-drop``,
    ``--max-class-drop``, ``--max-error-increase`` and ``--min-similarity``.

    They are passed under the names in ``BUDGETS``: see ``flag_budget``.
    """
    for flag, kind, text in reversed(
        (
            ("--max-flash", SIZE, "Most flash the model may use, e.g. 128KiB."),
            ("--max-ram", SIZE, "Most RAM the model may use, e.g. 64KiB."),
            ("--max-latency", DURATION, "Longest time for one inference, e.g. 50ms."),
            ("--max-accuracy-drop", PERCENT, "Most accuracy that may be lost, in points, e.g. 1%."),
            (
                "--max-class-drop",
                PERCENT,
                "Most that any class or slice may lose, in points, e.g. 5%.",
            ),
            (
                "--max-error-increase",
                GROWTH,
                "Most that a regression's error (RMSE) may rise, e.g. 10%.",
            ),
            (
                "--min-similarity",
                PERCENT,
                "Least similarity of any output channel to the float model's, e.g. 0.98.",
            ),
        )
    ):
        command = click.option(flag, type=kind, help=text)(command)
    return command


def flag_budget(
    max_flash: int | None,
    max_ram: int | None,
    max_latency: float | None,
    max_accuracy_drop: float | None,
    max_class_drop: float | None,
    max_error_increase: float | None = None,
    min_similarity: float | None = None,
) -> Budget:
    """Return the budget that flags set: the strongest source."""
    return Budget(
        max_flash,
        max_ram,
        max_latency,
        max_accuracy_drop,
        max_class_drop,
        max_error_increase,
        min_similarity,
    ).named("the command line")
