"""The rows that operators compute in each band, and where in scratch memory the rows between them
lie.

Rows are asked for from the end: a band is some rows of the last operator's output, and each other
operator computes what its readers need and what is not there yet. Rows that a later band needs
again are kept. Between bands they lie in a store of their own, so that the buffers, which hold the
rows of one band, take turns in the same memory as the operators run; where that is no smaller, rows
stay in their buffer and move to its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgebuild.graph import Node, Tensor
from edgebuild.ops import OPS
from edgebuild.ops.input_rows import INPUT_ROWS

ALIGN = 16


@dataclass(frozen=True)
class Rows:
    """The rows, from the first to behind the last, that operator ``at`` reads and writes; ``pad``
    rows are padded above the first one that it reads."""

    at: int
    read: tuple[int, int]
    written: tuple[int, int]
    pad: int


@dataclass(frozen=True)
class Band:
    """What runs in a band, and, for the output of each operator but the last, the ``first`` row
    that is still needed, and the rows behind the last that are there ``before`` and after it."""

    rows: tuple[Rows, ...]
    first: tuple[int, ...]
    before: tuple[int, ...]
    end: tuple[int, ...]


@dataclass(frozen=True)
class _Reach:
    """How far a window of operator ``at`` reaches: row ``r`` of the output needs ``size`` rows of
    the input from ``r * stride - pad`` on."""

    size: int
    stride: int
    pad: int
    in_h: int
    out_h: int

    def end(self, row: int) -> int:
        """Return the row behind what the rows before ``row`` need."""
        return (row - 1) * self.stride - self.pad + self.size

    def rows(self, at: int, written: tuple[int, int]) -> Rows:
        low, end = written[0] * self.stride - self.pad, self.end(written[1])
        read = min(max(low, 0), self.in_h), min(max(end, 0), self.in_h)
        return Rows(at, read, written, max(0, -low))


@dataclass(frozen=True)
class Joined:
    """Operators that run as one step, in order: each but the last is read by those in ``readers``,
    and nothing else; ``source`` is the one image that they read from outside. Where the caller
    gives its rows (``by_rows``), the first operator takes one at a time.

    Rows of the last one's output are those of its input where it ``sums_rows``.
    """

    nodes: tuple[Node, ...]
    source: Tensor
    readers: tuple[tuple[int, ...], ...]

    @cached_property
    def reaches(self) -> tuple[_Reach, ...]:
        """How far the window of each operator reaches."""
        whole = [_reach(node) for node in self.nodes[:-1]]
        rows = self.nodes[-1].input(0).shape[1]
        return *whole, _Reach(1, 1, 0, rows, rows) if self.sums_rows else _reach(self.nodes[-1])

    @property
    def by_rows(self) -> bool:
        """Whether the caller gives the rows of the source."""
        return self.nodes[0].kind == INPUT_ROWS

    @property
    def sums_rows(self) -> bool:
        """Whether the last operator adds rows to sums, which the last of them make the output."""
        return sums_rows(self.nodes[-1])

    @cached_property
    def row_bytes(self) -> tuple[int, ...]:
        """The bytes of a row of each output but the last."""
        return tuple(row_bytes(node.output) for node in self.nodes[:-1])

    def ends(self, row: int) -> list[int]:
        """Return the row behind the last that each operator must have computed for those of the
        last one before ``row``, were images endless."""
        found = [row] * len(self.nodes)
        for at in reversed(range(len(self.nodes) - 1)):
            found[at] = max(self.reaches[r].end(found[r]) for r in self.readers[at])
        return found

    def bands(self, height: int, early: int) -> list[Band] | None:
        """Return the bands of ``height`` rows of the last output, and ``early`` ones before them,
        that the first operators begin with; None where one needs padding alone."""
        last = len(self.nodes) - 1
        done = [0] * (last + 1)
        bands: list[Band] = []
        for row in range(height * (1 - early), self.reaches[last].out_h + height, height):
            first = tuple(self._needed(at, done) for at in range(last))
            before, found = tuple(done[:last]), []
            for at, end in enumerate(self.ends(min(row, self.reaches[last].out_h))):
                end = min(end, self.reaches[at].out_h)
                if end > done[at]:
                    step = 1 if at == 0 and self.by_rows else end - done[at]
                    starts = range(done[at], end, step)
                    found += [self.reaches[at].rows(at, (row, row + step)) for row in starts]
                    done[at] = end
            if any(one.read[0] >= one.read[1] for one in found):
                return None
            if found:
                bands.append(Band(tuple(found), first, before, tuple(done[:last])))
        return bands

    def early(self, height: int) -> int:
        """Return with how many early bands no operator computes more rows in one of the first than
        it does later."""
        count = 0
        while max(self.ends(-height * count)) > 0:
            count += 1
        return count

    def _needed(self, at: int, done: Sequence[int]) -> int:
        """Return the first row of an output that a reader has not used up, when so many rows of
        each are ``done``."""
        needs = [
            max(0, done[r] * self.reaches[r].stride - self.reaches[r].pad)
            for r in self.readers[at]
            if done[r] < self.reaches[r].out_h
        ]
        return min(*needs, done[at]) if needs else done[at]


def _reach(node: Node) -> _Reach:
    w, in_h = OPS[node.kind].window(node), node.input(0).shape[1]
    assert w is not None
    return _Reach((w.kernel_h - 1) * w.dilation_h + 1, w.stride_h, w.pad_top, in_h, w.out_h)


def sums_rows(node: Node) -> bool:
    """Return whether ``node`` may add some rows of one image at a time to sums."""
    shape = node.input(0).shape
    return (
        len(shape) == 4
        and shape[0] == 1
        and OPS[node.kind].row_sums(node, shape[1], True, True) is not None
    )


def row_bytes(tensor: Tensor) -> int:
    """Return the bytes of a row of an image."""
    return tensor.nbytes // tensor.shape[1]


@dataclass(frozen=True)
class Layout:
    """Where in the scratch memory of a step, of ``size`` bytes, things begin: the buffer of each
    output, its store (None where rows stay in the buffer), the own memory of each kernel."""

    buffers: tuple[int, ...]
    stores: tuple[int | None, ...]
    scratch: tuple[int, ...]
    size: int


def alive(joined: Joined, bands: Sequence[Band]) -> tuple[int, ...]:
    """Return the bytes of the buffers that are needed while each operator runs."""
    last = len(joined.nodes) - 1
    sizes = [
        max(b.end[at] - b.first[at] for b in bands) * joined.row_bytes[at] for at in range(last)
    ]
    return tuple(
        sum(size for n, size in enumerate(sizes) if n <= at <= max(joined.readers[n]))
        for at in range(last + 1)
    )


_Block = tuple[int, int, int]
"""Bytes, and the first and the last operator during which they are needed."""


def lay_out(joined: Joined, bands: Sequence[Band], scratch: Sequence[int]) -> Layout:
    """Return the smallest layout that is found, where kernels need so much ``scratch``."""
    last = len(joined.nodes) - 1
    lives = [(at, max(joined.readers[at])) for at in range(last)]
    rows = joined.row_bytes
    sizes = [max(b.end[at] - b.first[at] for b in bands) * rows[at] for at in range(last)]
    kept = [max(b.before[at] - b.first[at] for b in bands) * rows[at] for at in range(last)]

    def placed(stored: Sequence[bool]) -> Layout:
        blocks = [
            (size, *(life if stays_not else (0, last)))
            for size, life, stays_not in zip(sizes, lives, stored, strict=True)
        ]
        blocks += [(size if own else 0, 0, last) for size, own in zip(kept, stored, strict=True)]
        blocks += [(size, at, at) for at, size in enumerate(scratch[:last])]
        blocks.append((scratch[last], 0 if joined.sums_rows else last, last))
        at, size = _pack(blocks, last)
        stores = tuple(
            place if size and own else None
            for place, size, own in zip(at[last : 2 * last], kept, stored, strict=True)
        )
        return Layout(tuple(at[:last]), stores, tuple(at[2 * last :]), size)

    stored = [True] * last
    best = placed(stored)
    for at in sorted((at for at in range(last) if kept[at]), key=lambda at: -sizes[at]):
        stored[at] = False
        other = placed(stored)
        stored[at] = other.size > best.size
        best = best if stored[at] else other
    return best


def _pack(blocks: Sequence[_Block], last: int) -> tuple[list[int], int]:
    """Return an offset for each block, and the end of all: what is needed all the time at the
    start, then each block, the largest or the earliest first, in the lowest gap."""
    orders = (
        sorted(range(len(blocks)), key=lambda n: (blocks[n][1:] != (0, last), -blocks[n][0])),
        sorted(range(len(blocks)), key=lambda n: (blocks[n][1:] != (0, last), blocks[n][1])),
    )
    return min((_first_fit(blocks, order) for order in orders), key=lambda pair: pair[1])


def _first_fit(blocks: Sequence[_Block], order: Sequence[int]) -> tuple[list[int], int]:
    offsets, end = [0] * len(blocks), 0
    taken: list[tuple[int, int, int, int]] = []
    for n in order:
        size, first, last = blocks[n]
        size = -(-size // ALIGN) * ALIGN
        if not size:
            continue
        for low, high, begin, finish in sorted(taken):
            if begin <= last and first <= finish and high > offsets[n]:
                if low >= offsets[n] + size:
                    break
                offsets[n] = high
        taken.append((offsets[n], offsets[n] + size, first, last))
        end = max(end, offsets[n] + size)
    return offsets, end
