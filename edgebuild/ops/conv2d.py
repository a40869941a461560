"""CONV_2D: int8 convolution over NHWC images, with groups, strides and dilation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import conv2d_rows, mve, neon, winograd_dsp, winograd_mve, winograd_neon
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Overlap, Shape, Window
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.overlap import by_groups, by_pixels, by_run
from edgebuild.targets import CpuFeatures

_WORD = 4
"""Values of the input that kernels load at once."""

_NARROW = 2
"""Output channels of a 1x1 kernel up to which making columns costs more than it saves."""


class Conv2D(Operator):
    """Weights are [out channels, kernel height, kernel width, input channels of one group]."""

    kind = "CONV_2D"
    most_operands = 3
    constraints = (
        *conv.weight_constraints(rank=4, axis=0),
        *conv.spatial_constraints(),
        Constraint(
            "input channels are a multiple of the weights', output channels of the groups",
            lambda n: (
                n.input(0).shape[3] % n.input(1).shape[3] == 0
                and n.input(1).shape[0] % _groups(n) == 0
            ),
        ),
        Constraint(
            "no input can overflow a 32-bit accumulator",
            lambda n: conv.accumulators_fit(n, _matrix(n)),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the one NHWC output shape."""
        w = _window(node)
        return ((node.input(0).shape[0], w.out_h, w.out_w, node.input(1).shape[0]),)

    def window(self, node: Node) -> Window:
        """Return the sliding window."""
        return _window(node)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return one for each channel, or one."""
        return conv.effective_scales(node, single_precision_product=False).tolist()

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compute by im2col and an integer matrix product for each group."""
        x = inputs[0]
        assert x is not None
        weights, groups = _matrix(node), _groups(node)
        c = conv.channels(node, weights, single_precision_product=False)
        patches = conv.patches(x, _window(node), node.input(0).zero_point)
        depth, count = node.input(1).shape[3], len(weights) // groups
        parts = []
        for g in range(groups):
            columns = patches[..., g * depth : (g + 1) * depth]
            columns = columns.reshape(*columns.shape[:3], -1)
            # float64 is exact here (|sum| < 2**53) and much faster than an integer product.
            block = weights[g * count : (g + 1) * count].astype(np.float64)
            parts.append((columns.astype(np.float64) @ block.T).astype(np.int64))
        acc = np.concatenate(parts, axis=-1) + c.bias
        return (conv.requantize(node, acc.astype(np.int32), c),)

    def macs(self, node: Node) -> int:
        """Return output elements times the depth of a dot product."""
        return node.output.elements * _matrix_shape(node)[1]

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the call of ``convolution``."""
        return convolution(node, cpu, _matrix(node), _groups(node), _window(node))

    def candidates(self, node: Node, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
        """Return the usual kernel, the portable one, and Winograd's where they pay."""
        tiled = winograd_calls(node, cpu) if winograd_dsp.pays(_window(node)) else ()
        return (*super().candidates(node, cpu), *tiled)

    def fastest(self, node: Node, cpu: CpuFeatures, scratch: int) -> tuple[KernelCall, float]:
        """Return Winograd's kernel for Helium where it pays, else the usual one."""
        if cpu.mve and _groups(node) == 1:
            weights, w, image = _matrix(node), _window(node), node.input(0).shape
            c = conv.channels(node, weights, single_precision_product=False)
            count = winograd_mve.tiles(image[0], w)
            block = winograd_mve.block_in(scratch, image[3], count)
            if block > 0 and winograd_mve.takes(weights, c, w):
                share = winograd_mve.share(image, len(weights), w, block)
                if share < winograd_mve.PAYS:
                    return winograd_mve.winograd_call(node, weights, c, w, block), share
        return super().fastest(node, cpu, scratch)

    def cases(self) -> Iterable[Case]:
        """Yield geometry, channel counts, groups, activations and extreme multipliers."""
        yield _case("pointwise", (1, 4, 4, 8), (6, 1, 1, 8))
        yield _case("pointwise_odd", (1, 3, 3, 5), (3, 1, 1, 5))
        yield _case("pointwise_strided", (1, 5, 5, 4), (4, 1, 1, 4), stride=(2, 2))
        yield _case("same_3x3", (1, 6, 5, 4), (8, 3, 3, 4), padding="SAME")
        yield _case("valid_3x3_rgb", (1, 7, 7, 3), (5, 3, 3, 3))
        yield _case("same_stride_2", (1, 9, 8, 3), (4, 3, 3, 3), padding="SAME", stride=(2, 2))
        yield _case("stride_3_by_1", (1, 9, 8, 2), (4, 3, 2, 2), padding="SAME", stride=(3, 1))
        yield _case("dilated", (1, 9, 9, 4), (3, 3, 3, 4), padding="SAME", dilation=(2, 3))
        yield _case("dilated_valid", (1, 9, 9, 2), (3, 3, 3, 2), dilation=(3, 2))
        yield _case("tall_kernel", (1, 12, 4, 1), (8, 10, 4, 1), padding="SAME", stride=(2, 2))
        yield _case("one_channel", (1, 5, 5, 1), (1, 3, 3, 1), padding="SAME")
        yield _case("one_pixel", (1, 3, 3, 7), (9, 3, 3, 7))
        yield _case("batch_2", (2, 4, 5, 3), (4, 3, 3, 3), padding="SAME")
        yield _case("batch_3_pointwise", (3, 1, 3, 4), (4, 1, 1, 4))
        yield _case("groups_2", (1, 5, 5, 8), (6, 3, 3, 4), padding="SAME")
        yield _case("groups_odd", (1, 4, 4, 6), (9, 2, 2, 2))
        yield _case("no_bias", (1, 4, 4, 4), (4, 3, 3, 4), bias=False)
        yield _case("per_tensor", (1, 5, 5, 3), (5, 3, 3, 3), per_channel=False)
        yield _case("relu", (1, 5, 5, 3), (4, 3, 3, 3), act="RELU", out_zp=-128)
        yield _case("relu_8", (1, 5, 5, 8), (6, 3, 3, 8), act="RELU", out_zp=-128, out_scale=0.05)
        yield _case("relu6", (1, 5, 5, 3), (4, 3, 3, 3), act="RELU6", out_zp=-10)
        yield _case("relu_n1_to_1", (1, 5, 5, 3), (4, 3, 3, 3), act="RELU_N1_TO_1")
        yield _case("left_shift", (1, 4, 4, 4), (4, 3, 3, 4), out_scale=0.0004, bias_range=50)
        yield _case("above_one", (1, 4, 4, 4), (4, 3, 3, 4), out_scale=0.0001, bias_range=50)
        yield _case("tiny_multiplier", (1, 4, 4, 4), (4, 3, 3, 4), out_scale=4e6)
        yield _case("large_bias", (1, 4, 4, 4), (4, 3, 3, 4), out_scale=3e6, bias_range=2**30)
        yield _case("zero_points_low", (1, 5, 4, 4), (4, 3, 3, 4), padding="SAME", in_zp=-128)
        yield _case("zero_points_high", (1, 5, 4, 4), (4, 3, 3, 4), padding="SAME", in_zp=127)
        yield _case("deep", (1, 3, 3, 64), (16, 3, 3, 64), padding="SAME", out_scale=3.0)
        # What training leaves behind, and what the DSP kernel leaves to the portable one.
        yield _case("dead_channels", (1, 4, 4, 8), (6, 1, 1, 8), dead=(1, 4), out_zp=-128)
        yield _case(
            "still_channels", (1, 4, 4, 8), (6, 1, 1, 8), dead=(1, 4), out_zp=-128, out_scale=0.004
        )
        yield _case("no_shift_relu", (1, 4, 4, 8), (5, 1, 1, 8), out_scale=5e-4, out_zp=-128)
        yield _case("no_shift", (1, 4, 4, 8), (5, 1, 1, 8), out_scale=5e-4)
        yield _case("lowest_weights", (1, 4, 4, 4), (4, 3, 3, 4), low=-128, high=-127)
        yield _case("highest_weights", (1, 4, 4, 4), (4, 3, 3, 4), low=127, high=128, out_scale=9.0)
        # Tiles, blocks and runs of the NEON kernel, with something left over of each.
        yield _case("row_of_13", (1, 4, 15, 8), (17, 3, 3, 8))
        yield _case("row_of_11", (2, 3, 11, 24), (8, 3, 3, 24), padding="SAME")
        yield _case("row_of_7", (1, 2, 7, 16), (9, 1, 1, 16), out_scale=5e-4)
        yield _case("narrow_one", (1, 5, 3, 24), (1, 1, 1, 24), out_zp=-128, act="RELU")
        yield _case("narrow_two", (2, 3, 4, 32), (2, 1, 1, 32), out_scale=2.0)
        yield _case("narrow_strided", (2, 5, 7, 5), (2, 1, 1, 5), stride=(2, 2), act="RELU6")
        yield _case("narrow_rest_2", (1, 3, 3, 38), (2, 1, 1, 38), act="RELU", out_zp=-128)
        yield _case("narrow_rest_3", (1, 2, 3, 7), (1, 1, 1, 7), act="RELU6")
        yield _case("narrow_4", (1, 3, 5, 4), (2, 1, 1, 4), act="RELU", out_zp=-128)
        yield _case("depth_12", (1, 3, 6, 12), (24, 1, 1, 12), act="RELU", out_zp=-128)
        yield _case("lowest_in_runs", (1, 4, 10, 16), (10, 3, 3, 16), low=-128, high=-126)
        yield _case("groups_of_blocks", (1, 4, 12, 32), (20, 3, 3, 16), padding="SAME")
        yield _case("dilated_blocks", (1, 7, 12, 16), (8, 3, 3, 16), dilation=(1, 2))
        yield _case("gathered", (1, 8, 10, 2), (48, 5, 3, 2), padding="SAME", stride=(1, 2))
        yield _case("gathered_wide", (1, 4, 9, 9), (64, 2, 2, 9))
        yield _case("rows_in_place", (1, 8, 9, 8), (16, 3, 2, 8), stride=(2, 1))
        yield _case("rows_in_place_padded", (1, 5, 9, 8), (8, 3, 1, 8), padding="SAME")
        # Winograd's tiles of the NEON kernel: all, and some left over each way.
        yield _case("tiles", (1, 8, 16, 8), (16, 3, 3, 8), padding="SAME")
        yield _case(
            "tiles_left_over",
            (2, 7, 15, 16),
            (28, 3, 3, 16),
            padding="SAME",
            act="RELU",
            out_zp=-128,
        )
        yield _case("tiles_stride_2", (1, 16, 16, 4), (4, 3, 3, 4), padding="SAME", stride=(2, 2))
        # As large as 64 times the sums may be in 32 bits.
        yield _case("tiles_high", (1, 6, 8, 224), (8, 3, 3, 224), low=-128, high=-127, out_scale=60)
        yield _case("tiles_valid", (1, 9, 17, 24), (14, 3, 3, 24), out_scale=5e-4, in_zp=-128)
        yield _case(
            "tiles_lowest", (1, 4, 8, 64), (16, 3, 3, 64), padding="SAME", low=-128, high=-127
        )
        yield _case("tiles_deep", (1, 12, 11, 46), (24, 3, 3, 46), padding="SAME", out_scale=2.0)
        # Rows of the DSP kernel for few channels: one copy or two, odd pixels, what is left over.
        few: dict[str, Any] = {"padding": "SAME", "act": "RELU", "out_zp": -128}
        yield _case("few_stride_2", (1, 13, 14, 3), (8, 3, 3, 3), stride=(2, 2), **few)
        yield _case("few_in_two_copies", (1, 9, 11, 3), (7, 3, 3, 3), **few)
        yield _case("few_tall", (1, 40, 5, 1), (9, 10, 4, 1), stride=(2, 2), **few)
        yield _case("few_moved", (2, 70, 3, 2), (5, 3, 2, 2), act="RELU6", out_zp=-128)
        yield _case("few_rows_between", (1, 15, 20, 4), (6, 2, 3, 4), stride=(4, 3), **few)
        yield _case("few_in_a_line", (1, 1, 30, 1), (12, 1, 9, 1), stride=(1, 2), **few)
        yield _case("few_single", (1, 5, 4, 2), (3, 5, 4, 2), act="RELU", out_zp=-128)
        yield _case("wide_sums", (1, 1, 1, 600), (3, 1, 1, 600), low=126, high=128, out_scale=50.0)


