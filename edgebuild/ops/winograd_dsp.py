"""Winograd's tiles of 3x3 layers for the DSP extension; see ``conv2d_winograd_dsp.h``."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.overlap import by_tiles
from edgebuild.ops.winograd import FOUR, STRIDE_2, Form

_CHANNELS = 4  # of the output, computed together
_PAIR = 2  # tiles


@dataclass(frozen=True)
class Kernel:
    """How a form is computed: ``eb_winograd_form``.

    ``narrow`` is the kernel that expands int8 weights while it runs, if there is one. The last step
    takes ``more_bits`` than twice the accumulator has.
    """

    form: Form
    function: str
    narrow: str
    work_words: int
    more_bits: int

    def takes(self, d: conv.DspChannels) -> bool:
        """Return whether the outputs of a layer are exact."""
        most = conv.MAX_DSP_RIGHT - self.more_bits
        return d.exact and bool(np.all((d.reach < self.form.reach) & (d.table[:, 3] <= most)))

    def channels(self, d: conv.DspChannels) -> np.ndarray:
        """Return the table of ``eb_channel_dsp`` for its sums, in fours."""
        table = np.pad(d.table.astype(np.int64), ((0, -len(d.table) % _CHANNELS), (0, 0)))
        table[:, 0] *= self.form.factor
        table[:, 2] = (table[:, 2] << self.more_bits) + (1 << self.more_bits >> 1)
        table[:, 3] += self.more_bits
        return (table & 0xFFFFFFFF).astype(np.uint32).view(np.int32)  # modulo 2**32


KERNELS = (
    Kernel(
        FOUR,
        function="conv2d_s8_winograd_dsp",
        narrow="conv2d_s8_winograd_narrow_dsp",
        work_words=288,
        more_bits=5,
    ),
    Kernel(
        STRIDE_2,
        function="conv2d_s8_winograd_stride2_dsp",
        narrow="",
        work_words=135,
        more_bits=0,
    ),
)

PARTS = (192, 96, 48, 24, 16, 8)
"""Values of depth for which weights are expanded at a time: more take more memory, less time."""

NARROW_SCRATCH = tuple(size << 10 for size in (128, 96, 64, 48, 36, 24, 18, 12, 8, 6))
"""Bytes that pairs of tiles may take where weights are expanded: more tiles share an expansion."""


def pays(w: Window) -> bool:
    """Return whether the tiles of a layer take clearly fewer products than the layer has."""
    tiles = (
        (form.points, math.ceil(w.out_h / form.tile) * math.ceil(w.out_w / (_PAIR * form.tile)))
        for form in (FOUR, STRIDE_2)
        if form.stride == w.stride_h
    )
    return any(_PAIR * points * count < 0.8 * 9 * w.out_h * w.out_w for points, count in tiles)


def calls(
    node: Node, weights: np.ndarray, d: conv.DspChannels, w: Window
) -> tuple[KernelCall, ...]:
    """Return the kernels that may run a 3x3 layer without groups; ``weights`` is int8 [channels,
    depth]."""
    sizes = (w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w)
    found = []
    for kernel in KERNELS:
        strides = (kernel.form.stride, kernel.form.stride)
        if sizes == (3, 3, 1, 1) and (w.stride_h, w.stride_w) == strides and kernel.takes(d):
            found.append(_call(node, kernel, weights, d, w))
            if kernel.narrow:
                found += _narrow(found[-1], node, kernel, weights, w)
    return tuple(found)


def _call(
    node: Node, kernel: Kernel, weights: np.ndarray, d: conv.DspChannels, w: Window
) -> KernelCall:
    """Return the call of the kernel that reads points."""
    form = kernel.form
    batches, in_h, in_w, in_c = node.input(0).shape
    depth = _depth(in_c)
    params = {
        "batches": batches,
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "out_h": w.out_h,
        "out_w": w.out_w,
        "out_c": len(weights),
        "pad_top": w.pad_top,
        "pad_left": w.pad_left,
        "pad": node.input(0).zero_point,
        "clamp": conv.clamps(node),
        "block": 1,
        "part": depth,
        "weights": pack_points(weights.reshape(-1, 9, in_c), form),
        "channels": kernel.channels(d),
        "output": conv.output_stage(node),
    }
    return KernelCall(
        f"eb_{kernel.function}",
        "conv2d/conv2d_winograd_dsp.h",
        (f"conv2d/{kernel.function}.c", "conv2d/conv2d_winograd_dsp.c"),
        "eb_conv2d_winograd_params",
        params,
        scratch_bytes=4 * (kernel.work_words + form.points * depth),
        overlap=by_tiles(node, w, form.tile, _PAIR * form.tile, 1),
    )


def _narrow(
    call: KernelCall, node: Node, kernel: Kernel, weights: np.ndarray, w: Window
) -> list[KernelCall]:
    """Return calls of the kernel that expands weights, for a ``call`` of the other: the more
    scratch one has, the fewer expansions."""
    form = kernel.form
    batches, *_, in_c = node.input(0).shape
    depth = _depth(in_c)
    each = 4 * (kernel.work_words + form.points * depth)
    pairs = batches * math.ceil(w.out_h / form.tile) * math.ceil(w.out_w / (_PAIR * form.tile))
    packed = pack_narrow(weights.reshape(-1, 9, in_c))
    ways: dict[tuple[int, int], None] = {}
    for part in sorted({min(depth, part) for part in PARTS}, reverse=True):
        for room in NARROW_SCRATCH:
            most = max(1, min(pairs, (room - _expanded(form, part)) // each))
            ways[math.ceil(pairs / math.ceil(pairs / most)), part] = None
    return [
        dataclasses.replace(
            call,
            function=f"eb_{kernel.narrow}",
            params={**call.params, "block": block, "part": part, "weights": packed},
            scratch_bytes=block * each + _expanded(form, part),
            overlap=by_tiles(node, w, form.tile, _PAIR * form.tile, block),
        )
        for block, part in ways
    ]


def _expanded(form: Form, part: int) -> int:
    """Return the bytes of the expanded weights of four channels and ``part`` values of depth."""
    return 2 * _CHANNELS * form.points * part


def _depth(in_c: int) -> int:
    return in_c + -in_c % 4


def pack_narrow(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, 9, in_c] as [channels / 4, depth / 4, 4, 9, 4]; zeros fill."""
    whole = np.pad(weights, ((0, -len(weights) % _CHANNELS), (0, 0), (0, -weights.shape[2] % 4)))
    fours = whole.reshape(-1, _CHANNELS, 9, whole.shape[2] // 4, 4)
    return np.ascontiguousarray(fours.transpose(0, 3, 1, 2, 4)).reshape(-1)


def pack_points(weights: np.ndarray, form: Form) -> np.ndarray:
    """Return weights int8 [channels, 9, in_c] as points: int16 [channels / 4, points, depth / 2, 4,
    2] in bytes, the depth in the order 0, 2, 1, 3 of fours that zeros fill, as they do channels."""
    points = form.transformed(weights, _CHANNELS, 4)
    ordered = points.reshape(-1, _CHANNELS, form.points, points.shape[2] // 4, 4)[..., [0, 2, 1, 3]]
    pairs = ordered.reshape(-1, _CHANNELS, form.points, points.shape[2] // 2, 2)
    packed = np.ascontiguousarray(pairs.transpose(0, 2, 3, 1, 4))
    return packed.reshape(-1).view(np.int8)
