"""What a build would say of a model, as far as that is known without compiling anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgebuild.analysis import Analysis, describe
from edgebuild.backends.base import Emitted, Progress
from edgebuild.budget import Budget, Metrics, Violation
from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.check import parse_fail_on
from edgebuild.figures import Figure, How
from edgebuild.models.convert import float_outputs
from edgebuild.models.data import match_inputs
from edgebuild.pipeline.loading import Prepared
from edgebuild.pipeline.memory_forecast import forecast_memory
from edgebuild.pipeline.plan import BuildPlan, BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve, resolve_delegated
from edgebuild.report.layers import layer_reports
from edgebuild.report.model import LayerReport

COMMAND_LINE = "the command line"
_COSTS = ("flash_bytes", "ram_bytes", "latency_us")
"""The limits that a forecast knows figures for; others need a run."""


@dataclass(frozen=True)
class Forecast:
    """What is known of a build before it compiles, held against its budget.

    ``analysis`` is there where generated C runs the model, ``compatibility`` where LiteRT does.
    ``refusals`` are sentences of what a build would refuse besides missed budgets.
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

    @property
    def passed(self) -> bool:
        """True when nothing that is known speaks against a build."""
        return not self.violations and not self.refusals

    @property
    def uncertain(self) -> bool:
        """True when a build may pass all the same: what is missed lies within an estimate."""
        return not self.passed and not self.refusals and all(v.uncertain for v in self.violations)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        own = (part.to_json() for part in (self.analysis, self.compatibility) if part is not None)
        merged = {key: value for part in own for key, value in part.items()}
        notes = (*merged.pop("notes", ()), *self.notes)
        return {
            **merged,
            "name": self.name,
            "target": self.target["name"],
            "metrics": self.metrics.to_json(),
            "budget": self.budget.to_json(),
            "violations": [violation.to_json() for violation in self.violations],
            "refusals": list(self.refusals),
            "problems": [*(v.sentence() for v in self.violations), *self.refusals],
            "notes": list(notes),
            "uncertain": self.uncertain,
            "fits": self.passed,
        }


def forecast(request: BuildRequest, progress: Progress = lambda _: None) -> Forecast:
    """Resolve ``request`` as a build does and stop before the compiler.

    A float model is converted, with noise for calibration where there are no data; a recipe is
    applied without its training.

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
    note = f"not checked here, a build measures it: {words} of the project"
    return dataclasses.replace(budget, **later), (note,)


def _delegated(plan: BuildPlan, limits: Budget, progress: Progress) -> Forecast:
    resolved = resolve_delegated(plan, progress, forecast=True)
    _run_once(resolved.loaded, progress)
    shipment = resolved.shipment
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
    )


def _generated(plan: BuildPlan, limits: Budget, progress: Progress) -> Forecast:
    resolved = resolve(plan, progress, forecast=True)
    _run_once(resolved.loaded, progress)
    emitted = resolved.emitted
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
        notes=resolved.notes,
    )


def _run_once(loaded: Prepared, progress: Progress) -> None:
    """Run the float model on one sample of the data, as a build that judges it runs it on all, and
    end its process; ModelError where it does not run."""
    source, data = loaded.source, loaded.data
    try:
        if data is None or source.is_int8:
            return
        progress("running the float model once")
        arrays = match_inputs(data, source.inputs)
        float_outputs(source, [array[:1] for array in arrays])
    finally:
        source.close()


def _metrics(
    plan: BuildPlan, emitted: Emitted, found: Analysis, limits: Budget
) -> tuple[Metrics, tuple[Violation, ...]]:
    """Return the figures of the budget that a build for the target would have, and the regions that
    are too small."""
    if plan.target.flash is None:  # a computer, whose memory is not measured
        return Metrics(), ()
    memory = forecast_memory(plan, emitted, found, limits)
    timed = plan.run == "simulator"  # nothing else tells a build the time
    latency = found.latency_us if timed else None
    return Metrics(memory.flash, memory.ram, latency), memory.regions
