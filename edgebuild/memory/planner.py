"""Place every activation and scratch buffer in one arena by its lifetime.

Offline dynamic storage allocation: blocks with a size and a lifetime get offsets so that blocks
alive at the same time do not overlap and the highest end is as low as we can find. First fit is
tried in several orders and then improved by a seeded local search; the plan keeps the lower bound
(the most bytes alive at once) beside the result, so that the gap is visible.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgebuild.graph import Graph, Node
from edgebuild.ops.base import KernelCall

ALIGN = 16
"""Every buffer starts at a multiple of this many bytes."""

_GAPS = 256
_SEARCH_ROUNDS = 400
_SEARCH_STEPS = 4_000_000
"""Pairs of blocks that the search may look at: a second or two, for a model of any size."""


@dataclass(frozen=True)
class Block:
    """Bytes that are needed from step ``first`` to step ``last``, both included.

    ``tensors`` share the block's memory; ``scratch_of`` is the operator position whose scratch it
    is, or -1.
    """

    size: int
    first: int
    last: int
    tensors: tuple[int, ...] = ()
    scratch_of: int = -1

    def overlaps(self, other: Block) -> bool:
        """True when both are alive at the same step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Where each buffer lives, in bytes from the start of the arena.

    ``offsets`` is by tensor index, ``scratch_offsets`` by operator position. ``live_bytes[i]`` are
    the bytes alive while operator ``i`` runs; their maximum is ``lower_bound_bytes``.
    """

    arena_bytes: int
    lower_bound_bytes: int
    offsets: Mapping[int, int]
    scratch_offsets: Mapping[int, int]
    blocks: tuple[Block, ...]
    live_bytes: tuple[int, ...]
    in_place: int


def plan_memory(graph: Graph, calls: Sequence[KernelCall]) -> MemoryPlan:
    """Plan one arena for ``graph``, whose operator ``i`` runs as ``calls[i]``.

    Model inputs are alive from the start until their last use (a run may overwrite them), model
    outputs until after the last operator.
    """
    lifetimes = tensor_lifetimes(graph)
    groups = _alias_groups(graph, calls, lifetimes)
    blocks = [
        Block(
            _align(max(graph.tensors[i].nbytes for i in members)),
            min(lifetimes[i][0] for i in members),
            max(lifetimes[i][1] for i in members),
            tuple(members),
        )
        for members in groups
    ]
    blocks += [
        Block(_align(call.scratch_bytes), position, position, (), position)
        for position, call in enumerate(calls)
        if call.scratch_bytes
    ]
    live = _live_bytes(blocks, len(graph.ops))
    offsets = place(blocks, lower_bound=max(live, default=0))
    placed = list(zip(blocks, offsets, strict=True))
    return MemoryPlan(
        arena_bytes=max((offset + b.size for b, offset in placed), default=0),
        lower_bound_bytes=max(live, default=0),
        offsets={i: offset for b, offset in placed for i in b.tensors},
        scratch_offsets={b.scratch_of: offset for b, offset in placed if b.scratch_of >= 0},
        blocks=tuple(blocks),
        live_bytes=tuple(live[1:-1]),
        in_place=sum(len(b.tensors) - 1 for b in blocks if b.tensors),
    )


def _live_bytes(blocks: Sequence[Block], count: int) -> list[int]:
    """Return the bytes alive at each step from -1 to ``count``."""
    change = [0] * (count + 3)
    for block in blocks:
        change[block.first + 1] += block.size
        change[block.last + 2] -= block.size
    return list(itertools.accumulate(change[:-1]))


def tensor_lifetimes(graph: Graph) -> dict[int, tuple[int, int]]:
    """Return (first, last) step of every tensor that needs memory; step ``i`` is operator ``i``.

    Model inputs begin at -1, model outputs end at ``len(graph.ops)``.
    """
    lifetimes = dict.fromkeys(graph.inputs, (-1, -1))
    for position, op in enumerate(graph.ops):
        for i in op.outputs:
            lifetimes[i] = (position, position)
        for i in op.inputs:
            if i in lifetimes:
                lifetimes[i] = (lifetimes[i][0], position)
    for i in graph.outputs:
        if i in lifetimes:
            lifetimes[i] = (lifetimes[i][0], len(graph.ops))
    return lifetimes


def _alias_groups(
    graph: Graph, calls: Sequence[KernelCall], lifetimes: Mapping[int, tuple[int, int]]
) -> list[list[int]]:
    """Group tensors that share memory because a kernel works in place."""
    group_of = {i: [i] for i in lifetimes}
    for node, call in zip(graph.nodes(), calls, strict=True):
        taken: set[int] = set()
        for source, target in call.in_place:
            if not shares_memory(node, source, target, lifetimes):
                continue
            pair = node.op.inputs[source], node.op.outputs[target]
            if pair[0] in taken or pair[1] in taken:
                continue
            taken.update(pair)
            members = group_of[pair[0]]
            members.extend(group_of[pair[1]])
            for i in group_of[pair[1]]:
                group_of[i] = members
    return list({id(members): members for members in group_of.values()}.values())


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


def place(blocks: Sequence[Block], *, lower_bound: int) -> list[int]:
    """Return an offset for each block; ends early when ``lower_bound`` is reached."""
    if not blocks:
        return []
    orders = (
        lambda b: (-b.size, b.first),
        lambda b: (-(b.last - b.first), -b.size),
        lambda b: (-b.size * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.size),
        lambda b: (-b.last, -b.size),
    )
    indices = range(len(blocks))
    if _count_pairs(blocks) > _SEARCH_STEPS:
        return _place_by_time(blocks)
    beside = _neighbours(blocks)
    best_order = list(indices)
    best = _first_fit(blocks, best_order, beside)
    for key in orders:
        order = sorted(indices, key=lambda i: key(blocks[i]))
        candidate = _first_fit(blocks, order, beside)
        if _end(blocks, candidate) < _end(blocks, best):
            best, best_order = candidate, order
    rng = random.Random(0)
    steps = sum(map(len, beside)) + len(blocks)
    for _ in range(min(_SEARCH_ROUNDS, _SEARCH_STEPS // steps)):
        if _end(blocks, best) <= lower_bound:
            break
        order = _move_a_top_block_forward(blocks, best, best_order, rng)
        candidate = _first_fit(blocks, order, beside)
        if _end(blocks, candidate) <= _end(blocks, best):
            best, best_order = candidate, order
    return best


def _count_pairs(blocks: Sequence[Block]) -> int:
    """Return how many pairs of blocks are alive at the same time."""
    begins = sorted(block.first for block in blocks)
    ends = sorted(block.last for block in blocks)
    # A block meets all that begin before its end, but those that ended before its beginning.
    met = sum(
        bisect.bisect_right(begins, b.last) - bisect.bisect_left(ends, b.first) - 1 for b in blocks
    )
    return met // 2


def _neighbours(blocks: Sequence[Block]) -> list[list[int]]:
    """Return for each block those that are alive at the same time, in rising order."""
    beside: list[list[int]] = [[] for _ in blocks]
    alive: list[int] = []
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        alive = [j for j in alive if blocks[j].last >= blocks[i].first]
        for j in alive:
            beside[i].append(j)
            beside[j].append(i)
        alive.append(i)
    return [sorted(others) for others in beside]


def _place_by_time(blocks: Sequence[Block]) -> list[int]:
    """Place blocks as they begin, each in the lowest of the gaps that its forerunners left.

    For graphs with too many pairs of blocks for ``_first_fit``; it looks at ``_GAPS`` gaps at most.
    """
    offsets = [0] * len(blocks)
    gaps: list[tuple[int, int]] = []  # (start, end), rising, none touches the next
    end = 0
    alive: list[tuple[int, int]] = []  # (last step, block), a heap
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        while alive and alive[0][0] < blocks[i].first:
            _, gone = heapq.heappop(alive)
            _free(gaps, offsets[gone], offsets[gone] + blocks[gone].size)
        size = blocks[i].size
        fitting = (n for n, (low, high) in enumerate(gaps[:_GAPS]) if high - low >= size)
        place_ = next(fitting, None)
        if place_ is None:
            offsets[i], end = end, end + size
        else:
            low, high = gaps.pop(place_)
            offsets[i] = low
            if high - low > size:
                gaps.insert(place_, (low + size, high))
        heapq.heappush(alive, (blocks[i].last, i))
    return offsets


def _free(gaps: list[tuple[int, int]], low: int, high: int) -> None:
    """Add the gap from ``low`` to ``high``, joined with those that it touches."""
    at = bisect.bisect_left(gaps, (low, high))
    if at < len(gaps) and gaps[at][0] == high:
        high = gaps.pop(at)[1]
    if at and gaps[at - 1][1] == low:
        low = gaps.pop(at - 1)[0]
        at -= 1
    gaps.insert(at, (low, high))


def _move_a_top_block_forward(
    blocks: Sequence[Block], offsets: Sequence[int], order: list[int], rng: random.Random
) -> list[int]:
    end = _end(blocks, offsets)
    top = [i for i in order if offsets[i] + blocks[i].size == end]
    chosen = rng.choice(top) if rng.random() < 0.5 else rng.choice(order)
    rest = [i for i in order if i != chosen]
    rest.insert(rng.randrange(len(rest) + 1), chosen)
    return rest


def _first_fit(
    blocks: Sequence[Block], order: Iterable[int], beside: Sequence[Sequence[int]]
) -> list[int]:
    """Place blocks in ``order``, each at the lowest offset that is free for its lifetime.

    ``beside`` lists for each block those that are alive at the same time.
    """
    offsets = [-1] * len(blocks)
    for i in order:
        size = blocks[i].size
        taken = sorted((offsets[j], blocks[j].size) for j in beside[i] if offsets[j] >= 0)
        offset = 0
        for start, length in taken:
            if start - offset >= size:
                break
            offset = max(offset, start + length)
        offsets[i] = offset
    return offsets


def _end(blocks: Sequence[Block], offsets: Sequence[int]) -> int:
    return max(offset + b.size for b, offset in zip(blocks, offsets, strict=True))


def _align(size: int) -> int:
    return -(-max(size, 1) // ALIGN) * ALIGN
