"""From a build request to a search, and from what it found to recipes that a build takes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from edgebuild.budget import OF_QUALITY, Budget
from edgebuild.compress.recipe import recipe_from_json, write_recipe
from edgebuild.errors import CheckFailedError, InputError
from edgebuild.files import atomic_write, directory_lock, explained
from edgebuild.limits import read_model
from edgebuild.models.source import open_model
from edgebuild.pipeline.loading import given_shapes, load_sets, training_splits
from edgebuild.pipeline.plan import BuildPlan, BuildRequest, make_plan
from edgebuild.pipeline.run import run_plan
from edgebuild.report.model import Report
from edgebuild.search.attempts import Effort
from edgebuild.search.crew import Crew, DaskCrew, LocalCrew
from edgebuild.search.plot import plot_front
from edgebuild.search.problem import Outcome, Problem
from edgebuild.search.ranking import enough
from edgebuild.search.run import Found, Search
from edgebuild.search.study import open_study
from edgebuild.targets import TargetProfile, list_targets
from edgebuild.units import format_frequency

WINNER = "recipe.json"
"""The recipe of the best point, in the search's folder."""

MOST_JOBS = 256
"""Processes that a search of one machine may be given."""

_USUAL_JOBS = 8
_MUCH = 0.1
"""A loss of accuracy that is worth a word."""
_NO_SEARCH = "a search for a compression that fits needs Optuna: pip install 'edgebuild[search]'"


@dataclass(frozen=True)
class SearchRequest:
    """What to search: the model, data, target and budget of ``build``.

    ``jobs`` processes of this machine work (by default as many as it has cores), or the workers of
    the Dask cluster at ``dask``. ``storage`` is a database URL for Optuna, by default an SQLite
    file in the search's folder; ``study`` the study's name in it. ``architecture`` adds a stage:
    networks of other widths and depths, that are trained anew.
    """

    build: BuildRequest
    effort: Effort = field(default_factory=Effort)
    jobs: int | None = None
    dask: str | None = None
    storage: str | None = None
    study: str | None = None
    sampler: str = "tpe"
    architecture: bool = False


def search_folder(plan: BuildPlan) -> Path:
    """Return where a search keeps its study and its recipes."""
    return plan.out.with_name(f"{plan.out.name}-search")


def search(
    request: SearchRequest,
    progress: Callable[[str], None] = lambda _: None,
    *,
    keep_training: bool = False,
    baseline_missed: bool = False,
) -> Found:
    """Search, or go on with a search that was stopped; write its recipes and its picture.

    The folder gets ``points/<n>.json`` for each point of the front, best first, ``recipe.json`` for
    the best, ``front.svg`` and ``search.json``. ``keep_training`` leaves the states of training in
    the cache, for a build of the best. ``baseline_missed`` says that the model, built as it is,
    was found to lose too much accuracy: it is not the best then.

    Raises:
        InputError: the model, data or a setting is not usable.
        ToolError: a package is missing, or workers keep dying.
    """
    if request.jobs is not None and not 1 <= request.jobs <= MOST_JOBS:
        raise InputError(
            f"jobs must be 1 to {MOST_JOBS}", hint="leave out --jobs for one process per core"
        )
    plan = make_plan(request.build)
    if plan.target.delegate is not None:
        raise InputError(
            f"{plan.target.name}: a search measures candidates as generated C, but on this target "
            "LiteRT runs the model",
            hint="use a Cortex-M --target, or build with --compress",
        )
    folder = search_folder(plan)
    problem = open_problem(plan)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with directory_lock(folder):
        storage = request.storage or f"sqlite:///{(folder / 'study.db').absolute()}"
        key = problem.key
        name = request.study or f"{plan.name}-{plan.target.name}-{key[:8]}"
        study = open_study(storage, name, key, sampler=request.sampler, seed=request.build.seed)
        crew = _crew(request, problem)
        try:
            found = Search(
                problem,
                crew,
                study,
                plan.budget,
                request.effort,
                progress,
                architecture=request.architecture,
                baseline_missed=baseline_missed,
            ).run()
        finally:
            crew.close()
        _write(folder, found, plan)
    if not keep_training:
        shutil.rmtree(plan.checkpoints, ignore_errors=True)
    return found


