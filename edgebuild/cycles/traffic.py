"""What one layer reads: its constants and its activations.

That follows from a kernel call's parameters and the loops of its C, like the counts of ``Work``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.cycles.kernels import kernel_name
from edgebuild.graph import Node, Tensor
from edgebuild.memory import MemoryPlan
from edgebuild.ops import KernelCall
from edgebuild.ops.base import executed
from edgebuild.ops.fully_connected_dsp import groups_of


@dataclass(frozen=True)
class Reads:
    """An array that a layer walks over.

    ``role`` is ``weights``, ``arena``, or ``parameters`` (the structure that a kernel is called
    with). All ``size`` bytes are read ``passes`` times, in runs of ``run`` bytes that lie apart
    (None: from the first byte to the last), by loads of ``unit`` bytes. Within a pass, parts of
    ``window`` bytes, or ``taps`` lines, are read ``repeats`` times before the walk goes on.
    ``maybe``: the compiler may keep some of it in registers. ``bank`` is that of a split arena;
    None where it is not known, or not split. ``call``: which one of the step's kernel calls reads
    it; ``again``: as an earlier call of the same operator did, if it is a constant.
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
    call: int = 0
    again: bool = False

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


def layer_reads(node: Node, call: KernelCall, plan: MemoryPlan | None = None) -> tuple[Reads, ...]:
    """Return what a step reads of its constants and its activations; in which banks, where ``plan``
    splits the arena."""
    split = plan if plan is not None and len(plan.bank_bytes) > 1 else None
    found: list[Reads] = []
    operators: set[int] = set()
    for number, (one, own) in enumerate(executed(node, call)):
        again = one.output.index in operators
        operators.add(one.output.index)
        reads = (*_constants(one, own), *_activations(one, own, split))
        found += (dataclasses.replace(read, call=number, again=again) for read in reads)
    return tuple(found)


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
