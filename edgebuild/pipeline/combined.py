"""Several models in one firmware: each is built as alone, then all are linked, run and compared
together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild import __version__
from edgebuild.backends import backend_for
from edgebuild.backends.base import Combination, Compiled, Progress
from edgebuild.backends.emit import emit_together
from edgebuild.backends.native import compile_together_for_host
from edgebuild.budget import Budget, Metrics, merge
from edgebuild.devices.base import Device, RunResult, Samples
from edgebuild.errors import InputError
from edgebuild.files import TemporaryFolder, atomic_write, staged_directory
from edgebuild.graph import Graph
from edgebuild.limits import read_json, read_model
from edgebuild.passes import supported_graph
from edgebuild.pipeline.compilers import Chosen, compile_and_run
from edgebuild.pipeline.plan import (
    LOCK_NAME,
    REPORT_NAME,
    BuildPlan,
    BuildRequest,
    cached_report,
    make_plan,
)
from edgebuild.pipeline.run import finish, run_plan
from edgebuild.pipeline.runners.base import MODEL_NAME
from edgebuild.pipeline.steps import NOT_RUN, LazyHost, measured_memory, ram_figure
from edgebuild.project import ARENAS, DEFAULT_OUT
from edgebuild.report.combined import (
    CombinedReport,
    Member,
    arena_figure,
    combined_from_json,
    latency_of_all,
)
from edgebuild.report.model import Comparison, Report, report_from_json
from edgebuild.targets import TargetProfile
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import compare, make_samples

_LONGEST_NAME = 150


@dataclass(frozen=True)
class CombinedPlan:
    """Plans of several models for one target. ``budget`` limits flash and RAM of all together,
    those of the plans each model."""

    plans: tuple[BuildPlan, ...]
    arenas: str
    budget: Budget
    name: str
    out: Path

    @property
    def target(self) -> TargetProfile:
        """The target of all."""
        return self.plans[0].target

    @property
    def sha256(self) -> str:
        """The hash of all that decides the result."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return what decides the result as plain JSON values."""
        return {
            "models": [plan.to_json() for plan in self.plans],
            "arenas": self.arenas,
            "budget": self.budget.to_json(),
        }


def make_combined_plan(
    requests: Sequence[BuildRequest],
    arenas: str = ARENAS[0],
    *,
    budget: Budget | None = None,
    out: Path | None = None,
) -> CombinedPlan:
    """Resolve requests of several models for one target; InputError for what cannot be right.

    ``budget`` limits flash and RAM of all together, the requests' own budgets each model. The build
    goes to ``<out>/<a>+<b>-<target>``, ``out`` being ``build`` by default.
    """
    plans = [make_plan(request) for request in requests]
    target = plans[0].target
    if target.delegate is not None:
        raise InputError(
            f"{target.name}: on this target LiteRT runs models, each from a file of its own",
            hint="build one model per command",
        )
    _check_names(plans)
    name = _joined([plan.name for plan in plans])
    return CombinedPlan(
        tuple(plans),
        arenas,
        merge(target.default_budget(), budget or Budget()),
        name,
        (out or Path(DEFAULT_OUT)) / f"{name}-{target.name}",
    )


def _check_names(plans: Sequence[BuildPlan]) -> None:
    count = Counter(plan.name for plan in plans)
    for name, times in count.items():
        if times > 1:
            files = [str(plan.request.model) for plan in plans if plan.name == name]
            raise InputError(
                f"{' and '.join(files)} would both be called {name} in the C code",
                hint="rename one of the files: the code takes its names from them",
            )


def _joined(names: Sequence[str]) -> str:
    """Return ``a+b``, shortened where it is too long for a folder's name."""
    joined = "+".join(names)
    if len(joined) <= _LONGEST_NAME:
        return joined
    digest = hashlib.sha256(joined.encode()).hexdigest()[:8]
    return f"{names[0]}+{len(names) - 1}-more-{digest}"


