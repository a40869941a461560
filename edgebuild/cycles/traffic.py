"""What one layer moves: the code that it fetches, the constants and activations that it reads.

Both follow from a kernel call's parameters and the loops of its C, like the counts of ``Work``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from edgebuild.cycles.kernels import kernel_name
from edgebuild.cycles.work import Work
from edgebuild.graph import Node, Tensor
from edgebuild.memory import MemoryPlan
from edgebuild.ops import KernelCall
from edgebuild.ops.fully_connected_dsp import groups_of
from edgebuild.regions import Cache


@dataclass(frozen=True)
class Reads:
    """An array that a layer walks over.

    ``role`` is ``weights``, ``arena``, or ``parameters`` (the structure that a kernel is called
    with). All ``size`` bytes are read ``passes`` times, in runs of ``run`` bytes that lie apart
    (None: from the first byte to the last), by loads of ``unit`` bytes. Within a pass, parts of
    ``window`` bytes, or ``taps`` lines, are read ``repeats`` times before the walk goes on.
    ``maybe``: the compiler may keep some of it in registers. ``bank`` is that of a split arena;
    None where it is not known, or not split.
    """

    role: str
    size: int
    passes: float = 1.0
    run: int | None = None
    unit: int = 4
    window: int = 0
    taps: int = 1
    repeats: float = 1.0
    maybe: bool = False
    bank: int | None = None

    @property
    def loads(self) -> float:
        """How many load instructions that takes."""
        return self.size * self.passes * self.repeats / self.unit

    def touched(self, line: int) -> float:
        """Return how often another line of ``line`` bytes is touched than before."""
        step = max(self.unit, min(line, self.run or line))
        return self.size * self.passes * self.repeats / step

    def misses(self, line: int, capacity: float, window: float | None = None) -> float:
        """Return the lines that a cache with room for ``capacity`` bytes of it has to fill.

        The cache replaces what was used longest ago: what does not fit is missed in every pass.
        ``window``: the room while a part is read repeatedly; as much when None.
        """
        room = capacity if window is None else window
        lines = -(-self.size // line)
        if self.size <= capacity:
            return lines
        once = float(lines)
        if max(self.window, self.taps * line if self.run else 0) > room:
            step = min(line, self.run or line)
            once = self.size * self.repeats / step
        return self.passes * once


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


class CodePart(NamedTuple):
    """``size`` bytes that run ``times`` times in a phase of the kernel's ``Work``, and which of its
    pieces they lie in."""

    size: float
    times: float
    phase: str
    piece: int


@dataclass(frozen=True)
class CodePiece:
    """Code that lies together; where, only the linker knows.

    ``span``: the bytes from the first to the last instruction; ``parts``: for each part of the
    kernel the bytes that belong to it and how often they run at one execution.
    """

    span: float
    parts: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class CodeRuns:
    """Code as loops that lie in each other, in phases that take turns.

    ``entries``: how often each phase is entered; ``spans``: the bytes from the first to the last
    instruction of each piece.
    """

    parts: tuple[CodePart, ...]
    fetched: float
    jumps: float
    literals: float
    accesses: float
    entries: Mapping[str, float] = dataclasses.field(default_factory=dict)
    spans: tuple[float, ...] = ()

    @property
    def size(self) -> float:
        """Bytes of code, each counted once."""
        return sum(part.size for part in self.parts)

    def misses(self, cache: Cache) -> tuple[float, float]:
        """Return the lines that ``cache`` fills when it replaces what was used longest ago.

        At most, pieces that lie apart share as many sets of a cache of few ways as they can.
        """
        room, line = cache.size_bytes, cache.line_bytes
        phases: dict[str, list[CodePart]] = {}
        for part in self.parts:
            phases.setdefault(part.phase, []).append(part)
        turns = sum(
            _filled(parts, self.entries.get(phase, 1.0), room) for phase, parts in phases.items()
        )
        least = min(_filled(self.parts, 1.0, room), turns) / line
        return least, max(least, self._conflicts(cache)) if cache.ways <= FEW_WAYS else least

    def _conflicts(self, cache: Cache) -> float:
        """Return the fills, at most, where the pieces share sets."""
        way, line = cache.sets * cache.line_bytes, cache.line_bytes
        uses = [0.0] * len(self.spans)
        for part in self.parts:
            uses[part.piece] += part.size * part.times
        once, more = self.size / line, (1 + cache.ways) / line
        most = min(sum(uses) / line, once + more * self._excess(cache))
        if max(self.spans, default=0.0) > way:
            return most
        # Of each piece a set holds one line, which is missed only after one of another piece ran.
        return min(most, once + more * sum(sorted(uses)[: -cache.ways]))

    def _excess(self, cache: Cache) -> float:
        """Return bytes times uses of those that are too many for the sets, which are used least."""
        way = cache.sets * cache.line_bytes
        whole = sum(int(span // way) for span in self.spans)
        rests = sorted((span % way for span in self.spans), reverse=True)
        excess = way * max(0, whole - cache.ways) + sum(rests[max(0, cache.ways - whole) :])
        # Each line too many meets ways lines that are used as often or more, of those that run.
        excess = min(excess, self.size / (1 + cache.ways))
        start, end = excess * cache.ways, excess * (1 + cache.ways)
        found = position = 0.0
        for part in _by_use(self.parts):
            inside = min(end, position + part.size) - max(start, position)
            found += max(0.0, inside) * part.times
            position += part.size
        return found


def _by_use(parts: Iterable[CodePart]) -> list[CodePart]:
    return sorted(parts, key=lambda part: -part.times)


def _filled(parts: Iterable[CodePart], entries: float, room: float) -> float:
    """Return the bytes that a cache of ``room`` bytes fills for loops that lie in each other.

    Those that fit are filled when they are entered; of the innermost one that does not fit, every
    line is missed in each round, and what lies around it whenever it runs.
    """
    ranked = _by_use(parts)
    inner = itertools.accumulate(part.size for part in ranked)
    fits = sum(size <= room for size in inner)
    rounds = max(entries, ranked[fits].times) if fits < len(ranked) else entries
    return sum(part.size * max(1.0, min(part.times, rounds)) for part in ranked)


def code_runs(
    pieces: Sequence[CodePiece], moved: Mapping[str, Mapping[str, float]], work: Work
) -> CodeRuns:
    """Return the code of a kernel whose parts run as often as ``work`` says.

    ``moved`` has for each of ``MOVED`` how much of it a part moves.
    """
    counts = work.counts
    parts = tuple(
        CodePart(size, times * counts[part], work.phases.get(part, ""), number)
        for number, piece in enumerate(pieces)
        for part, (size, times) in piece.parts.items()
        if counts.get(part)
    )
    totals = {
        what: sum(moved[what].get(part, 0.0) * count for part, count in counts.items())
        for what in MOVED
    }
    spans = tuple(piece.span for piece in pieces)
    return CodeRuns(parts, **totals, entries=work.entries, spans=spans)


def layer_reads(node: Node, call: KernelCall, plan: MemoryPlan | None = None) -> tuple[Reads, ...]:
    """Return what a call reads of its constants and its activations; in which banks, where ``plan``
    splits the arena."""
    split = plan is not None and len(plan.bank_bytes) > 1
    activations = _activations(node, call, plan if split else None)
    return (*_constants(node, call), *activations)


def _constants(node: Node, call: KernelCall) -> Iterator[Reads]:
    name = kernel_name(call)
    p: Mapping[str, Any] = call.params
    passes = 1.0
    if name in _WALKS:
        walked = tuple(_WALKS[name](p))
        passes = max(read.passes for read in walked)
        yield from walked
    elif name in ("lookup_8", "softmax_s8"):
        # Which entry comes next depends on the data.
        for array in _arrays(p):
            count = p["count"] if name == "lookup_8" else p["rows"] * p["depth"]
            entries = max(1, array.size)
            yield Reads(
                "weights", array.nbytes, count / entries, run=array.itemsize,
                unit=array.itemsize, window=array.nbytes,
            )  # fmt: skip
    else:
        for array in _arrays(p):
            yield Reads("weights", array.nbytes, unit=array.itemsize)
    if p:
        yield Reads("parameters", 4 * _fields(p), passes, maybe=True)
    for position in call.inputs:
        tensor = node.input(position)
        if tensor.is_constant and tensor.nbytes:
            again = max(1.0, node.output.elements / max(1, tensor.elements))
            unit = max(1, tensor.nbytes // max(1, tensor.elements))
            yield Reads("weights", tensor.nbytes, again, unit=unit)


def _arrays(params: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for value in params.values():
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, Mapping):
            yield from _arrays(value)


def _fields(params: Mapping[str, Any]) -> int:
    """Return the words of the parameters' structure."""
    nested = (_fields(value) if isinstance(value, Mapping) else 1 for value in params.values())
    return sum(nested)


