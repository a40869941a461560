"""A schedule: the steps in which a graph runs, each with its kernel and what else could run it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from edgebuild.cycles.kernels import VIEW
from edgebuild.cycles.waits import MemoryModel
from edgebuild.errors import InternalError
from edgebuild.graph import Graph, Tensor
from edgebuild.memory import Alive, MemoryPlan, is_view, kept_bytes, plan_memory
from edgebuild.ops import OPS
from edgebuild.ops.bands import in_bands, parts
from edgebuild.ops.base import KernelCall
from edgebuild.profile import CpuFeatures, Optimize
from edgebuild.regions import Placement
from edgebuild.schedule.choose import Room, choose
from edgebuild.schedule.costs import Option, Step, costs_for
from edgebuild.schedule.join import Joiner


@dataclass(frozen=True)
class Schedule:
    """The steps of a graph, in order; memory is planned and C is printed from them.

    ``graph`` has a node for each step: of the operator that it runs, or of all those that it runs
    in bands of rows. ``least_bytes`` are alive at once in the schedule with the fewest of all that
    were tried.
    """

    optimize: Optimize
    steps: tuple[Step, ...]
    graph: Graph
    least_bytes: float = math.inf

    @property
    def calls(self) -> tuple[KernelCall, ...]:
        """The call of each step."""
        return tuple(step.option.call for step in self.steps)

    def verify(self, source: Graph) -> None:
        """Check that each operator of ``source`` runs in one step, after what it reads.

        Raises InternalError otherwise.
        """
        ran = [[one.op for one in parts(node)] for node in self.graph.nodes()]
        starts = [0, *itertools.accumulate(map(len, ran))]
        positions = [step.position for step in self.steps]
        if (
            [*positions, len(source.ops)] != starts
            or [call.operators for call in self.calls] != list(map(len, ran))
            or list(itertools.chain(*ran)) != list(source.ops)
        ):
            raise InternalError("a schedule does not run each operator once, in order")
        there = {tensor.index for tensor in self.graph.input_tensors}
        for node in self.graph.nodes():
            for tensor in filter(None, node.inputs):
                if not tensor.is_constant and tensor.index not in there:
                    raise InternalError(f"step {node.position} reads what no step has written")
            there.update(tensor.index for tensor in node.outputs)

    def to_json(self, plan: MemoryPlan) -> list[dict[str, object]]:
        """Return the steps as plain JSON values: the kernel of each, where ``plan`` puts what it
        reads and writes, and what else could run it."""
        return [
            {
                "operator": node.position,
                "kind": node.kind,
                **(_VIEW if is_view(node, step.option.call, plan) else _costs(step.option)),
                "inputs": _places(node.inputs, plan),
                "outputs": _places(node.outputs, plan),
                "scratch": plan.scratch_offsets.get(node.position),
                "others": [_costs(option) for option in step.others],
            }
            for node, step in zip(self.graph.nodes(), self.steps, strict=True)
        ]


_VIEW = {"kernel": VIEW, "cycles": 0, "wait_cycles": 0, "constant_bytes": 0, "scratch_bytes": 0}


def _costs(option: Option) -> dict[str, object]:
    return {
        "kernel": option.kernel,
        "cycles": None if math.isnan(option.cycles) else round(option.cycles),
        "wait_cycles": round(option.waits),
        "constant_bytes": option.constant_bytes,
        "scratch_bytes": option.call.scratch_bytes,
    }


def _places(tensors: Iterable[Tensor | None], plan: MemoryPlan) -> list[list[int]]:
    """Return (bank, first byte, byte behind the last) of each that has a place in the arena."""
    return [
        [place[0], place[1], place[1] + tensor.nbytes]
        for tensor in tensors
        if tensor is not None and (place := plan.place(tensor.index)) is not None
    ]


def schedule_graph(
    graph: Graph,
    cpu: CpuFeatures,
    optimize: Optimize = Optimize.BALANCED,
    memory: MemoryModel | None = None,
    kernel_flash: int | None = None,
) -> Schedule:
    """Return how a supported ``graph`` runs on cores with these features, in this
    ``memory`` and with at most ``kernel_flash`` bytes of kernels and constants, where that can
    be.

    Where nothing is known of their cycles, as with Helium, each operator's usual kernel runs, and
    for speed the one that is known to take fewer instructions.
    """
    costs = costs_for(cpu, optimize, memory)
    room = _room(memory.placement) if memory is not None else Room()
    if costs is None:
        return _without_costs(graph, cpu, optimize, room)
    options = [
        tuple(costs.option(node, call) for call in OPS[node.kind].candidates(node, cpu))
        for node in graph.nodes()
    ]
    joiner = Joiner(graph, cpu, costs)
    if kernel_flash is not None:
        room = replace(room, flash=min(room.flash, kernel_flash))

    chosen = choose(
        options,
        costs,
        optimize,
        lambda calls: Alive(graph, calls).during,
        joiner.join,
        kept_bytes(graph),
        room,
        by_rows=graph.input_by_rows,
    )
    found = [
        Schedule(optimize, steps, in_bands(graph, [s.option.call for s in steps]), chosen.least)
        for steps in chosen.steps
    ]
    if len(found) == 1:
        return found[0]
    return min(found, key=lambda one: plan_memory(one.graph, one.calls).arena_bytes)


def least_bytes(graph: Graph, cpu: CpuFeatures, memory: MemoryModel | None = None) -> float:
    """Return the fewest bytes that are alive at once in any schedule that is tried; infinite where
    only one is."""
    return schedule_graph(graph, cpu, Optimize.RAM, memory).least_bytes


FIRMWARE_BYTES = 16 << 10
"""What is left of the flash for the application."""

APPLICATION_BYTES = 2 << 10
"""What is left of the RAM for it, its stack among it."""


def _room(placement: Placement) -> Room:
    arena = sum(region.usable_bytes for region in placement.arena)
    ram = max(0, arena - APPLICATION_BYTES)
    if placement.weights.kind != "flash":
        return Room(ram=ram)
    return Room(max(0, placement.weights.usable_bytes - FIRMWARE_BYTES), ram)


def usual_schedule(
    graph: Graph, cpu: CpuFeatures, optimize: Optimize = Optimize.BALANCED
) -> Schedule:
    """Return the schedule in which each operator's usual kernel runs, whatever it costs."""
    return _schedule_of(graph, optimize, [OPS[n.kind].kernel(n, cpu) for n in graph.nodes()])