def run_combined_plan(
    plan: CombinedPlan, *, progress: Progress = lambda _: None, use_cache: bool = True
) -> CombinedReport:
    """Build what ``plan`` says into its folder, which appears whole or not at all.

    Each model's own build is in a folder below it. Returns the report even when a budget is missed
    or an output byte differs: ``CombinedReport.passed`` tells. Raises EdgebuildError when no report
    could be made.
    """
    if use_cache and (found := cached_report(plan)) is not None:
        reports = [report_from_json(read_json(plan.out / one.name / REPORT_NAME))
                   for one in plan.plans]  # fmt: skip
        return _located(plan, combined_from_json(found), reports, cached=True)
    with staged_directory(plan.out, marker=LOCK_NAME) as folder:
        reports = [_build_one(one, plan.out, folder, progress, use_cache) for one in plan.plans]
        report = finish(plan, folder, _combine(plan, reports, folder, progress))
    return _located(plan, report, reports)


def _located(
    plan: CombinedPlan, report: CombinedReport, reports: Sequence[Report], *, cached: bool = False
) -> CombinedReport:
    """Return a report that knows where it is, with those of its models."""
    located = [
        dataclasses.replace(one, out_dir=str(plan.out / one.name), cached=one.cached or cached)
        for one in reports
    ]
    return dataclasses.replace(report, reports=tuple(located), out_dir=str(plan.out), cached=cached)


def _build_one(
    plan: BuildPlan, before: Path, folder: Path, progress: Progress, use_cache: bool
) -> Report:
    """Build one model below ``folder``, or take it from the build ``before`` if nothing changed."""
    kept = dataclasses.replace(plan, out=before / plan.name)
    if use_cache and cached_report(kept) is not None:
        shutil.copytree(kept.out, folder / plan.name)
    return run_plan(
        dataclasses.replace(plan, out=folder / plan.name),
        progress=lambda step: progress(f"{plan.name}: {step}"),
        use_cache=use_cache,
    )


def _combine(
    plan: CombinedPlan, reports: Sequence[Report], folder: Path, progress: Progress
) -> CombinedReport:
    """Link the models that were built below ``folder``, run them together, compare, report."""
    progress("generating C for all models")
    models = [_built(one, folder) for one in plan.plans]
    shared = plan.arenas == "shared"
    combination = emit_together(
        {model.name: model.graph.replace(keeps_inputs=plan.target.keep_inputs) for model in models},
        plan.target.cpu.features,
        shared=shared,
        optimize=plan.target.optimize,
        preprocessing={one.name: one.preprocessing for one in reports},
    )
    for path, text in combination.files.items():
        atomic_write(folder / path, text)
    with TemporaryFolder("work") as scratch:
        chosen = _compile_and_run(plan, combination, models, folder, Path(scratch), progress)
        compared = compare_each(models, chosen.result, Path(scratch), progress)
    return _report(plan, reports, combination, chosen, compared)


def _built(plan: BuildPlan, folder: Path) -> BuiltModel:
    request = plan.request
    path = folder / plan.name / MODEL_NAME
    return BuiltModel(path, plan.name, request.samples, request.seed, request.toolchain)


class BuiltModel:
    """One of the models, as it was built into ``path``: the name of its C code, how many inferences
    of it are run with which seed, and the compiler for the host."""

    def __init__(self, path: Path, name: str, count: int, seed: int, toolchain: str) -> None:
        self.name, self.toolchain = name, toolchain
        self.content = read_model(path)
        graph = read_tflite(self.content, name=name, where=str(path))
        self.graph: Graph = supported_graph(graph, where=str(path)).graph
        self.samples: Samples = make_samples(self.graph, count, seed)


def samples_of_all(models: Sequence[BuiltModel]) -> Samples:
    """Return the inputs of each run of all models: those of the first, of the second and so on."""
    columns = zip(*(model.samples for model in models), strict=True)
    return [[content for sample in each for content in sample] for each in columns]


