"""A schedule: the steps in which a graph runs, each with its kernel and what else could run it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgebuild.cycles.kernels import VIEW
from edgebuild.errors import InternalError
from edgebuild.graph import Graph, Tensor
from edgebuild.memory import MemoryPlan, is_view, live_bytes
from edgebuild.ops import OPS
from edgebuild.ops.base import KernelCall
from edgebuild.profile import CpuFeatures, Optimize
from edgebuild.schedule.choose import choose
from edgebuild.schedule.costs import Option, costs_for


@dataclass(frozen=True)
class Step:
    """One call of a kernel: for the operator at ``position``, that of option number ``taken``."""

    position: int
    options: tuple[Option, ...]
    taken: int = 0

    @property
    def option(self) -> Option:
        """The option that is taken."""
        return self.options[self.taken]

    @property
    def others(self) -> tuple[Option, ...]:
        """The options that are not."""
        return (*self.options[: self.taken], *self.options[self.taken + 1 :])


@dataclass(frozen=True)
class Schedule:
    """The steps of a graph, in order; memory is planned and C is printed from them."""

    optimize: Optimize
    steps: tuple[Step, ...]

    @property
    def calls(self) -> tuple[KernelCall, ...]:
        """The call of each step."""
        return tuple(step.option.call for step in self.steps)

    def verify(self, graph: Graph) -> None:
        """Check that each operator of ``graph`` runs in one step, after what it reads.

        Raises InternalError otherwise.
        """
        if [step.position for step in self.steps] != [node.position for node in graph.nodes()]:
            raise InternalError("a schedule does not run each operator once, in order")
        there = {tensor.index for tensor in graph.input_tensors}
        for step in self.steps:
            node = graph.node(step.position)
            for tensor in filter(None, node.inputs):
                if not tensor.is_constant and tensor.index not in there:
                    raise InternalError(f"step {step.position} reads what no step has written")
            there.update(tensor.index for tensor in node.outputs)

    def to_json(self, graph: Graph, plan: MemoryPlan) -> list[dict[str, object]]:
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
            for node, step in zip(graph.nodes(), self.steps, strict=True)
        ]


_VIEW = {"kernel": VIEW, "cycles": 0, "constant_bytes": 0, "scratch_bytes": 0}


def _costs(option: Option) -> dict[str, object]:
    return {
        "kernel": option.kernel,
        "cycles": None if math.isnan(option.cycles) else round(option.cycles),
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
    graph: Graph, cpu: CpuFeatures, optimize: Optimize = Optimize.BALANCED
) -> Schedule:
    """Return how a supported ``graph`` runs on cores with these features.

    Where nothing is known of their cycles, as with Helium, each operator's usual kernel runs.
    """
    costs = costs_for(cpu, optimize)
    if costs is None:
        return usual_schedule(graph, cpu, optimize)
    options = [
        tuple(costs.option(call) for call in OPS[node.kind].candidates(node, cpu))
        for node in graph.nodes()
    ]
    choice = choose(options, costs, optimize, lambda calls: live_bytes(graph, calls))
    steps = (
        Step(node.position, found, taken)
        for node, found, taken in zip(graph.nodes(), options, choice, strict=True)
    )
    return Schedule(optimize, tuple(steps))


def usual_schedule(
    graph: Graph, cpu: CpuFeatures, optimize: Optimize = Optimize.BALANCED
) -> Schedule:
    """Return the schedule in which each operator's usual kernel runs, whatever it costs."""
    steps = (
        Step(node.position, (Option(OPS[node.kind].kernel(node, cpu), math.nan, 0),))
        for node in graph.nodes()
    )
    return Schedule(optimize, tuple(steps))
