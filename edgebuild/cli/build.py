"""``edgebuild build``: from a trained model to verified firmware and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from edgebuild.budget import Budget
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
from edgebuild.errors import Exit, InputError
from edgebuild.project import ARENAS


@click.command()
@click.argument("models", nargs=-1, type=click.Path(path_type=Path))
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
@click.option(
    "--arenas",
    type=click.Choice(ARENAS),
    help="Several models: an arena each, or one for all, if only one runs at a time [separate].",
)
@json_option
def command(
    models: tuple[Path, ...],
    targets: tuple[str, ...],
    no_cache: bool,
    no_search: bool,
    trials: int | None,
    timeout: float | None,
    jobs: int | None,
    arenas: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Build a model for a target: quantize, generate C, compile, run, check, report.

    If a Keras model misses a budget and there is data, edgebuild searches for a compression that
    meets it and builds that (see `edgebuild search`).

    In a folder with edgebuild.toml you can leave out MODELS and --target: `edgebuild build` then
    builds every target listed there.

    Several MODELS become one firmware with each kernel once. --max-flash and --max-ram then limit
    all of them together. A model that needs data or other settings is given by its project file.
    """
    if len(models) > 1:
        searching = {"--trials": trials, "--timeout": timeout, "--jobs": jobs}
        together(models, targets, arenas or ARENAS[0], searching, flags, not no_cache, as_json)
        return
    if arenas is not None:
        raise InputError("--arenas is for several models", hint="leave it out, or add a MODEL")
    from edgebuild.pipeline import make_plan, run_plan
    from edgebuild.report.advice import check_failure
    from edgebuild.search import Effort, SearchRequest, build_within_budget

    model = models[0] if models else None
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
        print_json({"reports": _values(reports)})
    if not all(report.passed for report in reports):
        click.get_current_context().exit(Exit.CHECK_FAILED)


def together(
    models: Sequence[Path],
    targets: tuple[str, ...],
    arenas: str,
    searching: Mapping[str, object],
    flags: Mapping[str, Any],
    use_cache: bool,
    as_json: bool,
) -> None:
    """Build several models into one firmware, for each target."""
    from edgebuild.pipeline.combined import make_combined_plan, run_combined_plan

    _refuse_for_one(flags, searching)
    if not targets:
        raise InputError("no --target given", hint="one of the firmware, e.g. --target cortex-m4")
    limits = Budget(flags["max_flash"], flags["max_ram"]).named("the command line")
    each = {**flags, "max_flash": None, "max_ram": None}
    by_model = [requests(model, targets, dict(each)) for model in models]
    made = []
    for wanted in zip(*by_model, strict=True):
        plan = make_combined_plan(wanted, arenas, budget=limits, out=flags["out"])
        with steps(f"{plan.name} for {plan.target.name}") as progress:
            report = run_combined_plan(plan, progress=progress, use_cache=use_cache)
        made.append(report)
        if not as_json:
            show_together(report)
    if as_json:
        single = [one for report in made for one in report.reports]
        print_json({"reports": _values(single), "together": _values(made)})
    if not all(report.passed for report in made):
        click.get_current_context().exit(Exit.CHECK_FAILED)


_FOR_ONE = {
    "data": "--data", "train": "--train", "training": "--training", "compress": "--compress",
    "name": "--name", "input_shapes": "--input-shape", "normalization": "--normalization",
}  # fmt: skip
"""By parameter, the options that are about one model."""


def _refuse_for_one(flags: Mapping[str, Any], searching: Mapping[str, object]) -> None:
    """Refuse what is about one model, and what is about a search: none is done for several."""
    for parameter, option in _FOR_ONE.items():
        if flags[parameter] in (None, ()):
            continue
        if parameter == "name":
            raise InputError(
                "--name is for one model: several take their names from their files",
                hint="rename the files",
            )
        raise InputError(
            f"{option} is for one model per command",
            hint="write a project file for the model (`edgebuild init FOLDER`) and pass "
            "FOLDER/edgebuild.toml in its place, or pass models that are int8 already",
        )
    for option, value in searching.items():
        if value is not None:
            raise InputError(
                f"{option} is for a search, and several models are built without one",
                hint="leave it out, or search for each model by itself",
            )


def _values(reports: Sequence[Any]) -> list[dict[str, Any]]:
    return [{**report.to_json(), "cached": report.cached} for report in reports]


def show_together(report: Any) -> None:
    """Print a report of several models for people, and what failed."""
    from edgebuild.report.advice import check_failure
    from edgebuild.report.combined import combined_failure
    from edgebuild.report.combined_lines import render_combined

    _print(render_combined(report))
    for failure in (*map(check_failure, report.reports), combined_failure(report)):
        if failure is not None:
            report_failure(failure, as_json=False)


def show(report: Any) -> None:
    """Print a report for people."""
    from edgebuild.report.terminal import render_report

    _print(render_report(report))


def _print(parts: Iterable[Any]) -> None:
    for part in parts:
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
