"""Cycles of a graph on a target, without compiling or running it.

Every kernel's cycles are a weighted sum of how often its parts run, which follows from the call's
parameters alone. The weights, one set for each kernel and core, are fitted to the simulator's
counts by ``benchmarks/fit_cycles.py`` and kept in ``data/<core>.json``. So a prediction stands for
what the simulator would say: the default compiler, and the same model of the target's memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from edgebuild.cycles.code import code_runs, in_turns
from edgebuild.cycles.kernels import VIEW, WORK, kernel_name
from edgebuild.cycles.traffic import Reads, layer_reads
from edgebuild.cycles.waits import (
    NO_WAITS,
    Layer,
    MemoryModel,
    Waits,
    latency_figures,
    layer_waits,
    memory_model,
)
from edgebuild.cycles.weights import KernelWeights, Weights, load_weights
from edgebuild.cycles.work import Work
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph, Node
from edgebuild.memory.planner import MemoryPlan, shares_memory, tensor_lifetimes
from edgebuild.ops import OPS, KernelCall
from edgebuild.ops.base import executed
from edgebuild.profile import TargetProfile
from edgebuild.regions import Memory

CYCLES_PER_BYTE = 20
CYCLES_PER_MAC = 10
"""The guess for a kernel that nothing is known of: bytes in and out, and products."""

ROUGH_SHARE = 0.1
"""A sum is rough when rough layers take more than this share of it."""


_Ran = Sequence[tuple[Node, str, Work | None]]
"""The kernels that a step runs: the operator, or the part of it, the kernel's name, its work."""


@dataclass(frozen=True)
class LayerCycles:
    """The predicted cycles of one operator; ``kernel`` is ``view`` where none runs.

    ``waits`` are those for its memory, beside ``cycles``. ``rough`` says why the cycles may be off
    by more than 10 %; empty where they are not. ``known`` is False where they are only a guess by
    bytes and products.
    """

    position: int
    kind: str
    kernel: str
    cycles: int
    known: bool = True
    rough: str = ""
    waits: Waits = NO_WAITS


@dataclass(frozen=True)
class CyclePrediction:
    """The predicted cycles of one inference, with zero wait states and with those of the memory.

    ``source`` names cycle model and compiler, ``slow`` the regions that the core waits for.
    """

    layers: tuple[LayerCycles, ...]
    source: str
    clock_hz: int | None
    slow: tuple[str, ...] = ()

    @property
    def cycles(self) -> int:
        """Cycles of all layers, with zero wait states."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def waits(self) -> Waits:
        """The waits of all layers."""
        return sum((layer.waits for layer in self.layers), NO_WAITS)

    @property
    def guessed(self) -> tuple[str, ...]:
        """The kernels and operators that nothing is known of, each once."""
        return tuple(dict.fromkeys(layer.kernel for layer in self.layers if not layer.known))

    @property
    def rough(self) -> tuple[str, ...]:
        """Why the sum may be off by more than 10 %; empty where it is not.

        A layer counts that may be wrong by enough to matter in the sum.
        """
        rough = [layer for layer in self.layers if layer.rough]
        if sum(layer.cycles for layer in rough) <= ROUGH_SHARE * self.cycles:
            return ()
        return tuple(dict.fromkeys(f"{layer.kernel}: {layer.rough}" for layer in rough))

    @property
    def latency_us(self) -> Figure | None:
        """The latency at the target's clock; None where the clock is unknown."""
        return self._figures()[0]

    @property
    def zero_wait_us(self) -> Figure | None:
        """The latency with zero wait states, where the memory adds to it; else None."""
        return self._figures()[1]

    def _figures(self) -> tuple[Figure | None, Figure | None]:
        if not self.clock_hz:
            return None, None
        source = self.source
        if self.guessed:
            source += f", {', '.join(self.guessed)} only guessed"
        elif self.rough:
            source += f", rough ({'; '.join(self.rough)})"
        return latency_figures(
            self.cycles, self.waits, self.clock_hz, self.slow, How.PREDICTED, source
        )


