"""The code that one layer fetches, and how often a cache of instructions misses it.

It follows from a kernel call's parameters and the loops of its C, like the counts of ``Work``.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edgebuild.cycles.work import Work
from edgebuild.regions import Cache


class Code(Protocol):
    """The instructions that a layer runs from one region."""

    @property
    def size(self) -> float:
        """Bytes of code, each counted once."""
        ...

    @property
    def fetched(self) -> float:
        """Bytes of all instructions that ran."""
        ...

    @property
    def jumps(self) -> float:
        """Branches that were taken."""
        ...

    @property
    def literals(self) -> float:
        """Loads from beside the code."""
        ...

    @property
    def accesses(self) -> float:
        """Other loads and stores."""
        ...

    def lines(self, cache: Cache) -> float:
        """Return the lines of ``cache`` that it touches, each counted once."""
        ...

    def misses(self, cache: Cache) -> tuple[float, float]:
        """Return the lines that ``cache`` has to fill, at least and at most, those of the first
        time among them."""
        ...


FEW_WAYS = 2
"""In a cache of so few ways, code conflicts that fits by its size."""


def conflicts(times: Iterable[float], ways: int) -> float:
    """Return how often, at most, lines of one set are filled that are used ``times`` often.

    The set replaces what was used longest ago. Its ``ways`` lines that are used most are missed
    only after another one was: each of them at most once for each use of another.
    """
    ranked = sorted(times, reverse=True)
    others = sum(ranked[ways:])
    return min(sum(ranked), len(ranked[:ways]) + (1 + ways) * others)


MOVED = ("fetched", "jumps", "literals", "accesses")
"""What a kernel's parts move, beside the cycles that they take: attributes of ``Code``."""

PARAMETERS = "parameters"
"""Loads of the structure that a kernel is called with, where a part's moves are told by name."""


HALF_WORD = 2
"""Bytes of the shortest instruction; code begins at any of them in a line."""


class Stretch(NamedTuple):
    """``size`` bytes of code at ``start``, which run ``times`` times in each run of ``part``."""

    start: float
    size: float
    times: float
    part: str


CodePiece = Sequence[Stretch]
"""Code that lies together, in order, from 0 on; where, only the linker knows."""


class CodePart(NamedTuple):
    """``size`` bytes at ``start`` of one of a kernel's pieces, that run ``times`` times in a phase
    of its ``Work``."""

    start: float
    size: float
    times: float
    phase: str
    piece: int


