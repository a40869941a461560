"""What can be said of an int8 ``.tflite`` on a target without compiling anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgebuild.codegen.c_library import constant_bytes, plan_for
from edgebuild.coral.package import CompiledModel, describe_package
from edgebuild.cycles import CyclePrediction, predict_cycles
from edgebuild.cycles.waits import memory_model
from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.check import check_compatibility
from edgebuild.devices.base import LayerSample
from edgebuild.errors import InputError, ModelError, UnsupportedOperatorError
from edgebuild.figures import Figure
from edgebuild.graph import Graph
from edgebuild.graph.demand import check_demand
from edgebuild.limits import read_model
from edgebuild.memory import MemoryPlan
from edgebuild.models.shapes import declared_inputs, settle
from edgebuild.models.source import LABELS, Kind, open_model, recognise
from edgebuild.ops import KernelCall
from edgebuild.passes import supported_graph
from edgebuild.passes.input_rows import given
from edgebuild.profile import INPUT_BY
from edgebuild.report.contents import Contents, contents, describe_tensor
from edgebuild.report.layers import layer_reports, parameter_bytes
from edgebuild.report.model import LayerReport
from edgebuild.schedule import Optimize, least_bytes, schedule_graph
from edgebuild.targets import TargetProfile, load_target
from edgebuild.tflite.metadata import ModelMetadata, read_metadata
from edgebuild.tflite.reader import read_tflite, read_tflite_file


@dataclass(frozen=True)
class Analysis:
    """A model on a target: layers, memory plan, constants, kernels.

    ``cycles`` and those of the layers are predicted, with zero wait states; None for a core without
    a prediction. ``zero_wait_us`` is there where the memory adds to the latency. ``arena_banks``
    are the bytes in each region of an arena that is split; empty where it is not. ``schedule`` are
    the steps, as ``Schedule.to_json`` has them.
    """

    target: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[LayerReport, ...]
    macs: int
    parameter_bytes: int
    arena_bytes: int
    lower_bound_bytes: int
    constant_bytes: int
    kernel_sources: tuple[str, ...]
    cycles: int | None
    latency_us: Figure | None
    zero_wait_us: Figure | None = None
    arena_banks: Mapping[str, int] = field(default_factory=dict)
    schedule: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the analysis as plain JSON values."""
        figures = {"latency_us": self.latency_us, "zero_wait_us": self.zero_wait_us}
        shown = {k: v.to_json() if v is not None else None for k, v in figures.items()}
        return {**asdict(self), **shown}


def analyze(
    model: Path, target_name: str, place: Mapping[str, tuple[str, ...]] | None = None
) -> Analysis:
    """Read ``model`` (an int8 ``.tflite``) and plan it for a target, without compiling; ``place``
    is over the target's own placement."""
    target = load_target(target_name).placed(place or {})
    return _analyze(read_tflite_file(model), str(model), target)


def _analyze(read: Graph, where: str, target: TargetProfile) -> Analysis:
    graph = given(supported_graph(read, where=where).graph, target)
    check_demand(read, where=where)
    memory = memory_model(target)
    schedule = schedule_graph(graph, target.cpu.features, target.optimize, memory)
    least = least_bytes(graph, target.cpu.features, memory)
    plan = plan_for(schedule.graph, schedule.calls, target.placement).beside(least)
    found = describe(schedule.graph, schedule.calls, plan, target)
    return replace(found, schedule=tuple(schedule.to_json(plan)))


def describe(
    graph: Graph, calls: Sequence[KernelCall], plan: MemoryPlan, target: TargetProfile
) -> Analysis:
    """Return what is known of a graph on ``target`` once its kernels are bound and its memory is
    planned."""
    predicted = predict_cycles(graph, target, calls, plan)
    layers = layer_reports(graph, plan, _samples(predicted))
    return Analysis(
        target=target.name,
        inputs=tuple(describe_tensor(t) for t in graph.input_tensors),
        outputs=tuple(describe_tensor(t) for t in graph.output_tensors),
        layers=layers,
        macs=sum(layer.macs for layer in layers),
        parameter_bytes=sum(t.nbytes for t in graph.tensors.values() if t.is_constant),
        arena_bytes=plan.arena_bytes,
        lower_bound_bytes=plan.lower_bound_bytes,
        constant_bytes=constant_bytes(graph, calls),
        kernel_sources=tuple(sorted({s for call in calls for s in call.sources})),
        cycles=predicted.cycles if predicted else None,
        latency_us=predicted.latency_us if predicted else None,
        zero_wait_us=predicted.zero_wait_us if predicted else None,
        arena_banks=_banks(plan, target),
    )


