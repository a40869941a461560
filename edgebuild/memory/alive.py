"""The bytes that are alive while an operator runs, by the kernel that runs it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from edgebuild.graph import Graph
from edgebuild.memory.placing import ALIGN, Block, aligned
from edgebuild.memory.planner import in_place, lead, tensor_lifetimes
from edgebuild.ops.base import KernelCall


class Alive:
    """Answers what ``MemoryPlan.live_bytes`` is at a step, without a plan: where ``calls`` run the
    operators of ``graph``, but another call those that are asked for."""

    def __init__(self, graph: Graph, calls: Sequence[KernelCall]) -> None:
        self._graph = graph
        self._lifetimes = tensor_lifetimes(graph)
        self._sizes = {i: aligned(graph.tensors[i].nbytes) for i in self._lifetimes}
        for node, call in zip(graph.nodes(), calls, strict=True):
            for source, target in in_place(node, call, self._lifetimes):
                self._sizes[target] = self._sizes[source]  # the block's, no smaller
        change = [0] * (len(graph.ops) + 2)
        if graph.input_by_rows:
            change[0] = ALIGN  # the count of rows, all the time
        for i, (first, last) in self._lifetimes.items():
            change[first + 1] += self._sizes[i]
            change[last + 1] -= self._sizes[i]
        self._before = list(itertools.accumulate(change))

    def during(self, position: int, call: KernelCall) -> int:
        """Return the bytes alive while ``call`` runs operators from ``position`` on."""
        node = self._graph.node(position)
        shared = in_place(node, call, self._lifetimes) if call.in_place else []
        placed = {i for pair in shared for i in pair}
        outputs = self._graph.ops[position + call.operators - 1].outputs
        sizes = {i: aligned(self._graph.tensors[i].nbytes) for i in outputs if i not in placed}
        alive = self._before[position] + sum(sizes.values())
        if call.scratch_bytes:
            alive += aligned(call.scratch_bytes)
        source, target = node.op.inputs[0], outputs[0]
        if call.overlap is None or source in placed or target not in sizes:
            return alive
        if position <= self._lifetimes.get(source, (0, -1))[1] < position + call.operators:
            blocks = Block(sizes[target], 0, 0), Block(self._sizes[source], 0, 0)
            alive -= lead(call.overlap, 0, 1).saving(blocks)
        return alive
