"""``edgebuild check``: does an int8 model fit a target? An answer in about a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgebuild.cli.console import line, print_json, table
from edgebuild.cli.options import budget_options, flag_budget, json_option, target_option
from edgebuild.errors import CheckFailedError, Exit
from edgebuild.units import format_size


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

    RAM is planned exactly; flash is the exact constants and an estimate of the code. Latency and
    accuracy need a build.
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
    ):
        if figure is not None:
            shown = format_size(limit) if limit is not None else "-"
            rows.append((label, f"{figure.value:,.0f} B", shown, f"{figure.how}: {figure.source}"))
    table(("", "needs", "limit", "how"), rows, right=(1, 2))
    if verdict.violations:
        raise CheckFailedError(
            f"{model.name} does not fit {found.target}: {verdict.violations[0].sentence()}",
            details=[v.sentence() for v in verdict.violations[1:]],
            hint="edgebuild inspect shows the largest layers",
        )
    line(f"{model.name} fits {found.target}", style="bold green")
