"""Parameter bytes on the Edge TPU: their layout per operator, and which stay on the chip.

The layouts were read from the parameter streams of compiled models, operator by operator:

- A convolution's weights lie in groups of output channels; each tap of each group of 4 input
  channels is one word per output channel. Output channels are filled up to a multiple of 16, above
  64 (what a tile takes) to a multiple of 64. A single output channel is filled up to 4.
- A depthwise convolution is one with a single input channel: 4 bytes for each tap and channel.
- Each output channel has 4 bytes of bias, unless all biases are zero, and 8 more where weights are
  quantized per channel.
- SOFTMAX has three tables of 16 bytes for each element, and one word where it is spread over tiles.
- What moves values between places that are no multiples of four channels (SPLIT, CONCATENATION,
  the sequence of an LSTM) is a multiplication with a matrix of zeros and ones.
- Everything is filled up to 64 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.delegates.edgetpu_rules import table
from edgebuild.graph import Node, Tensor


@dataclass(frozen=True)
class LayerParameters:
    """Parameter bytes of one operator: ``cacheable`` may stay on the chip, ``streamed`` never do
    (constants that an element-wise operator reads as an activation)."""

    position: int
    kind: str
    cacheable: int
    streamed: int = 0


@dataclass(frozen=True)
class CachePlan:
    """What stays on the chip: the positions of operators whose parameters are sent with every
    inference, and the bytes of both kinds."""

    cached_bytes: int
    streamed_bytes: int
    remaining_bytes: int
    uncached: tuple[int, ...]


def layer_parameters(node: Node) -> LayerParameters:
    """Return the parameter bytes of a mapped operator; 0 where it has none, or their layout is not
    known (see ``layout_is_known``)."""
    layout = _LAYOUTS.get(node.kind)
    return LayerParameters(
        node.position,
        node.kind,
        sum(map(_word, layout(node))) if layout else 0,
        _streamed(node),
    )


def layout_is_known(kind: str) -> bool:
    """Return whether the layout of an operator's parameters was seen in a compiled model, or is
    taken over from an operator that the same unit computes."""
    memory = table()["memory"]
    return kind in memory["layouts_seen"] or kind in memory["layouts_as"]


def executable_bytes(operators: int) -> int:
    """Return about how much of the chip's memory a program of so many operators takes."""
    return operators * int(table()["memory"]["executable_bytes_per_operator"])


def cache_parameters(layers: Iterable[LayerParameters], capacity: int) -> CachePlan:
    """Give out the chip's memory layer by layer, in order.

    A layer's parameters are cached whole or not at all; smaller ones behind it may still fit.
    """
    cached = streamed = 0
    uncached = []
    for layer in layers:
        streamed += layer.streamed
        if cached + layer.cacheable <= capacity:
            cached += layer.cacheable
        else:
            streamed += layer.cacheable
            uncached.append(layer.position)
    return CachePlan(cached, streamed, max(0, capacity - cached), tuple(uncached))


def cache_together(
    models: Sequence[Sequence[LayerParameters]], capacity: int
) -> tuple[CachePlan, ...]:
    """Give out the chip's memory to models that are compiled together: the first takes what it
    can, the next what is left."""
    plans = []
    for layers in models:
        plan = cache_parameters(layers, capacity)
        capacity -= plan.cached_bytes
        plans.append(plan)
    return tuple(plans)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _word(value: int) -> int:
    return _up(value, table()["memory"]["word_bytes"])


def _inputs(channels: int) -> int:
    return _up(channels, table()["memory"]["input_channel_multiple"])


def _outputs(channels: int) -> int:
    memory = table()["memory"]
    many = channels > memory["tile_channels"]
    return _up(channels, memory["tile_channels" if many else "output_channel_multiple"])


def _channel_bytes(weights: Tensor, bias: Tensor | None) -> int:
    """Return the bytes beside its weights that each output channel has."""
    memory = table()["memory"]
    has_bias = bias is not None and (bias.data is None or bool(np.any(bias.data)))
    per_channel = weights.quantization is not None and weights.quantization.per_channel
    return int(
        has_bias * memory["bias_bytes"] + per_channel * memory["per_channel_scale_bytes"],
    )


def _matrix(inputs: int, outputs: int) -> int:
    return _inputs(inputs) * _outputs(outputs)


def _conv(node: Node) -> list[int]:
    weights = node.input(1)
    outputs, height, width, inputs = weights.shape
    filled = 4 if outputs == 1 else _outputs(outputs)
    bias_at = 3 if node.kind == "TRANSPOSE_CONV" else 2
    extra = _channel_bytes(weights, node.optional_input(bias_at))
    return [filled * (height * width * _inputs(inputs) + extra)]


def _depthwise(node: Node) -> list[int]:
    weights = node.input(1)
    _, height, width, channels = weights.shape
    extra = _channel_bytes(weights, node.optional_input(2))
    return [channels * (height * width * _inputs(1) + extra)]


def _dense(node: Node) -> list[int]:
    weights = node.input(1)
    outputs, inputs = weights.shape
    return [_outputs(outputs) * (_inputs(inputs) + _channel_bytes(weights, node.optional_input(2)))]


def _softmax(node: Node) -> list[int]:
    memory = table()["memory"]
    elements = node.output.elements
    one_table = elements * memory["softmax_bytes_per_element"]
    spread = elements > memory["tile_channels"]
    return [one_table] * memory["softmax_tables"] + [memory["word_bytes"]] * spread


def _lstm(node: Node) -> list[int]:
    """Four gates with one matrix for the input and one for the state, and the matrices that take
    each step out of the sequence and put its result into the output's."""
    features, units, steps = node.input(0).shape[-1], node.output.shape[-1], node.output.shape[1]
    sizes = []
    for gate in range(4):
        weights, bias = node.optional_input(1 + gate), node.optional_input(12 + gate)
        if weights is None:  # coupled input and forget gates
            continue
        sizes += [
            _outputs(units) * (_inputs(features) + _channel_bytes(weights, bias)),
            _matrix(units, units),
        ]
    for channels in (features, units):
        sizes += [
            (_inputs(channels) + 4) * _outputs(4 * channels),
            4 * channels * _outputs(channels),
        ]
    return [*sizes, 4 * steps * _outputs(4 * steps), table()["memory"]["word_bytes"]]


def _selection(node: Node) -> list[int]:
    """One matrix for pieces along the channels that do not all begin at a multiple of four."""
    split = node.kind == "SPLIT"
    pieces = node.outputs if split else [t for t in node.inputs if t is not None]
    whole = node.input(1) if split else node.output
    channels = [piece.shape[-1] for piece in pieces if piece.shape]
    along_channels = bool(whole.shape) and sum(channels) == whole.shape[-1] and len(pieces) > 1
    if not along_channels or all(count % 4 == 0 for count in channels[:-1]):
        return []
    return [_matrix(max(channels), whole.shape[-1])]


def _streamed(node: Node) -> int:
    if node.kind in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"):
        constants = [t for t in node.inputs if t is not None and t.is_constant]
        return sum(_word(t.nbytes) for t in constants if t.elements > 1)
    if node.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return _word(node.output.nbytes)  # the sequence that each step writes a part of
    return 0


_LAYOUTS: dict[str, Callable[[Node], list[int]]] = {
    "CONV_2D": _conv,
    "TRANSPOSE_CONV": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "SOFTMAX": _softmax,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "SPLIT": _selection,
    "CONCATENATION": _selection,
}
"""The sizes of an operator's cacheable blocks, before they are filled up."""
