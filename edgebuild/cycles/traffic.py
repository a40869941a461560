"""What one layer moves: the code that it fetches, the constants and activations that it reads.

Both follow from a kernel call's parameters and the loops of its C, like the counts of ``Work``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgebuild.cycles.kernels import kernel_name
from edgebuild.graph import Node, Tensor
from edgebuild.memory import MemoryPlan
from edgebuild.ops import KernelCall
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


@dataclass(frozen=True)
class CodeRuns:
    """Code as loops that lie in each other: ``runs`` are (bytes, how often they run).

    ``pieces`` are the bytes from the first to the last instruction of each piece of the kernel's
    code that lies apart from the others; where, only the linker knows.
    """

    runs: tuple[tuple[float, float], ...]
    fetched: float
    jumps: float
    literals: float
    accesses: float
    pieces: tuple[float, ...] = ()

    @property
    def size(self) -> float:
        """Bytes of code, each counted once."""
        return sum(size for size, _ in self.runs)

    def misses(self, cache: Cache) -> tuple[float, float]:
        """Return the lines that ``cache`` fills when it replaces what was used longest ago.

        A loop that fits is filled once; of the innermost one that does not, every line is missed
        in each round, and what lies around it whenever it runs. At most, pieces that lie apart
        share as many sets of a cache of few ways as they can.
        """
        line = cache.line_bytes
        runs = sorted(self.runs, key=lambda run: -run[1])
        inner = least = 0.0
        for position, (size, times) in enumerate(runs):
            inner += size
            if inner > cache.size_bytes:
                around = sum(size * times for size, times in runs[position + 1 :])
                least = (inner * times + around) / line
                break
        else:
            least = inner / line
        return least, max(least, self._conflicts(cache)) if cache.ways <= FEW_WAYS else least

    def _conflicts(self, cache: Cache) -> float:
        """Return the fills, at most, where the pieces share sets; what is used least is missed."""
        way = cache.sets * cache.line_bytes
        whole = sum(int(piece // way) for piece in self.pieces)
        rests = sorted((piece % way for piece in self.pieces), reverse=True)
        excess = way * max(0, whole - cache.ways) + sum(rests[max(0, cache.ways - whole) :])
        # Each line too many meets ways lines that are used as often or more, of those that run.
        excess = min(excess, self.size / (1 + cache.ways))
        uses = self._uses(excess * cache.ways, excess * (1 + cache.ways)) / cache.line_bytes
        every = self._uses(0, self.size) / cache.line_bytes
        return min(every, self.size / cache.line_bytes + (1 + cache.ways) * uses)

    def _uses(self, start: float, end: float) -> float:
        """Return bytes times uses of those that rank from ``start`` to ``end`` by their uses."""
        found = position = 0.0
        for size, times in sorted(self.runs, key=lambda run: -run[1]):
            inside = min(end, position + size) - max(start, position)
            found += max(0.0, inside) * times
            position += size
        return found


def code_runs(
    code: Mapping[str, Sequence[float]],
    moved: Mapping[str, Mapping[str, float]],
    counts: Mapping[str, float],
    pieces: Sequence[float] = (),
) -> CodeRuns:
    """Return the code of a kernel whose parts run ``counts`` times.

    ``code`` has for each part the bytes that belong to it and how often they run at one execution,
    ``moved`` for each of ``MOVED`` how much of it a part moves; ``pieces``: see ``CodeRuns``.
    """
    runs = tuple(
        (size, times * counts[part]) for part, (size, times) in code.items() if counts.get(part)
    )
    totals = {
        what: sum(moved[what].get(part, 0.0) * count for part, count in counts.items())
        for what in MOVED
    }
    return CodeRuns(runs, **totals, pieces=tuple(pieces))


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
    if p["pointwise"]:
        pairs = -(-p["batches"] * p["out_h"] * p["out_w"] // 2)
    else:
        pairs = p["batches"] * p["out_h"] * -(-p["out_w"] // 2)
    yield Reads("weights", p["weights"].nbytes, pairs, unit=1)
    yield Reads("weights", p["channels"].nbytes, pairs)


def _conv_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    weights, channels = _conv(p)
    yield Reads("weights", weights.size, weights.passes)
    yield channels


def _depthwise(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Every pixel meets all weights; the taps of a channel lie a row of channels apart."""
    pixels = p["batches"] * p["out_h"] * p["out_w"]
    taps = p["kernel_h"] * p["kernel_w"]
    run = 4 if p["multiplier"] == 1 and p["in_c"] >= 4 else 1
    yield Reads("weights", p["weights"].nbytes, pixels, run=run, unit=1, taps=taps)
    yield Reads("weights", p["channels"].nbytes, pixels)


def _depthwise_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Weights of four channels are widened once; their biases are read again for every pixel."""
    taps = p["kernel_h"] * p["kernel_w"]
    yield Reads("weights", p["weights"].nbytes, run=4, taps=taps)
    pixels = p["batches"] * p["out_h"] * p["out_w"]
    four = 4 * p["channels"].nbytes // max(1, p["in_c"])
    yield Reads("weights", p["channels"].nbytes, window=four, repeats=pixels)


def _depthwise_3x3_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    """Weights and what belongs to channels are read once, into scratch."""
    yield Reads("weights", p["weights"].nbytes, run=4, unit=1, taps=9)
    yield Reads("weights", p["channels"].nbytes)


def _dense(p: Mapping[str, Any]) -> Iterator[Reads]:
    yield Reads("weights", p["weights"].nbytes, p["batches"], unit=1)
    yield Reads("weights", p["channels"].nbytes, p["batches"])


def _dense_dsp(p: Mapping[str, Any]) -> Iterator[Reads]:
    yield Reads("weights", p["weights"].nbytes, p["batches"])
    yield Reads("weights", p["channels"].nbytes, p["batches"])


_WALKS = {
    "conv2d_s8": _conv,
    "conv2d_s8_dsp": _conv_dsp,
    "depthwise_conv2d_3x3_s8_dsp": _depthwise_3x3_dsp,
    "depthwise_conv2d_s8": _depthwise,
    "depthwise_conv2d_s8_dsp": _depthwise_dsp,
    "fully_connected_s8": _dense,
    "fully_connected_s8_dsp": _dense_dsp,
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
        if name in ("depthwise_conv2d_s8_dsp", "depthwise_conv2d_3x3_s8_dsp"):
            # Four channels of the whole image, then the next four.
            yield tensor, Reads("arena", tensor.nbytes, run=4, window=tensor.nbytes)
        elif kernel_h > 1:
            row = tensor.nbytes // max(1, math.prod(tensor.shape[:2]))
            rows = kernel_h / p["stride_h"]
            repeats = max(1.0, rows)
            yield tensor, Reads("arena", tensor.nbytes, window=kernel_h * row, repeats=repeats)
        elif name.startswith("fully_connected"):
            # Two units, with the DSP extension four, meet the whole input at a time.
            units = 4 if name.endswith("_dsp") else 2
            yield tensor, Reads("arena", p["depth"], p["batches"] * -(-p["units"] // units))
        else:
            yield tensor, Reads("arena", tensor.nbytes)
    for tensor in node.outputs:
        yield tensor, Reads("arena", tensor.nbytes)