def build_within_budget(
    request: SearchRequest,
    progress: Callable[[str], None] = lambda _: None,
    *,
    use_cache: bool = True,
) -> Report:
    """Build; when that misses a budget, search a compression that keeps it and build that.

    The samples that judge the build say no more than whether it missed: among the compressions the
    validation split chooses. A budget that cannot be checked, because nothing tells its figure, is
    no reason to search.

    Raises CheckFailedError when there is none, with how close the search came.
    """
    plan = make_plan(request.build)
    missed: CheckFailedError | None = None
    report = None
    try:
        report = run_plan(plan, progress=progress, use_cache=use_cache)
    except CheckFailedError as error:  # it does not even link
        missed = error
    violations = () if report is None else report.violations
    hopeless = report is not None and (not violations or any(v.unknown for v in violations))
    possible = not hopeless and can_search(plan)
    if not possible or find_spec("optuna") is None:
        if missed is not None:
            raise missed
        assert report is not None
        notes = (*report.notes, _NO_SEARCH) if possible else report.notes
        return dataclasses.replace(report, notes=notes)
    found = search(
        request,
        lambda text: progress(f"searching: {text}"),
        keep_training=True,
        baseline_missed=_lost_too_much(report),
    )
    if found.best is None:
        raise no_fit(found, plan)
    recipe = (search_folder(plan) / WINNER).absolute()
    chosen = dataclasses.replace(request.build, compress=str(recipe))
    report = run_plan(make_plan(chosen), progress=progress, use_cache=use_cache)
    return dataclasses.replace(report, notes=(*report.notes, *_much_lost(found, plan.budget)))


def _lost_too_much(report: Report | None) -> bool:
    """Return whether a build's quality misses a budget, or the accuracy gate refuses it."""
    if report is None:
        return False
    refused = report.gate is not None and not report.gate.passed
    return refused or any(v.budget in OF_QUALITY for v in report.violations)


def _much_lost(found: Found, budget: Budget) -> list[str]:
    """Return a note where nobody said how much of the quality may go, and much does."""
    assert found.best is not None
    measure, lost = found.profile.measure, found.profile.quality - (found.best.quality or 0.0)
    limits = {
        "accuracy": (budget.max_accuracy_drop, "--max-accuracy-drop 2%"),
        "R2": (budget.max_error_increase, "--max-error-increase 20%"),
    }
    limit, option = limits.get(measure, (budget.min_similarity, "--min-similarity 0.95"))
    if limit is not None or lost <= _MUCH:
        return []
    return [
        f"the best that keeps the budget loses {100 * lost:.1f} points of {measure} on the "
        f"validation samples; {option} refuses such a build"
    ]


def can_search(plan: BuildPlan) -> bool:
    """Return whether a search could do anything for a build."""
    request = plan.request
    if find_spec("tensorflow") is None:
        return False
    trainable = request.model.suffix.lower() in (".keras", ".h5", ".hdf5")
    if plan.target.delegate is not None:  # costs are those of generated C
        return False
    limited = any(value is not None for value in plan.budget.to_json().values())
    return trainable and limited and request.compress is None and request.data is not None


def no_fit(found: Found, plan: BuildPlan) -> CheckFailedError:
    """Return the error that says that nothing fits and how close the search came."""
    details = []
    if found.nearest is not None:
        details.append(f"closest: {describe(found.nearest, found)}")
    details.append(f"uncompressed: {describe(found.baseline, found)}")
    kind = "cannot fit" if found.proved else "found nothing that fits"
    return CheckFailedError(
        f"{plan.name} on {plan.target.name}: {kind}: {found.reason}",
        details=details,
        hint=_enough(found, plan.target)
        if found.proved
        else "a larger budget or --max-accuracy-drop, more --trials or --timeout, or `edgebuild "
        "search` with more --epochs",
    )


