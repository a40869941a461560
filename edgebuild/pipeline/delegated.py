"""The steps of a build for a target on which LiteRT runs the model: phones and accelerators."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgebuild import __version__
from edgebuild.backends.base import (
    Delivered,
    DeliverySettings,
    Emitted,
    Progress,
    Shipment,
)
from edgebuild.budget import Metrics
from edgebuild.delegates.check import parse_fail_on
from edgebuild.devices.base import RunResult
from edgebuild.figures import Figure, How
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.judging import Judgement
from edgebuild.pipeline.loading import Prepared
from edgebuild.pipeline.parts import leave_parts
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.pipeline.resolve import resolve_delegated
from edgebuild.pipeline.steps import (
    LazyHost,
    Runner,
    judge,
    measured_memory,
    model_facts,
)
from edgebuild.report.layers import layer_reports
from edgebuild.report.model import Comparison, Report
from edgebuild.verification import LiteRt


def build_delegated(plan: BuildPlan, folder: Path, progress: Progress) -> Report:
    """Run every step of ``plan`` and leave its files in ``folder``."""
    resolved = resolve_delegated(plan, progress)
    backend, loaded, shipment = resolved.backend, resolved.loaded, resolved.shipment
    try:
        files = dict(resolved.files)
        if loaded.compressed and loaded.compressed.packed is not None:
            files["weights.huff"] = loaded.compressed.packed
        for path, content in files.items():
            atomic_write(folder / path, content)
        tools = DeliverySettings(edgetpu_container=plan.request.edgetpu_container)
        delivered = backend.deliver(shipment, plan.target, folder, progress, tools)
        cuts = backend.cuts(shipment)
        parts, remarks = leave_parts(plan, shipment, cuts, loaded.fed, folder, progress)
        with TemporaryFolder("work") as scratch:
            result, comparison = _run(plan, loaded, shipment, delivered, Path(scratch), progress)
        judgement = judge(plan, loaded, shipment.graph, LiteRt(shipment.model), progress)
    finally:
        loaded.source.close()
    report = make_report(plan, loaded, shipment, delivered, result, comparison, judgement)
    return dataclasses.replace(
        report,
        parts=parts,
        notes=(*resolved.notes, *delivered.notes, *remarks),
    )


def _run(
    plan: BuildPlan,
    loaded: Prepared,
    shipment: Shipment,
    delivered: Delivered,
    scratch: Path,
    progress: Progress,
) -> tuple[RunResult | None, Comparison | None]:
    """Run the generated C where there is some, and compare every byte."""
    library = shipment.library
    if library is None:
        return None, None
    host = LazyHost(library.graph, plan.name, plan.request.toolchain, scratch, progress)
    runner = Runner(plan, loaded, library.graph, host, progress)
    result = runner.run(delivered.open_device)
    return result, runner.compare(result)


def make_report(
    plan: BuildPlan,
    loaded: Prepared,
    shipment: Shipment,
    delivered: Delivered,
    result: RunResult | None,
    comparison: Comparison | None,
    judgement: Judgement,
) -> Report:
    """Put together what is known, and hold it against the budget and what was forbidden."""
    size = Figure(len(shipment.model), "B", How.MEASURED, "size of model.tflite")
    metrics = Metrics(
        flash_bytes=size,
        latency_us=result.latency_us if result else None,
        **judgement.metrics,
    )
    found = delivered.compatibility or shipment.compatibility
    library = shipment.library
    layers = (
        layer_reports(library.graph, library.plan, result.layers if result else ())
        if library is not None
        else ()
    )
    timings = {"instructions": result.instructions} if result else {}
    return Report(
        edgebuild=__version__,
        name=plan.name,
        model=model_facts(plan, shipment.graph),
        target=plan.target.to_json(),
        plan_sha256=plan.sha256,
        toolchain=delivered.toolchain,
        budget=plan.budget,
        metrics=metrics,
        memory=_memory(library, result),
        flash={**found.figures(), **delivered.figures},
        run={label: figure for label, figure in timings.items() if figure is not None},
        tflm_arena=None,
        layers=layers,
        comparison=comparison,
        accuracy=judgement.accuracy,
        regression=judgement.regression,
        similarity=judgement.similarity,
        gate=judgement.gate,
        violations=plan.budget.check(metrics),
        compression=loaded.compressed.steps if loaded.compressed else (),
        baseline=loaded.review.baseline,
        calibration=loaded.review.calibration,
        ladder=loaded.review.ladder,
        compatibility=found.plain(),
        refusals=parse_fail_on(plan.request.fail_on).refusals(found),
    )


def _memory(library: Emitted | None, result: RunResult | None) -> dict[str, Figure]:
    """Return what is known of the generated C's RAM; LiteRT's own is not known here."""
    if library is None:
        return {}
    arena = Figure(
        library.plan.arena_bytes, "B", How.PLANNED, "memory planner; LiteRT's RAM is not known"
    )
    return {"generated C's arena": arena, **measured_memory(result)}
