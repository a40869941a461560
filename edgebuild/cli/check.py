"""``edgebuild check``: would a build fit a target? An answer in seconds, without a compiler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli.build import steps
from edgebuild.cli.console import console, line, print_json, prose, table
from edgebuild.cli.failures import failure_json
from edgebuild.cli.failures import report as report_failure
from edgebuild.cli.options import budget_options, fail_on_option, json_option, target_option
from edgebuild.cli.requests import requests, resolving_options
from edgebuild.errors import EdgebuildError, Exit, InputError
from edgebuild.units import format_duration, format_range, format_size

if TYPE_CHECKING:
    from edgebuild.pipeline.forecast import Forecast
    from edgebuild.targets import TargetProfile

_WORDS: dict[str, tuple[Callable[[float], str], Callable[[float], str]]] = {
    "B": (lambda value: f"{value:,.0f} B", format_size),
    "us": (format_duration, format_duration),
}
"""By unit: how a figure is shown, and how a limit."""


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@target_option(multiple=True)
@budget_options
@resolving_options
@fail_on_option
@click.option(
    "--with",
    "together",
    multiple=True,
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="Coral: another model to compile together with MODEL. Repeatable.",
)
@json_option
def command(
    model: Path | None,
    targets: tuple[str, ...],
    as_json: bool,
    together: tuple[Path, ...],
    **flags: Any,
) -> None:
    """Check whether a build of MODEL would fit a target, without compiling it.

    Takes the same models, settings and project file as `edgebuild build`, resolves them the same
    way, and refuses what a build refuses. A float model is converted first; without --data noise
    calibrates it to show what it needs, and the answer is that of a build: give data. Accuracy
    always needs a build.

    On a microcontroller, RAM is planned exactly except for the stack, flash is the exact constants
    plus code whose size is known for each kernel and compiler, and latency is predicted. If a limit
    lies within an estimate's error, the answer is "not known". For phones and accelerators it lists
    which operators the delegate takes, which stay on the CPU, and why. --with shows how models
    compiled together share the Edge TPU's memory.
    """
    if together:
        _together(model, targets, together, flags, as_json)
        return
    from edgebuild.pipeline.forecast import forecast

    found = []
    for request in requests(model, targets, flags, command="check"):
        with steps(f"{request.model.name} for {request.target}") as progress:
            found.append(forecast(request, progress))
        if not as_json:
            _show(request.model, found[-1])
            for failure in _failures(found[-1]):
                report_failure(failure, as_json=False)
    lack = next((one.lack for one in found if one.lack is not None), None)
    if as_json:
        answers = [one.to_json() for one in found]
        error = {} if lack is None else {"error": failure_json(lack)}
        print_json({**(answers[0] if len(answers) == 1 else {"checks": answers}), **error})
    if not all(one.passed for one in found):
        code = Exit.CHECK_FAILED if lack is None else lack.exit_code
        click.get_current_context().exit(code)


def _together(
    model: Path | None,
    targets: tuple[str, ...],
    others: tuple[Path, ...],
    flags: dict[str, Any],
    as_json: bool,
) -> None:
    """Print how models that are compiled together share the Edge TPU's memory."""
    from edgebuild.targets import load_target

    if any(value not in (None, ()) for value in flags.values()):
        raise InputError(
            "--with shows how memory is shared, and checks no budget and no --fail-on",
            hint="check each model without --with",
        )
    if model is None or len(targets) != 1:
        raise InputError("--with needs a MODEL and one --target", hint="--target coral-usb")
    _check_together((model, *others), load_target(targets[0]), as_json)


def _check_together(models: tuple[Path, ...], target: TargetProfile, as_json: bool) -> None:
    """Print how models share the chip's memory, in the order in which they are compiled."""
    from edgebuild.delegates.edgetpu import cocompile, edgetpu_compatibility
    from edgebuild.tflite.reader import read_tflite_file

    if target.family != "coral":
        raise InputError(f"--with is for Coral boards, not for {target.name}")
    graphs = [read_tflite_file(model) for model in models]
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


def _failures(found: Forecast) -> Iterator[EdgebuildError]:
    """Yield what speaks against a build: what it would miss, and data that it would ask for."""
    from edgebuild.report.advice import check_failure

    missed = check_failure(found) if found.violations or found.refusals else None
    yield from (failure for failure in (missed, found.lack) if failure is not None)


def _show(model: Path, found: Forecast) -> None:
    """Print what the model needs, and whether that fits."""
    if found.compatibility is not None:
        from edgebuild.report.compatibility_lines import compatibility_lines

        for part in compatibility_lines(found.compatibility):
            console().print(part)
    else:
        _show_figures(found)
    for note in found.notes:
        prose(f"note: {note}")
    if found.passed and found.compatibility is None:
        line(f"{model.name} fits {found.target['name']}", style="bold green")
    elif found.lack is not None and not found.violations and not found.refusals:
        line(f"{model.name} would fit {found.target['name']}; a build needs data first:")


def _show_figures(found: Forecast) -> None:
    rows = []
    zero_wait = found.analysis.zero_wait_us if found.analysis and found.metrics.latency_us else None
    for label, figure, limit in (
        ("flash", found.metrics.flash_bytes, found.budget.flash_bytes),
        ("RAM", found.metrics.ram_bytes, found.budget.ram_bytes),
        ("latency", found.metrics.latency_us, found.budget.latency_us),
        ("  with zero wait states", zero_wait, None),
    ):
        if figure is not None:
            exact, short = _WORDS[figure.unit]
            shown = short(limit) if limit is not None else "-"
            low, high = (figure.least, figure.most) if figure.unit == "us" else [figure.value] * 2
            value = format_range(low, high, exact)
            rows.append((label, value, shown, f"{figure.how}: {figure.source}"))
        elif limit is not None:
            short = format_duration if label == "latency" else format_size
            rows.append((label, "unknown", short(limit), "not known without a run"))
    if rows:
        table(("", "needs", "limit", "how"), rows, right=(1, 2))
