"""Cycles of a graph on a target, without compiling or running it.

Every kernel's cycles are a weighted sum of how often its parts run, which follows from the call's
parameters alone. The weights, one set for each kernel and core, are fitted to the simulator's
counts by ``benchmarks/fit_cycles.py`` and kept in ``data/<core>.json``. So a prediction stands for
what the simulator would say: the default compiler, and the same model of the target's memory.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgebuild.cycles.kernels import VIEW, WORK, kernel_name
from edgebuild.cycles.traffic import PARAMETERS, CodePiece, code_runs, layer_reads
from edgebuild.cycles.waits import (
    NO_WAITS,
    Layer,
    Waits,
    latency_figures,
    layer_waits,
    memory_model,
)
from edgebuild.cycles.work import Work, loop_rounds
from edgebuild.errors import InternalError
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph, Node
from edgebuild.memory.planner import MemoryPlan, shares_memory, tensor_lifetimes
from edgebuild.ops import OPS, KernelCall
from edgebuild.profile import CpuFeatures, TargetProfile

DATA = Path(__file__).resolve().parent / "data"
SCHEMA = 5
CYCLES_PER_BYTE = 20
CYCLES_PER_MAC = 10
"""The guess for a kernel that nothing is known of: bytes in and out, and products."""

ALLOWED = 0.10
"""What a prediction may be off by without being called rough."""

KNOWN_ROUNDS = 3.0
"""A loop that ran at least so many rounds of four in the fit is known at any length."""

BEYOND = 0.15
"""A layer is rough when its counts leave the fitted ones by more than this share of its cycles."""

ROUGH_SHARE = 0.1
"""A sum is rough when rough layers take more than this share of it."""


@dataclass(frozen=True)
class Weights:
    """What ``data/<core>.json`` holds of each kernel.

    ``timing`` is the simulator's cycle model, ``toolchain`` the compiler that they were fitted for,
    ``firmware_sha256`` the hash of the C sources.
    """

    timing: str
    toolchain: str
    firmware_sha256: str
    kernels: Mapping[str, KernelWeights]


@dataclass(frozen=True)
class KernelWeights:
    """What was fitted for a kernel.

    ``cycles`` of each part; ``share``: the largest share of a layer's cycles that a part took in
    the fit; ``loops``: the most rounds of four in an entry of a loop; ``worst_error``: over the
    fit's layers that are no mere calls; ``pieces`` and ``moved``: see ``code_runs``.
    """

    cycles: Mapping[str, float]
    share: Mapping[str, float]
    loops: Mapping[str, float]
    worst_error: float
    pieces: Sequence[CodePiece]
    moved: Mapping[str, Mapping[str, float]]

    def total(self, counts: Mapping[str, float]) -> int:
        """Return the cycles of parts that run ``counts`` times."""
        return round(sum(self.cycles.get(part, 0.0) * count for part, count in counts.items()))

    def parameters(self, counts: Mapping[str, float]) -> float:
        """Return the loads of the kernel's parameters."""
        loads = self.moved[PARAMETERS]
        return sum(loads.get(part, 0.0) * count for part, count in counts.items())

    def rough(self, counts: Mapping[str, float]) -> str:
        """Return why the cycles of these counts may be off by more than 10 %, "" where not."""
        if self.worst_error > ALLOWED:
            return "its cycles depend on the data"
        if any(count and part not in self.share for part, count in counts.items()):
            return "a part of it never ran in the fit"
        for loop, rounds in loop_rounds(counts).items():
            # So few rounds do not tell what one costs from what an entry costs.
            if self.loops.get(loop, KNOWN_ROUNDS) < KNOWN_ROUNDS and rounds > self.loops[loop]:
                return f"the loop '{loop}' is longer than in the fit"
        return "a shape unlike those it was fitted to" if self.beyond(counts) > BEYOND else ""

    def beyond(self, counts: Mapping[str, float]) -> float:
        """Return the share of the cycles by which these counts leave what was fitted.

        Of a part that weighs more in them than in any fitted layer, the fit knows less than of
        others.
        """
        total = max(1, self.total(counts))
        shares = ((p, self.cycles.get(p, 0.0) * count / total) for p, count in counts.items())
        return sum(max(0.0, share - self.share.get(part, 0.0)) for part, share in shares)


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
    calls: Sequence[KernelCall] | None = None,
    plan: MemoryPlan | None = None,
) -> CyclePrediction | None:
    """Predict the cycles of one inference of a supported ``graph`` (as after the default passes).

    ``calls`` are its kernel calls where the caller has them already, ``plan`` says what lies in
    which bank of a split arena. None for a core without
    weights (the host, and cores that the simulator gives no cycles for).
    """
    weights = load_weights(target.cpu.core)
    if weights is None:
        return None
    model = memory_model(target)
    slow = model.slow if model is not None else ()
    lifetimes = tensor_lifetimes(graph)
    layers, moved = [], []
    for node in graph.nodes():
        call = calls[node.position] if calls is not None else _call(node, target)
        view = call is not None and call.view and shares_memory(node, 0, 0, lifetimes)
        name = VIEW if view else node.kind if call is None else kernel_name(call)
        kernel = weights.kernels.get(name)
        work = Work() if view or call is None else _work(call)
        counts = work.counts if work is not None else {}
        layers.append(_layer(node, name, kernel, counts))
        if slow and model is not None:
            code = code_runs(kernel.pieces, kernel.moved, work) if kernel and work else None
            reads = () if view or call is None else layer_reads(node, call, plan)
            held = {model.placement.kernels: code} if code else {}
            loads = kernel.parameters(counts) if kernel else 0.0
            moved.append(Layer(held, reads, layers[-1].cycles, name, loads))
    if model is not None and moved:
        waits, _ = layer_waits(moved, model)
        layers = [dataclasses.replace(a, waits=b) for a, b in zip(layers, waits, strict=True)]
    source = f"{weights.timing}, {weights.toolchain}"
    return CyclePrediction(tuple(layers), source, target.cpu.clock_hz, slow)


