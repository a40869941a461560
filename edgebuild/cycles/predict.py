"""Cycles of a graph on a target, without compiling or running it.

Every kernel's cycles are a weighted sum of how often its parts run, which follows from the call's
parameters alone. The weights, one set for each kernel and core, are fitted to the simulator's
counts by ``benchmarks/fit_cycles.py`` and kept in ``data/<core>.json``. So a prediction stands for
what the simulator would say: the default compiler, zero wait states.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgebuild.cycles.kernels import VIEW, WORK, kernel_name
from edgebuild.errors import InternalError
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph, Node
from edgebuild.memory.planner import shares_memory, tensor_lifetimes
from edgebuild.ops import OPS, KernelCall
from edgebuild.profile import TargetProfile

DATA = Path(__file__).resolve().parent / "data"
SCHEMA = 1
CYCLES_PER_BYTE = 20
CYCLES_PER_MAC = 10
"""The guess for a kernel that nothing is known of: bytes in and out, and products."""


@dataclass(frozen=True)
class Weights:
    """What ``data/<core>.json`` holds: cycles of each part of each kernel.

    ``timing`` is the simulator's cycle model, ``toolchain`` the compiler that they were fitted for,
    ``firmware_sha256`` the hash of the C sources.
    """

    timing: str
    toolchain: str
    firmware_sha256: str
    kernels: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class LayerCycles:
    """The predicted cycles of one operator; ``kernel`` is ``view`` where none runs.

    ``known`` is False where the cycles are only a guess by bytes and products.
    """

    position: int
    kind: str
    kernel: str
    cycles: int
    known: bool = True


@dataclass(frozen=True)
class CyclePrediction:
    """The predicted cycles of one inference. ``source`` names cycle model and compiler."""

    layers: tuple[LayerCycles, ...]
    source: str
    clock_hz: int | None

    @property
    def cycles(self) -> int:
        """Cycles of all layers."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def guessed(self) -> tuple[str, ...]:
        """The kernels and operators that nothing is known of, each once."""
        return tuple(dict.fromkeys(layer.kernel for layer in self.layers if not layer.known))

    @property
    def latency_us(self) -> Figure | None:
        """The latency at the target's clock; None where the clock is unknown."""
        if not self.clock_hz:
            return None
        mhz = self.clock_hz / 1e6
        guessed = f", {', '.join(self.guessed)} only guessed" if self.guessed else ""
        source = f"{self.source}, {mhz:g} MHz{guessed}"
        return Figure(self.cycles / mhz, "us", How.PREDICTED, source)


def predict_cycles(
    graph: Graph, target: TargetProfile, calls: Sequence[KernelCall] | None = None
) -> CyclePrediction | None:
    """Predict the cycles of one inference of a supported ``graph`` (as after the default passes).

    ``calls`` are its kernel calls where the caller has them already. None for a core without
    weights (the host, and cores that the simulator gives no cycles for).
    """
    weights = load_weights(target.cpu.core)
    if weights is None:
        return None
    lifetimes = tensor_lifetimes(graph)
    layers = []
    for node in graph.nodes():
        call = calls[node.position] if calls is not None else _call(node, target)
        if call is not None and call.view and shares_memory(node, 0, 0, lifetimes):
            cycles = kernel_cycles(weights.kernels, VIEW, {"call": 1.0})
            layers.append(LayerCycles(node.position, node.kind, VIEW, cycles or 0))
        else:
            layers.append(_layer(node, call, weights.kernels))
    source = f"{weights.timing}, {weights.toolchain}"
    return CyclePrediction(tuple(layers), source, target.cpu.clock_hz)


def _call(node: Node, target: TargetProfile) -> KernelCall | None:
    operator = OPS.get(node.kind)
    return None if operator is None else operator.kernel(node, target.cpu.features)


def _layer(
    node: Node, call: KernelCall | None, kernels: Mapping[str, Mapping[str, float]]
) -> LayerCycles:
    name = node.kind if call is None else kernel_name(call)
    if call is not None and name in WORK:
        cycles = kernel_cycles(kernels, name, WORK[name](call.params).counts)
        if cycles is not None:
            return LayerCycles(node.position, node.kind, name, cycles)
    operator = OPS.get(node.kind)
    macs = operator.macs(node) if operator is not None else 0
    moved = sum(t.nbytes for t in (*node.inputs, *node.outputs) if t is not None)
    guess = CYCLES_PER_BYTE * moved + CYCLES_PER_MAC * macs
    return LayerCycles(node.position, node.kind, name, guess, known=False)


def kernel_cycles(
    kernels: Mapping[str, Mapping[str, float]], name: str, counts: Mapping[str, float]
) -> int | None:
    """Return the cycles of a kernel whose parts run ``counts`` times; None for an unknown one."""
    weights = kernels.get(name)
    if weights is None:
        return None
    return round(sum(weights.get(part, 0.0) * count for part, count in counts.items()))


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
        kernels = {name: fit["cycles"] for name, fit in value["kernels"].items()}
        return Weights(value["timing"], value["toolchain"], value["firmware_sha256"], kernels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InternalError(
            f"edgebuild's own cycle weights of {core} cannot be read: {error}",
            hint="reinstall edgebuild with pip",
        ) from error
