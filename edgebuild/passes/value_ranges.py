"""Between which values each channel of an activation stays, whatever the inputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from edgebuild.graph import DType, Graph, Node, Tensor
from edgebuild.ops import OPS
from edgebuild.ops import convolution as conv

Ranges = Mapping[int, np.ndarray]
"""int64 [2, last dimension]: the lowest and the highest value, by the tensor's index."""

Rule = Callable[[Node, Ranges], np.ndarray | None]

LOOKUPS = ("RELU", "RELU6", "LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU")
"""Functions of one value."""

VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
"""Other shapes of the same bytes."""

SPATIAL = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "PAD", "PADV2")
"""Operators that treat each channel by itself, unless they work along the last dimension."""

BINARY = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")
"""Operators on two operands, value by value."""

_AT_ONCE = 1 << 20
"""Weights that are widened at a time."""

_MOST_SCALE, _MOST_SUMMED = 2.0**7, 1 << 15
"""Below these a product of two operands, and a sum of values, cannot wrap on their way to int8."""


def channel_ranges(graph: Graph) -> Ranges:
    """Return bounds of each channel (of the last dimension) of int8 activations.

    They hold for every input. Tensors of which nothing is known but their type are left out. Layers
    with weights are bounded as sums, term by term (interval arithmetic; Moore 1966), through the
    operator's own rounding, which never decreases while nothing wraps; other operators by their
    reference.
    """
    found: dict[int, np.ndarray] = {}
    for node in graph.nodes():
        rule = _RULES.get(node.kind)
        if rule is None or node.output.dtype != DType.INT8 or not node.output.shape:
            continue
        bounds = rule(node, found)
        if bounds is not None and not _is_unbounded(bounds):
            found[node.output.index] = bounds
    return found


def range_of(tensor: Tensor, found: Ranges) -> np.ndarray:
    """Return what is known of ``tensor``, for what is not known all that int8 holds."""
    known = found.get(tensor.index)
    return np.array([[-128], [127]]).repeat(tensor.shape[-1], 1) if known is None else known


def weight_matrix(node: Node) -> np.ndarray:
    """Return the weights of a layer as int8 [outputs, taps, input channels].

    A DEPTHWISE_CONV_2D has one input channel for each output, a FULLY_CONNECTED over an image a tap
    for each pixel.
    """
    weights = node.input(1).data
    assert weights is not None
    if node.kind == "DEPTHWISE_CONV_2D":
        return weights.reshape(-1, weights.shape[-1]).T[:, :, None]
    channels = node.input(0).shape[-1] if node.kind == "FULLY_CONNECTED" else weights.shape[-1]
    return weights.reshape(len(weights), -1, channels)


