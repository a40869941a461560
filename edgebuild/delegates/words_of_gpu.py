"""Words that the GPU delegate's table needs, with formulas from ``gpu_compatibility.cc``."""

from __future__ import annotations

from edgebuild.delegates.vocabulary import Setting, tensors_of, word
from edgebuild.graph import Node

_FLOATS = ("float16", "float32")
_NUMBERS = ("float32", "int32")


@word(
    "inputs of different ranks must be of 4 and 3 dimensions with batch 1, or of 4 and 2 where the "
    "second is [1, 1] with batch 1, or [batch, channels]"
)
def _broadcasts(node: Node, _: Setting) -> bool:
    shapes = [t.shape for t in tensors_of(node, "inputs")]
    if len(shapes) != 2 or min(map(len, shapes)) < 2 or len(shapes[0]) == len(shapes[1]):
        return True
    short, long = sorted(shapes, key=len)
    if len(long) != 4:
        return False
    if len(short) == 3:
        return long[0] == 1
    return (long[0] == 1 and short == (1, 1)) or short == (long[0], long[3])


@word("it must be from bool to float, from float to bool, or between float32 and int32")
def _cast_pair(node: Node, _: Setting) -> bool:
    source, result = node.input(0).dtype, node.output.dtype
    if "bool" in (source, result):
        return source in _FLOATS or result in _FLOATS
    return source in _NUMBERS and result in _NUMBERS


@word("batch, channels, filter and bias must fit: output channels = input channels x multiplier")
def _depthwise_channels(node: Node, _: Setting) -> bool:
    x, weights, bias = node.input(0), node.optional_input(1), node.optional_input(2)
    out = node.output.shape
    if weights is None or not len(x.shape) == len(weights.shape) == len(out) == 4:
        return False
    channels = x.shape[3] * (node.attrs.get("depth_multiplier") or 0)
    fits = x.shape[0] == out[0] and weights.shape[3] == out[3] == channels
    # A bias that is listed as absent counts as a scalar.
    values = out[3] if len(node.inputs) < 3 else 1 if bias is None else bias.elements
    return fits and values == out[3]


@word("paddings must be a matrix of 3x2 or 4x2")
def _paddings_of_three_or_four(node: Node, _: Setting) -> bool:
    return all(t.shape in ((3, 2), (4, 2)) for t in tensors_of(node, "input 1"))


@word("{of} must have the output's shape, or be a single value")
def _like_output_or_single(node: Node, _: Setting, of: str) -> bool:
    return all(t.shape in ((), (0,), (1,), node.output.shape) for t in tensors_of(node, of))


@word("{of} must not be a constant matrix")
def _no_constant_matrix(node: Node, _: Setting, of: str) -> bool:
    return not any(t.is_constant and len(t.shape) == 2 for t in tensors_of(node, of))


@word("align_corners and half_pixel_centers must not be both set")
def _not_both_corners_and_centers(node: Node, _: Setting) -> bool:
    return not (node.attrs.get("align_corners") and node.attrs.get("half_pixel_centers"))


@word("axis must be -1 or the size of the last dimension")
def _one_hot_axis(node: Node, _: Setting) -> bool:
    shape, axis = node.input(0).shape, node.attrs.get("axis")
    return axis == -1 or shape[-1:] == (axis,)


@word("dimensions of the indices must be 1, but the last and a batch")
def _one_hot_dims(node: Node, _: Setting) -> bool:
    shape = node.input(0).shape
    return all(d == 1 for d in shape[1 if len(shape) > 3 else 0 : -1])


@word("{of} must be single values")
def _single_value(node: Node, _: Setting, of: str) -> bool:
    return all(len(t.shape) <= 1 and t.elements <= 1 for t in tensors_of(node, of))


@word("input 1 must have one index for each dimension of input 0")
def _index_for_each_dimension(node: Node, _: Setting) -> bool:
    return all(t.shape[:1] == (len(node.input(0).shape),) for t in tensors_of(node, "input 1"))


@word("the least and most must have the input's shape, or be scalars")
def _clamp_shapes(node: Node, _: Setting) -> bool:
    tensors = tensors_of(node, "inputs")
    same = len({t.shape for t in tensors}) == 1
    return same or (len(tensors) > 0 and tensors[0].elements == 1)


@word("shapes must be equal, or differ by a last dimension that makes up for the type's size")
def _bitcast_shapes(node: Node, _: Setting) -> bool:
    x, y = node.input(0), node.output
    wide, narrow = (x, y) if x.dtype.itemsize >= y.dtype.itemsize else (y, x)
    ratio = wide.dtype.itemsize // narrow.dtype.itemsize
    return narrow.shape == wide.shape + ((ratio,) if ratio > 1 else ())
