"""The code that a layer ran, as the region model of ``edgebuild.cycles`` wants to know it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgebuild.cycles.code import FEW_WAYS, conflicts
from edgebuild.devices.simulator.cycles import BlockCost
from edgebuild.devices.simulator.trace import Block
from edgebuild.regions import Cache

_PAGE, _HALF_WORD = 1024, 2
"""Unicorn ends blocks at the ends of its pages; an instruction that lies in two is a block."""

_WARM_UP = 4
"""A window of the stream is run through an empty cache; this part of it only fills the cache."""


@dataclass(frozen=True)
class Ran:
    """A basic block, how often it ran, and what that takes once."""

    block: Block
    count: int
    cost: BlockCost


@dataclass(frozen=True)
class RunCode:
    """What a layer ran from one region; ``windows`` are pieces of its stream of blocks.

    A piece is an array of ``address | size << 32``, in the order in which they ran.
    """

    ran: tuple[Ran, ...]
    windows: tuple[np.ndarray, ...]

    @cached_property
    def size(self) -> float:
        """Bytes of code, each counted once."""
        words: set[int] = set()
        for one in self.ran:
            words.update(_lines(one.block.address, one.block.size, 4))
        return 4.0 * len(words)

    @cached_property
    def fetched(self) -> float:
        """Bytes of all instructions that ran."""
        return float(sum(one.count * one.block.size for one in self.ran))

    @cached_property
    def jumps(self) -> float:
        """Branches that were taken."""
        return float(sum(one.count for one in self.ran if one.block.taken))

    @cached_property
    def literals(self) -> float:
        """Loads from beside the code."""
        return float(sum(one.count * one.cost.literals for one in self.ran))

    @cached_property
    def accesses(self) -> float:
        """Other loads and stores."""
        return float(sum(one.count * one.cost.accesses for one in self.ran))

    def lines(self, cache: Cache) -> float:
        """Return the lines of ``cache`` that it touches, each counted once."""
        return float(sum(map(len, self._sets(cache).values())))

    def _sets(self, cache: Cache) -> dict[int, Counter[int]]:
        """Return for each set how often its lines ran."""
        runs: dict[int, Counter[int]] = {}
        for one in self.ran:
            for line in _lines(one.block.address, one.block.size, cache.line_bytes):
                runs.setdefault(line % cache.sets, Counter())[line] += one.count
        return runs

    def misses(self, cache: Cache) -> tuple[float, float]:
        """Return the lines that ``cache`` has to fill, at least and at most.

        Code of which no set holds more lines than it has ways is filled once. Otherwise pieces of
        the stream go through a cache that replaces what was used longest ago, and stand for all of
        it; where sets have few ways, the most follows from how often each line of a set ran.
        """
        runs = self._sets(cache)
        lines = self.lines(cache)
        if all(len(counts) <= cache.ways for counts in runs.values()):
            return lines, lines
        missed = counted = 0
        for window in self.windows:
            after = len(window) // _WARM_UP
            missed += _missed(window, cache, after)
            counted += len(window) - after
        blocks = sum(one.count for one in self.ran)
        pieces = max(lines, missed * blocks / max(1, counted))
        if cache.ways > FEW_WAYS:
            return pieces, pieces
        most = sum(conflicts(counts.values(), cache.ways) for counts in runs.values())
        return min(pieces, most), most


def pieces_behind(block: Block, sizes: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield (address, bytes) of what unicorn cut off behind ``block`` although no branch ends it:
    where a page of its own does. ``sizes`` are those of all blocks by their address."""
    end = block.address + block.size
    while end in sizes and (end + _HALF_WORD) % _PAGE <= 2 * _HALF_WORD:
        yield end, sizes[end]
        end += sizes[end]


def _lines(address: int, size: int, line: int) -> range:
    return range(address // line, (address + size - 1) // line + 1)


def _missed(window: np.ndarray, cache: Cache, after: int) -> int:
    """Return the misses of all blocks from position ``after`` on."""
    changed = np.ones(len(window), bool)
    changed[1:] = window[1:] != window[:-1]
    positions = np.flatnonzero(changed)
    held: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(cache.sets)]
    known: dict[int, range] = {}
    missed = 0
    for position, key in zip(positions.tolist(), window[positions].tolist(), strict=True):
        lines = known.get(key)
        if lines is None:
            lines = known[key] = _lines(key & 0xFFFF_FFFF, key >> 32, cache.line_bytes)
        for line in lines:
            ways = held[line % cache.sets]
            if line in ways:
                ways.move_to_end(line)
                continue
            missed += position >= after
            ways[line] = None
            if len(ways) > cache.ways:
                ways.popitem(last=False)
    return missed


def within(code: RunCode, start: int, end: int) -> RunCode:
    """Return the part of ``code`` that lies in [start, end)."""
    windows = []
    for window in code.windows:
        addresses = window & np.uint64(0xFFFF_FFFF)
        inside = window[(addresses >= np.uint64(start)) & (addresses < np.uint64(end))]
        if len(inside):
            windows.append(inside)
    ran = tuple(one for one in code.ran if start <= one.block.address < end)
    return RunCode(ran, tuple(windows))