REFERENCE = "cortex-m4"
"""The core whose cycles choose among the kernels for cores with the DSP extension."""


WORTH = 0.8
"""Below this share of the usual kernel's cycles another one runs, for about 1 KB more flash."""


def fastest(node: Node, cpu: CpuFeatures) -> KernelCall:
    """Return the kernel that runs a supported ``node`` on ``cpu``: the usual one, unless another
    candidate takes less than ``WORTH`` of its predicted cycles."""
    candidates = OPS[node.kind].candidates(node, cpu)
    weights = load_weights(REFERENCE)
    if len(candidates) == 1 or weights is None:
        return candidates[0]
    usual, *others = (
        (weights.kernels[name].total(_counts(call)) if name in weights.kernels else math.inf, call)
        for call in candidates
        for name in [kernel_name(call)]
    )
    best = min(others, key=lambda pair: pair[0])
    return best[1] if best[0] < WORTH * usual[0] < math.inf else usual[1]


def _call(node: Node, target: TargetProfile) -> KernelCall | None:
    return fastest(node, target.cpu.features) if node.kind in OPS else None


def _work(call: KernelCall) -> Work | None:
    work = WORK.get(kernel_name(call))
    return None if work is None else work(call.params)


def _counts(call: KernelCall) -> Mapping[str, float]:
    work = _work(call)
    return {} if work is None else work.counts


def _layer(
    node: Node, name: str, kernel: KernelWeights | None, counts: Mapping[str, float]
) -> LayerCycles:
    if kernel is not None and counts:
        cycles, rough = kernel.total(counts), kernel.rough(counts)
        return LayerCycles(node.position, node.kind, name, cycles, rough=rough)
    operator = OPS.get(node.kind)
    macs = operator.macs(node) if operator is not None else 0
    moved = sum(t.nbytes for t in (*node.inputs, *node.outputs) if t is not None)
    guess = CYCLES_PER_BYTE * moved + CYCLES_PER_MAC * macs
    return LayerCycles(node.position, node.kind, name, guess, known=False, rough="not measured")


@cache
def load_weights(core: str) -> Weights | None:
    """Return the weights for ``core``; None when there are none."""
    path = DATA / f"{core}.json"
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}")
        kernels = {
            name: KernelWeights(
                fit["cycles"],
                fit["share"],
                fit["loops"],
                fit["worst_error"],
                tuple(CodePiece(piece["span"], piece["parts"]) for piece in fit["pieces"]),
                fit["moved"],
            )
            for name, fit in value["kernels"].items()
        }
        return Weights(value["timing"], value["toolchain"], value["firmware_sha256"], kernels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InternalError(
            f"edgebuild's own cycle weights of {core} cannot be read: {error}",
            hint="reinstall edgebuild with pip",
        ) from error