def convolution(
    node: Node, cpu: CpuFeatures, weights: np.ndarray, groups: int, w: Window
) -> KernelCall:
    """Return the kernel of the core's extension that takes the layer, else the portable one;
    ``weights`` is int8 [output channels, depth], with the input's channels last in the depth."""
    c = conv.channels(node, weights, single_precision_product=False)
    if cpu.neon:
        matrix = _neon_matrix(node, weights, c, groups, w)
        tiled = winograd_neon.takes(matrix) and winograd_neon.pays(matrix)
        return (winograd_neon.winograd_call if tiled else neon.conv2d_call)(node, matrix)
    out_c, depth = len(weights) // groups, weights.shape[1]
    image = node.input(0).shape
    pointwise = _is_plain(w) and groups == 1
    if cpu.mve and groups == 1 and mve.fits(c):
        return mve.conv2d_call(node, weights, c, w, pointwise=pointwise)
    if cpu.dsp and groups == 1 and not pointwise:
        rows = conv2d_rows.rows_call(node, weights, c, w)
        if rows is not None:
            return rows
    # Rarely a layer is beyond the DSP kernels' limits: huge sums, or multipliers above 1/2.
    one_tap = groups == w.kernel_h == w.kernel_w == 1
    if cpu.dsp and one_tap and out_c <= _NARROW and depth >= _WORD:
        stream = _stream(node, _overlapped(weights), c, groups, _NARROW)
        if stream is not None:
            return _pointwise_call(node, w, stream, "conv2d_1x1_narrow_s8_dsp", (), 0)
    stream = _stream(node, weights, c, groups) if cpu.dsp else None
    if stream is None:
        overlap = (
            by_run(node, 2, buffered=True)
            if pointwise
            else by_groups(node, w, 2, buffered=groups == 1)
        )
        return portable_call(node, weights, c, groups, w, image, overlap)
    if one_tap and depth % _WORD == 0:
        return _pointwise_call(node, w, stream, "conv2d_1x1_s8_dsp", (_PAIRS,), 4 * depth)
    params = {
        **_geometry(node, weights, groups, w, image),
        "once": stream.once,
        "weights": "NULL",
        "channels": stream.words,
    }
    return KernelCall(
        "eb_conv2d_s8_dsp",
        "conv2d/conv2d.h",
        ("conv2d/conv2d_s8_dsp.c", _PAIRS),
        "eb_conv2d_params",
        params,
        scratch_bytes=4 * (depth + -depth % 4) + 2 * depth + 3,
        overlap=(by_groups if conv.is_column(image, w) else by_pixels)(
            node, w, 2, buffered=groups == 1
        ),
    )


