"""What CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED share: padding, channels, constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops.base import Constraint, Shape, Window
from edgebuild.ops.fixed_point import (
    activation_range,
    multiply_by_quantized_multiplier,
    quantize_multipliers,
)
from edgebuild.ops.single_rounding import single_rounding

ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")

BAND = "band"
"""The attribute of a node for some rows alone: (padding above them, how many they are)."""

EXPLICIT, PADS = "EXPLICIT", "pads"
"""The padding of a convolution with paddings of its own, and the attribute that has them: rows
above and below, columns to the left and to the right."""

MAX_HALFWORD = 2**16 - 1

MAX_DSP_RIGHT = 22
"""Of a zero point shifted left by more the sum could overflow."""


def output_length(padding: str, length: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Return the output length along one axis (TensorFlow's SAME and VALID)."""
    extent = (kernel - 1) * dilation + 1
    if padding == "SAME":
        return -(-length // stride)
    return max(-(-(length - extent + 1) // stride), 0)


def pad_before(length: int, out: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Return the padding before the first element; an odd one goes behind the last."""
    extent = (kernel - 1) * dilation + 1
    return max((out - 1) * stride + extent - length, 0) // 2


@dataclass(frozen=True)
class Channels:
    """Per-channel integers of a layer with weights; arrays of int32 [channels].

    ``bias`` includes the input's zero point times the sum of the weights.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray

    def table(self) -> np.ndarray:
        """Return (bias, multiplier, shift) of each channel in turn, as ``eb_channel``."""
        return np.stack([self.bias, self.multiplier, self.shift], axis=1).astype(np.int32)


@dataclass(frozen=True)
class DspChannels:
    """The same as the DSP kernels take them: int32 ``table`` [channels, 4] of ``eb_channel_dsp``.

    ``reach`` is the largest magnitude (int64) of each accumulator that matters, and ``exact`` tells
    that ``eb_scale_dsp`` equals TFLite's requantization for every channel and every input.
    """

    table: np.ndarray
    reach: np.ndarray
    exact: bool


def even(rows: np.ndarray, groups: int) -> np.ndarray:
    """Return ``rows`` [groups * channels, n] with a row of zeros behind an odd number of each
    group."""
    blocks = rows.reshape(groups, -1, rows.shape[1])
    padded = np.pad(blocks, ((0, 0), (0, blocks.shape[1] % 2), (0, 0)))
    return padded.reshape(-1, rows.shape[1])


def dsp_channels(node: Node, weights: np.ndarray, c: Channels) -> DspChannels:
    """Return ``c`` for the DSP kernels; ``weights`` is int8 [channels, depth]."""
    ends = _accumulator_range(c.bias.astype(np.int64), weights)
    lowest, highest = (requantize(node, end.astype(np.int32), c).astype(np.int64) for end in ends)
    # Training leaves dead channels, with multipliers beyond all limits: always the same output.
    dead = (lowest == highest) & ~may_wrap(ends, c)
    right = np.where(dead, 1, -c.shift.astype(np.int64))
    offset = node.output.zero_point
    # Without a right shift a negative value comes out one too low, which saturation may hide.
    least = 0 if offset == -128 else 1
    reach = np.where(dead, 0, np.maximum(np.abs(ends[0]), np.abs(ends[1])))
    exact = bool(np.all((right >= least) & (right <= MAX_DSP_RIGHT) & (reach < 2**30)))
    shift = np.clip(right, 0, MAX_DSP_RIGHT)
    target = np.where(dead, lowest, offset)
    columns = (
        np.where(dead, 0, c.bias),
        np.where(dead, 0, c.multiplier),
        (np.int64(1) << shift >> 1) + target * (np.int64(1) << shift),
        shift,
    )
    return DspChannels(np.stack(columns, axis=1).astype(np.int32), reach, exact)


def once_rounded(
    node: Node, weights: np.ndarray, c: Channels, *, alike: bool = False
) -> np.ndarray | None:
    """Return int32 [channels, 2] of (256 * bias + fraction, multiplier), see ``single_rounding``;
    None where the layer must round twice. ``weights`` is int8 [channels, depth]; ``alike``:
    channels of one scale have one multiplier."""
    if node.output.zero_point != -128:
        return None
    bias = c.bias.astype(np.int64)
    ends = _accumulator_range(bias, weights)
    if alike:
        both = ends[0].min(keepdims=True), ends[1].max(keepdims=True)
        one = single_rounding(c.multiplier[:1], -c.shift[:1], both)
        if one is None:
            return None
        starts = 256 * bias + one[0, 0].astype(np.int64)
        return np.stack([starts, np.full_like(starts, one[0, 1])], axis=1).astype(np.int32)
    lowest, highest = (requantize(node, end.astype(np.int32), c).astype(np.int64) for end in ends)
    # Channels that always give the same output: about half a level above it, whatever the input.
    fixed = np.where(lowest == -128, 0, (2 * (lowest + 128) + 1) << 11)
    widest = np.maximum(*(np.abs(end - bias) for end in ends))
    still = (lowest == highest) & ~may_wrap(ends, c) & (widest * fixed < 2**33)
    found = single_rounding(np.where(still, 0, c.multiplier), -c.shift, ends)
    if found is None:
        return None
    fraction, multiplier = found.astype(np.int64).T
    # The start alone may leave 32 bits; what any input adds brings it back.
    start = np.where(still, 2**30, 256 * bias + fraction)
    return np.stack([start, np.where(still, fixed, multiplier)], axis=1).astype(np.int32)


def channels(node: Node, weights: np.ndarray, *, single_precision_product: bool) -> Channels:
    """Return the integers of each output channel; ``weights`` is int8 [channels, depth].

    ``single_precision_product``: TFLite multiplies a per-tensor layer's input and filter scales in
    float32 (``GetQuantizedConvolutionMultipler``) and per-channel ones in double
    (``PopulateConvolutionQuantizationParams``).
    """
    real = effective_scales(node, single_precision_product=single_precision_product)
    multiplier, shift = quantize_multipliers(real)
    count = weights.shape[0]
    multiplier, shift = np.resize(multiplier, count), np.resize(shift, count)
    return Channels(folded_bias(node, weights).astype(np.int32), multiplier, shift)


def effective_scales(node: Node, *, single_precision_product: bool) -> np.ndarray:
    """Return float64 input scale times weight scales over output scale, one or one per channel."""
    x, w, y = node.input(0), node.input(1), node.output
    scales = np.array(w.quantization.scales if w.quantization else (1.0,), np.float32)
    if single_precision_product and len(scales) == 1:
        with np.errstate(over="ignore", under="ignore"):
            product = np.float64(np.float32(x.scale) * scales[0])
        return np.array([product / np.float64(np.float32(y.scale))])
    real = np.float64(np.float32(x.scale)) * scales.astype(np.float64)
    return np.asarray(real / np.float64(np.float32(y.scale)))


def own_bias(node: Node, weights: np.ndarray) -> np.ndarray:
    """Return the layer's bias, int64 [channels]; zeros where it has none."""
    bias = node.optional_input(2)
    if bias is None or bias.data is None:
        return np.zeros(weights.shape[0], np.int64)
    return bias.data.reshape(-1).astype(np.int64)


def folded_bias(node: Node, weights: np.ndarray) -> np.ndarray:
    """Return int64 ``bias - zero_point * sum(weights)`` for weights [channels, depth]."""
    total = weights.sum(axis=1, dtype=np.int64)
    return own_bias(node, weights) - node.input(0).zero_point * total


def _accumulator_range(bias: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the int64 (lowest, highest) accumulators over all inputs, for a folded ``bias``."""
    # Inputs are within -128..127, whatever their zero point.
    products = -128 * weights.astype(np.int64), 127 * weights.astype(np.int64)
    low, high = np.minimum(*products).sum(axis=1), np.maximum(*products).sum(axis=1)
    return bias + low, bias + high


def may_wrap(ends: Sequence[np.ndarray], c: Channels) -> np.ndarray:
    """Return for each channel whether a left shift may wrap an accumulator between these ``ends``:
    then the requantization of those between them is not between that of the ends."""
    largest = np.maximum(*(np.abs(end.astype(np.int64)) for end in ends))
    return np.asarray(largest << np.maximum(c.shift.astype(np.int64), 0) >= 2**31)


def accumulators_fit(node: Node, weights: np.ndarray) -> bool:
    """Return whether no input can overflow an int32 accumulator, not even on the way."""
    # An input less its zero point is within -255..255; folding the zero point adds no more, nor
    # does the one that `word_channels` folds.
    magnitude = 257 * np.abs(weights.astype(np.int16)).sum(axis=1, dtype=np.int64)
    return bool(np.all(np.abs(own_bias(node, weights)) + magnitude < 2**31 - 1))


def requantize(node: Node, acc: np.ndarray, c: Channels) -> np.ndarray:
    """Return int8 outputs from int32 accumulators [..., channels]."""
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    scaled = multiply_by_quantized_multiplier(acc, c.multiplier, c.shift)
    shifted = scaled.astype(np.int64) + node.output.zero_point
    return np.clip(shifted, low, high).astype(np.int8)


def output_stage(node: Node) -> dict[str, int]:
    """Return the fields of ``eb_output_stage``."""
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    return {"offset": node.output.zero_point, "min": low, "max": high}


def clamps(node: Node) -> bool:
    """Return whether the fused activation's range is less than all of int8."""
    return activation_range(node.attrs["fused_activation_function"], node.output) != (-128, 127)


def pairs_fit(weights: np.ndarray, c: DspChannels, groups: int = 1) -> bool:
    """Return whether the DSP kernels are exact for weights int8 [groups * channels, depth].

    They sum a pair of channels at once: first + 256 * second must fit a halfword, and the second's
    sum has 24 bits.
    """
    seconds = c.reach.reshape(groups, -1)[:, 1::2]
    return bool(c.exact and np.all(seconds < 2**23) and halfwords_fit(weights, groups))


def halfwords_fit(weights: np.ndarray, groups: int = 1) -> bool:
    """Return whether ``pack_pairs`` takes weights int8 [groups * channels, depth]."""
    return bool(_paired(weights, groups).min(initial=0) >= -(2**15))


def pack_pairs(weights: np.ndarray, multiple: int) -> np.ndarray:
    """Return weights int8 [channels, depth] as the DSP kernels read them: int8 in memory order,
    halfwords first + 256 * second of each pair of channels, values of the depth in the order 0, 2,
    1, 3; zeros fill an odd channel and the depth up to a ``multiple`` of 4."""
    halfwords = _paired(weights, 1).reshape(-1, weights.shape[1]).astype("<i2")
    padded = np.pad(halfwords, ((0, 0), (0, -weights.shape[1] % multiple)))
    ordered = padded.reshape(-1, 4)[:, [0, 2, 1, 3]]
    return np.ascontiguousarray(ordered).reshape(-1).view(np.int8)


def pack_words(weights: np.ndarray, together: int) -> np.ndarray:
    """Return weights int8 [channels, depth] as ``common/eb_words.h`` reads them: of ``together``
    channels, and of what is left over, in turn a word for each four values of the depth. Its bytes
    are the values 2, 3, 0, 1, each plus 128; zeros fill the depth."""
    filled = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 4))) ^ np.int8(-128)
    words = filled.reshape(len(weights), -1, 4)[..., [2, 3, 0, 1]]
    starts = range(0, len(words), together)
    return np.concatenate([words[i : i + together].swapaxes(0, 1).reshape(-1) for i in starts])


def word_channels(c: Channels, weights: np.ndarray, once: np.ndarray | None = None) -> np.ndarray:
    """Return the table of ``c``, or what ``once_rounded`` made of it, for inputs of which the last
    two of each four are one more than they are; ``weights`` as for ``pack_words``."""
    more = weights[:, np.arange(weights.shape[1]) % 4 >= 2].sum(axis=1, dtype=np.int32)
    if once is None:
        return dataclasses.replace(c, bias=c.bias - more).table()
    start = once[:, 0].astype(np.int64) - 256 * more
    return np.stack([start, once[:, 1]], axis=1).astype(np.int32)


def _paired(weights: np.ndarray, groups: int) -> np.ndarray:
    """Return int32 first + 256 * second, [groups, pairs, depth]."""
    blocks = weights.reshape(groups, -1, weights.shape[1]).astype(np.int32)
    blocks = np.pad(blocks, ((0, 0), (0, blocks.shape[1] % 2), (0, 0)))
    return blocks[:, 0::2] + 256 * blocks[:, 1::2]


def is_int8(tensor: Tensor | None) -> bool:
    """Return whether the tensor is int8 with one scale."""
    return (
        tensor is not None
        and tensor.dtype == DType.INT8
        and tensor.quantization is not None
        and not tensor.quantization.per_channel
    )


def _weights_ok(node: Node) -> bool:
    w = node.optional_input(1)
    return (
        w is not None
        and w.data is not None
        and w.dtype == DType.INT8
        and w.quantization is not None
    )


def _bias_ok(node: Node) -> bool:
    bias = node.optional_input(2)
    return bias is None or (bias.dtype == DType.INT32 and bias.data is not None)


def _channel_axis_ok(node: Node, axis: int) -> bool:
    q = node.input(1).quantization
    return q is not None and (not q.per_channel or q.axis == axis)


def _symmetric(node: Node) -> bool:
    q = node.input(1).quantization
    return q is not None and not any(q.zero_points)


def weight_constraints(rank: int, axis: int) -> tuple[Constraint, ...]:
    """Return the constraints of a layer with weights of ``rank`` and channels along ``axis``."""
    return (
        Constraint(
            "input and output are int8 with one scale each",
            lambda n: is_int8(n.optional_input(0)) and is_int8(n.output),
        ),
        Constraint("weights are constant, int8 and quantized", _weights_ok),
        Constraint(f"weights have {rank} dimensions", lambda n: len(n.input(1).shape) == rank),
        Constraint("no dimension is zero", lambda n: n.input(0).elements * n.input(1).elements > 0),
        Constraint(
            "weights are per-tensor or per output channel", lambda n: _channel_axis_ok(n, axis)
        ),
        Constraint("weights are symmetric (zero point 0)", _symmetric),
        Constraint("bias is constant int32, or absent", _bias_ok),
        Constraint(
            "bias has one value for each output channel",
            lambda n: n.optional_input(2) is None or n.input(2).elements == n.input(1).shape[axis],
        ),
        Constraint(
            f"the fused activation is one of {', '.join(ACTIVATIONS)}",
            lambda n: n.attrs["fused_activation_function"] in ACTIVATIONS,
        ),
    )


def spatial_constraints() -> tuple[Constraint, ...]:
    """Return the constraints on strides and dilations of a convolution."""
    keys = ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")
    return (
        Constraint("input and output have 4 dimensions (NHWC)", _both_nhwc),
        Constraint(
            "strides and dilations are 1 to 4096",
            lambda n: all(1 <= n.attrs[k] <= 4096 for k in keys),
        ),
        Constraint(
            "images with what a kernel reads around them, batches and channels are at most 65,535",
            _fits_halfwords,
        ),
    )


def _fits_halfwords(node: Node) -> bool:
    """Return whether all that the kernels' parameters hold in 16 bits fits there."""
    (_, in_h, in_w, _), (_, kernel_h, kernel_w, _) = node.input(0).shape, node.input(1).shape
    around_h = (kernel_h - 1) * node.attrs["dilation_h_factor"]
    around_w = (kernel_w - 1) * node.attrs["dilation_w_factor"]
    others = *node.input(0).shape, *node.input(1).shape
    return max(in_h + around_h, in_w + around_w, *others) <= MAX_HALFWORD


def _both_nhwc(node: Node) -> bool:
    return len(node.input(0).shape) == 4 and len(node.output.shape) == 4


def window(node: Node, kernel_h: int, kernel_w: int) -> Window:
    """Return the geometry of a convolution or pooling over input 0.

    A node for a band of rows (see ``bands``) tells its own padding above, and its rows.
    """
    a = node.attrs
    _, in_h, in_w, _ = node.input(0).shape
    dilation_h, dilation_w = a.get("dilation_h_factor", 1), a.get("dilation_w_factor", 1)
    (pad_top, pad_bottom), (pad_left, pad_right) = a.get(PADS, ((0, 0), (0, 0)))
    in_h, in_w = in_h + pad_top + pad_bottom, in_w + pad_left + pad_right
    out_h = output_length(a["padding"], in_h, kernel_h, a["stride_h"], dilation_h)
    out_w = output_length(a["padding"], in_w, kernel_w, a["stride_w"], dilation_w)
    if a["padding"] == "SAME":
        pad_top = pad_before(in_h, out_h, kernel_h, a["stride_h"], dilation_h)
        pad_left = pad_before(in_w, out_w, kernel_w, a["stride_w"], dilation_w)
    pad_top, out_h = a.get(BAND, (pad_top, out_h))
    return Window(
        kernel_h,
        kernel_w,
        a["stride_h"],
        a["stride_w"],
        dilation_h,
        dilation_w,
        out_h,
        out_w,
        pad_top,
        pad_left,
    )


def is_column(image: Shape, w: Window) -> bool:
    """Return whether an NHWC ``image`` and the kernel are one pixel wide."""
    return image[2] == w.kernel_w == 1


def geometry(image: Shape, w: Window) -> dict[str, int]:
    """Return a kernel's fields of these names for an NHWC ``image``. A column lies down: its bytes
    are those of a row, of which kernels take several pixels at a time."""
    batches, in_h, in_w, in_c = image
    down = (in_h, w.out_h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top)
    across = (in_w, w.out_w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left)
    if is_column(image, w):
        down, across = across, down
    fields = ("in_{}", "out_{}", "kernel_{}", "stride_{}", "dilation_{}")
    return {
        "batches": batches,
        "in_c": in_c,
        **dict(zip((*(f.format("h") for f in fields), "pad_top"), down, strict=True)),
        **dict(zip((*(f.format("w") for f in fields), "pad_left"), across, strict=True)),
    }


def patches(x: np.ndarray, w: Window, fill: int) -> np.ndarray:
    """Return int64 [batch, out_h, out_w, kernel_h, kernel_w, channels] of an NHWC image."""
    in_h, in_w = x.shape[1:3]
    rows = np.arange(w.out_h)[:, None] * w.stride_h - w.pad_top
    rows = rows + np.arange(w.kernel_h) * w.dilation_h
    columns = np.arange(w.out_w)[:, None] * w.stride_w - w.pad_left
    columns = columns + np.arange(w.kernel_w) * w.dilation_w
    ok = ((rows >= 0) & (rows < in_h))[:, None, :, None]
    ok = ok & ((columns >= 0) & (columns < in_w))[None, :, None, :]
    taken = x[
        :,
        np.clip(rows, 0, in_h - 1)[:, None, :, None],
        np.clip(columns, 0, in_w - 1)[None, :, None, :],
    ]
    return np.where(ok[None, ..., None], taken, fill).astype(np.int64)
