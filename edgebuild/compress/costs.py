"""Parameters and MACs of a Keras model, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgebuild.compress.base import Cost


def model_cost(model: Any) -> Cost:
    """Return what ``model`` costs. Parameters are its weights without optimizer and metrics;
    a shared layer's MACs count for each call."""
    values = [np.asarray(w) for w in model.weights]
    return Cost(
        parameters=sum(v.size for v in values),
        nonzero=sum(int(np.count_nonzero(v)) for v in values),
        macs=sum(macs for _, macs in layer_macs(model)),
    )


def layer_macs(model: Any) -> Iterator[tuple[str, int]]:
    """Yield (layer name, MACs of one inference) for each call of each layer, nested models too."""
    for node in nodes(model):
        layer = node.operation
        if hasattr(layer, "layers") and hasattr(layer, "_nodes"):
            yield from layer_macs(layer)
        else:
            yield layer.name, _macs(layer, node)


def nodes(model: Any) -> list[Any]:
    """Return the calls of a functional model's layers, each after those that it depends on."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _macs(layer: Any, node: Any) -> int:
    """Multiplications of weights with values; everything else counts nothing."""
    kind = type(layer).__name__
    outputs = math.prod(node.output_tensors[0].shape[1:]) if node.output_tensors else 0
    if kind in ("Dense", "EinsumDense"):
        kernel = layer.kernel.shape
        return math.prod(kernel) * (outputs // kernel[-1] if kind == "Dense" else 1)
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
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        steps = node.input_tensors[0].shape[1] or 1
        return steps * sum(math.prod(w.shape) for w in layer.weights if len(w.shape) == 2)
    return 0