def portable_call(
    node: Node,
    weights: np.ndarray,
    c: conv.Channels,
    groups: int,
    w: Window,
    image: Shape,
    overlap: Overlap | None,
) -> KernelCall:
    """Return the call of the kernel that runs on every core, for ``weights`` int8 [groups *
    channels, depth] and an input that has the shape of ``image``."""
    depth = weights.shape[1]
    pointwise = _is_plain(w) and groups == 1
    words = depth + -depth % 4
    once = conv.once_rounded(node, weights, c)
    params = {
        **_geometry(node, weights, groups, w, image),
        "pointwise": pointwise,
        "once": once is not None,
        "weights": conv.pack_words(conv.even(weights, groups), 2),
        "channels": conv.even(conv.word_channels(c, weights, once), groups),
    }
    return KernelCall(
        "eb_conv2d_s8",
        "conv2d/conv2d.h",
        ("conv2d/conv2d_s8.c",),
        "eb_conv2d_params",
        params,
        scratch_bytes=4 * words + (0 if pointwise else words),
        overlap=overlap,
    )


def _is_plain(w: Window) -> bool:
    return (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w) == (1, 1, 1, 1)


def _geometry(
    node: Node, weights: np.ndarray, groups: int, w: Window, image: Shape
) -> dict[str, object]:
    """Return the fields of ``eb_conv2d_params`` that all its kernels read."""
    depth = weights.shape[1]
    dilation = w.dilation_h if conv.is_column(image, w) else w.dilation_w
    return {
        **conv.geometry(image, w),
        "out_c": len(weights) // groups,
        "kernel_c": depth // (w.kernel_h * w.kernel_w),
        "groups": groups,
        "depth": depth,
        "pad": node.input(0).zero_point,
        "contiguous": groups == 1 and dilation == 1,
        "clamp": conv.clamps(node),
        "output": conv.output_stage(node),
    }


