"""What can be said of an int8 ``.tflite`` on a target without compiling anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget, Metrics, Violation, merge
from edgebuild.codegen.c_library import constant_bytes, kernel_calls
from edgebuild.coral.package import CompiledModel, describe_package
from edgebuild.cycles import CyclePrediction, predict_cycles
from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.check import check_compatibility
from edgebuild.devices.base import LayerSample
from edgebuild.figures import Figure, How
from edgebuild.graph import Tensor
from edgebuild.graph.demand import check_demand
from edgebuild.limits import read_model
from edgebuild.memory import plan_memory
from edgebuild.ops.support import check_supported
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.report.layers import layer_reports, parameter_bytes
from edgebuild.report.model import LayerReport
from edgebuild.targets import TargetProfile, load_target
from edgebuild.tflite.metadata import ModelMetadata, read_metadata
from edgebuild.tflite.reader import read_tflite_file

CODE_BYTES_PER_SOURCE = 1500
"""Rough size of one kernel source at -O2 on a Cortex-M; a build gives the real figure."""

GLUE_BYTES = 900
STACK_BYTES = 512
"""Typical stack of a run; a build measures it."""


@dataclass(frozen=True)
class Verdict:
    """Estimated metrics held against a budget; a limit of what is not known without a build is a
    violation too."""

    metrics: Metrics
    budget: Budget
    violations: tuple[Violation, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain JSON values."""
        return {
            "metrics": self.metrics.to_json(),
            "budget": self.budget.to_json(),
            "violations": [v.to_json() for v in self.violations],
            "fits": not self.violations,
        }


@dataclass(frozen=True)
class Analysis:
    """A model on a target: layers, memory plan, constants, kernels.

    ``cycles`` and those of the layers are predicted; None for a core without a prediction.
    """

    target: str
    device_budget: Budget
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

    def to_json(self) -> dict[str, Any]:
        """Return the analysis as plain JSON values."""
        return {k: v for k, v in asdict(self).items() if k != "device_budget"}

    def verdict(self, budget: Budget) -> Verdict:
        """Hold what is known against the device's memory and ``budget``."""
        code = GLUE_BYTES + CODE_BYTES_PER_SOURCE * len(self.kernel_sources)
        flash = Figure(
            self.constant_bytes + code,
            "B",
            How.ESTIMATED,
            f"constants {self.constant_bytes:,} B exactly, code about {code:,} B",
        )
        ram = Figure(
            self.arena_bytes + STACK_BYTES,
            "B",
            How.ESTIMATED,
            f"arena {self.arena_bytes:,} B as planned, stack about {STACK_BYTES} B",
        )
        metrics = Metrics(flash, ram, self.latency_us)
        limits = merge(self.device_budget, budget)
        return Verdict(metrics, limits, limits.check(metrics))


def analyze(model: Path, target_name: str) -> Analysis:
    """Read ``model`` (an int8 ``.tflite``) and plan it for a target, without compiling."""
    target = load_target(target_name)
    graph = read_tflite_file(model)
    check_supported(graph, where=str(model))
    check_demand(graph, where=str(model))
    graph = run_passes(graph, DEFAULT_PASSES).graph
    calls = kernel_calls(graph, target.cpu.features)
    plan = plan_memory(graph, calls)
    predicted = predict_cycles(graph, target, calls)
    layers = layer_reports(graph, plan, _samples(predicted))
    return Analysis(
        target=target.name,
        device_budget=target.default_budget(),
        inputs=tuple(_describe(t) for t in graph.input_tensors),
        outputs=tuple(_describe(t) for t in graph.output_tensors),
        layers=layers,
        macs=sum(layer.macs for layer in layers),
        parameter_bytes=sum(t.nbytes for t in graph.tensors.values() if t.is_constant),
        arena_bytes=plan.arena_bytes,
        lower_bound_bytes=plan.lower_bound_bytes,
        constant_bytes=constant_bytes(graph, calls),
        kernel_sources=tuple(sorted({s for call in calls for s in call.sources})),
        cycles=predicted.cycles if predicted else None,
        latency_us=predicted.latency_us if predicted else None,
    )


def compiled_model(model: Path) -> CompiledModel | None:
    """Return what the Edge TPU compiler left in ``model``, None for a model that it did not make.

    Raises:
        ModelError: the file is no ``.tflite``, or its package is damaged.
    """
    return describe_package(read_tflite_file(model, survey=True), where=str(model))


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
    graph = read_tflite_file(model, survey=True)
    found = check_compatibility(graph, target)
    operators = tuple(
        SurveyedOperator(
            node.position,
            node.kind,
            node.op.version,
            str(node.output.dtype),
            node.output.shape,
            parameter_bytes(node),
            verdict.reason,
        )
        for node, verdict in zip(graph.nodes(), found.verdicts, strict=True)
    )
    return Survey(
        tuple(_describe(t) for t in graph.input_tensors),
        tuple(_describe(t) for t in graph.output_tensors),
        operators,
        found,
        read_metadata(read_model(model), where=str(model)),
    )


def _samples(predicted: CyclePrediction | None) -> tuple[LayerSample, ...]:
    layers = predicted.layers if predicted else ()
    return tuple(LayerSample(layer.position, cycles=layer.cycles) for layer in layers)


def _describe(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape))
    if tensor.quantization is None:
        return f"{tensor.dtype} {shape} ({tensor.name})"
    return (
        f"{tensor.dtype} {shape}, scale {tensor.scale:.6g}, zero point {tensor.zero_point} "
        f"({tensor.name})"
    )