def reads_padding(node: Node) -> bool:
    """Return whether a layer with weights reads beside its image, where zero points stand."""
    if node.kind == "FULLY_CONNECTED":
        return False
    _, kernel_h, kernel_w, _ = node.input(1).shape
    w, (_, in_h, in_w, _) = conv.window(node, kernel_h, kernel_w), node.input(0).shape
    last_y = (w.out_h - 1) * w.stride_h + (w.kernel_h - 1) * w.dilation_h - w.pad_top
    last_x = (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w - w.pad_left
    return w.pad_top > 0 or w.pad_left > 0 or last_y >= in_h or last_x >= in_w


def is_plain_layer(node: Node) -> bool:
    """Return whether this is a layer with weights, without groups, over whole rows of channels."""
    weighted = node.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    if not weighted or not node.input(0).shape:
        return False
    channels, columns = node.input(0).shape[-1], node.input(1).shape[-1]
    if node.kind == "CONV_2D":
        return channels == columns
    return columns % channels == 0


def _layer(node: Node, found: Ranges) -> np.ndarray | None:
    if not is_plain_layer(node):
        return None
    low, high = range_of(node.input(0), found) - node.input(0).zero_point
    if reads_padding(node):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    matrix = weight_matrix(node)
    taps = matrix.shape[1]
    flat = matrix.reshape(len(matrix), -1)
    if node.kind == "DEPTHWISE_CONV_2D":
        columns = [end.repeat(len(matrix) // len(end))[:, None] for end in (low, high)]
        sums = [
            (
                np.maximum(flat, 0).astype(np.int64) * a + np.minimum(flat, 0).astype(np.int64) * b
            ).sum(axis=1)
            for a, b in (columns, columns[::-1])
        ]
    else:
        sums = _extreme_sums(flat, np.tile(low, taps), np.tile(high, taps))
    single = node.kind == "FULLY_CONNECTED"
    channels = conv.channels(node, flat, single_precision_product=single)
    ends = [conv.own_bias(node, flat) + total for total in sums]
    results = [conv.requantize(node, end.astype(np.int32), channels) for end in ends]
    unknown = conv.may_wrap(ends, channels)
    return np.stack(
        [np.where(unknown, -128, results[0]), np.where(unknown, 127, results[1])]
    ).astype(np.int64)


def _extreme_sums(weights: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Return int64 [outputs], the lowest and the highest sums of products of int8 [outputs, depth]
    with values between ``low`` and ``high`` [depth]."""
    rows = max(1, _AT_ONCE // max(1, weights.shape[1]))
    ends: list[list[np.ndarray]] = [[], []]
    for start in range(0, len(weights), rows):
        # Exact in float64, as every sum is below 2**53, and much faster than in integers.
        part = weights[start : start + rows].astype(np.float64)
        positive, negative = np.maximum(part, 0), np.minimum(part, 0)
        ends[0].append(positive @ low + negative @ high)
        ends[1].append(positive @ high + negative @ low)
    return [np.concatenate(sums).astype(np.int64) for sums in ends]


def _renamed(node: Node, found: Ranges) -> np.ndarray | None:
    """A view whose rows are whole rows of the input's."""
    known = found.get(node.input(0).index)
    if known is None or node.output.shape[-1] % known.shape[1]:
        return None
    return np.tile(known, node.output.shape[-1] // known.shape[1])


def _looked_up(node: Node, found: Ranges) -> np.ndarray | None:
    """A function of each value; all values between the bounds are tried."""
    codes = np.arange(-128, 128).astype(np.int8)
    (values,) = OPS[node.kind].reference(node, [codes])
    low, high = range_of(node.input(0), found) + 128
    between = (np.arange(256)[:, None] >= low) & (np.arange(256)[:, None] <= high)
    results = values.astype(np.int64)[:, None]
    return np.stack(
        [np.where(between, results, 127).min(axis=0), np.where(between, results, -128).max(axis=0)]
    )


def _from_corners(node: Node, found: Ranges) -> np.ndarray | None:
    """An operator that is linear or monotonic in each operand by itself: its corners bound it."""
    positions = (0, 1) if node.kind in BINARY else (0,)
    varying = [i for i in positions if node.input(i).data is None]
    tensors = [node.input(i) for i in varying]
    if not any(t.index in found for t in tensors):
        return None
    if any(t.dtype != DType.INT8 or not t.shape for t in tensors) or _wraps(node):
        return None
    results = []
    for corner in range(2 ** len(varying)):
        operands = [None if t is None else t.data for t in node.inputs]
        for bit, (position, t) in enumerate(zip(varying, tensors, strict=True)):
            end = range_of(t, found)[corner >> bit & 1]
            operands[position] = np.broadcast_to(end, t.shape).astype(np.int8)
        (result,) = OPS[node.kind].reference(node, operands)
        results.append(result.astype(np.int64).reshape(-1, node.output.shape[-1]))
    together = np.concatenate(results)
    return np.stack([together.min(axis=0), together.max(axis=0)])


def _wraps(node: Node) -> bool:
    """Return whether an int32 may wrap on the way to the output."""
    scale = max(map(abs, OPS[node.kind].effective_scales(node)), default=0.0)
    summed = node.input(0).elements // max(1, node.output.elements)
    return scale >= _MOST_SCALE or summed >= _MOST_SUMMED


def _is_unbounded(bounds: np.ndarray) -> bool:
    return bool(np.all(bounds[0] == -128) and np.all(bounds[1] == 127))


def _kinds(rule: Rule, kinds: Iterable[str]) -> dict[str, Rule]:
    return dict.fromkeys(kinds, rule)


_RULES: Mapping[str, Rule] = {
    **_kinds(_layer, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")),
    **_kinds(_renamed, VIEWS),
    **_kinds(_looked_up, LOOKUPS),
    **_kinds(_from_corners, (*SPATIAL, *BINARY)),
}
