"""The steps of a build for a target on which LiteRT runs the model: phones and accelerators."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory

from edgebuild import __version__
from edgebuild.backends import delegate_backend_for
from edgebuild.backends.base import (
    DelegateBackend,
    Delivered,
    DeliverySettings,
    Emitted,
    Progress,
    Shipment,
)
from edgebuild.backends.emit import emit_library
from edgebuild.budget import Metrics
from edgebuild.delegates.check import check_compatibility, parse_fail_on
from edgebuild.devices.base import RunResult
from edgebuild.errors import InputError
from edgebuild.figures import Figure, How
from edgebuild.files import atomic_write
from edgebuild.graph import Graph
from edgebuild.graph.ir import KERNEL_DTYPES
from edgebuild.ops.support import node_problems
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.pipeline.describe import with_metadata
from edgebuild.pipeline.loading import Prepared, prepare
from edgebuild.pipeline.parts import leave_parts
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.pipeline.steps import (
    LazyHost,
    drops,
    judge,
    measured_memory,
    model_facts,
    run,
)
from edgebuild.report.accuracy import AccuracyReport
from edgebuild.report.layers import layer_reports
from edgebuild.report.model import Comparison, Report
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import LiteRt

_SHOWN = 3


def build_delegated(plan: BuildPlan, folder: Path, progress: Progress) -> Report:
    """Run every step of ``plan`` and leave its files in ``folder``."""
    backend = delegate_backend_for(plan.target.family)
    loaded = prepare(plan, progress)
    try:
        shipment, notes = ship(plan, loaded, backend, progress)
        files = {"model.tflite": shipment.model, **backend.emit(shipment, plan.target)}
        if loaded.compressed and loaded.compressed.packed is not None:
            files["weights.huff"] = loaded.compressed.packed
        for path, content in files.items():
            atomic_write(folder / path, content)
        tools = DeliverySettings(edgetpu_container=plan.request.edgetpu_container)
        delivered = backend.deliver(shipment, plan.target, folder, progress, tools)
        cuts = backend.cuts(shipment)
        parts, remarks = leave_parts(plan, shipment, cuts, loaded.data, folder, progress)
        with TemporaryDirectory(prefix="edgebuild-") as scratch:
            result, comparison = _run(plan, loaded, shipment, delivered, Path(scratch), progress)
        accuracy, similarity = judge(
            *(loaded, shipment.graph, LiteRt(shipment.model), plan.budget, progress)
        )
    finally:
        loaded.source.close()
    report = make_report(plan, loaded, shipment, delivered, result, comparison, accuracy)
    return dataclasses.replace(
        report,
        similarity=similarity,
        parts=parts,
        notes=(*loaded.notes, *notes, *delivered.notes, *remarks),
    )


def ship(
    plan: BuildPlan, loaded: Prepared, backend: DelegateBackend, progress: Progress
) -> tuple[Shipment, tuple[str, ...]]:
    """Hold the model against the delegate's table, generate C where there are kernels for it, and
    return the shipment with notes; InputError where a run needs generated C and there is none."""
    where = str(plan.request.model)
    graph = read_tflite(loaded.model, name=plan.name, where=where, survey=True)
    progress("checking what the delegate takes")
    found = check_compatibility(graph, plan.target)
    library, reasons = None, without_library(graph)
    if reasons and plan.run not in ("host", "none"):
        raise InputError(
            f"{plan.name}: there is no generated C to run on {plan.run}",
            details=reasons[:_SHOWN],
            hint="--format int8, or leave --run out",
        )
    notes: tuple[str, ...] = ()
    if backend.has_library and not reasons:
        progress("generating C")
        simple = run_passes(graph, DEFAULT_PASSES)
        library = emit_library(simple.graph, plan.name, plan.target.cpu.features)
        notes = simple.notes
    elif backend.has_library:
        more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        notes = (f"no generated C beside it: {'; '.join(reasons[:_SHOWN])}{more}",)
    labels = _labels(loaded, graph)
    model = loaded.model
    if backend.has_metadata:
        model = with_metadata(
            *(model, graph, plan.name),
            labels=labels,
            sets=loaded.sets,
            normalization=plan.request.normalization,
        )
    return Shipment(plan.name, model, graph, found, labels, library), notes


def _labels(loaded: Prepared, graph: Graph) -> tuple[str, ...]:
    """Return the names of the classes where the data has one for each value of the output."""
    classes = loaded.data.classes if loaded.data is not None else ()
    shape = graph.output_tensors[0].shape
    return classes if shape and len(classes) == shape[-1] else ()


def without_library(graph: Graph) -> list[str]:
    """Return why there is no generated C for ``graph``; empty when there is."""
    if graph.other_subgraphs:
        return [f"the model has {graph.other_subgraphs + 1} subgraphs"]
    foreign = sorted({t.dtype for t in graph.tensors.values()} - KERNEL_DTYPES)
    if foreign:
        return [f"no kernel computes with {dtype}" for dtype in foreign]
    return [problem for node in graph.nodes() for problem in node_problems(node)]


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
    return run(plan, loaded, library.graph, delivered.open_device, host, progress)


def make_report(
    plan: BuildPlan,
    loaded: Prepared,
    shipment: Shipment,
    delivered: Delivered,
    result: RunResult | None,
    comparison: Comparison | None,
    accuracy: AccuracyReport | None,
) -> Report:
    """Put together what is known, and hold it against the budget and what was forbidden."""
    size = Figure(len(shipment.model), "B", How.MEASURED, "size of model.tflite")
    metrics = Metrics(
        flash_bytes=size,
        latency_us=result.latency_us if result else None,
        **drops(accuracy),
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
        accuracy=accuracy,
        violations=plan.budget.check(metrics),
        compression=loaded.compressed.steps if loaded.compressed else (),
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
