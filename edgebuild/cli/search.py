"""``edgebuild search``: the compressions of a model that are best at their cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgebuild.cli.build import show, steps
from edgebuild.cli.console import heading, line, print_json, prose, table
from edgebuild.cli.failures import report as report_failure
from edgebuild.cli.options import (
    COUNT,
    SECONDS,
    budget_options,
    json_option,
    target_option,
)
from edgebuild.cli.requests import requests
from edgebuild.errors import CheckFailedError, Exit, InputError
from edgebuild.project import TOOLCHAINS
from edgebuild.units import format_duration

SAMPLERS = ("tpe", "nsga2", "random")
_SHOWN_LAYERS = 3


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@target_option(multiple=True)
@click.option(
    "--data", metavar="DATA", help="Data set: .npz, .npy, a folder of images, or module:function."
)
@click.option(
    "--train",
    metavar="DATA",
    help="Training set for compression; --data is then used only for testing.",
)
@budget_options
@click.option("--trials", type=COUNT, default="40", help="Candidates to try [40].")
@click.option("--timeout", type=SECONDS, help="Start no new training after this time, e.g. 10min.")
@click.option(
    "--epochs",
    type=COUNT,
    default="0",
    help="Training epochs for finalists [chosen from the data].",
)
@click.option(
    "--short-epochs",
    type=COUNT,
    default="0",
    help="Training epochs per candidate [chosen from the data].",
)
@click.option("--finalists", type=COUNT, default="3", help="Candidates to train to the end [3].")
@click.option("--sampler", type=click.Choice(SAMPLERS), default="tpe", help="Optuna sampler [tpe].")
@click.option("--nas", is_flag=True, help="Also try other widths and depths, trained from scratch.")
@click.option("--jobs", type=COUNT, help="Parallel processes [one per core].")
@click.option("--dask", metavar="ADDRESS", help="Dask scheduler to use, e.g. tcp://host:8786.")
@click.option("--storage", metavar="URL", help="Database for the study [SQLite, in --out].")
@click.option("--study", metavar="NAME", help="Name of the study in the database.")
@click.option("--build", "point", type=COUNT, help="Build point N of the last search.")
@click.option("--name", help="Name of the generated C files and functions [the model's].")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder to write builds to [build]."
)
@click.option("--toolchain", type=click.Choice(TOOLCHAINS), help=f"Compiler [{TOOLCHAINS[0]}].")
@click.option("--seed", type=COUNT, help="Random seed [0].")
@click.option(
    "--trust-model",
    is_flag=True,
    default=None,
    help="Allow the model file to run code (Lambda layers).",
)
@click.option(
    "--training", metavar="ENTRY", help="Python entry (module:function) with fine-tuning settings."
)
@json_option
def command(
    model: Path | None,
    targets: tuple[str, ...],
    point: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Find the best trade-offs between accuracy and cost for a Keras MODEL, within a budget.

    You can stop it at any time: the same command resumes. It writes a recipe for each point it
    prints; `--build 2` builds the second.
    """
    from edgebuild.search import Effort, SearchRequest, search
    from edgebuild.search.request import no_fit, search_folder

    effort = Effort(
        trials=flags.pop("trials"),
        timeout_s=flags.pop("timeout"),
        epochs=flags.pop("epochs"),
        short_epochs=flags.pop("short_epochs"),
        finalists=flags.pop("finalists"),
    )
    how = {key: flags.pop(key) for key in ("jobs", "dask", "storage", "study", "sampler")}
    how["architecture"] = flags.pop("nas")
    wanted = requests(model, targets, flags, command="search")
    if len(wanted) != 1:
        raise InputError("a search is for one target", hint="--target cortex-m4")
    from edgebuild.pipeline import make_plan

    plan = make_plan(wanted[0])
    folder = search_folder(plan)
    if point is not None:
        _build(wanted[0], folder, point, as_json)
        return
    request = SearchRequest(wanted[0], effort, **how)
    with steps(f"{plan.name} for {plan.target.name}") as progress:
        found = search(request, progress)
    failure = no_fit(found, plan) if found.best is None and found.reason else None
    if as_json:
        print_json({**found.to_json(), "folder": str(folder)})
    else:
        _show(found, folder)
        if failure is not None:
            report_failure(failure, as_json=False)
    if failure is not None:
        click.get_current_context().exit(Exit.CHECK_FAILED)


def _show(found: Any, folder: Path) -> None:
    """Print the Pareto front, and what is to be done next."""
    heading(f"best at their cost: {len(found.front)} of {len(found.points)} candidates")
    rows, styles = [], []
    for number, outcome in enumerate(found.front, 1):
        best = outcome == found.best
        rows.append((f"{number}{'*' if best else ''}", *_row(outcome, found)))
        styles.append("bold green" if best else "" if outcome.fits(found.budget) else "dim")
    columns = ("", found.profile.measure, "drop", "flash", "RAM", "latency", "epochs", "fits")
    table(columns, rows, right=(1, 2, 3, 4, 5, 6), styles=styles)
    measure = found.profile.measure
    prose(
        f"{measure} in % of {found.profile.samples:,} validation samples, int8; "
        f"the float model has {100 * found.profile.quality:.2f}"
    )
    if matter := _most_sensitive(found.profile.sensitivity):
        what = f"points of {measure} that half of their channels are worth"
        prose(f"most sensitive layers, by {what}: {matter}")
    for reason in found.failed:
        prose(f"left out: {reason}")
    if found.best is not None:
        line(f"* the recipe to build: {folder / 'recipe.json'}")
    line(f"picture: {folder / 'front.svg'}")
    line("build another point: the same command with --build NUMBER")


def _most_sensitive(lost: dict[str, float]) -> str:
    """Return the layers whose half costs most, and how many points."""
    first = sorted(lost.items(), key=lambda row: -row[1])[:_SHOWN_LAYERS]
    return ", ".join(f"{name} {100 * points:.1f}" for name, points in first if points > 0)


def _row(outcome: Any, found: Any) -> tuple[str, ...]:
    drop = 100 * (found.profile.quality - outcome.quality)
    latency = outcome.latency_us
    return (
        f"{100 * outcome.quality:.2f}",
        f"{drop:+.2f}",
        f"{outcome.flash_bytes:,}" if outcome.flash_bytes is not None else "-",
        f"{outcome.ram_bytes:,}" if outcome.ram_bytes is not None else "-",
        format_duration(latency) if latency is not None else "-",
        f"{outcome.epochs}",
        "yes" if outcome.fits(found.budget) else "no",
    )


def _build(request: Any, folder: Path, point: int, as_json: bool) -> None:
    """Build a point of the last search."""
    from dataclasses import replace

    from edgebuild.pipeline import make_plan, run_plan
    from edgebuild.report.advice import check_failure

    recipe = folder / "points" / f"{point:02}.json"
    if not recipe.is_file():
        known = sorted(int(path.stem) for path in recipe.parent.glob("[0-9]*.json"))
        said = (
            f"choose a point from 1 to {known[-1]}"
            if known
            else "run the search first, without --build"
        )
        raise InputError(f"{recipe}: no point {point}", hint=said)
    plan = make_plan(replace(request, compress=str(recipe.absolute())))
    with steps(f"{plan.name} for {plan.target.name}") as progress:
        report = run_plan(plan, progress=progress)
    failure: CheckFailedError | None = check_failure(report)
    if as_json:
        print_json({"reports": [{**report.to_json(), "cached": report.cached}]})
    else:
        show(report)
        if failure is not None:
            report_failure(failure, as_json=False)
    if not report.passed:
        click.get_current_context().exit(Exit.CHECK_FAILED)
