"""Words that one delegate's table needs, with formulas from its source.

XNNPACK's are from LiteRT's ``xnnpack_delegate.cc``, NNAPI's from ``nnapi_delegate.cc``, the GPU
delegate's from ``gpu_compatibility.cc``.
"""

from __future__ import annotations

import math

import numpy as np

from edgebuild.delegates.vocabulary import Setting, by_channel, tensors_of, values_of, word
from edgebuild.graph import Node, Tensor

_EIGHT_BITS = ("int8", "uint8")
_NARROW = ("int8", "int4", "int2")


def _dims(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tensor.shape


def _at(node: Node, position: int) -> Tensor | None:
    return node.optional_input(position)


@word("the composite must be {names}")
def _composite(node: Node, _: Setting, names: list[str]) -> bool:
    name = node.attrs.get("name")
    return (name.decode() if isinstance(name, bytes) else name) in names


# XNNPACK


@word("strides must not be larger than the filter")
def _stride_within_filter(node: Node, _: Setting) -> bool:
    a = node.attrs
    return a["stride_w"] <= a["filter_width"] and a["stride_h"] <= a["filter_height"]


@word("the product of the input scales must be 1/65536 to below 256 times the output scale")
def _product_scale(node: Node, _: Setting) -> bool:
    tensors = [*tensors_of(node, "inputs"), node.output]
    if len({t.dtype for t in tensors}) > 1 or node.output.dtype not in _EIGHT_BITS:
        return True
    product = np.prod([np.float32(t.scale) for t in tensors[:-1]], dtype=np.float32)
    return bool(np.float32(1 / 65536) <= product / np.float32(node.output.scale) < 256)


@word("alpha must be a number other than 0, infinity and subnormals")
def _normal_alpha(node: Node, _: Setting) -> bool:
    alpha = abs(node.attrs.get("alpha") or 0.0)
    return math.isfinite(alpha) and alpha >= float(np.finfo(np.float32).tiny)


@word("alpha times the input scale must be 1/256 to 128 or -127.996 to -1/256 of the output scale")
def _negative_scale(node: Node, _: Setting) -> bool:
    x = node.input(0)
    if x.dtype not in _EIGHT_BITS or node.output.dtype not in _EIGHT_BITS:
        return True
    positive = np.float32(x.scale) / np.float32(node.output.scale)
    ratio = float(positive * np.float32(node.attrs.get("alpha") or 0.0))
    return abs(ratio) >= 1 / 256 and -127.99609375 <= ratio <= 128


@word("height and width must be multiples of block_size")
def _blocks_fit(node: Node, _: Setting) -> bool:
    shape, block = node.input(0).shape, node.attrs["block_size"]
    return len(shape) == 4 and block > 0 and not (shape[1] % block or shape[2] % block)


@word("depth_multiplier must divide the output channels")
def _multiplier_divides(node: Node, _: Setting) -> bool:
    multiplier, channels = node.attrs["depth_multiplier"], _dims(_at(node, 1))[-1:]
    return multiplier > 0 and all(c % multiplier == 0 for c in channels)


@word("weights must be of the input's type, or int8 with a float32 input")
def _weight_types(node: Node, _: Setting) -> bool:
    return _weights_fit(node, ("int8",))


@word("weights must be of the input's type, or int8, int4 or int2 with a float or int8 input")
def _narrow_weight_types(node: Node, _: Setting) -> bool:
    return _weights_fit(node, _NARROW, _NARROW, _NARROW)


def _weights_fit(
    node: Node,
    with_float32: tuple[str, ...],
    with_float16: tuple[str, ...] = (),
    with_int8: tuple[str, ...] = (),
) -> bool:
    x, weights = _at(node, 0), _at(node, 1)
    if x is None or weights is None or x.dtype == weights.dtype:
        return True
    allowed = {"float32": with_float32, "float16": with_float16, "int8": with_int8}
    return weights.dtype in allowed.get(x.dtype, ())


@word("int4 and int2 weights must have a scale and an even number of columns")
def _narrow_even(node: Node, _: Setting) -> bool:
    weights = _at(node, 1)
    if weights is None or weights.dtype not in ("int4", "int2"):
        return True
    return weights.quantization is not None and weights.shape[-1] % 2 == 0


@word("int2 weights must have a scale for each output channel")
def _int2_by_channel(node: Node, _: Setting) -> bool:
    weights = _at(node, 1)
    if weights is None or weights.dtype != "int2" or weights.quantization is None:
        return True
    return len(weights.quantization.scales) == weights.shape[0]


@word("scales of input 1 for each channel must lie along the dimension of its output columns")
def _matmul_channels(node: Node, _: Setting) -> bool:
    second = _at(node, 1)
    if second is None or second.quantization is None or not by_channel(second):
        return True
    columns = len(second.shape) - (2 if node.attrs.get("adj_y") else 1)
    return second.quantization.axis == columns


@word("the bias must have one value for each row of the weights")
def _bias_fits(node: Node, _: Setting) -> bool:
    weights, bias = _at(node, 1), _at(node, 2)
    return bias is None or weights is None or bias.elements == weights.shape[0]


@word("{of} must have a row for each dimension of input 0, and two columns")
def _row_for_each_dimension(node: Node, _: Setting, of: str) -> bool:
    return all(t.shape == (len(node.input(0).shape), 2) for t in tensors_of(node, of))


@word("sizes must be positive numbers, -1 is not understood")
def _positive_sizes(node: Node, _: Setting) -> bool:
    sizes = _at(node, 2)
    return sizes is None or min(values_of(sizes), default=1) > 0


@word("{of} must have one value for each dimension of input 0")
def _value_for_each_dimension(node: Node, _: Setting, of: str) -> bool:
    return all(t.shape == (len(node.input(0).shape),) for t in tensors_of(node, of))


@word("input, filter, strides and output shape must agree as TRANSPOSE_CONV defines")
def _transposed_sizes(node: Node, _: Setting) -> bool:
    wanted = values_of(shape) if (shape := _at(node, 0)) else []
    weights, x = _dims(_at(node, 1)), _dims(_at(node, 2))
    if not len(wanted) == len(weights) == len(x) == 4:
        return False
    if weights[0] != wanted[3] or weights[3] != x[3]:
        return False
    strides = (node.attrs["stride_h"], node.attrs["stride_w"])
    if node.attrs["padding"] == "VALID":
        return all(weights[i] <= wanted[i] for i in (1, 2))
    return all(
        -(-wanted[i] // strides[i - 1]) == x[i] and weights[i] >= strides[i - 1] for i in (1, 2)
    )


# NNAPI


@word("the input scale times the filter scale must be less than the output scale")
def _restricted_scales(node: Node, _: Setting) -> bool:
    x, weights = node.input(0), _at(node, 1)
    if x.dtype != "uint8" or weights is None:
        return True
    product = np.float32(x.scale) * np.float32(weights.scale)
    return bool(product < np.float32(node.output.scale))


@word("float activations must not meet 8-bit weights in input {position}")
def _not_hybrid(node: Node, _: Setting, position: int) -> bool:
    weights = _at(node, position)
    return node.input(0).dtype != "float32" or weights is None or weights.dtype not in _EIGHT_BITS


@word("the filter must have as many input channels as the input")
def _not_grouped(node: Node, _: Setting) -> bool:
    x, weights = node.input(0), _at(node, 1)
    return weights is None or x.shape[-1:] == weights.shape[-1:]


@word("the filter must not have more than 256 elements of a quantized input")
def _small_window(node: Node, _: Setting) -> bool:
    area = node.attrs["filter_width"] * node.attrs["filter_height"]
    return node.input(0).dtype not in _EIGHT_BITS or area <= 256


@word("output height and width must be equal")
def _square_output(node: Node, _: Setting) -> bool:
    shape = node.output.shape
    return len(shape) == 4 and shape[1] == shape[2]


@word("crops must be a constant of four zeros")
def _no_crops(node: Node, _: Setting) -> bool:
    crops = _at(node, 2)
    return crops is not None and crops.data is not None and values_of(crops) == [0] * 4


@word("new_shape must name at least one dimension, where it is an option")
def _new_shape_is_no_scalar(node: Node, _: Setting) -> bool:
    shape = node.attrs.get("new_shape") or ()
    return len(node.inputs) > 1 or (len(shape) > 0 and tuple(shape) != (0,))


@word("squeeze_dims must not be empty")
def _squeeze_dims_given(node: Node, _: Setting) -> bool:
    return bool(node.attrs.get("squeeze_dims"))


@word("the axis must not be the last dimension")
def _axis_is_not_last(node: Node, _: Setting) -> bool:
    # PACK's axis counts the dimensions of its output, which has one more.
    last = len(node.input(0).shape) - (node.kind != "PACK")
    return node.attrs.get("axis") not in (-1, last)


@word("the batch dimensions of the inputs must be equal")
def _no_batch_broadcast(node: Node, _: Setting) -> bool:
    return len({t.shape[:-2] for t in tensors_of(node, "inputs")}) == 1


@word(
    "quantized input and output must have scale 1/128 and zero point 128, the cell state 16/32768"
)
def _basic_lstm_scales(node: Node, _: Setting) -> bool:
    ends = (node.input(0), node.output)
    cell = node.outputs[1] if len(node.outputs) > 1 else None
    state = cell is not None and (cell.scale == 16 / 32768 or cell.zero_point == 0)
    return state and all((t.scale, t.zero_point) == (1 / 128, 128) for t in ends)


@word("a scalar operand must be a constant")
def _scalars_are_constant(node: Node, _: Setting) -> bool:
    return all(t.shape or t.is_constant for t in tensors_of(node, "inputs"))