def predict_cycles(
    graph: Graph,
    target: TargetProfile,
    calls: Sequence[KernelCall],
    plan: MemoryPlan | None = None,
) -> CyclePrediction | None:
    """Predict the cycles of one inference of a supported ``graph`` (as after the default passes).

    ``calls`` are those of its schedule, ``plan`` says what lies in which bank of a split arena.
    None for a core without weights (the host, and cores that the simulator gives no cycles for).
    """
    weights = load_weights(target.cpu.core)
    if weights is None:
        return None
    model = memory_model(target)
    slow = model.slow if model is not None else ()
    lifetimes = tensor_lifetimes(graph)
    layers: list[LayerCycles] = []
    moved = []
    for node, call in zip(graph.nodes(), calls, strict=True):
        view = call.view and shares_memory(node, 0, 0, lifetimes)
        ran = _ran(node, call, view=view)
        layers.append(_cycles(node, ran, weights))
        if slow and model is not None:
            reads = () if view else layer_reads(node, call, plan)
            moved.append(_moved(layers[-1], ran, reads, weights, model.placement.kernels))
    if model is not None and moved:
        waits = layer_waits(moved, model)[0]
        layers = [
            dataclasses.replace(one, waits=wait) for one, wait in zip(layers, waits, strict=True)
        ]
    source = f"{weights.timing}, {weights.toolchain}"
    return CyclePrediction(tuple(layers), source, target.cpu.clock_hz, slow)


def predict_step(
    node: Node, call: KernelCall, core: str, memory: MemoryModel | None = None
) -> LayerCycles | None:
    """Predict the cycles of one step by itself, and its waits for ``memory``; None for a core
    without weights."""
    weights = load_weights(core)
    if weights is None:
        return None
    ran = _ran(node, call)
    found = _cycles(node, ran, weights)
    if memory is None or not memory.slow:
        return found
    moved = _moved(found, ran, layer_reads(node, call), weights, memory.placement.kernels)
    return dataclasses.replace(found, waits=layer_waits([moved], memory)[1])


def _ran(node: Node, call: KernelCall, *, view: bool = False) -> _Ran:
    if view:
        return [(one, VIEW, Work()) for one, _ in executed(node, call)]
    works = {id(one): _work(one) for one in call.kernels}
    return [(one, kernel_name(own), works[id(own)]) for one, own in executed(node, call)]


def _cycles(node: Node, ran: _Ran, weights: Weights) -> LayerCycles:
    kinds = {id(work): (one, name, work) for one, name, work in ran}
    found = {
        key: _layer(one, name, weights.kernels.get(name), work)
        for key, (one, name, work) in kinds.items()
    }
    return _sum(node, [found[id(work)] for *_, work in ran])


def _moved(
    layer: LayerCycles, ran: _Ran, reads: tuple[Reads, ...], weights: Weights, memory: Memory
) -> Layer:
    """Return what a step moves whose code lies in ``memory``."""
    found = Layer({}, reads, layer.cycles, layer.kernel)
    sums: dict[str, Work] = {}
    for _, name, work in ran:
        if work is not None and name in weights.kernels:
            sums[name] = sums[name] + work if name in sums else work
    if not sums:
        return found
    kernels = [(weights.kernels[name], work) for name, work in sums.items()]
    code = in_turns([code_runs(kernel.pieces, kernel.moved, work) for kernel, work in kernels])
    loads = sum(kernel.parameters(work.counts) for kernel, work in kernels)
    return dataclasses.replace(found, code={memory: code}, parameters=loads)


def _sum(node: Node, ran: Sequence[LayerCycles]) -> LayerCycles:
    """Return the cycles of a step that ``ran`` one kernel or several."""
    if len(ran) == 1:
        return ran[0]
    return LayerCycles(
        node.position,
        node.kind,
        " + ".join(dict.fromkeys(one.kernel for one in ran)),
        sum(one.cycles for one in ran),
        all(one.known for one in ran),
        "; ".join(dict.fromkeys(one.rough for one in ran if one.rough)),
    )


def _work(call: KernelCall) -> Work | None:
    work = WORK.get(kernel_name(call))
    return None if work is None else work(call.params)


def _layer(node: Node, name: str, kernel: KernelWeights | None, work: Work | None) -> LayerCycles:
    if kernel is not None and work is not None:
        cycles, rough = kernel.total(work.counts), kernel.rough(work.counts)
        return LayerCycles(node.position, node.kind, name, cycles, rough=rough)
    macs = OPS[node.kind].macs(node)
    moved = sum(t.nbytes for t in (*node.inputs, *node.outputs) if t is not None)
    guess = CYCLES_PER_BYTE * moved + CYCLES_PER_MAC * macs
    return LayerCycles(node.position, node.kind, name, guess, known=False, rough="not measured")
