"""What stands in front of a network's first layer: an affine map of the input, such as Keras's
Normalization and Rescaling. It is read, taken out, folded into the first layer, or made up.

int8 has one scale for a whole input. Channels whose ranges differ by more than its 255 steps leave
some of them without steps of their own, which nothing behind can repair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.models.float_tflite import pack
from edgebuild.models.preprocessing import Step, affine
from edgebuild.tflite import schema

FEWEST_STEPS = 16.0
"""A channel whose range has fewer steps of the input's 255 keeps less than 4 of 8 bits."""

BETTER = 4.0
"""An affine map is worth taking out where it gives the worst channel so many times the steps."""

_STEPS = 255.0
_KINDS = {"ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div"}


@dataclass(frozen=True, eq=False)
class Front:
    """The affine operators behind an input: what they do, their numbers, and what they compute."""

    steps: tuple[Step, ...]
    operators: tuple[Operator, ...]
    output: int


def front_of(network: Network, tensor: int) -> Front | None:
    """Return the affine operators that alone read input ``tensor``, one after the other; None where
    there are none."""
    shape = network.shape(tensor)
    steps: list[Step] = []
    operators: list[Operator] = []
    while len(readers := network.readers(tensor)) == 1 and tensor not in network.outputs:
        found = _steps_of(network, readers[0], tensor, shape)
        if found is None:
            break
        steps += found
        operators.append(readers[0])
        tensor = readers[0].output
    return Front(tuple(steps), tuple(operators), tensor) if steps else None


def _steps_of(
    network: Network, op: Operator, tensor: int, shape: tuple[int, ...]
) -> list[Step] | None:
    """Return what ``op`` does to ``tensor`` as steps, None where it is no affine map by element."""
    if op.activation != "NONE" or network.shape(op.output) != shape or not shape:
        return None
    if op.kind == "FULLY_CONNECTED":
        return _diagonal(network, op, tensor)
    if op.kind not in _KINDS or len(op.inputs) != 2 or op.inputs.count(tensor) != 1:
        return None
    first = op.inputs[0] == tensor
    numbers = network.constant(op.inputs[1] if first else op.inputs[0])
    values = None if numbers is None else _flat(numbers, shape)
    if values is None or (op.kind == "DIV" and not (first and values.all())):
        return None
    if op.kind == "SUB" and not first:  # numbers - x
        return [Step("mul", np.array([-1], np.float32)), Step("add", values)]
    return [Step(_KINDS[op.kind], values)]


def _diagonal(network: Network, op: Operator, tensor: int) -> list[Step] | None:
    weights = network.constant(op.inputs[1])
    if op.inputs[0] != tensor or weights is None or weights.shape[0] != weights.shape[1]:
        return None
    if np.any(weights - np.diag(np.diag(weights))):
        return None
    steps = [Step("mul", np.ascontiguousarray(np.diag(weights)))]
    bias = network.bias(op)
    return steps if bias is None else [*steps, Step("add", bias.reshape(-1))]