_PAIRS = "conv2d/conv2d_pairs_dsp.c"


@dataclass(frozen=True)
class _Stream:
    """The int32 ``words`` that ``conv2d_pairs_dsp.c`` reads, with one rounding or two."""

    words: np.ndarray
    once: bool


def _stream(
    node: Node, weights: np.ndarray, c: conv.Channels, groups: int, together: int = 4
) -> _Stream | None:
    """Return the stream for weights int8 [groups * channels, depth], ``together`` channels at a
    time; None beyond the DSP kernels' limits."""
    once = conv.once_rounded(node, weights, c)
    if once is not None and conv.halfwords_fit(weights, groups):
        start, multiplier = _blocks(once, groups, together).transpose(2, 0, 1)
        last = np.hstack([multiplier[:, 0::2], multiplier[:, 1::2]])
        return _Stream(_joined(start, _blocks(weights, groups, together), last), once=True)
    d = conv.dsp_channels(node, weights, c)
    if not conv.pairs_fit(weights, d, groups):
        return None
    table = _blocks(d.table, groups, together).astype(np.int64)
    start = table[..., 0] * np.resize([2, 256], together)
    last = table[..., 1:].reshape(len(table), -1)
    return _Stream(_joined(start, _blocks(weights, groups, together), last), once=False)