def _banks(plan: MemoryPlan, target: TargetProfile) -> dict[str, int]:
    if len(plan.bank_bytes) < 2 or target.placement is None:
        return {}
    regions = (region.name for region in target.placement.arena)
    return dict(zip(regions, plan.bank_bytes, strict=True))


@dataclass(frozen=True)
class SurveyedOperator:
    """One operator of any model; ``reason`` says why the delegate leaves it to the CPU."""

    position: int
    kind: str
    version: int
    types: str
    output_shape: tuple[int, ...]
    parameter_bytes: int
    reason: str


@dataclass(frozen=True)
class Survey:
    """A ``.tflite`` of any number format, as a target's delegate takes it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[SurveyedOperator, ...]
    compatibility: Compatibility
    metadata: ModelMetadata | None

    def to_json(self) -> dict[str, Any]:
        """Return the survey as plain JSON values."""
        return {**asdict(self), "compatibility": self.compatibility.to_json()}


def survey(model: Path, target: TargetProfile) -> Survey:
    """Read ``model`` and ask the table of the target's delegate; nothing is compiled."""
    content = read_model(model)
    return _survey(read_tflite(content, name=model.stem, where=str(model)), content, model, target)


def _survey(graph: Graph, content: bytes, model: Path, target: TargetProfile) -> Survey:
    found = check_compatibility(graph, target)
    operators = tuple(
        SurveyedOperator(
            node.position,
            node.kind,
            node.op.version,
            str(node.outputs[0].dtype) if node.outputs else "",
            node.outputs[0].shape if node.outputs else (),
            parameter_bytes(node),
            verdict.reason,
        )
        for node, verdict in zip(graph.nodes(), found.verdicts, strict=True)
    )
    return Survey(
        tuple(describe_tensor(t) for t in graph.input_tensors),
        tuple(describe_tensor(t) for t in graph.output_tensors),
        operators,
        found,
        read_metadata(content, where=str(model)),
    )


Inspected = CompiledModel | Analysis | Survey | Contents
"""What ``inspect`` finds: the first of these that says most of a model."""


def inspect(
    model: Path,
    target_name: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    place: Mapping[str, tuple[str, ...]] | None = None,
    optimize: Optimize = Optimize.BALANCED,
    input_by: str = INPUT_BY[0],
) -> Inspected:
    """Return what is in ``model``, any valid ``.tflite``, with inputs of these ``shapes`` where it
    leaves dimensions open, roles in these regions (``place``, over the target's own), and kernels
    chosen to ``optimize``, for C that takes its input by the run or by rows (``input_by``).

    Of one that the Edge TPU's compiler wrote its package, else what the target makes of it, else
    what the file says, with the reason why there is no more.

    Raises:
        ModelError: the file or its package is damaged, or it is no ``.tflite``.
        InputError: the shapes do not fit it, or the roles the target's regions.
    """
    target = load_target(target_name).placed(place or {}).optimized(optimize)
    target = target.taking_input(input_by)
    if (kind := recognise(model)) != Kind.TFLITE:
        raise ModelError(
            f"{model}: inspect reads .tflite files, and this is a {LABELS[kind]}",
            hint=f"`edgebuild check {model} --target {target.name}` previews the build; after a "
            "build, inspect the model.tflite in its output folder",
        )
    content = _content(model, shapes or {})
    graph = read_tflite(content, name=model.stem, where=str(model))
    compiled = describe_package(graph, where=str(model))
    if compiled is not None:
        return compiled
    try:
        if target.delegate is not None:
            return _survey(graph, content, model, target)
        settle(str(model), declared_inputs(graph), {})
        return _analyze(graph, str(model), target)
    except UnsupportedOperatorError:
        return contents(graph)
    except InputError as error:
        return contents(graph, (f"{error.message}; try: {error.hint}",))


def _content(model: Path, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    if not shapes:
        return read_model(model, hint="pass a .tflite file; `edgebuild build` takes others too")
    source = open_model(model, any_format=True, shapes=shapes)
    source.close()
    if not source.content:
        raise InputError(f"{model}: inspect takes .tflite files", hint="edgebuild build")
    return source.content


def _samples(predicted: CyclePrediction | None) -> tuple[LayerSample, ...]:
    layers = predicted.layers if predicted else ()
    slow = predicted is not None and bool(predicted.slow)
    return tuple(
        LayerSample(
            layer.position,
            cycles=layer.cycles,
            wait_cycles=round(layer.waits.high) if slow else None,
        )
        for layer in layers
    )