def _conv(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Every pair of pixels meets all weights."""
    pixels = p["out_h"] * p["out_w"]
    pairs = -(-p["batches"] * pixels // 2) if p["pointwise"] else p["batches"] * -(-pixels // 2)
    yield Reads("weights", p["weights"].nbytes, pairs)
    yield Reads("weights", p["channels"].nbytes, pairs)


def _conv_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    pairs = p["batches"] * p["out_h"] * -(-p["out_w"] // 2)
    yield Reads("weights", p["channels"].nbytes, pairs)


def _conv_1x1_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    pairs = p["batches"] * p["rows"] * -(-p["pixels"] // 2)
    yield Reads("weights", p["stream"].nbytes, pairs)


def _conv_rows_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Every pair of pixels meets all weights; that of odd pixels is of two rows."""
    rows, odd = p["out_h"], p["out_w"] % 2
    pairs = p["batches"] * (rows * (p["out_w"] // 2) + odd * -(-rows // 2))
    yield Reads("weights", p["weights"].nbytes, pairs)


def _winograd(p: Mapping[str, Any], tile: int = 4) -> Iterator[Reads]:
    """Every block of pairs of tiles meets all weights, every tile the numbers of its channels."""
    pairs = p["batches"] * -(-p["out_h"] // tile) * -(-p["out_w"] // (2 * tile))
    blocks = -(-pairs // p["block"])
    yield Reads("weights", p["weights"].nbytes, blocks)
    yield Reads("weights", p["channels"].nbytes, blocks, window=64, repeats=2 * pairs / blocks)


def _winograd_narrow(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Each word is read for half of its values, then for the others."""
    weights, channels = _winograd(p)
    yield dataclasses.replace(weights, window=36, repeats=2)
    yield channels


def _winograd_stride2(p: Mapping[str, Any]) -> Iterator[Reads]:
    return _winograd(p, tile=2)


def _depthwise(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Every four pixels meet all weights."""
    groups = p["batches"] * -(-p["out_h"] * p["out_w"] // 4)
    yield Reads("weights", p["weights"].nbytes, groups, unit=1)
    yield Reads("weights", p["channels"].nbytes, groups)


def _depthwise_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Every pixel meets all weights."""
    pixels = p["batches"] * p["out_h"] * p["out_w"]
    yield Reads("weights", p["channels"].nbytes, pixels)


def _depthwise_3x3_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Those of four channels in every step of every image."""
    steps = -(-p["out_h"] * p["stride"] // 4)
    four = 4 * p["channels"].shape[1] * p["channels"].itemsize
    repeats = p["batches"] * steps
    yield Reads("weights", p["channels"].nbytes, window=four, repeats=repeats)


def _dense(p: Mapping[str, Any]) -> Iterator[Reads]:
    yield Reads("weights", p["weights"].nbytes, p["batches"])
    yield Reads("weights", p["channels"].nbytes, p["batches"])


_WALKS = {
    "conv2d_1x1_narrow_s8_dsp": _conv_1x1_dsp,
    "conv2d_1x1_s8_dsp": _conv_1x1_dsp,
    "conv2d_rows_s8_dsp": _conv_rows_dsp,
    "conv2d_s8": _conv,
    "conv2d_s8_dsp": _conv_dsp,
    "conv2d_s8_winograd_dsp": _winograd,
    "conv2d_s8_winograd_narrow_dsp": _winograd_narrow,
    "conv2d_s8_winograd_stride2_dsp": _winograd_stride2,
    "depthwise_conv2d_3x3_s8_dsp": _depthwise_3x3_dsp,
    "depthwise_conv2d_s8": _depthwise,
    "depthwise_conv2d_s8_dsp": _depthwise_dsp,
    "fully_connected_s8": _dense,
    "fully_connected_s8_dsp": _dense,
}


def _activations(node: Node, call: KernelCall, plan: MemoryPlan | None) -> Iterator[Reads]:
    for tensor, read in _walked(node, call):
        place = plan.place(tensor.index) if plan is not None else None
        yield read if place is None else dataclasses.replace(read, bank=place[0])
    if plan is not None and call.scratch_bytes:
        bank = plan.scratch_banks.get(node.position, 0)
        yield Reads("arena", call.scratch_bytes, maybe=True, bank=bank)


def _walked(node: Node, call: KernelCall) -> Iterator[tuple[Tensor, Reads]]:
    name = kernel_name(call)
    p: Mapping[str, Any] = call.params
    kernel_h = p.get("kernel_h", p.get("filter_h", 1))
    for position in call.inputs:
        tensor = node.input(position)
        if tensor.is_constant:
            continue
        if name == "depthwise_conv2d_3x3_s8_dsp":
            # Four channels of the whole image, then the next four.
            yield tensor, Reads("arena", tensor.nbytes, run=4, window=tensor.nbytes)
        elif name == "conv2d_rows_s8_dsp":
            yield tensor, Reads("arena", tensor.nbytes, unit=1)
        elif name.startswith("conv2d_s8_winograd"):
            # Windows of 6x10 for 4x8 pixels, or of 5x9.
            height, width = (5, 9) if "stride2" in name else (6, 10)
            row = tensor.nbytes // max(1, math.prod(tensor.shape[:2]))
            repeats = height * width / 32
            yield tensor, Reads("arena", tensor.nbytes, window=height * row, repeats=repeats)
        elif kernel_h > 1:
            row = tensor.nbytes // max(1, math.prod(tensor.shape[:2]))
            rows = kernel_h / p["stride_h"]
            repeats = max(1.0, rows)
            yield tensor, Reads("arena", tensor.nbytes, window=kernel_h * row, repeats=repeats)
        elif name.startswith("fully_connected"):
            # A group of units meets the whole input at a time.
            dsp = name.endswith("_dsp")
            groups = 1 + sum(groups_of(p["units"], p["chunk"])) if dsp else -(-p["units"] // 4)
            yield tensor, Reads("arena", p["depth"], p["batches"] * groups)
        else:
            yield tensor, Reads("arena", tensor.nbytes)
    for tensor in node.outputs:
        yield tensor, Reads("arena", tensor.nbytes)
