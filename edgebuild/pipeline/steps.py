"""The steps of one build, in order, each a small function over what the ones before it made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild import __version__
from edgebuild.backends.base import Compiled, Emitted, Progress
from edgebuild.backends.emit import emit_library
from edgebuild.backends.native import compile_for_host
from edgebuild.budget import OF_QUALITY, Metrics
from edgebuild.cycles.waits import memory_model
from edgebuild.devices.base import Device, RunResult
from edgebuild.devices.host import HostDevice
from edgebuild.diagnosis import diagnose
from edgebuild.errors import OverflowedError
from edgebuild.figures import Figure, How
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.graph import Graph
from edgebuild.judging import Judgement, judge_outputs
from edgebuild.models.data import DataSet, match_inputs, quantize_input
from edgebuild.ops import OPS
from edgebuild.pipeline.compilers import compile_and_run
from edgebuild.pipeline.effort import check_data_set, check_run
from edgebuild.pipeline.forecast import overflow_failure
from edgebuild.pipeline.loading import Prepared
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.pipeline.resolve import Loaded, resolve
from edgebuild.report.layers import layer_reports
from edgebuild.report.model import Comparison, Report
from edgebuild.schedule import least_bytes, usual_schedule
from edgebuild.targets import CpuFeatures, TargetProfile
from edgebuild.toolchain import Symbol
from edgebuild.units import format_size
from edgebuild.verification import (
    Engine,
    GeneratedC,
    LiteRt,
    compare,
    make_samples,
)


def build(plan: BuildPlan, folder: Path, progress: Progress) -> Report:
    """Run every step of ``plan`` and leave its files in ``folder``."""
    resolved = resolve(plan, progress)
    loaded, emitted = resolved.loaded, resolved.emitted
    try:
        atomic_write(folder / "model.tflite", loaded.model)
        if loaded.compressed and loaded.compressed.packed is not None:
            atomic_write(folder / "weights.huff", loaded.compressed.packed)
        for path, text in emitted.files.items():
            atomic_write(folder / path, text)
        with TemporaryFolder("work") as scratch:
            host = LazyHost(
                loaded.graph, plan.name, plan.request.toolchain, Path(scratch), progress
            )
            runner = Runner(plan, loaded, loaded.graph, host, progress)
            try:
                chosen = compile_and_run(
                    plan,
                    lambda tool, out: resolved.backend.compile(
                        emitted, plan.target, tool, out, progress
                    ),
                    folder,
                    lambda compiled: runner.run(compiled.open_device),
                    lambda compiled, result: target_metrics(emitted, compiled, result),
                )
            except OverflowedError as error:
                raise overflow_failure(plan, emitted, error) from None
            compiled, result = chosen.compiled, chosen.result
            comparison = runner.compare(result)
            judgement = judge(
                *(plan, loaded, loaded.graph, host.engine, progress),
                reference=LiteRt(loaded.model),
            )
    finally:
        loaded.source.close()
    report = make_report(plan, loaded, emitted, compiled, result, comparison, judgement)
    notes = (*resolved.notes, *chosen.notes, *(() if result is not None else (NOT_RUN,)))
    return dataclasses.replace(report, notes=notes, compilers=chosen.trials)


NOT_RUN = (
    "not run (--run none): no output is compared, and RAM does not include the stack; leave --run "
    "none out, or measure it on its board with `edgebuild bench`"
)


class LazyHost:
    """The generated C in its portable form, compiled natively when something first asks for it."""

    def __init__(
        self, graph: Graph, name: str, toolchain: str, folder: Path, progress: Progress
    ) -> None:
        self._graph, self._name, self._toolchain = graph, name, toolchain
        self._folder, self._progress = folder, progress

    @cached_property
    def emitted(self) -> Emitted:
        """The library that is compiled: each operator alone, so that all of them are traced."""
        cpu = CpuFeatures()
        calls = usual_schedule(self._graph, cpu).calls
        return emit_library(self._graph, self._name, cpu, calls=calls)

    @cached_property
    def device(self) -> HostDevice:
        """The compiled library, loaded."""
        return compile_for_host(self.emitted, self._toolchain, self._folder, self._progress)

    @property
    def engine(self) -> Engine:
        """What runs the library on data sets."""
        return GeneratedC(self._graph, lambda: self.device)

    def trace(self, sample: Sequence[bytes]) -> Sequence[tuple[bytes, ...]]:
        """Run one sample; return every layer's outputs."""
        offsets = self.emitted.plan.offsets
        places = [
            [(offsets[t.index], t.nbytes) for t in node.outputs] for node in self._graph.nodes()
        ]
        return self.device.trace(sample, places)