def _schedule_of(graph: Graph, optimize: Optimize, calls: Iterable[KernelCall]) -> Schedule:
    steps = (Step(i, (Option(call, math.nan, 0),)) for i, call in enumerate(calls))
    return Schedule(optimize, tuple(steps), graph)


FAST_SCRATCH = tuple(size << 10 for size in (128, 64, 32))
"""Bytes of scratch memory that a kernel may take where speed counts: the most that there are."""

KIB_WORTH = 1e-3
"""There, a KiB of the arena must save this share of the instructions."""


def _without_costs(graph: Graph, cpu: CpuFeatures, optimize: Optimize, room: Room) -> Schedule:
    """Return the usual schedule, or for speed that of the operators' fastest kernels which fits and
    is worth its memory."""
    usual = usual_schedule(graph, cpu, optimize)
    if optimize != Optimize.SPEED:
        return usual
    macs = [OPS[node.kind].macs(node) for node in graph.nodes()]
    arena = plan_memory(graph, usual.calls).arena_bytes
    for scratch in FAST_SCRATCH:
        found = [OPS[node.kind].fastest(node, cpu, scratch) for node in graph.nodes()]
        saved = sum(n * (1 - share) for n, (_, share) in zip(macs, found, strict=True))
        if not saved:
            break
        calls = [call for call, _ in found]
        taken = plan_memory(graph, calls).arena_bytes
        if taken <= room.ram and saved >= (taken - arena) / 1024 * KIB_WORTH * sum(macs):
            return _schedule_of(graph, optimize, calls)
    return usual