@dataclass(frozen=True)
class CodeRuns:
    """Code as loops that lie in each other, in phases that take turns.

    ``entries``: how often each phase is entered, "" for the kernel itself; ``kernels``: what
    ``parts`` are of, where several kernels take turns.
    """

    parts: tuple[CodePart, ...]
    fetched: float
    jumps: float
    literals: float
    accesses: float
    entries: Mapping[str, float] = dataclasses.field(default_factory=dict)
    kernels: tuple[CodeRuns, ...] = ()

    @property
    def size(self) -> float:
        """Bytes of code, each counted once."""
        return sum(part.size for part in self.parts)

    def lines(self, cache: Cache) -> float:
        """Return the lines of ``cache`` that it touches, on average over where lines may begin."""
        return sum(lines for _, lines in _by_use(self.parts, cache.line_bytes))

    def misses(self, cache: Cache) -> tuple[float, float]:
        """Return the lines that ``cache`` fills when it replaces what was used longest ago.

        At most, pieces that lie apart share as many sets of a cache of few ways as they can.
        """
        least = self._least(cache, 1.0)
        return least, max(least, self._most(cache)) if cache.ways <= FEW_WAYS else least

    def _least(self, cache: Cache, turns: float) -> float:
        """Return the lines that are filled where any line may lie anywhere in the cache; between
        two of ``turns``, others drive out everything."""
        apart = sum(kernel._least(cache, kernel._entered("")) for kernel in self.kernels)
        if not self.kernels:
            phases: dict[str, list[CodePart]] = {}
            for part in self.parts:
                phases.setdefault(part.phase, []).append(part)
            apart = sum(_filled(parts, self._entered(at), cache) for at, parts in phases.items())
        return min(_filled(self.parts, turns, cache), apart)

    def _entered(self, phase: str) -> float:
        return self.entries.get(phase, 1.0)

    def _most(self, cache: Cache) -> float:
        """Return the fills, at most, where the pieces share sets."""
        if not self.kernels:
            return _shared(self._sets(cache), cache)
        # A kernel finds its lines gone once in each of its turns, beside what it does to itself.
        others = [
            {at: [min(uses, kernel._entered("")) for uses in lines] for at, lines in piece.items()}
            for kernel in self.kernels
            for piece in kernel._sets(cache)
        ]
        return _shared(others, cache) + sum(kernel._most(cache) for kernel in self.kernels)

    def _sets(self, cache: Cache) -> list[dict[int, list[float]]]:
        """Return for each piece how often the lines run that lie in each set."""
        pieces: dict[int, defaultdict[int, float]] = {}
        for part in self.parts:
            lines = pieces.setdefault(part.piece, defaultdict(float))
            end = math.ceil((part.start + part.size) / cache.line_bytes)
            for line in range(int(part.start // cache.line_bytes), end):
                lines[line] += part.times
        found = []
        for lines in pieces.values():
            sets: defaultdict[int, list[float]] = defaultdict(list)
            for line, uses in lines.items():
                sets[line % cache.sets].append(uses)
            found.append(dict(sets))
        return found


def _shared(pieces: Iterable[Mapping[int, Sequence[float]]], cache: Cache) -> float:
    """Return the fills, at most, of pieces with lines that run so often in each set, wherever the
    pieces lie: what is used most meets what is used most of the others."""

    def crowded(lines: Sequence[float]) -> float:
        return sorted(lines, reverse=True)[cache.ways - 1] if len(lines) >= cache.ways else 0.0

    sets: list[list[float]] = []
    for piece in sorted(pieces, key=lambda piece: -sum(map(sum, piece.values()))):
        sets.sort(key=lambda lines: (-crowded(lines), -sum(lines)))
        for number, lines in enumerate(sorted(piece.values(), key=sum, reverse=True)):
            if number == len(sets):
                sets.append([])
            sets[number] += lines
    return sum(conflicts(lines, cache.ways) for lines in sets)


def _filled(parts: Iterable[CodePart], entries: float, cache: Cache) -> float:
    """Return the lines that a cache fills for loops that lie in each other.

    Those that fit are filled when they are entered; of the innermost one that does not fit, every
    line is missed in each round, and what lies around it whenever it runs.
    """
    ranked = list(_by_use(parts, cache.line_bytes))
    inner = itertools.accumulate(lines for _, lines in ranked)
    fits = sum(lines <= cache.size_bytes / cache.line_bytes for lines in inner)
    rounds = max(entries, ranked[fits][0]) if fits < len(ranked) else entries
    return sum(lines * max(1.0, min(times, rounds)) for times, lines in ranked)


def _by_use(parts: Iterable[CodePart], line: int) -> Iterator[tuple[float, float]]:
    """Yield how often parts run, those that run most first, with the lines that each of them adds
    to those before, on average over where lines may begin."""
    apart = line - HALF_WORD
    pieces: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for part in sorted(parts, key=lambda part: -part.times):
        there, end = pieces[part.piece], part.start + part.size
        at = bisect.bisect(there, (part.start, end))
        before = part.start - there[at - 1][1] if at else math.inf
        behind = there[at][0] - end if at < len(there) else math.inf
        # Two runs with a gap between them share a line in part where the gap is shorter than it.
        gaps = min(before, apart) + min(behind, apart) - min(before + part.size + behind, apart)
        yield part.times, (part.size + gaps) / line
        there.insert(at, (part.start, end))


def code_runs(
    pieces: Sequence[CodePiece], moved: Mapping[str, Mapping[str, float]], work: Work
) -> CodeRuns:
    """Return the code of a kernel whose parts run as often as ``work`` says.

    ``moved`` has for each of ``MOVED`` how much of it a part moves.
    """
    counts, runs = work.counts, work.runs
    parts = tuple(
        CodePart(start, size, times * runs[part], work.phases.get(part, ""), number)
        for number, piece in enumerate(pieces)
        for start, size, times, part in piece
        if runs.get(part)
    )
    fetched, jumps, literals, accesses = (
        sum(moved[what].get(part, 0.0) * count for part, count in counts.items()) for what in MOVED
    )
    entries = {"": counts["call"], **work.entries}
    return CodeRuns(parts, fetched, jumps, literals, accesses, entries)


def in_turns(kernels: Sequence[CodeRuns]) -> CodeRuns:
    """Return the code of a step that runs several kernels in turns."""
    if len(kernels) == 1:
        return kernels[0]
    numbers = itertools.count()
    pieces: defaultdict[tuple[int, int], int] = defaultdict(lambda: next(numbers))
    parts = tuple(
        part._replace(piece=pieces[at, part.piece])
        for at, kernel in enumerate(kernels)
        for part in kernel.parts
    )
    fetched, jumps, literals, accesses = (
        sum(getattr(kernel, what) for kernel in kernels) for what in MOVED
    )
    return CodeRuns(parts, fetched, jumps, literals, accesses, kernels=tuple(kernels))
