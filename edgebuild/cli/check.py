"""``edgebuild check``: does an int8 model fit a target? An answer in about a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgebuild.cli.console import line, print_json, table
from edgebuild.cli.options import budget_options, flag_budget, json_option, target_option
from edgebuild.errors import CheckFailedError, Exit
from edgebuild.units import format_duration, format_size

_WORDS: dict[str, tuple[Callable[[float], str], Callable[[float], str]]] = {
    "B": (lambda value: f"{value:,.0f} B", format_size),
    "us": (format_duration, format_duration),
}
"""By unit: how a figure is shown, and how a limit."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_option(required=True)
@budget_options
@json_option
def command(
    model: Path,
    target: str,
    as_json: bool,
    **limits: Any,
) -> None:
    """Say whether an int8 .tflite MODEL fits a target, without compiling.

    RAM is planned exactly; flash is the exact constants and an estimate of the code; latency is
    predicted from the cycles of each kernel. Accuracy needs a build.
    """
    from edgebuild.analysis import analyze

    found = analyze(model, target)
    verdict = found.verdict(flag_budget(**limits))
    if as_json:
        print_json({**found.to_json(), **verdict.to_json()})
        if verdict.violations:
            click.get_current_context().exit(Exit.CHECK_FAILED)
        return
    rows = []
    for label, figure, limit in (
        ("flash", verdict.metrics.flash_bytes, verdict.budget.flash_bytes),
        ("RAM", verdict.metrics.ram_bytes, verdict.budget.ram_bytes),
        ("latency", verdict.metrics.latency_us, verdict.budget.latency_us),
    ):
        if figure is not None:
            exact, short = _WORDS[figure.unit]
            shown = short(limit) if limit is not None else "-"
            rows.append((label, exact(figure.value), shown, f"{figure.how}: {figure.source}"))
        elif limit is not None:
            rows.append((label, "unknown", format_duration(limit), "not predicted for this core"))
    table(("", "needs", "limit", "how"), rows, right=(1, 2))
    if verdict.violations:
        raise CheckFailedError(
            f"{model.name} does not fit {found.target}: {verdict.violations[0].sentence()}",
            details=[v.sentence() for v in verdict.violations[1:]],
            hint="edgebuild inspect shows the largest layers",
        )
    line(f"{model.name} fits {found.target}", style="bold green")