def _flat(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return constants as a step has them; None where they make the tensor larger."""
    try:
        full = np.broadcast_to(numbers, shape)
    except ValueError:
        return None
    if numbers.size == 1:
        return np.ascontiguousarray(numbers.reshape(1), np.float32)
    rows = full.reshape(-1, shape[-1])
    kept = rows[0] if np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)) else full
    return np.ascontiguousarray(kept.reshape(-1), np.float32)


def fewest_steps(x: np.ndarray) -> float:
    """Return how many of the 255 steps of int8 the channel with the smallest range has, for real
    values (samples, ..., channels). Channels of one value need none."""
    rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1]) if x.ndim > 1 else x[:, np.newaxis]
    low, high = rows.min(axis=0), rows.max(axis=0)
    whole = max(float(high.max()), 0.0) - min(float(low.min()), 0.0)
    spans = (high - low)[high > low]
    return float(spans.min() / whole * _STEPS) if len(spans) and whole > 0 else _STEPS


def taken_out(network: Network, tensor: int, front: Front) -> Network:
    """Return a network that begins behind ``front``: its input takes the name of ``tensor``."""
    return _without(network, front, tensor, front.output)


def folded(network: Network, tensor: int, front: Front) -> Network | None:
    """Return the same network with ``front`` in the weights of the layer behind it; None where
    that is not exact: no layer alone reads it, or its zero padding would be another value."""
    channels = network.shape(tensor)[-1]
    pair = affine(front.steps, channels)
    found = None if pair is None else absorbed(network, front.output, *pair)
    if found is None:
        return None
    return _without(found, front, tensor, tensor)


def absorbed(
    network: Network, tensor: int, scale: np.ndarray, offset: np.ndarray
) -> Network | None:
    """Return a network that, given ``x`` in ``tensor``, computes what ``network`` does of
    ``scale * x + offset``, both (channels,); None where its first layer cannot take that over
    exactly."""
    readers = network.readers(tensor)
    if len(readers) != 1 or readers[0] not in network.weighted() or tensor in network.outputs:
        return None
    op, channels = readers[0], len(scale)
    weights = network.constant(op.inputs[1])
    if weights is None or op.inputs[0] != tensor or network.readers(op.inputs[1]) != (op,):
        return None
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    if (weights.shape[-1] % channels if depthwise else weights.shape[-1] != channels) != 0:
        return None
    along = np.repeat(scale, weights.shape[-1] // channels) if depthwise else scale
    changes = {op.inputs[1]: weights * along}
    if np.any(offset):
        bias = network.bias(op)
        if bias is None or _pads(op) or network.readers(op.inputs[2]) != (op,):
            return None
        if depthwise:
            moved = weights.sum(axis=(0, 1, 2)) * np.repeat(offset, weights.shape[-1] // channels)
        else:
            moved = (weights * offset).reshape(len(weights), -1).sum(axis=1)
        changes[op.inputs[2]] = bias + moved.reshape(bias.shape)
    return network.replaced(changes)


def standard_steps(
    network: Network, tensor: int, x: np.ndarray
) -> tuple[tuple[Step, ...], Network] | None:
    """Return steps that bring each channel of ``x`` (samples, ..., channels) to -1 to 1 (by a
    factor alone where the first layer cannot take an offset over), and the network behind them;
    None where the first layer cannot take that over exactly."""
    rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    low, high = rows.min(axis=0), rows.max(axis=0)
    half, reach = (high - low) / 2, np.abs(rows).max(axis=0)
    for centre, span in ((low + half, half), (np.zeros_like(low), reach)):
        middle = centre.astype(np.float32)
        span = np.where(span > 0, span, 1.0).astype(np.float32)
        found = absorbed(network, tensor, span.astype(np.float64), middle.astype(np.float64))
        if found is not None:
            steps = [Step("sub", middle)] if np.any(middle) else []
            return (*steps, Step("div", span)), found
    return None


def _pads(op: Operator) -> bool:
    """Return whether a convolution reads zeros beyond its input's edges."""
    padding = getattr(op.options, "padding", None)
    return padding is not None and schema.enum_names("Padding")[padding] == "SAME"


def _without(network: Network, front: Front, tensor: int, start: int) -> Network:
    """Return ``network`` without the operators of ``front``; its input is ``start``, and what read
    the front's output reads that."""
    dropped = {op.number for op in front.operators}
    model = network.model()
    graph = model.subgraphs[0]
    graph.operators = [op for i, op in enumerate(graph.operators) if i not in dropped]
    for op in graph.operators:
        op.inputs = [start if i == front.output else int(i) for i in op.inputs]
    graph.inputs = [start if int(i) == tensor else int(i) for i in graph.inputs]
    for index, original in enumerate(network.original_names):
        graph.tensors[index].name = original.encode()
    if start != tensor:
        graph.tensors[start].name = network.original_names[tensor].encode()
        graph.tensors[tensor].name = b""
    model.signatureDefs = None
    return Network(pack(model))


def ranges_by_channel(x: np.ndarray) -> list[tuple[float, float]]:
    """Return the least and the largest value of each channel of ``x`` (samples, ..., channels)."""
    rows = x.reshape(-1, x.shape[-1])
    return list(zip(rows.min(axis=0).tolist(), rows.max(axis=0).tolist(), strict=True))


def inputs_to_scale(x: Sequence[np.ndarray]) -> list[int]:
    """Return the positions of the inputs that int8 cannot hold: float arrays (samples, ...,
    channels) of which a channel has fewer than FEWEST_STEPS steps."""
    return [
        i
        for i, array in enumerate(x)
        if array.dtype.kind == "f" and array.ndim > 1 and fewest_steps(array) < FEWEST_STEPS
    ]