def _blocks(rows: np.ndarray, groups: int, together: int) -> np.ndarray:
    """Return [groups * channels, numbers] as [blocks, together, numbers], each group filled with
    zeros."""
    blocks = rows.reshape(groups, -1, rows.shape[1])
    padded = np.pad(blocks, ((0, 0), (0, -blocks.shape[1] % together), (0, 0)))
    return padded.reshape(-1, together, rows.shape[1])


def _joined(start: np.ndarray, weights: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return starts [blocks, channels], weights [blocks, channels, depth] and ``last`` [blocks,
    words] in turn."""
    pairs = conv.pack_pairs(weights.reshape(-1, weights.shape[2]), 4).view("<i4")
    words = (
        pairs.reshape(len(start), start.shape[1] // 2, -1)
        .transpose(0, 2, 1)
        .reshape(len(start), -1)
    )
    rows = [start[:, 1::2], words, start[:, 0::2], last]
    return np.hstack(rows).astype(np.int32).reshape(-1)


def _overlapped(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, depth] with zeros behind the first word of values: those of
    the second word that are in the first one, so that the last word ends with the depth."""
    zeros = np.zeros((len(weights), -weights.shape[1] % _WORD), np.int8)
    return np.concatenate([weights[:, :_WORD], zeros, weights[:, _WORD:]], axis=1)


def _pointwise_call(
    node: Node,
    w: Window,
    stream: _Stream,
    name: str,
    sources: tuple[str, ...],
    scratch_bytes: int,
) -> KernelCall:
    batches, in_h, in_w, in_c = node.input(0).shape
    out_c = node.output.shape[3]
    plain = (w.stride_h, w.stride_w) == (1, 1)
    params = {
        "batches": 1 if plain else batches,
        "rows": 1 if plain else w.out_h,
        "pixels": batches * w.out_h * w.out_w if plain else w.out_w,
        "in_c": in_c,
        "out_c": out_c,
        "pixel_step": w.stride_w * in_c,
        "row_step": w.stride_h * in_w * in_c,
        "image_step": in_h * in_w * in_c,
        "clamp": conv.clamps(node),
        "once": stream.once,
        "stream": stream.words,
        "output": conv.output_stage(node),
    }
    return KernelCall(
        f"eb_{name}",
        "conv2d/conv2d.h",
        (f"conv2d/{name}.c", *sources),
        "eb_conv2d_1x1_params",
        params,
        scratch_bytes=scratch_bytes,
        overlap=by_run(node, 2, buffered=True) if plain else by_pixels(node, w, 2, buffered=True),
    )


def winograd_calls(node: Node, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
    """Return Winograd's kernels that may run a layer; those for the DSP extension pay in plain C,
    too."""
    weights = _matrix(node)
    if cpu.mve or cpu.neon or _groups(node) != 1:
        return ()
    c = conv.channels(node, weights, single_precision_product=False)
    return winograd_dsp.calls(node, weights, conv.dsp_channels(node, weights, c), _window(node))


def _neon_matrix(
    node: Node, weights: np.ndarray, c: conv.Channels, groups: int, w: Window
) -> neon.Matrix:
    batches, in_h, in_w, in_c = node.input(0).shape
    kernel_c = weights.shape[1] // (w.kernel_h * w.kernel_w)
    plain = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w) == (1, 1, 1, 1)
    if plain and groups == 1:
        return neon.pixels(weights, c, batches * in_h, in_w)
    return neon.Matrix(weights, c, groups, (batches, in_h, in_w, in_c), kernel_c, w)


def _groups(node: Node) -> int:
    return node.input(0).shape[3] // node.input(1).shape[3]


def _matrix_shape(node: Node) -> tuple[int, int]:
    out_c, kernel_h, kernel_w, kernel_c = node.input(1).shape
    return out_c, kernel_h * kernel_w * kernel_c


def _matrix(node: Node) -> np.ndarray:
    """Return the weights as int8 [output channels, depth]."""
    data = node.input(1).data
    assert data is not None
    return data.reshape(_matrix_shape(node))


def _window(node: Node) -> Window:
    return conv.window(node, node.input(1).shape[1], node.input(1).shape[2])


def _case(
    name: str,
    x: Shape,
    w: Shape,
    *,
    padding: str = "VALID",
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    bias: bool = True,
    bias_range: int = 2000,
    per_channel: bool = True,
    act: str = "NONE",
    in_zp: int = 5,
    out_zp: int = -3,
    out_scale: float = 0.5,
    low: int = -127,
    high: int = 128,
    dead: tuple[int, ...] = (),
) -> Case:
    rng = np.random.default_rng(len(name))
    weights = rng.integers(low, high, w)
    scales = 0.002 * rng.uniform(0.2, 2.0, w[0] if per_channel else 1)
    out_h = conv.output_length(padding, x[1], w[1], stride[0], dilation[0])
    out_w = conv.output_length(padding, x[2], w[2], stride[1], dilation[1])
    bias_data = rng.integers(-bias_range, bias_range, w[0])
    for channel in dead:  # a tiny scale, and the bias that the converter clips to 2**30
        scales[channel], bias_data[channel] = 1e-10, 2**30
    biases = constant(bias_data, (scales * 0.1).tolist(), dtype=DType.INT32)
    return one_op(
        name,
        "CONV_2D",
        [activation(x, 0.1, in_zp), constant(weights, scales.tolist()), biases if bias else None],
        [activation((x[0], out_h, out_w, w[0]), out_scale, out_zp)],
        {
            "padding": padding,
            "stride_h": stride[0],
            "stride_w": stride[1],
            "dilation_h_factor": dilation[0],
            "dilation_w_factor": dilation[1],
            "fused_activation_function": act,
        },
    )
