"""Parameters and MACs of a Keras model, layer by layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgebuild.compress.base import Cost, State
from edgebuild.compress.ptq.artifact import constant_bytes
from edgebuild.compress.ptq.float_file import FloatFile

_FLOAT_BYTES = 4


def model_cost(model: Any) -> Cost:
    """Return what ``model`` costs. Parameters are its weights without optimizer and metrics;
    a shared layer's MACs count for each call."""
    if isinstance(model, FloatFile):
        return model.cost()
    values = [np.asarray(w) for w in model.weights]
    parameters = sum(v.size for v in values)
    return Cost(
        parameters=parameters,
        nonzero=sum(int(np.count_nonzero(v)) for v in values),
        macs=sum(macs for _, macs in layer_macs(model)),
        bytes=_FLOAT_BYTES * parameters,
    )


def state_cost(state: State) -> Cost:
    """Return what ``state`` costs; its bytes are the flatbuffer's constants where there is one."""
    cost = model_cost(state.model)
    if state.flatbuffer is None:
        return cost
    return dataclasses.replace(cost, bytes=constant_bytes(state.flatbuffer))


def layer_macs(model: Any) -> Iterator[tuple[str, int]]:
    """Yield (layer name, MACs of one inference) for each call of each layer, nested models too."""
    for node in nodes(model):
        layer = node.operation
        if hasattr(layer, "layers") and hasattr(layer, "_nodes"):
            yield from layer_macs(layer)
        else:
            yield layer.name, call_macs(node)


def nodes(model: Any) -> list[Any]:
    """Return the calls of a functional model's layers, each after those that it depends on."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def call_macs(node: Any) -> int:
    """Return the multiplications of weights with values in one call of a layer; everything else
    counts nothing."""
    layer = node.operation
    if type(layer).__name__ == "TimeDistributed":
        layer = layer.layer
    kind = type(layer).__name__
    shape = node.output_tensors[0].shape if node.output_tensors else (None, 0)
    outputs = math.prod(n or 1 for n in shape[1:])
    if kind == "Dense":
        return outputs * layer.kernel.shape[0]
    if kind == "EinsumDense":
        return outputs * _summed(layer)
    if kind in ("MultiHeadAttention", "GroupedQueryAttention"):
        return _attention_macs(layer, node)
    if kind in ("Conv1D", "Conv2D", "Conv3D"):
        return outputs * math.prod(layer.kernel.shape[:-1])
    if kind in ("DepthwiseConv1D", "DepthwiseConv2D"):
        return outputs * math.prod(layer.kernel.shape[:-2])
    if kind in ("SeparableConv1D", "SeparableConv2D"):
        depthwise, pointwise = layer.depthwise_kernel.shape, layer.pointwise_kernel.shape
        places = outputs // pointwise[-1]
        return places * (math.prod(depthwise) + math.prod(pointwise))
    if kind in ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"):
        inputs = math.prod(node.input_tensors[0].shape[1:])
        return inputs * math.prod(layer.kernel.shape[:-1])
    if kind in ("LSTM", "GRU", "SimpleRNN", "Bidirectional"):
        steps = node.input_tensors[0].shape[1] or 1
        return steps * sum(math.prod(w.shape) for w in kernels(layer))
    return 0


def kernels(layer: Any) -> list[Any]:
    """Return the weights that a layer multiplies with, of two or more dimensions."""
    return [v for v in layer.weights if len(v.shape) >= 2 and v.name != "bias"]


def _summed(dense: Any) -> int:
    """Return over how many products one output of an ``EinsumDense`` layer is summed."""
    inputs, output = dense.equation.replace(" ", "").split("->")
    letters = zip(inputs.split(",")[1], dense.kernel.shape, strict=True)
    return math.prod(size for letter, size in letters if letter not in output)


def _attention_macs(layer: Any, node: Any) -> int:
    """Return the MACs of the four projections; products of values with values are not counted."""
    lengths = [math.prod(n or 1 for n in t.shape[1:-1]) for t in node.input_tensors]
    asking, keys = lengths[0], lengths[min(1, len(lengths) - 1)]
    size = {
        name: math.prod(getattr(layer, f"_{name}_dense").kernel.shape)
        for name in ("query", "key", "value", "output")
    }
    return int(asking * (size["query"] + size["output"]) + keys * (size["key"] + size["value"]))