class Runner:
    """Runs samples of ``graph`` and compares every output byte with TFLite Micro's."""

    def __init__(
        self, plan: BuildPlan, loaded: Prepared, graph: Graph, host: LazyHost, progress: Progress
    ) -> None:
        self._plan, self._loaded, self._graph = plan, loaded, graph
        self._host, self._progress = host, progress

    @cached_property
    def samples(self) -> Any:
        """The inputs of all inferences."""
        request = self._plan.request
        real = quantized_samples(self._graph, self._loaded.fed, request.samples)
        return make_samples(self._graph, request.samples, request.seed, real)

    def run(self, open_device: Callable[[str], Device] | None) -> RunResult | None:
        """Return what a run on the plan's device gives; None where the plan asks for none."""
        kind = self._plan.run
        if kind == "none":
            return None
        self._progress(f"running on {kind}{check_run(self._plan, self._graph)}")
        if kind == "host" or open_device is None:
            device: Device = self._host.device
        else:
            device = open_device(kind)
        return device.run(self.samples)

    def compare(self, result: RunResult | None) -> Comparison | None:
        """Return how the outputs of a run compare with the oracle's."""
        if result is None:
            return None
        self._progress("comparing with TFLite Micro")
        return compare(self._graph, self._loaded.model, self.samples, result, self._host.trace)


def quantized_samples(graph: Graph, data: DataSet | None, most: int) -> list[list[np.ndarray]]:
    """Return up to ``most`` of the user's samples, quantized, a list of arrays for each."""
    if data is None or data.is_random:
        return []
    arrays = match_inputs(data, graph.input_tensors)
    count = min(len(data), most)
    columns = [
        quantize_input(array[:count], tensor)
        for array, tensor in zip(arrays, graph.input_tensors, strict=True)
    ]
    return [[column[n] for column in columns] for n in range(count)]


def judge(
    plan: BuildPlan,
    loaded: Prepared,
    graph: Graph,
    engine: Engine,
    progress: Progress,
    *,
    reference: Engine | None = None,
) -> Judgement:
    """Measure on the whole data set, as ``engine`` runs the model: by labels where there are some,
    and how close the outputs are to the float model's."""
    data = loaded.data
    if data is None:
        return Judgement()
    words = check_data_set(data.source, graph, len(data))
    progress(f"measuring accuracy on the whole data set{words}")
    found = judge_outputs(
        *(loaded.source, graph, data, engine),
        fed=loaded.fed,
        reference=reference,
        budget=plan.budget,
        gate=plan.request.accuracy_gate,
    )
    missed = plan.budget.check(Metrics(**found.metrics))
    known = [v for v in missed if v.budget in OF_QUALITY and not v.unknown]
    if found.gate is None or not (found.gate.losses or known):
        return found
    progress("finding the tensor that loses it")
    steps = loaded.compressed.steps if loaded.compressed else ()
    gate = diagnose(
        *(found.gate, loaded.source, loaded.model, data, loaded.calibration, steps),
        preprocessing=loaded.review.preprocessing,
        samples=plan.request.calibration_samples,
        seed=plan.request.seed,
        suspects=found.suspects,
        missed=found.missed,
    )
    return dataclasses.replace(found, gate=gate)


def make_report(
    plan: BuildPlan,
    loaded: Loaded,
    emitted: Emitted,
    compiled: Compiled,
    result: RunResult | None,
    comparison: Comparison | None,
    judgement: Judgement,
) -> Report:
    """Put together what is known, and hold it against the budget."""
    least = least_bytes(loaded.graph, plan.target.cpu.features, memory_model(plan.target))
    bounded = dataclasses.replace(emitted, plan=emitted.plan.beside(least))
    memory = memory_figures(bounded, compiled, result)
    metrics = dataclasses.replace(target_metrics(emitted, compiled, result), **judgement.metrics)
    timings = (
        {
            "instructions": result.instructions,
            "cycles": result.cycles,
            "latency, zero wait states": result.zero_wait_us,
        }
        if result
        else {}
    )
    return Report(
        edgebuild=__version__,
        name=plan.name,
        model=model_facts(plan, loaded.graph),
        target=plan.target.to_json(),
        plan_sha256=plan.sha256,
        toolchain=compiled.toolchain,
        budget=plan.budget,
        metrics=metrics,
        memory=memory,
        flash=compiled.flash,
        run={label: figure for label, figure in timings.items() if figure is not None},
        tflm_arena=emitted.tflm_arena,
        layers=layer_reports(emitted.graph, emitted.plan, result.layers if result else ()),
        comparison=comparison,
        accuracy=judgement.accuracy,
        regression=judgement.regression,
        similarity=judgement.similarity,
        gate=judgement.gate,
        violations=plan.budget.check(metrics),
        sections=compiled.image.sections if compiled.image else (),
        symbols=_sized(compiled.image.symbols) if compiled.image else (),
        compression=loaded.compressed.steps if loaded.compressed else (),
        baseline=loaded.review.baseline,
        calibration=loaded.review.calibration,
        ladder=loaded.review.ladder,
        regions=region_figures(plan.target, emitted, compiled, result),
    )