def _enough(found: Found, target: TargetProfile) -> str:
    """Return the options that the smallest network keeps where it misses the budget."""
    assert found.nearest is not None
    options = enough(found.nearest, found.budget)
    if not options:
        return "another target"
    whole = " and ".join(enough(found.baseline, found.budget))
    between = f"{whole} for the model as it is, or a value between it and " if whole else ""
    return (
        f"{between}{' and '.join(options)} for the smallest network, of little use by itself; or "
        f"{_faster(found, target)}"
    )


def _faster(found: Found, target: TargetProfile) -> str:
    """Return which other target would do; where the latency is missed, at which clock."""
    assert found.nearest is not None
    time, limit, clock = found.nearest.latency_us, found.budget.latency_us, target.cpu.clock_hz
    if time is None or limit is None or time <= limit or not clock:
        return "another target (`edgebuild targets list`)"
    needed = math.ceil(clock * time / limit / 1e6) * 1e6
    faster = sorted(
        (profile.cpu.clock_hz, profile.name)
        for profile in list_targets()
        if profile.cpu.core == target.cpu.core and (profile.cpu.clock_hz or 0) >= needed
    )
    names = [f"--target {name} ({format_frequency(hz)})" for hz, name in faster[:2] if hz]
    names.append("a profile of your own (`edgebuild targets new`)")
    return (
        f"a faster clock, as {', '.join(names)}: {target.name} runs at {format_frequency(clock)}, "
        f"the smallest network needs {format_frequency(needed)}"
    )


def describe(outcome: Outcome, found: Found) -> str:
    """Return an outcome in one line."""
    from edgebuild.units import format_duration

    parts = []
    if outcome.quality is not None:
        parts.append(f"{100 * outcome.quality:.2f} % {outcome.measure}")
    if outcome.flash_bytes is not None:
        parts.append(f"flash {outcome.flash_bytes:,} B")
    if outcome.ram_bytes is not None:
        parts.append(f"RAM {outcome.ram_bytes:,} B")
    if outcome.latency_us is not None:
        parts.append(format_duration(outcome.latency_us))
    if outcome.too_large:
        parts.append(outcome.too_large)
    return ", ".join(parts)


def open_problem(plan: BuildPlan) -> Problem:
    """Read the model and data of a plan."""
    request = plan.request
    source = open_model(request.model, trust=request.trust_model, shapes=request.input_shapes)
    try:
        splits = training_splits(source, *load_sets(source, request), request)
        content, shapes = read_model(request.model), given_shapes(source, request)
    finally:
        source.close()
    return Problem(
        content,
        str(source.kind),
        plan.name,
        request.trust_model,
        splits.train,
        splits.validation,
        plan.target,
        plan.run,
        request.toolchain,
        request.seed,
        request.training,
        request.data_folder.absolute(),
        plan.checkpoints.name,
        plan.inputs.get("training", ""),
        dict(plan.tools),
        shapes,
        request.optimize,
    )


def _crew(request: SearchRequest, problem: Problem) -> Crew:
    if request.dask is not None:
        return DaskCrew(problem, request.dask)
    jobs = request.jobs or min(_USUAL_JOBS, len(os.sched_getaffinity(0)))
    return LocalCrew(problem, jobs)


def _write(folder: Path, found: Found, plan: BuildPlan) -> None:
    """Write recipes, picture and figures."""
    seed = plan.request.seed
    points = folder / "points"
    for old in points.glob("*.json") if points.is_dir() else ():
        old.unlink()
    for number, point in enumerate(found.front, 1):
        write_recipe(points / f"{number:02}.json", recipe_from_json(point.recipe), seed, point.way)
    if found.best is not None:
        best = found.best
        write_recipe(folder / WINNER, recipe_from_json(best.recipe), seed, best.way)
    else:
        (folder / WINNER).unlink(missing_ok=True)
    plot_front(
        folder / "front.svg",
        found.points,
        found.front,
        found.budget,
        measure=found.profile.measure,
        baseline=found.profile.quality,
    )
    atomic_write(folder / "search.json", json.dumps(found.to_json(), indent=1) + "\n")
