"""The order of operators, where branches leave a choice: the one that keeps least memory alive."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgebuild.graph import Graph
from edgebuild.passes.base import PassResult

MOST_STATES = 500
"""So many sets of operators that may have run are looked at after each operator: beyond that the
search is no longer exact."""

MOST_OPERATORS = 4000
"""Larger graphs stay as they are."""


@dataclass(frozen=True)
class OrderOperators:
    """Run operators in the order with the smallest peak of live bytes, and among those with the
    least bytes alive over all steps.

    What has run decides what is alive, so the search goes from set to set of operators that may
    have run, and keeps the best way to each (dynamic programming; Ahn et al., "Ordering Chaos",
    2020).
    """

    name = "order_operators"

    def apply(self, graph: Graph) -> PassResult:
        """Reorder the operators; equal orders stay as they are."""
        if len(graph.ops) > MOST_OPERATORS:
            return PassResult(graph, changed=False)
        problem = _Problem(graph)
        now = problem.as_it_is()
        best = problem.search(math.inf, lambda way: (way.peak, way.total))
        peak = min(now.peak, best.peak if best is not None else now.peak)
        order = problem.search(peak, lambda way: (way.total, way.peak))
        if order is None or (now.peak, now.total) <= (order.peak, order.total):
            return PassResult(graph, changed=False)
        return PassResult(graph.replace(ops=tuple(graph.ops[i] for i in order.ops())), changed=True)


@dataclass(frozen=True)
class _Way:
    """One way to have run some operators: in which order, what is alive, and what may run next."""

    alive: int
    ready: tuple[int, ...]
    peak: int = 0
    total: int = 0
    before: _Way | None = None
    last: int = -1

    def ops(self) -> list[int]:
        """Return the operators in the order in which they ran."""
        way, found = self, []
        while way.before is not None:
            found.append(way.last)
            way = way.before
        return found[::-1]


@dataclass
class _Problem:
    """``waits``: for each operator the set, as bits, of those that write what it reads;
    ``readers``: for each tensor that of the operators that read it; ``followers``: those that read
    what an operator writes."""

    graph: Graph
    waits: list[int] = field(default_factory=list)
    readers: dict[int, int] = field(default_factory=dict)
    followers: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        writer = {t: i for i, op in enumerate(self.graph.ops) for t in op.outputs}
        self.followers = [[] for _ in self.graph.ops]
        for i, op in enumerate(self.graph.ops):
            before = {writer[t] for t in op.inputs if t in writer}
            self.waits.append(sum(1 << one for one in before))
            for one in before:
                self.followers[one].append(i)
            for t in set(op.inputs):
                self.readers[t] = self.readers.get(t, 0) | 1 << i

    def as_it_is(self) -> _Way:
        """Return the order of the graph."""
        way, done = self._start(), 0
        for i in range(len(self.graph.ops)):
            way, done = self._after(way, done, i), done | 1 << i
        return way

    def search(self, limit: float, key: Callable[[_Way], tuple[int, int]]) -> _Way | None:
        """Return the order with the least ``key`` whose peak is within ``limit``, if it is found.

        The first part of ``key`` is the largest or the sum of what each step adds, so that the best
        way to a set begins with the best way to a smaller one.
        """
        level = {0: self._start()}
        for _ in self.graph.ops:
            following: dict[int, _Way] = {}
            for done, way in level.items():
                for i in way.ready:
                    after, now = self._after(way, done, i), done | 1 << i
                    if after.peak <= limit and (
                        now not in following or key(after) < key(following[now])
                    ):
                        following[now] = after
            if len(following) > MOST_STATES:
                kept = sorted(following.items(), key=lambda pair: key(pair[1]))[:MOST_STATES]
                following = dict(kept)
            level = following
        return next(iter(level.values()), None)

    def _start(self) -> _Way:
        alive = sum(t.nbytes for t in self.graph.input_tensors)
        return _Way(alive, tuple(i for i, waits in enumerate(self.waits) if not waits))

    def _after(self, way: _Way, done: int, i: int) -> _Way:
        """Return the way after operator ``i``, where ``done`` have run."""
        now = done | 1 << i
        step = way.alive + sum(self._bytes(t) for t in self.graph.ops[i].outputs)
        freed = sum(self._bytes(t) for t in self._dead(i, now))
        ready = [one for one in way.ready if one != i]
        ready += [one for one in self.followers[i] if self.waits[one] & ~now == 0]
        return _Way(
            step - freed,
            tuple(sorted(set(ready))),
            max(way.peak, step),
            way.total + step,
            way,
            i,
        )

    def _dead(self, i: int, done: int) -> Iterator[int]:
        """Yield the tensors that nothing needs any more once ``i`` has run, and ``done`` have."""
        op = self.graph.ops[i]
        for t in {*op.inputs, *op.outputs} - set(self.graph.outputs):
            if t in self.graph.tensors and self.readers.get(t, 0) & ~done == 0:
                yield t

    def _bytes(self, tensor: int) -> int:
        found = self.graph.tensors[tensor]
        return 0 if found.is_constant else found.nbytes
