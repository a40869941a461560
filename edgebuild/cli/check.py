"""``edgebuild check``: does an int8 model fit a target? An answer in about a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.budget import Budget, merge
from edgebuild.cli.console import console, line, print_json, prose, table
from edgebuild.cli.options import (
    budget_options,
    fail_on_option,
    flag_budget,
    json_option,
    target_option,
)
from edgebuild.errors import CheckFailedError, Exit, InputError
from edgebuild.units import format_duration, format_size

if TYPE_CHECKING:
    from edgebuild.targets import TargetProfile

_WORDS: dict[str, tuple[Callable[[float], str], Callable[[float], str]]] = {
    "B": (lambda value: f"{value:,.0f} B", format_size),
    "us": (format_duration, format_duration),
}
"""By unit: how a figure is shown, and how a limit."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_option(required=True)
@budget_options
@fail_on_option
@click.option(
    "--with",
    "together",
    multiple=True,
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="Compiled together with MODEL, for Coral. May be repeated.",
)
@json_option
def command(
    model: Path,
    target: str,
    as_json: bool,
    fail_on: tuple[str, ...],
    together: tuple[Path, ...],
    **limits: Any,
) -> None:
    """Say whether a .tflite MODEL fits a target, without compiling.

    Of an int8 model for a microcontroller RAM is planned exactly; flash is the exact constants and
    an estimate of the code; latency is predicted from the cycles of each kernel. Accuracy needs a
    build. A budget that cannot be checked is not kept, as in a build.

    For phones and accelerators it says which operators the delegate takes, which are left to the
    CPU and why, in how many partitions, and how many bytes cross between them. --with shows how
    models that are compiled together share the Edge TPU's memory.
    """
    from edgebuild.targets import load_target

    profile = load_target(target)
    budget = flag_budget(**limits)
    if together:
        if fail_on or budget != Budget():
            raise InputError(
                "--with shows how memory is shared, and checks no budget and no --fail-on",
                hint="check each model without --with",
            )
        _check_together((model, *together), profile, as_json)
        return
    if profile.delegate is not None:
        _check_delegate(model, profile, budget, fail_on, as_json)
        return
    if fail_on:
        raise InputError(
            f"--fail-on is for targets on which LiteRT runs the model, not for {profile.name}",
            hint="`edgebuild targets list` shows phones",
        )
    _check_memory(model, target, budget, as_json)


def _check_delegate(
    model: Path, target: TargetProfile, budget: Budget, fail_on: tuple[str, ...], as_json: bool
) -> None:
    """Print what the delegate makes of the model; CheckFailedError for what is forbidden,
    UnsupportedOperatorError for custom operators that nothing runs."""
    from edgebuild.budget import Metrics
    from edgebuild.delegates.check import check_compatibility, parse_fail_on
    from edgebuild.delegates.customs import refuse_unknown_customs
    from edgebuild.figures import Figure, How
    from edgebuild.report.advice import budget_hint
    from edgebuild.report.compatibility_lines import compatibility_lines
    from edgebuild.tflite.reader import read_tflite_file

    forbidden = parse_fail_on(fail_on)
    graph = read_tflite_file(model, survey=True)
    found = check_compatibility(graph, target)
    refuse_unknown_customs(graph, found, where=str(model))
    size = Figure(model.stat().st_size, "B", How.MEASURED, f"size of {model.name}")
    limits = merge(target.default_budget(), budget)
    violations = limits.check(Metrics(flash_bytes=size))
    problems = [*(v.sentence() for v in violations), *forbidden.refusals(found)]
    if as_json:
        print_json(
            {
                **found.to_json(),
                "violations": [v.to_json() for v in violations],
                "problems": problems,
            }
        )
        if problems:
            click.get_current_context().exit(Exit.CHECK_FAILED)
        return
    for part in compatibility_lines(found):
        console().print(part)
    if problems:
        raise CheckFailedError(
            f"{model.name} does not pass on {target.name}: {problems[0]}",
            details=problems[1:],
            hint=budget_hint(violations[0], target.family) if violations else "",
        )


def _check_together(models: tuple[Path, ...], target: TargetProfile, as_json: bool) -> None:
    """Print how models share the chip's memory, in the order in which they are compiled."""
    from edgebuild.delegates.edgetpu import cocompile, edgetpu_compatibility
    from edgebuild.tflite.reader import read_tflite_file

    if target.family != "coral":
        raise InputError(f"--with is for Coral boards, not for {target.name}")
    graphs = [read_tflite_file(model, survey=True) for model in models]
    found = [edgetpu_compatibility(graph) for graph in graphs]
    counts = [len(graph.ops) for graph in graphs]
    mapped = [count - len(one.fallbacks) for count, one in zip(counts, found, strict=True)]
    rows = list(zip(models, counts, mapped, cocompile(graphs), strict=True))
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "model": str(model),
                        "operators": count,
                        "mapped": on_chip,
                        **dataclasses.asdict(plan),
                    }
                    for model, count, on_chip, plan in rows
                ]
            }
        )
        return
    table(
        ("model", "mapped", "cached on chip", "streamed", "left on chip"),
        [
            (
                model.name,
                f"{on_chip} of {count}",
                f"{plan.cached_bytes:,} B",
                f"{plan.streamed_bytes:,} B",
                f"{plan.remaining_bytes:,} B",
            )
            for model, count, on_chip, plan in rows
        ],
        right=(1, 2, 3, 4),
    )
    for model, on_chip, one in zip(models, mapped, found, strict=True):
        if not on_chip:
            prose(f"{model.name}: {one.summary()}")
    line("estimated, in the order given: the first model's parameters are cached first")


def _check_memory(model: Path, target: str, budget: Budget, as_json: bool) -> None:
    """Print what the model needs of a microcontroller; CheckFailedError when it does not fit."""
    from edgebuild.analysis import analyze
    from edgebuild.report.advice import budget_hint

    found = analyze(model, target)
    verdict = found.verdict(budget)
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
        first, *more = verdict.violations
        fits = "is not known to fit" if first.unknown else "does not fit"
        largest = "edgebuild inspect shows the largest layers"
        raise CheckFailedError(
            f"{model.name} {fits} {found.target}: {first.sentence()}",
            details=[violation.sentence() for violation in more],
            hint=budget_hint(first, "cortex-m") if first.unknown else largest,
        )
    line(f"{model.name} fits {found.target}", style="bold green")
