"""Offsets for blocks by their lifetimes, in one arena or in several banks.

Offline dynamic storage allocation: blocks with a size and a lifetime get offsets so that blocks
alive at the same time do not overlap and the highest end is as low as we can find. First fit is
tried in several orders and then improved by a seeded local search. Two blocks may overlap where a
kernel overwrites the one as it uses it up: a ``Lead``.
"""

from __future__ import annotations

import bisect
import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

ALIGN = 16
"""Every buffer starts at a multiple of this many bytes."""

_GAPS = 256
_SEARCH_ROUNDS = 1000
_SEARCH_STEPS = 4_000_000
"""Pairs of blocks that the search may look at: a second or two, for a model of any size."""


def aligned(size: int) -> int:
    """Return the bytes of a block for a buffer of ``size`` bytes."""
    return -(-max(size, 1) // ALIGN) * ALIGN


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
class Lead:
    """Two blocks, both alive at one step, that may overlap: ``above`` begins ``least`` bytes, a
    multiple of ``ALIGN``, or more above the start of ``below`` (below it, where that is negative);
    where ``exact``, only so many."""

    below: int
    above: int
    least: int
    exact: bool

    def saving(self, blocks: Sequence[Block]) -> int:
        """Return by how many bytes both need less than their sizes."""
        below, above = blocks[self.below].size, blocks[self.above].size
        together = max(below, max(self.least, 0) + above)
        return max(0, below + above - together)


@dataclass(frozen=True)
class _Beside:
    """A block that is alive at the same time as another one: where that one may not begin, as bytes
    below and above this one's start, both without the ends; ``point`` is allowed in between."""

    block: int
    before: int
    after: int
    point: int | None = None


_ORDERS: tuple[Callable[[Block], tuple[int, int]], ...] = (
    lambda b: (-b.size, b.first),
    lambda b: (-(b.last - b.first), -b.size),
    lambda b: (-b.size * (b.last - b.first + 1), b.first),
    lambda b: (b.first, -b.size),
    lambda b: (-b.last, -b.size),
)


def place(blocks: Sequence[Block], *, lower_bound: int, leads: Sequence[Lead] = ()) -> list[int]:
    """Return an offset for each block; ends early when ``lower_bound`` is reached."""
    if not blocks:
        return []
    indices = range(len(blocks))
    if _count_pairs(blocks) > _SEARCH_STEPS:
        return _place_by_time(blocks)
    beside = _neighbours(blocks, leads)
    best_order = list(indices)
    best = _first_fit(blocks, best_order, beside)
    for key in _ORDERS:
        order = sorted(indices, key=lambda i: key(blocks[i]))
        candidate = _first_fit(blocks, order, beside)
        if _end(blocks, candidate) < _end(blocks, best):
            best, best_order = candidate, order
    rng = random.Random(0)
    steps = sum(map(len, beside)) + len(blocks)
    for _ in range(min(_SEARCH_ROUNDS, _SEARCH_STEPS // steps)):
        if _end(blocks, best) <= lower_bound:
            break
        order = _move_for_a_top_block(blocks, best, best_order, rng)
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


def _neighbours(blocks: Sequence[Block], leads: Sequence[Lead]) -> list[list[_Beside]]:
    """Return for each block those that are alive at the same time, in rising order."""
    special: dict[tuple[int, int], _Beside] = {}
    for lead in leads:
        special |= dict(_both_sides(blocks, lead))
    beside: list[list[_Beside]] = [[] for _ in blocks]
    alive: list[int] = []
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        alive = [j for j in alive if blocks[j].last >= blocks[i].first]
        for j in alive:
            for one, other in ((i, j), (j, i)):
                plain = _Beside(other, blocks[one].size, blocks[other].size)
                beside[one].append(special.get((one, other), plain))
        alive.append(i)
    return [sorted(others, key=lambda one: one.block) for others in beside]


def _both_sides(blocks: Sequence[Block], lead: Lead) -> Iterator[tuple[tuple[int, int], _Beside]]:
    """Yield what a lead means for each of its blocks, by (the block, the other one)."""
    below, above = blocks[lead.below].size, blocks[lead.above].size
    if lead.exact:
        yield (lead.below, lead.above), _Beside(lead.above, below, above, -lead.least)
        yield (lead.above, lead.below), _Beside(lead.below, above, below, lead.least)
    else:
        yield (lead.below, lead.above), _Beside(lead.above, min(lead.least, below), above)
        yield (lead.above, lead.below), _Beside(lead.below, above, min(lead.least, below))


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


def place_in_banks(
    blocks: Sequence[Block], capacities: Sequence[int], leads: Sequence[Lead] = ()
) -> list[tuple[int, int]]:
    """Return (bank, offset) for each block, in the first bank that has room for it; a block that
    no bank has room for goes to the last.

    As ``place``, with another aim: first that nothing exceeds a capacity, then the fewest bytes.
    With too many pairs of blocks for a search, all go to the last bank.
    """
    indices = range(len(blocks))
    if _count_pairs(blocks) > _SEARCH_STEPS:
        return [(len(capacities) - 1, offset) for offset in _place_by_time(blocks)]
    beside = _neighbours(blocks, leads)

    def score(places: Sequence[tuple[int, int]]) -> tuple[int, int]:
        ends = bank_ends(blocks, places, len(capacities))
        excess = sum(max(0, end - room) for end, room in zip(ends, capacities, strict=False))
        return excess, sum(ends)

    def place_all(order: Iterable[int]) -> list[tuple[int, int]]:
        return _first_fit_in_banks(blocks, order, beside, capacities)

    candidates = [sorted(indices, key=lambda i: key(blocks[i])) for key in _ORDERS]
    best_order = min(candidates, key=lambda order: score(place_all(order)))
    best = place_all(best_order)
    rng = random.Random(0)
    steps = sum(map(len, beside)) + len(blocks)
    for _ in range(min(_SEARCH_ROUNDS, _SEARCH_STEPS // steps)):
        if score(best)[0] == 0:
            break
        exceeding = [i for i in best_order if best[i][1] + blocks[i].size > capacities[best[i][0]]]
        order = _moved(blocks, best_order, exceeding, rng)
        candidate = place_all(order)
        if score(candidate) <= score(best):
            best, best_order = candidate, order
    return best


def _first_fit_in_banks(
    blocks: Sequence[Block],
    order: Iterable[int],
    beside: Sequence[Sequence[_Beside]],
    capacities: Sequence[int],
) -> list[tuple[int, int]]:
    places: list[tuple[int, int]] = [(-1, -1)] * len(blocks)
    for i in order:
        for bank, capacity in enumerate(capacities):
            taken = [(places[j.block][1], j) for j in beside[i] if places[j.block][0] == bank]
            offset = _lowest(taken)
            places[i] = bank, offset
            if offset + blocks[i].size <= capacity:
                break
    return places


def bank_ends(
    blocks: Sequence[Block], places: Sequence[tuple[int, int]], banks: int
) -> tuple[int, ...]:
    """Return the bytes that each bank needs, of ``banks`` at most: those up to the last used."""
    ends = [0] * banks
    for block, (bank, offset) in zip(blocks, places, strict=True):
        ends[bank] = max(ends[bank], offset + block.size)
    while len(ends) > 1 and ends[-1] == 0:
        ends.pop()
    return tuple(ends)


def _move_for_a_top_block(
    blocks: Sequence[Block], offsets: Sequence[int], order: list[int], rng: random.Random
) -> list[int]:
    end = _end(blocks, offsets)
    top = [i for i in order if offsets[i] + blocks[i].size == end]
    return _moved(blocks, order, top, rng)


def _moved(
    blocks: Sequence[Block], order: list[int], top: list[int], rng: random.Random
) -> list[int]:
    """Return ``order`` with one block elsewhere: one of ``top``, mostly one that is alive when that
    one is, a step before or a step after, or any."""
    chosen, chance = rng.choice(top), rng.random()
    if chance < 0.5:
        first, last = blocks[chosen].first - 1, blocks[chosen].last + 1
        near = [i for i in order if blocks[i].first <= last and blocks[i].last >= first]
        chosen = rng.choice(near)
    elif chance < 0.8:
        chosen = rng.choice(order)
    rest = [i for i in order if i != chosen]
    rest.insert(rng.randrange(len(rest) + 1), chosen)
    return rest


def _first_fit(
    blocks: Sequence[Block], order: Iterable[int], beside: Sequence[Sequence[_Beside]]
) -> list[int]:
    """Place blocks in ``order``, each at the lowest offset that is free for its lifetime.

    ``beside`` lists for each block those that are alive at the same time.
    """
    offsets = [-1] * len(blocks)
    for i in order:
        offsets[i] = _lowest([(offsets[j.block], j) for j in beside[i] if offsets[j.block] >= 0])
    return offsets


def _lowest(taken: Sequence[tuple[int, _Beside]]) -> int:
    """Return the lowest offset that is free beside blocks at their offsets."""
    forbidden = [(at - other.before, at + other.after) for at, other in taken]
    offset = 0
    for low, high in sorted(forbidden):
        if offset <= low:
            break
        offset = max(offset, high)
    for n, (at, other) in enumerate(taken):
        if other.point is not None and 0 <= at + other.point < offset:
            point = at + other.point
            rest = (*forbidden[:n], *forbidden[n + 1 :])
            if not any(low < point < high for low, high in rest):
                offset = point
    return offset


def _end(blocks: Sequence[Block], offsets: Sequence[int]) -> int:
    return max(offset + b.size for b, offset in zip(blocks, offsets, strict=True))
