"""``edgebuild build``: from a trained model to verified firmware and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    BUDGETS,
    COUNT,
    SECONDS,
    budget_options,
    fail_on_option,
    flag_budget,
    json_option,
    target_option,
)
from edgebuild.errors import Exit, InputError
from edgebuild.pipeline.plan import BuildRequest
from edgebuild.profile import FORMATS
from edgebuild.project import (
    RUN_CHOICES,
    TOOLCHAINS,
    Project,
    find_project,
    parse_normalization,
    read_project,
)


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@target_option(multiple=True)
@click.option("--data", metavar="DATA", help=".npz, .npy, folder of images, module:function.")
@click.option("--train", metavar="DATA", help="To compress with; --data then only judges.")
@budget_options
@click.option("--name", help="Prefix of the generated C; by default the model's name.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for builds [build].")
@click.option("--toolchain", type=click.Choice(TOOLCHAINS), help="Compiler [zig].")
@click.option("--run", type=click.Choice(RUN_CHOICES), help="Where to run [by target].")
@click.option("--samples", type=COUNT, help="Inferences to run and compare [8].")
@click.option("--calibration-samples", type=COUNT, help="Samples to quantize with [200].")
@click.option("--seed", type=COUNT, help="Seed of everything random [0].")
@click.option("--trust-model", is_flag=True, default=None, help="Allow code inside the model file.")
@click.option("--compress", metavar="RECIPE", help="Passes, or a recipe's .json file.")
@click.option("--training", metavar="ENTRY", help="module:function: how to fine-tune.")
@click.option("--format", type=click.Choice(FORMATS), help="Of numbers, on phones [by target].")
@fail_on_option
@click.option(
    "--normalization", multiple=True, metavar="INPUT=MEAN/STD", help="For a phone's metadata."
)
@click.option("--edgetpu-container", metavar="IMAGE", help="Has edgetpu_compiler, for Coral.")
@click.option("--trials", type=COUNT, help="Candidates to try when a budget is missed [40].")
@click.option("--timeout", type=SECONDS, help="Begin to train none after so long: 10min.")
@click.option("--jobs", type=COUNT, help="Processes that search [one for each core].")
@click.option("--no-search", is_flag=True, help="Never search a compression that fits.")
@click.option("--no-cache", is_flag=True, help="Build even when nothing has changed.")
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

    When a Keras model misses a budget and there is data, a compression that keeps the budget is
    searched and built (see `edgebuild search`).

    In a folder with edgebuild.toml, MODEL and --target may be left out: plain `edgebuild build`
    builds every target that is listed there.
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


def requests(
    model: Path | None, targets: tuple[str, ...], flags: dict[str, Any]
) -> list[BuildRequest]:
    """Return what to build: flags over the project file over defaults."""
    budget = flag_budget(**{name: flags.pop(name) for name in BUDGETS})
    given = {key: value for key, value in flags.items() if value not in (None, ())}
    if "normalization" in given:
        given["normalization"] = dict(map(parse_normalization, given["normalization"]))
    if given.get("compress", "").endswith(".json"):  # below this folder, not the project's
        given["compress"] = str(Path(given["compress"]).absolute())
    file = None if model is not None else find_project(Path())
    if file is None:
        if model is None:
            raise InputError(
                "no MODEL, and no edgebuild.toml in this folder",
                hint="edgebuild build model.tflite --target cortex-m4, or edgebuild init",
            )
        if not targets:
            raise InputError("no --target", hint="--target cortex-m4; see edgebuild targets list")
        return [BuildRequest(model, target, budget=budget, **given) for target in targets]
    project = read_project(file)
    chosen = targets or project.targets
    if project.model is None or not chosen:
        missing = "model" if project.model is None else "targets"
        raise InputError(f"{file}: '{missing}' is not set", hint=f"set it in {file.name}")
    return [_from_project(project, project.model, target, budget, given) for target in chosen]


def _from_project(
    project: Project, model: Path, target: str, budget: Budget, given: dict[str, Any]
) -> BuildRequest:
    settings = project.settings_for(target)
    request = BuildRequest(
        model,
        target,
        data=project.data,
        train=project.train,
        data_folder=Path() if {"data", "train"} & given.keys() else project.folder,
        budget=settings.budget.overridden_by(budget),
        name=project.name,
        out=project.out,
        toolchain=settings.toolchain or TOOLCHAINS[0],
        run=settings.run,
        samples=project.samples,
        calibration_samples=project.calibration_samples,
        seed=project.seed,
        trust_model=project.trust_model,
        compress=project.compress,
        training=project.training,
        format=settings.format,
        fail_on=settings.fail_on,
        edgetpu_container=settings.edgetpu_container,
        normalization=project.normalization,
    )
    return replace(request, **given)


@contextmanager
def steps(what: str) -> Iterator[Callable[[str], None]]:
    """Show the current step on a terminal (standard error); nothing elsewhere."""
    screen = console(err=True)
    if not screen.is_terminal:
        yield lambda _step: None
        return
    with screen.status(printable(what)) as status:
        yield lambda step: status.update(printable(f"{what}: {step}"))
