"""DEPTHWISE_CONV_2D: one or more filters for each input channel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import convolution as conv
from edgebuild.ops import mve, neon
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.conv2d import convolution
from edgebuild.ops.overlap import by_channels, by_groups
from edgebuild.targets import CpuFeatures

_FOUR = 4
"""Channels that the DSP kernels take at a time: a word of the image."""

_DSP_3X3 = "depthwise_conv2d_3x3_s8_dsp"

_PIXELS = 4
"""That the portable kernel takes at a time; the host's pointers to each tap have 8 bytes."""


class DepthwiseConv2D(Operator):
    """Weights are [1, kernel height, kernel width, input channels * multiplier]."""

    kind = "DEPTHWISE_CONV_2D"
    most_operands = 3
    constraints = (
        *conv.weight_constraints(rank=4, axis=3),
        *conv.spatial_constraints(),
        Constraint("the weights' first dimension is 1", lambda n: n.input(1).shape[0] == 1),
        Constraint(
            "output channels are a multiple of the input channels",
            lambda n: n.input(1).shape[3] % n.input(0).shape[3] == 0,
        ),
        Constraint(
            "no input can overflow a 32-bit accumulator",
            lambda n: conv.accumulators_fit(n, _matrix(n)),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the one NHWC output shape."""
        w = _window(node)
        return ((node.input(0).shape[0], w.out_h, w.out_w, node.input(1).shape[3]),)

    def window(self, node: Node) -> Window:
        """Return the sliding window."""
        return _window(node)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return one for each channel, or one."""
        return conv.effective_scales(node, single_precision_product=False).tolist()

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield a depth multiplier that is not the one of the shapes."""
        given = node.attrs["depth_multiplier"]
        if given != _multiplier(node):
            yield (
                f"depth_multiplier is {given}, but {node.input(0).shape[3]} input channels and "
                f"{node.input(1).shape[3]} filters make it {_multiplier(node)}"
            )

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compute by summing the products of every tap."""
        x, weights = inputs[0], node.input(1).data
        assert x is not None and weights is not None
        c = conv.channels(node, _matrix(node), single_precision_product=False)
        patches = conv.patches(x, _window(node), node.input(0).zero_point)
        spread = np.repeat(patches, _multiplier(node), axis=-1)
        acc = (spread * weights[0].astype(np.int64)).sum(axis=(3, 4)) + c.bias
        return (conv.requantize(node, acc.astype(np.int32), c),)

    def macs(self, node: Node) -> int:
        """Return output elements times the taps of a filter."""
        _, kernel_h, kernel_w, _ = node.input(1).shape
        return node.output.elements * kernel_h * kernel_w

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of the core's extension that takes the layer, else the portable one."""
        w = _window(node)
        if node.input(0).shape[3] == 1 < _multiplier(node):  # a convolution of one channel
            return convolution(node, cpu, _matrix(node), 1, w)
        c = conv.channels(node, _matrix(node), single_precision_product=False)
        if cpu.neon and _multiplier(node) == 1:
            return _neon_call(node, c, w)
        if cpu.mve and _multiplier(node) == 1 and mve.fits(c):
            return mve.depthwise_call(node, _matrix(node), c, w)
        if not cpu.dsp or _multiplier(node) > 1 or node.input(0).shape[3] < _FOUR:
            return _portable_call(node, c, w)
        numbers = _numbers(node, c)
        if numbers is None:
            return _portable_call(node, c, w)
        if _is_3x3(node, w):
            return _dsp_3x3_call(node, w, numbers)
        return _dsp_call(node, w, numbers)

    def candidates(self, node: Node, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
        """Return the usual kernel, the portable one, and beside that of 3x3 the one of any kernel,
        which prepares less."""
        usual, *others = super().candidates(node, cpu)
        if usual.function == f"eb_{_DSP_3X3}":
            c = conv.channels(node, _matrix(node), single_precision_product=False)
            numbers = _numbers(node, c)
            assert numbers is not None
            others.append(_dsp_call(node, _window(node), numbers))
        return (usual, *others)

    def cases(self) -> Iterable[Case]:
        """Yield geometry, channel counts, multipliers, activations and zero points."""
        yield _case("valid_3x3", (1, 6, 5, 4), (3, 3))
        yield _case("same_3x3", (1, 6, 5, 8), (3, 3), padding="SAME")
        yield _case("same_stride_2", (1, 7, 8, 8), (3, 3), padding="SAME", stride=(2, 2))
        yield _case("odd_channels", (1, 5, 5, 3), (3, 3), padding="SAME")
        yield _case("one_channel", (1, 5, 5, 1), (3, 3), padding="SAME")
        yield _case("multiplier_2", (1, 5, 5, 4), (3, 3), padding="SAME", multiplier=2)
        yield _case("multiplier_3_of_1", (1, 6, 4, 1), (2, 3), multiplier=3, stride=(2, 1))
        yield _case("dilated", (1, 9, 9, 4), (3, 3), padding="SAME", dilation=(2, 3))
        yield _case("dilated_valid", (1, 9, 9, 5), (3, 3), dilation=(3, 2))
        yield _case("kernel_5x2", (1, 7, 7, 4), (5, 2), padding="SAME")
        yield _case("kernel_2x3", (1, 6, 6, 8), (2, 3), padding="SAME", stride=(2, 3))
        yield _case("kernel_4x4_dilated", (1, 9, 9, 4), (4, 4), padding="SAME", dilation=(1, 2))
        yield _case("one_row", (1, 1, 9, 4), (1, 7), padding="SAME")
        yield _case("stride_over_kernel", (1, 9, 9, 4), (3, 3), stride=(4, 5))
        yield _case("relu_n1_to_1", (2, 4, 4, 4), (3, 3), act="RELU_N1_TO_1")
        yield _case("kernel_over_image", (1, 2, 2, 4), (5, 5), padding="SAME")
        yield _case("pointwise", (1, 3, 3, 4), (1, 1))
        yield _case("batch_2", (2, 4, 4, 4), (3, 3), padding="SAME")
        yield _case("per_tensor", (1, 5, 5, 4), (3, 3), per_channel=False)
        yield _case("no_bias", (1, 4, 4, 4), (3, 3), bias=False)
        yield _case("relu6", (1, 5, 5, 4), (3, 3), act="RELU6", out_zp=-100)
        yield _case("left_shift", (1, 5, 5, 4), (3, 3), out_scale=0.0004)
        yield _case("zero_point_low", (1, 4, 4, 8), (3, 3), padding="SAME", in_zp=-128)
        # The 3x3 kernel with the DSP extension: rows in fours, columns in twos, and what is left.
        yield _case("rows_5_columns_7", (2, 5, 7, 8), (3, 3), padding="SAME")
        yield _case("rows_2_columns_1", (1, 2, 1, 4), (3, 3), padding="SAME")
        yield _case("one_row_of_6", (1, 1, 6, 4), (3, 3), padding="SAME", act="RELU", out_zp=-128)
        yield _case("stride_1_by_2", (1, 5, 9, 4), (3, 3), padding="SAME", stride=(1, 2))
        yield _case("stride_2_by_1", (1, 6, 5, 4), (3, 3), padding="SAME", stride=(2, 1))
        yield _case("stride_2_valid", (2, 9, 11, 4), (3, 3), stride=(2, 2), out_zp=-128)
        yield _case(
            "stride_2_low", (1, 8, 6, 8), (3, 3), padding="SAME", stride=(2, 2), out_zp=-128
        )
        yield _case("relu6_clamped", (1, 6, 6, 4), (3, 3), act="RELU6", out_zp=-128, out_scale=0.02)
        yield _case(
            "multiplier_8_of_1", (1, 15, 9, 1), (10, 8), padding="SAME", stride=(2, 2),
            multiplier=8, act="RELU", out_zp=-128,
        )  # fmt: skip
        yield _case("rows_7_channels_10", (2, 7, 5, 10), (3, 3), padding="SAME", out_zp=-128)
        yield _case("rows_9_valid", (1, 9, 4, 5), (3, 3))
        yield _case("stride_2_channels_7", (2, 9, 7, 7), (3, 3), padding="SAME", stride=(2, 2))
        yield _case("stride_2_columns_1", (1, 7, 1, 6), (3, 3), padding="SAME", stride=(2, 2))
        # Vectors of the NEON kernel, and its forms.
        yield _case("channels_16_in_place", (1, 6, 7, 16), (3, 3), stride=(2, 1))
        yield _case("channels_35", (1, 4, 5, 35), (3, 3), padding="SAME", out_zp=-128, act="RELU")
        yield _case("channels_32_even_taps", (2, 5, 6, 32), (2, 5), padding="SAME")
        yield _case("lowest_weights", (1, 5, 5, 20), (3, 3), low=-128, high=-126, out_scale=0.9)
        yield _case("zero_point_high", (1, 4, 4, 3), (3, 3), padding="SAME", in_zp=127)


def _is_3x3(node: Node, w: Window) -> bool:
    """Return whether the DSP kernel of 3x3 takes the layer's shape."""
    return (
        (w.kernel_h, w.kernel_w, w.dilation_h, w.dilation_w) == (3, 3, 1, 1)
        and (w.stride_h, w.stride_w) in ((1, 1), (2, 2))
        and max(w.pad_top, w.pad_left) <= 1
        and node.output.elements > 0
    )


def _numbers(node: Node, c: conv.Channels) -> np.ndarray | None:
    """Return the numbers of the DSP kernels' channels: int32 [channels, 2] where they round once,
    else [channels, 4], ``eb_channel_dsp`` with 256 times the bias; None where neither is exact."""
    weights = _matrix(node)
    once = conv.once_rounded(node, weights, c)
    if once is not None:
        return once
    d = conv.dsp_channels(node, weights, c)
    exact = d.exact and bool((d.reach < 2**23).all())
    return d.table * np.array([256, 1, 1, 1], np.int32) if exact else None


def _portable_call(node: Node, c: conv.Channels, w: Window) -> KernelCall:
    filters = (node.input(0).shape[3], _multiplier(node), -1)
    once = conv.once_rounded(node, _matrix(node), c)
    return _call(
        node,
        w,
        "depthwise_conv2d_s8",
        _by_filter(c.table() if once is None else once, filters),
        once=once is not None,
        weights=_by_filter(_matrix(node), filters),
        pixels=_PIXELS,
    )


def _dsp_call(node: Node, w: Window, numbers: np.ndarray) -> KernelCall:
    stream = _stream(_matrix(node), numbers)
    return _call(node, w, "depthwise_conv2d_s8_dsp", stream, once=_rounds_once(numbers))


def _rounds_once(numbers: np.ndarray) -> bool:
    return numbers.shape[1] == 2


def _call(
    node: Node,
    w: Window,
    name: str,
    channels: np.ndarray,
    *,
    weights: np.ndarray | str = "NULL",
    once: bool = False,
    pixels: int = 1,
) -> KernelCall:
    """Return the call of a kernel that takes ``pixels`` at a time, with a pointer to each tap."""
    in_c = node.input(0).shape[3]
    params = {
        **conv.geometry(node.input(0).shape, w),
        "multiplier": _multiplier(node),
        "pad": node.input(0).zero_point,
        "clamp": conv.clamps(node),
        "once": once,
        "weights": weights,
        "channels": channels,
        "output": conv.output_stage(node),
    }
    return KernelCall(
        f"eb_{name}",
        "depthwise_conv2d/depthwise_conv2d.h",
        (f"depthwise_conv2d/{name}.c",),
        "eb_depthwise_conv2d_params",
        params,
        scratch_bytes=pixels * 8 * w.kernel_h * w.kernel_w + in_c,
        overlap=by_groups(node, w, pixels, buffered=False),
    )


def _stream(weights: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the int32 words [fours, n] that ``depthwise_conv2d_s8_dsp.c`` reads, of ``weights``
    int8 [channels, taps] and ``numbers``; of channels left over, the last four come again."""
    channels, taps = weights.shape
    firsts = np.minimum(np.arange(0, channels, _FOUR), channels - _FOUR)
    fours = firsts[:, np.newaxis] + np.arange(_FOUR)
    of_taps = weights[fours].swapaxes(1, 2)
    pairs = of_taps[:, : taps // 2 * 2].reshape(len(fours), -1, 2, 2, 2)  # taps, halves, channels
    data = [pairs.swapaxes(2, 3).reshape(len(fours), -1), of_taps[:, taps // 2 * 2 :, :]]
    words = np.concatenate([part.reshape(len(fours), -1) for part in data], axis=1)
    starts, last = numbers[fours][..., 0], numbers[fours][..., 1:].reshape(len(fours), -1)
    return np.hstack([starts, np.ascontiguousarray(words).view("<i4"), last]).astype(np.int32)


def _dsp_3x3_call(node: Node, w: Window, numbers: np.ndarray) -> KernelCall:
    rows_of_taps = _matrix(node).reshape(-1, 3, 3)[:, [1, 0, 2, 1]]
    taps = np.ascontiguousarray(rows_of_taps.transpose(0, 2, 1)).view("<i4").reshape(-1, 3)
    channels = np.concatenate([numbers, taps], axis=1).astype(np.int32)
    batches, in_h, in_w, in_c = node.input(0).shape
    stride = w.stride_h
    columns = (w.out_w - 1) * stride + 3
    rows = 4 // stride
    # Columns of three pairs of rows, four channels each; two pairs on from step to step.
    words = 12 * max(columns, stride + 3) + 8 * max(-(-w.out_h // rows) - 1, 0)
    return KernelCall(
        f"eb_{_DSP_3X3}",
        "depthwise_conv2d/depthwise_conv2d.h",
        (f"depthwise_conv2d/{_DSP_3X3}.c",),
        "eb_depthwise_conv2d_3x3_params",
        {
            "batches": batches,
            "in_h": in_h,
            "in_w": in_w,
            "in_c": in_c,
            "out_h": w.out_h,
            "out_w": w.out_w,
            "stride": stride,
            "pad_top": w.pad_top,
            "pad_left": w.pad_left,
            "pad": node.input(0).zero_point,
            "columns": columns,
            "clamp": conv.clamps(node),
            "once": _rounds_once(numbers),
            "channels": channels,
            "output": conv.output_stage(node),
        },
        scratch_bytes=4 * words,
        overlap=by_channels(node, w, rows=rows, kept=2),
    )


def _neon_call(node: Node, c: conv.Channels, w: Window) -> KernelCall:
    batches, in_h, in_w, in_c = node.input(0).shape
    image = (batches, in_h, in_w, in_c)
    weights = node.input(1).data
    assert weights is not None
    direct = neon.inside(w, in_w) and in_c % neon.VECTOR == 0
    taps = w.kernel_h * w.kernel_w
    return KernelCall(
        "eb_depthwise_conv2d_s8_neon",
        "depthwise_conv2d/depthwise_conv2d_neon.h",
        ("depthwise_conv2d/depthwise_conv2d_s8_neon.c",),
        "eb_depthwise_conv2d_neon_params",
        {
            "batches": batches,
            "out_h": w.out_h,
            "out_w": w.out_w,
            "kernel_w": w.kernel_w,
            "stride_w": w.stride_w,
            "dilation_w": w.dilation_w,
            "plain": neon.is_plain(c),
            "lowest": bool(np.any(weights == -128)),
            "rows": neon.rows_params(w, image, node.input(0).zero_point, direct=direct),
            "weights": np.pad(weights.reshape(taps, in_c), ((0, 0), (0, -in_c % neon.VECTOR))),
            "channels": neon.channel_blocks(c, multiple=neon.VECTOR),
            "output": conv.output_stage(node),
        },
        scratch_bytes=neon.pointers_bytes(taps) + neon.rows_scratch(w, image, direct=direct),
    )


def _by_filter(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return ``rows``, [in_c * multiplier, n], as int [multiplier, in_c, n]."""
    return np.ascontiguousarray(rows.reshape(shape).swapaxes(0, 1))


def _multiplier(node: Node) -> int:
    return node.input(1).shape[3] // node.input(0).shape[3]


def _matrix(node: Node) -> np.ndarray:
    """Return the weights as int8 [output channels, taps]."""
    data = node.input(1).data
    assert data is not None
    return data.reshape(-1, data.shape[3]).T


def _window(node: Node) -> Window:
    return conv.window(node, node.input(1).shape[1], node.input(1).shape[2])


def _case(
    name: str,
    x: Shape,
    kernel: tuple[int, int],
    *,
    padding: str = "VALID",
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    multiplier: int = 1,
    bias: bool = True,
    per_channel: bool = True,
    act: str = "NONE",
    in_zp: int = -7,
    out_zp: int = 4,
    out_scale: float = 0.1,
    low: int = -127,
    high: int = 128,
) -> Case:
    rng = np.random.default_rng(len(name))
    out_c = x[3] * multiplier
    weights = rng.integers(low, high, (1, *kernel, out_c))
    scales = 0.004 * rng.uniform(0.2, 2.0, out_c if per_channel else 1)
    out_h = conv.output_length(padding, x[1], kernel[0], stride[0], dilation[0])
    out_w = conv.output_length(padding, x[2], kernel[1], stride[1], dilation[1])
    biases = constant(rng.integers(-2000, 2000, out_c), (scales * 0.1).tolist(), dtype=DType.INT32)
    return one_op(
        name,
        "DEPTHWISE_CONV_2D",
        # TFLite Micro crashes on a depthwise bias that is given as absent.
        [
            activation(x, 0.1, in_zp),
            constant(weights, scales.tolist(), axis=3),
            *([biases] if bias else []),
        ],
        [activation((x[0], out_h, out_w, out_c), out_scale, out_zp)],
        {
            "padding": padding,
            "stride_h": stride[0],
            "stride_w": stride[1],
            "dilation_h_factor": dilation[0],
            "dilation_w_factor": dilation[1],
            "depth_multiplier": multiplier,
            "fused_activation_function": act,
        },
    )
