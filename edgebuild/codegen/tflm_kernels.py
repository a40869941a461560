"""What each TFLite Micro kernel asks of the arena: scratch buffers and persistent data.

Facts from two sources, restated here as formulas:

* TFLite Micro, ``tensorflow/lite/micro/kernels/*.h`` (the ``OpData`` structures),
  ``kernels/*_common.cc`` and ``kernels/cmsis_nn/*.cc`` (what ``Prepare`` allocates),
  ``lite/c/builtin_op_data.h`` (the parameter structures);
* CMSIS-NN, ``Source/**/arm_*_get_buffer_sizes_s8.c`` (scratch bytes).

A kernel that is not modelled gets a bound that is too large rather than too small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgebuild.graph import DType, Node
from edgebuild.targets import CpuFeatures

ALIGN = 16
"""``MicroArenaBufferAlignment()``: alignment of planned buffers and of kernels' data."""

_MVE_CHANNEL_BLOCK = 124
"""``CH_IN_BLOCK_MVE`` of CMSIS-NN."""


def align_up(value: int, align: int = ALIGN) -> int:
    """Return ``value`` rounded up to a multiple of ``align``."""
    return -(-value // align) * align


@dataclass(frozen=True)
class Struct:
    """Size of a C structure: ``plain`` bytes of 32-bit fields, and ``words`` pointers or size_t."""

    plain: int
    words: int = 0

    def size(self, word: int) -> int:
        """Return ``sizeof`` where a pointer has ``word`` bytes."""
        return align_up(self.plain, word if self.words else 4) + self.words * word


@dataclass(frozen=True)
class _Kernel:
    """``params``: the parsed builtin options; ``data``: the kernel's OpData, the larger of the
    reference and the CMSIS-NN kernel's, with the fields of ``USE_TFLM_COMPRESSION``."""

    params: Struct
    data: Struct = Struct(0)


_NONE = Struct(0)
_KERNELS = {
    "ABS": _Kernel(_NONE, Struct(32)),
    "ADD": _Kernel(Struct(8), Struct(64)),
    "ARG_MAX": _Kernel(Struct(4)),
    "ARG_MIN": _Kernel(Struct(4)),
    "AVERAGE_POOL_2D": _Kernel(Struct(40), Struct(36)),
    "CONCATENATION": _Kernel(Struct(12), Struct(64, 2)),
    "CONV_2D": _Kernel(Struct(28), Struct(64, 2)),
    "DEPTHWISE_CONV_2D": _Kernel(Struct(28), Struct(64, 2)),
    "DEQUANTIZE": _Kernel(_NONE, Struct(32)),
    "EXPAND_DIMS": _Kernel(_NONE),
    "FULLY_CONNECTED": _Kernel(Struct(16), Struct(64, 5)),
    "HARD_SWISH": _Kernel(_NONE, Struct(32)),
    "LEAKY_RELU": _Kernel(Struct(4), Struct(32)),
    "LOGISTIC": _Kernel(_NONE, Struct(24)),
    "MAXIMUM": _Kernel(_NONE),
    "MAX_POOL_2D": _Kernel(Struct(40), Struct(36)),
    "MEAN": _Kernel(Struct(4), Struct(48)),
    "MINIMUM": _Kernel(_NONE),
    "MUL": _Kernel(Struct(4), Struct(48)),
    "PACK": _Kernel(Struct(8)),
    "PAD": _Kernel(_NONE, Struct(64)),
    "PADV2": _Kernel(_NONE, Struct(64)),
    "PRELU": _Kernel(_NONE, Struct(32)),
    "QUANTIZE": _Kernel(_NONE, Struct(32)),
    "RELU": _Kernel(_NONE, Struct(32)),
    "RELU6": _Kernel(_NONE, Struct(16)),
    "RESHAPE": _Kernel(Struct(36)),
    "RESIZE_BILINEAR": _Kernel(Struct(8)),
    "RESIZE_NEAREST_NEIGHBOR": _Kernel(Struct(8)),
    "SLICE": _Kernel(_NONE),
    "SOFTMAX": _Kernel(Struct(4), Struct(48, 4)),
    "SPLIT": _Kernel(Struct(4)),
    "SPLIT_V": _Kernel(Struct(4)),
    "SQUEEZE": _Kernel(Struct(36)),
    "STRIDED_SLICE": _Kernel(Struct(24), Struct(96)),
    "SUB": _Kernel(Struct(8), Struct(64)),
    "SUM": _Kernel(Struct(4), Struct(48)),
    "TANH": _Kernel(_NONE, Struct(24)),
    "TRANSPOSE": _Kernel(_NONE),
    "UNPACK": _Kernel(Struct(8)),
}
_UNKNOWN = _Kernel(Struct(64), Struct(256, 32))
"""Larger than any structure of a kernel that is not listed."""

_REDUCE = ("MEAN", "SUM")
_CONV = ("CONV_2D", "DEPTHWISE_CONV_2D")


def params_bytes(node: Node, word: int) -> int:
    """Return the bytes of the operator's parsed options in the persistent part."""
    return _KERNELS.get(node.kind, _UNKNOWN).params.size(word)


def data_blocks(node: Node, word: int) -> tuple[int, ...]:
    """Return the sizes of the kernel's persistent blocks; each is aligned to ``ALIGN``.

    Convolutions hold a multiplier and a shift for each output channel (``CalculateOpDataConv``),
    and so do fully connected layers with a scale for each channel or an output of rank 3 and more.
    """
    blocks = [_KERNELS.get(node.kind, _UNKNOWN).data.size(word)]
    channels = _per_channel_values(node)
    if channels:
        blocks += [4 * channels, 4 * channels]
    return tuple(size for size in blocks if size)


def _per_channel_values(node: Node) -> int:
    weights = node.optional_input(1)
    if weights is None or not weights.shape:
        return 0
    if node.kind in _CONV:
        return weights.shape[0 if node.kind == "CONV_2D" else -1]
    if node.kind == "FULLY_CONNECTED":
        per_channel = weights.quantization is not None and weights.quantization.per_channel
        return weights.shape[0] if per_channel or len(node.output.shape) > 2 else 0
    if node.kind not in _KERNELS:
        return max((d for t in (*node.outputs, weights) for d in t.shape), default=0)
    return 0


def kernel_sums_bytes(node: Node, cpu: CpuFeatures) -> int:
    """Return the bytes of the weight sums that ``KERNELS_OPTIMIZED_FOR_SPEED`` keeps in the arena.

    Only the Helium (MVE) kernel of FULLY_CONNECTED has them: an int32 for each output channel,
    which ``KERNELS_OPTIMIZED_FOR_SIZE`` computes into a scratch buffer instead.
    """
    if node.kind == "FULLY_CONNECTED" and cpu.mve and node.output.dtype == DType.INT8:
        return 4 * _last(node.output.shape)
    return 0


def reference_scratch(node: Node) -> tuple[int, ...]:
    """Return the sizes of the scratch buffers that the reference kernel asks for.

    MEAN and SUM: an int32 for each output element, for each axis and for each dimension of the
    input (``reduce_common.cc``).
    """
    if node.kind in _REDUCE:
        axes = node.optional_input(1)
        rank = len(node.input(0).shape)
        return (4 * node.output.elements, 4 * (axes.elements if axes else 1), 4 * max(rank, 1))
    if node.kind in _KERNELS:
        return ()
    return _bound(node)


def cmsis_scratch(node: Node, cpu: CpuFeatures) -> tuple[int, ...]:
    """Return the sizes of the scratch buffers of the CMSIS-NN kernel.

    A kind without a CMSIS-NN kernel runs the reference kernel. The formulas are those for int8;
    int16 gets a bound.
    """
    if node.output.dtype == DType.INT16 and node.kind in _CMSIS_SCRATCH:
        return _bound(node)
    if node.output.dtype != DType.INT8:
        return reference_scratch(node)
    size_of = _CMSIS_SCRATCH.get(node.kind)
    if size_of is None:
        return reference_scratch(node)
    if node.kind in _CONV and any(len(node.input(i).shape) != 4 for i in (0, 1)):
        return _bound(node)  # TFLite Micro refuses it
    size = size_of(node, cpu)
    return (size,) if size else ()


def _bound(node: Node) -> tuple[int, ...]:
    """Two int32 copies of every tensor of the operator: far more than such kernels ask for."""
    tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
    return (8 * (sum(t.elements for t in tensors) + ALIGN),)


def _conv_scratch(node: Node, cpu: CpuFeatures) -> int:
    """``arm_convolve_wrapper_s8_get_buffer_size``.

    1x1 without padding: nothing, or, compiled by armclang for the DSP extension, two int16
    columns. Otherwise im2col of two int16 columns of the length rounded up to 4; on MVE four int8
    columns rounded up to 16, and where the 1xN kernel may run, at least its padded edge.
    """
    _, height, _, channels = node.input(0).shape
    _, kernel_h, kernel_w, _ = node.input(1).shape
    pad_h, pad_w = _padding(node, "h"), _padding(node, "w")
    if kernel_h == kernel_w == 1 and pad_h == pad_w == 0:
        return 4 * channels if cpu.dsp and not cpu.mve and node.attrs["stride_w"] == 1 else 0
    column = kernel_h * kernel_w * channels
    if not cpu.mve:
        return 4 * align_up(column, 4)
    size = 4 * align_up(column, 16)
    if height == 1 and kernel_h == 1:
        # Left and right edge with padding, at most the kernel and one stride of it again.
        size = max(size, (2 * kernel_w + pad_w + int(node.attrs["stride_w"])) * channels)
    return size


def _depthwise_scratch(node: Node, cpu: CpuFeatures) -> int:
    """``arm_depthwise_conv_wrapper_s8_get_buffer_size``.

    One filter for each channel, one batch, no dilation: on MVE four blocks of 124 channels of the
    filter, with DSP the filter as int16 (3x3 with padding of at most 1 has a kernel without
    scratch). MVE turns one input channel into a convolution with transposed weights.
    """
    batch, _, _, channels = node.input(0).shape
    _, kernel_h, kernel_w, outputs = node.input(1).shape
    taps = kernel_h * kernel_w
    dilated = node.attrs["dilation_h_factor"] != 1 or node.attrs["dilation_w_factor"] != 1
    size = 0
    if channels == outputs and batch == 1 and not dilated:
        small = kernel_h == kernel_w == 3 and _padding(node, "h") <= 1 and _padding(node, "w") <= 1
        if cpu.mve:
            size = 4 * _MVE_CHANNEL_BLOCK * taps
        elif cpu.dsp and not small:
            size = 2 * channels * taps
    if cpu.mve and channels == 1 and outputs > 1:
        size = max(size, taps * outputs + 4 * align_up(taps, 16))
    return size


def _fully_connected_scratch(node: Node, cpu: CpuFeatures) -> int:
    """``arm_fully_connected_s8_get_buffer_size``: on MVE an int32 sum for each output channel.

    Versions before 2023 ran outputs of rank 3 and 4 as a 1x1 convolution; its scratch is kept.
    """
    if cpu.mve:
        return 4 * _last(node.output.shape)
    return 4 * _last(node.input(1).shape) if cpu.dsp and len(node.output.shape) > 2 else 0


def _average_pool_scratch(node: Node, cpu: CpuFeatures) -> int:
    """``arm_avgpool_s8_get_buffer_size``: with DSP and without MVE an int32 for each channel."""
    return 4 * _last(node.input(0).shape) if cpu.dsp and not cpu.mve else 0


_CMSIS_SCRATCH: dict[str, Callable[[Node, CpuFeatures], int]] = {
    "CONV_2D": _conv_scratch,
    "DEPTHWISE_CONV_2D": _depthwise_scratch,
    "FULLY_CONNECTED": _fully_connected_scratch,
    "AVERAGE_POOL_2D": _average_pool_scratch,
}


def _last(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 1


def _padding(node: Node, axis: str) -> int:
    """Return the padding before the first row (``h``) or column (``w``) of a convolution."""
    if node.attrs["padding"] != "SAME":
        return 0
    dim = 1 if axis == "h" else 2
    reach = (node.input(1).shape[dim] - 1) * int(node.attrs[f"dilation_{axis}_factor"]) + 1
    stride = int(node.attrs[f"stride_{axis}"])
    covered = (node.output.shape[dim] - 1) * stride + reach
    return max(covered - node.input(0).shape[dim], 0) // 2
