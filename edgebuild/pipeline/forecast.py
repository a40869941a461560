"""What a build would say of a model, as far as that is known without compiling anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgebuild.analysis import Analysis, describe
from edgebuild.backends.base import Emitted, Progress
from edgebuild.budget import OF_REGION, Budget, Metrics, Violation
from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.check import parse_fail_on
from edgebuild.errors import InputError, OverflowedError
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph
from edgebuild.models.convert import float_outputs
from edgebuild.models.data import match_inputs
from edgebuild.pipeline.compilers import COMFORT, is_smallest
from edgebuild.pipeline.loading import Prepared
from edgebuild.pipeline.memory_forecast import forecast_memory, is_slow
from edgebuild.pipeline.plan import BuildPlan, BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve, resolve_delegated
from edgebuild.regions import required_placement
from edgebuild.report.advice import check_failure
from edgebuild.report.layers import layer_reports
from edgebuild.report.model import LayerReport
from edgebuild.tflite.oracle import run_oracle

COMMAND_LINE = "the command line"
_COSTS = ("flash_bytes", "ram_bytes", "latency_us")
"""The limits that a forecast knows figures for; others need a run."""


@dataclass(frozen=True)
class Forecast:
    """What is known of a build before it compiles, held against its budget.

    ``analysis`` is there where generated C runs the model, ``compatibility`` where LiteRT does.
    ``refusals`` are sentences of what a build would refuse besides missed budgets. ``lack`` is the
    error of a build whose calibration data are missing: noise took their place here.
    """

    name: str
    target: Mapping[str, Any]
    budget: Budget
    metrics: Metrics
    violations: tuple[Violation, ...]
    refusals: tuple[str, ...]
    layers: tuple[LayerReport, ...] = ()
    analysis: Analysis | None = None
    compatibility: Compatibility | None = None
    notes: tuple[str, ...] = ()
    lack: InputError | None = None

    @property
    def passed(self) -> bool:
        """True when nothing that is known speaks against a build."""
        return not self.violations and not self.refusals and self.lack is None

    @property
    def uncertain(self) -> bool:
        """True when a build may pass all the same: what is missed lies within an estimate."""
        sure = self.passed or self.refusals or self.lack is not None
        return not sure and all(v.uncertain for v in self.violations)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        own = (part.to_json() for part in (self.analysis, self.compatibility) if part is not None)
        merged = {key: value for part in own for key, value in part.items()}
        notes = (*merged.pop("notes", ()), *self.notes)
        lack = () if self.lack is None else (self.lack.message,)
        return {
            **merged,
            "name": self.name,
            "target": self.target["name"],
            "metrics": self.metrics.to_json(),
            "budget": self.budget.to_json(),
            "violations": [violation.to_json() for violation in self.violations],
            "refusals": list(self.refusals),
            "problems": [*(v.sentence() for v in self.violations), *self.refusals, *lack],
            "notes": list(notes),
            "uncertain": self.uncertain,
            "fits": self.passed,
        }


def forecast(request: BuildRequest, progress: Progress = lambda _: None) -> Forecast:
    """Resolve ``request`` as a build does and stop before the compiler.

    A float model is converted, with noise for calibration where there are no data (``lack`` is what
    a build says of that); a recipe is applied without its training.

    Raises:
        EdgebuildError: what the build raises, in the same words.
    """
    plan = make_plan(request)
    limits, later = _limits(plan)
    found = _delegated if plan.target.delegate is not None else _generated
    made = found(plan, limits, progress)
    return dataclasses.replace(made, notes=(*made.notes, *later))


def _limits(plan: BuildPlan) -> tuple[Budget, tuple[str, ...]]:
    """Return the limits to check, and notes on those of a project that only a build can check.

    Asked for on the command line they are kept: what cannot be checked is not kept in silence.
    """
    budget = plan.budget
    later: dict[str, Any] = {
        name: None
        for name, value in budget.to_json().items()
        if name not in _COSTS and value is not None
        if budget.sources.get(name, COMMAND_LINE) != COMMAND_LINE
    }
    if not later:
        return budget, ()
    words = ", ".join(name.replace("_", "-") for name in later)
    note = f"{words} of the project: not checked here, only by a build"
    return dataclasses.replace(budget, **later), (note,)


def _delegated(plan: BuildPlan, limits: Budget, progress: Progress) -> Forecast:
    resolved = resolve_delegated(plan, progress, forecast=True)
    shipment = resolved.shipment
    _run_once(plan, resolved.loaded, shipment.graph, shipment.library is not None, progress)
    size = Figure(len(shipment.model), "B", How.MEASURED, "size of model.tflite")
    metrics = Metrics(flash_bytes=size)
    found = shipment.compatibility
    library = shipment.library
    return Forecast(
        plan.name,
        plan.target.to_json(),
        limits,
        metrics,
        limits.check(metrics),
        parse_fail_on(plan.request.fail_on).refusals(found),
        layers=layer_reports(library.graph, library.plan) if library is not None else (),
        compatibility=found,
        notes=resolved.notes,
        lack=resolved.loaded.lack,
    )


def overflow_failure(plan: BuildPlan, emitted: Emitted, error: OverflowedError) -> OverflowedError:
    """Return why what was built does not fit, in the words in which ``check`` says it.

    Where a forecast does not know that memory is short, the linker's figures say by how much.
    """
    found = _foretold(plan, emitted, plan.budget)
    sure = tuple(v for v in found.violations if not (v.unknown or v.uncertain))
    if not any(v.budget in ("flash", "ram") for v in sure):
        sure = tuple(_linked(plan, name, over, error) for name, over in error.missed.items())
    failure = check_failure(dataclasses.replace(found, violations=sure, refusals=()))
    words = ", ".join(f"{region} by {over:,} B" for region, over in error.missed.items())
    linked = f"linked with {error.linked_with}: too large for {words}"
    return OverflowedError(
        failure.message if failure is not None else error.message,
        missed=error.missed,
        linked_with=error.linked_with,
        details=[*(failure.details if failure is not None else error.details), linked],
        hint=failure.hint if failure is not None else error.hint,
    )


def _linked(plan: BuildPlan, name: str, over: int, error: OverflowedError) -> Violation:
    """Return that region ``name`` is too small by ``over`` bytes, as the linker says."""
    placement = required_placement(plan.target.placement, plan.target.name)
    known = {region.name: region for region in placement.used}
    region = known.get(name, placement.data)  # the stack's room is part of it
    roles = ", ".join(placement.roles_of(region))
    source = f"{error.linked_with}: what lies in region {region.name} ({roles})"
    figure = Figure(region.usable_bytes + over, "B", How.LINKED, source)
    whose = f"{OF_REGION}{region.name} of {plan.target.name}"
    return Violation(region.kind, region.usable_bytes, figure, whose)


def _generated(plan: BuildPlan, limits: Budget, progress: Progress) -> Forecast:
    resolved = resolve(plan, progress, forecast=True)
    _run_once(plan, resolved.loaded, resolved.loaded.source_graph, True, progress)
    found = _foretold(plan, resolved.emitted, limits)
    notes = (*resolved.notes, *found.notes)
    return dataclasses.replace(found, notes=notes, lack=resolved.loaded.lack)


def _foretold(plan: BuildPlan, emitted: Emitted, limits: Budget) -> Forecast:
    """Return what is known of generated C before it is compiled."""
    found = describe(emitted.graph, emitted.calls, emitted.plan, plan.target)
    metrics, regions = _metrics(plan, emitted, found, limits)
    violations = limits.check(metrics)
    told = {violation.budget for violation in violations}
    return Forecast(
        plan.name,
        plan.target.to_json(),
        limits,
        metrics,
        (*violations, *(region for region in regions if region.budget not in told)),
        (),
        layers=found.layers,
        analysis=found,
        notes=_other_compilers(plan, metrics, limits),
    )


def _other_compilers(plan: BuildPlan, metrics: Metrics, limits: Budget) -> tuple[str, ...]:
    """Return a note where a build may keep another compiler's code, whose latency is not known."""
    tools = [tool for tools in plan.rounds for tool in tools]
    pairs = (
        (metrics.flash_bytes, limits.flash_bytes),
        (metrics.ram_bytes, limits.ram_bytes),
    )
    short = any(
        f is not None and limit is not None and f.most > COMFORT * limit for f, limit in pairs
    )
    slow = is_slow(metrics.latency_us, limits)
    small = is_smallest(plan)
    if metrics.latency_us is None or len(tools) == 1 or not (short or slow or small):
        return ()
    why = "memory is short" if short else "latency is missed" if slow else "size counts"
    return (
        f"{why}: a build tries {', '.join(tools)}, "
        "and the latency of all but the first is not predicted",
    )