def compare_each(
    models: Sequence[BuiltModel], result: RunResult | None, scratch: Path, progress: Progress
) -> list[Comparison | None]:
    """Return how each model's outputs, in a run of all, compare with the oracle's."""
    if result is None:
        return [None] * len(models)
    progress("comparing with TFLite Micro")
    found: list[Comparison | None] = []
    start = 0
    for model in models:
        end = start + len(model.graph.outputs)
        outputs = tuple(sample[start:end] for sample in result.outputs)
        own = dataclasses.replace(result, outputs=outputs)
        host = LazyHost(model.graph, model.name, model.toolchain, scratch / model.name, progress)
        found.append(compare(model.graph, model.content, model.samples, own, host.trace))
        start = end
    return found


def _compile_and_run(
    plan: CombinedPlan,
    combination: Combination,
    models: Sequence[BuiltModel],
    folder: Path,
    scratch: Path,
    progress: Progress,
) -> Chosen:
    """Compile all models as one program and run each sample of all, one model after the other."""
    backend = backend_for(plan.target.family)
    first = plan.plans[0]
    of_all = dataclasses.replace(first, budget=plan.budget, tool="")

    def run(compiled: Compiled) -> RunResult | None:
        if first.run == "none":
            return None
        progress(f"running all models on {first.run}")
        return _device(first, combination, compiled, scratch, progress).run(samples_of_all(models))

    return compile_and_run(
        of_all,
        lambda tool, out: backend.compile_together(combination, plan.target, tool, out, progress),
        folder,
        run,
        lambda compiled, result: _metrics(plan, combination, compiled, result),
    )


def _device(
    plan: BuildPlan, combination: Combination, compiled: Compiled, scratch: Path, progress: Progress
) -> Device:
    if plan.run == "host" and plan.target.family != "host":
        tool = plan.request.toolchain
        return compile_together_for_host(combination, tool, scratch, progress)
    return compiled.open_device(plan.run)


def _metrics(
    plan: CombinedPlan, combination: Combination, compiled: Compiled, result: RunResult | None
) -> Metrics:
    memory = _memory(plan, combination, compiled, result)
    return Metrics(flash_bytes=compiled.flash_bytes, ram_bytes=ram_figure(memory))


def _memory(
    plan: CombinedPlan, combination: Combination, compiled: Compiled, result: RunResult | None
) -> dict[str, Any]:
    sizes = {model.name: model.plan.arena_bytes for model in combination.models}
    memory = {"arena": arena_figure(sizes, combination.arena_bytes, plan.arenas)}
    stack = measured_memory(result).get("stack")
    if stack is not None:
        memory["stack"] = stack
    if compiled.static_ram_bytes is not None:
        memory["static data"] = compiled.static_ram_bytes
    return memory


def _report(
    plan: CombinedPlan,
    reports: Sequence[Report],
    combination: Combination,
    chosen: Chosen,
    compared: Sequence[Comparison | None],
) -> CombinedReport:
    compiled, result = chosen.compiled, chosen.result
    metrics = dataclasses.replace(
        _metrics(plan, combination, compiled, result),
        latency_us=latency_of_all([one.metrics for one in reports]),
    )
    members = tuple(
        Member(made.name, made.name, made.passed, made.metrics, model.plan.arena_bytes, comparison)
        for made, model, comparison in zip(reports, combination.models, compared, strict=True)
    )
    return CombinedReport(
        edgebuild=__version__,
        name=plan.name,
        target=plan.target.to_json(),
        plan_sha256=plan.sha256,
        toolchain=compiled.toolchain,
        arenas=plan.arenas,
        budget=plan.budget,
        metrics=metrics,
        memory=_memory(plan, combination, compiled, result),
        flash=compiled.flash,
        borrowed_bytes=combination.borrowed_bytes,
        models=members,
        violations=plan.budget.check(metrics),
        compilers=chosen.trials,
        notes=(*chosen.notes, *(() if result is not None else (NOT_RUN,))),
    )