def region_figures(
    target: TargetProfile, emitted: Emitted, compiled: Compiled, result: RunResult | None
) -> dict[str, Figure]:
    """Return the model's bytes in each memory region that is used; the source says of how many."""
    placement = target.placement
    if placement is None or compiled.image is None:
        return {}
    sizes = dict.fromkeys((region.name for region in placement.used), 0)
    for name, size in compiled.regions.items():
        sizes[name] += size
    for region, size in zip(placement.arena, emitted.plan.bank_bytes, strict=False):
        sizes[region.name] += size
    if result is not None and result.stack_bytes is not None:
        sizes[placement.data.name] += int(result.stack_bytes.value)
    return {
        region.name: Figure(
            sizes[region.name],
            "B",
            How.LINKED,
            f"{sizes[region.name] / max(1, region.usable_bytes):.1%} of "
            f"{format_size(region.usable_bytes)}: {', '.join(placement.roles_of(region))}",
        )
        for region in placement.used
    }


def memory_figures(
    emitted: Emitted, compiled: Compiled, result: RunResult | None
) -> dict[str, Figure]:
    """Return what is known of RAM, under the names that the report gives it."""
    plan = emitted.plan
    memory = {
        "arena": Figure(plan.arena_bytes, "B", How.PLANNED, "memory planner"),
        "arena lower bound": Figure(
            plan.lower_bound_bytes, "B", How.PLANNED, "fewest live bytes of all schedules tried"
        ),
        **measured_memory(result),
    }
    if compiled.stack_bound is not None:
        memory["stack bound"] = compiled.stack_bound
    if compiled.static_ram_bytes is not None:
        memory["static data"] = compiled.static_ram_bytes
    return memory


def target_metrics(emitted: Emitted, compiled: Compiled, result: RunResult | None) -> Metrics:
    """Return flash, RAM and latency: all of the budget but accuracy."""
    return Metrics(
        flash_bytes=compiled.flash_bytes,
        ram_bytes=ram_figure(memory_figures(emitted, compiled, result)),
        latency_us=result.latency_us if result else None,
    )


def _sized(symbols: Sequence[Symbol]) -> tuple[Symbol, ...]:
    """Return the symbols that take room, the largest first."""
    sized = (symbol for symbol in symbols if symbol.size)
    return tuple(sorted(sized, key=lambda s: (-s.size, s.address)))


def measured_memory(result: RunResult | None) -> dict[str, Figure]:
    """Return the high-water marks that a run left, under the names that the report gives them."""
    if result is None:
        return {}
    marks = {"stack": result.stack_bytes, "arena touched": result.arena_bytes}
    return {label: figure for label, figure in marks.items() if figure is not None}


def ram_figure(memory: Mapping[str, Figure]) -> Figure | None:
    """Return what the model needs of RAM: arena, static data, and the stack where it is known.

    None where nothing is linked, as for the host.
    """
    if "static data" not in memory:
        return None
    parts = [memory[k] for k in ("arena", "static data", "stack") if k in memory]
    total = sum(part.value for part in parts)
    if "stack" not in memory:
        source = "arena and static data; the stack is not known without a run"
        return Figure(total, "B", How.PLANNED, source)
    source = (
        f"arena, static data and stack on {memory['stack'].source.removesuffix(' (painted stack)')}"
    )
    return Figure(total, "B", How.MEASURED, source)


def model_facts(plan: BuildPlan, graph: Graph) -> dict[str, Any]:
    """Return what the report says of the model; ``macs`` are those of operators with a kernel."""
    return {
        "sha256": plan.inputs["model"],
        "operators": len(graph.ops),
        "macs": sum(OPS[node.kind].macs(node) for node in graph.nodes() if node.kind in OPS),
        "parameter_bytes": sum(t.nbytes for t in graph.tensors.values() if t.is_constant),
    }