def _run_once(
    plan: BuildPlan, loaded: Prepared, graph: Graph, compares: bool, progress: Progress
) -> None:
    """Run what a build runs, on one sample, and end the float model's process: the float model,
    which judges, and TFLite Micro on ``graph``, with which a build ``compares`` generated C.

    ModelError where one does not run.
    """
    source, data = loaded.source, loaded.data
    try:
        if data is not None and not source.is_int8 and loaded.lack is None:
            progress("running the float model once")
            arrays = match_inputs(data, source.inputs)
            float_outputs(source, [array[:1] for array in arrays])
        if compares and plan.run != "none":
            progress("running TFLite Micro once")
            run_oracle(loaded.model, [[bytes(tensor.nbytes) for tensor in graph.input_tensors]])
    finally:
        source.close()


def _metrics(
    plan: BuildPlan, emitted: Emitted, found: Analysis, limits: Budget
) -> tuple[Metrics, tuple[Violation, ...]]:
    """Return the figures of the budget that a build for the target would have, and the regions that
    are too small."""
    if plan.target.flash is None:  # a computer, whose memory is not measured
        return Metrics(), ()
    memory = forecast_memory(plan, emitted, found.latency_us, limits)
    timed = plan.run == "simulator"  # nothing else tells a build the time
    latency = found.latency_us if timed else None
    return Metrics(memory.flash, memory.ram, latency), memory.regions
