"""Place every activation and scratch buffer in one arena by its lifetime.

A kernel's output may share its input's memory: all of it (``in_place``), or beginning somewhat
below it and overwriting it as it is used up (``overlap``).

The plan keeps the lower bound (the most bytes alive at once) beside the result, so that the gap is
visible. The arena may be split over banks, each with a capacity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgebuild.graph import Graph, Node
from edgebuild.memory.placing import ALIGN, Block, Lead, aligned, bank_ends, place, place_in_banks
from edgebuild.ops.base import KernelCall, Overlap

HEADER_BYTES = 32
"""At the start of bank 0 of a split arena: the addresses of the other banks, and at its end the
count of rows where the input comes by rows."""

ROW_COUNT_BYTES = 4


@dataclass(frozen=True)
class MemoryPlan:
    """Where each buffer lives, in bytes from the start of its bank.

    ``offsets`` is by tensor index, ``scratch_offsets`` by operator position, ``banks`` and
    ``scratch_banks`` likewise, for what is not in bank 0. ``bank_bytes`` are the sizes of the
    banks, one for an arena that is not split; ``arena_bytes`` is their sum. ``live_bytes[i]`` are
    the bytes alive while operator ``i`` runs. Their maximum is ``lower_bound_bytes``, unless
    another schedule needs less.
    ``rows_offset`` is where the rows of an input that comes by rows are counted.
    """

    arena_bytes: int
    lower_bound_bytes: int
    offsets: Mapping[int, int]
    scratch_offsets: Mapping[int, int]
    blocks: tuple[Block, ...]
    live_bytes: tuple[int, ...]
    in_place: int
    bank_bytes: tuple[int, ...] = ()
    banks: Mapping[int, int] = field(default_factory=dict)
    scratch_banks: Mapping[int, int] = field(default_factory=dict)
    rows_offset: int | None = None

    def beside(self, least_bytes: float) -> MemoryPlan:
        """Return the plan where other schedules have so many bytes alive at once at least."""
        return replace(self, lower_bound_bytes=int(min(self.lower_bound_bytes, least_bytes)))

    def place(self, tensor: int) -> tuple[int, int] | None:
        """Return (bank, offset) of a tensor; None for one that has no memory."""
        if tensor not in self.offsets:
            return None
        return self.banks.get(tensor, 0), self.offsets[tensor]


def plan_memory(
    graph: Graph, calls: Sequence[KernelCall], capacities: Sequence[int] = ()
) -> MemoryPlan:
    """Plan the arena for ``graph``, whose operator ``i`` runs as ``calls[i]``.

    Model inputs are alive from the start until their last use (a run may overwrite them, unless the
    graph keeps them), model outputs until after the last operator. An input that comes by rows has
    no memory, but the count of its rows has, all the time. ``capacities`` are the bytes of
    the banks; the arena is split only when it does not fit the first. Where nothing fits, the last
    bank is larger than its capacity.
    """
    blocks = _blocks(graph, calls)
    leads = _leads(graph, calls, blocks)
    live = _live_bytes(blocks, leads, len(graph.ops))
    lower_bound = max(live, default=0)
    places = [(0, offset) for offset in place(blocks, lower_bound=lower_bound, leads=leads)]
    bank_bytes = bank_ends(blocks, places, 1)
    rows_offset = places[-1][1] if graph.input_by_rows else None
    if len(capacities) > 1 and bank_bytes[0] > capacities[0]:
        rooms = [max(0, capacities[0] - HEADER_BYTES), *capacities[1:]]
        places = place_in_banks(blocks, rooms, leads)
        # Bank 0 begins with the addresses of the others.
        places = [(bank, at if bank else at + HEADER_BYTES) for bank, at in places]
        first, *further = bank_ends(blocks, places, len(capacities))
        bank_bytes = (max(first, HEADER_BYTES), *further)
        rows_offset = HEADER_BYTES - ROW_COUNT_BYTES if graph.input_by_rows else None
    placed = list(zip(blocks, places, strict=True))
    return MemoryPlan(
        arena_bytes=sum(bank_bytes),
        lower_bound_bytes=lower_bound,
        offsets={i: offset for b, (_, offset) in placed for i in b.tensors},
        scratch_offsets={b.scratch_of: offset for b, (_, offset) in placed if b.scratch_of >= 0},
        blocks=tuple(blocks),
        live_bytes=tuple(live[1:-1]),
        in_place=sum(len(b.tensors) - 1 for b in blocks if b.tensors),
        bank_bytes=bank_bytes,
        banks={i: bank for b, (bank, _) in placed if bank for i in b.tensors},
        scratch_banks={b.scratch_of: bank for b, (bank, _) in placed if bank and not b.tensors},
        rows_offset=rows_offset,
    )


def kept_bytes(graph: Graph) -> tuple[int, ...]:
    """Return the bytes of tensors that are alive before each operator, and after the last."""
    kept = [0] * (len(graph.ops) + 1)
    for index, (first, last) in tensor_lifetimes(graph).items():
        for step in range(first + 1, min(last, len(graph.ops)) + 1):
            kept[step] += graph.tensors[index].nbytes
    return tuple(kept)


def _blocks(graph: Graph, calls: Sequence[KernelCall]) -> list[Block]:
    """Return the tensors that share memory as one block each, every call's scratch memory, and last
    the count of rows where there is one."""
    lifetimes = tensor_lifetimes(graph)
    groups = _alias_groups(graph, calls, lifetimes)
    blocks = [
        Block(
            aligned(max(graph.tensors[i].nbytes for i in members)),
            min(lifetimes[i][0] for i in members),
            max(lifetimes[i][1] for i in members),
            tuple(members),
        )
        for members in groups
    ]
    blocks += [
        Block(aligned(call.scratch_bytes), position, position, (), position)
        for position, call in enumerate(calls)
        if call.scratch_bytes
    ]
    if graph.input_by_rows:
        blocks.append(Block(ALIGN, -1, len(graph.ops)))
    return blocks


def _leads(graph: Graph, calls: Sequence[KernelCall], blocks: Sequence[Block]) -> list[Lead]:
    """Return which blocks may overlap: an input that is used here for the last time, and the output
    that begins here."""
    block_of = {tensor: n for n, block in enumerate(blocks) for tensor in block.tensors}
    found = []
    for node, call in zip(graph.nodes(), calls, strict=True):
        above, below = block_of.get(node.op.inputs[0]), block_of.get(node.op.outputs[0])
        if call.overlap is None or above is None or below is None or above == below:
            continue
        if blocks[above].last == node.position == blocks[below].first:
            found.append(lead(call.overlap, below, above))
    return found


def lead(overlap: Overlap, below: int, above: int) -> Lead:
    """Return how far apart blocks of a kernel's output and input begin."""
    apart = math.lcm(overlap.apart or 1, ALIGN)
    least = -(-overlap.least // apart) * apart
    return Lead(below, above, least, exact=overlap.apart > 0)


def _live_bytes(blocks: Sequence[Block], leads: Sequence[Lead], count: int) -> list[int]:
    """Return the bytes alive at each step from -1 to ``count``; shared ones count once."""
    change = [0] * (count + 3)
    for block in blocks:
        change[block.first + 1] += block.size
        change[block.last + 2] -= block.size
    live = list(itertools.accumulate(change[:-1]))
    for lead in leads:
        live[blocks[lead.below].first + 1] -= lead.saving(blocks)
    return live


def tensor_lifetimes(graph: Graph) -> dict[int, tuple[int, int]]:
    """Return (first, last) step of every tensor that needs memory; step ``i`` is operator ``i``.

    Model inputs begin at -1, unless the caller has them; model outputs, and inputs that are kept,
    end at ``len(graph.ops)``.
    """
    lifetimes = {} if graph.input_by_rows else dict.fromkeys(graph.inputs, (-1, -1))
    for position, op in enumerate(graph.ops):
        for i in op.outputs:
            lifetimes[i] = (position, position)
        for i in op.inputs:
            if i in lifetimes:
                lifetimes[i] = (lifetimes[i][0], position)
    for i in (*graph.outputs, *(graph.inputs if graph.keeps_inputs else ())):
        if i in lifetimes:
            lifetimes[i] = (lifetimes[i][0], len(graph.ops))
    return lifetimes


def _alias_groups(
    graph: Graph, calls: Sequence[KernelCall], lifetimes: Mapping[int, tuple[int, int]]
) -> list[list[int]]:
    """Group tensors that share memory because a kernel works in place."""
    group_of = {i: [i] for i in lifetimes}
    for node, call in zip(graph.nodes(), calls, strict=True):
        for source, target in in_place(node, call, lifetimes):
            members = group_of[source]
            members.extend(group_of[target])
            for i in group_of[target]:
                group_of[i] = members
    return list({id(members): members for members in group_of.values()}.values())


def in_place(
    node: Node, call: KernelCall, lifetimes: Mapping[int, tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the inputs whose memory outputs take, each with that output."""
    found: list[tuple[int, int]] = []
    taken: set[int] = set()
    for source, target in call.in_place:
        pair = node.op.inputs[source], node.op.outputs[target]
        if shares_memory(node, source, target, lifetimes) and not taken & set(pair):
            taken.update(pair)
            found.append(pair)
    return found


def is_view(node: Node, call: KernelCall, plan: MemoryPlan) -> bool:
    """Return whether ``node`` only renames memory in ``plan``, so that nothing runs."""
    return call.view and plan.place(node.output.index) == plan.place(node.input(0).index)


def shares_memory(
    node: Node, source: int, target: int, lifetimes: Mapping[int, tuple[int, int]]
) -> bool:
    """Return whether an output may take an input's memory: the input is used here for the last
    time, and is no smaller. ``lifetimes`` are ``tensor_lifetimes`` of the node's graph."""
    tensor, output = node.optional_input(source), node.outputs[target]
    if tensor is None or tensor.index not in lifetimes:
        return False
    dies_here = lifetimes[tensor.index][1] == node.position
    return dies_here and output.nbytes <= tensor.nbytes
