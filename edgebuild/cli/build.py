"""``edgebuild build``: from a trained model to verified firmware and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgebuild.cli.console import console, print_json
from edgebuild.cli.failures import printable
from edgebuild.cli.failures import report as report_failure
from edgebuild.cli.options import (
    COUNT,
    SECONDS,
    budget_options,
    fail_on_option,
    json_option,
    target_option,
)
from edgebuild.cli.requests import requests, resolving_options
from edgebuild.errors import Exit


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@target_option(multiple=True)
@budget_options
@resolving_options
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder to write builds to [build]."
)
@click.option(
    "--accuracy-gate/--no-accuracy-gate",
    default=None,
    help="Fail the build when the model lost much accuracy [yes].",
)
@click.option(
    "--ladder/--no-ladder",
    default=None,
    help="Try remedies when quantization loses much accuracy [yes].",
)
@click.option("--samples", type=COUNT, help="Number of inferences to run and compare [8].")
@fail_on_option
@click.option(
    "--edgetpu-container", metavar="IMAGE", help="Container image with edgetpu_compiler, for Coral."
)
@click.option("--trials", type=COUNT, help="Candidates to try when a budget is missed [40].")
@click.option("--timeout", type=SECONDS, help="Start no new training after this time, e.g. 10min.")
@click.option("--jobs", type=COUNT, help="Parallel search processes [one per core].")
@click.option(
    "--no-search", is_flag=True, help="Do not search for a compression when a budget is missed."
)
@click.option("--no-cache", is_flag=True, help="Build even if nothing has changed.")
@json_option
def command(
    model: Path | None,
    targets: tuple[str, ...],
    no_cache: bool,
    no_search: bool,
    trials: int | None,
    timeout: float | None,
    jobs: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Build MODEL for a target: quantize, generate C, compile, run, check, report.

    If a Keras model misses a budget and there is data, edgebuild searches for a compression that
    meets it and builds that (see `edgebuild search`).

    In a folder with edgebuild.toml you can leave out MODEL and --target: `edgebuild build` then
    builds every target listed there.
    """
    from edgebuild.pipeline import make_plan, run_plan
    from edgebuild.report.advice import check_failure
    from edgebuild.search import Effort, SearchRequest, build_within_budget

    effort = Effort(timeout_s=timeout)
    if trials is not None:
        effort = replace(effort, trials=trials)
    reports = []
    for request in requests(model, targets, flags):
        plan = make_plan(request)
        with steps(f"{plan.name} for {plan.target.name}") as progress:
            if no_search:
                report = run_plan(plan, progress=progress, use_cache=not no_cache)
            else:
                report = build_within_budget(
                    SearchRequest(request, effort, jobs), progress, use_cache=not no_cache
                )
        reports.append(report)
        failure = check_failure(report)
        if not as_json:
            show(report)
            if failure is not None:
                report_failure(failure, as_json=False)
    if as_json:
        print_json({"reports": [{**r.to_json(), "cached": r.cached} for r in reports]})
    if not all(report.passed for report in reports):
        click.get_current_context().exit(Exit.CHECK_FAILED)


def show(report: Any) -> None:
    """Print a report for people."""
    from edgebuild.report.terminal import render_report

    for part in render_report(report):
        # A path is printed whole, to be copied.
        console().print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))


@contextmanager
def steps(what: str) -> Iterator[Callable[[str], None]]:
    """Show the current step on a terminal (standard error); nothing elsewhere."""
    screen = console(err=True)
    if not screen.is_terminal:
        yield lambda _step: None
        return
    with screen.status(printable(what)) as status:
        yield lambda step: status.update(printable(f"{what}: {step}"))
