"""Whether a model's single output is a probability, by the activation that it ends in."""

from __future__ import annotations

from typing import Any

from edgebuild.graph import Graph, Node

_SAME_VALUES = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_SAME_LAYERS = {"Reshape", "Flatten", "Dropout", "Identity", "Squeeze", "ExpandDims"}
_SIGMOIDS = {"sigmoid", "hard_sigmoid"}
_SIGMOID_CALLS = {"Sigmoid", "HardSigmoid"}  # of keras.ops


def graph_gives_probability(graph: Graph, output: int = 0) -> bool:
    """Return whether an output of ``graph`` is made by a sigmoid."""
    makers = {tensor.index: node for node in graph.nodes() for tensor in node.outputs}
    maker = makers.get(graph.outputs[output])
    while maker is not None and maker.kind in _SAME_VALUES:
        maker = makers.get(maker.input(0).index)
    return maker is not None and (maker.kind == "LOGISTIC" or _is_hard_sigmoid(maker, makers))


def _is_hard_sigmoid(node: Node, makers: dict[int, Node]) -> bool:
    """Return whether ``node`` is the end of Keras's hard sigmoid, ``relu6(x + 3) / 6``."""
    if node.kind != "MUL" or not node.input(1).is_constant:
        return False
    maker = makers.get(node.input(0).index)
    return maker is not None and (
        maker.kind == "RELU6" or maker.attrs.get("fused_activation_function") == "RELU6"
    )


def keras_gives_probability(tensor: Any) -> bool:
    """Return whether the symbolic output ``tensor`` of a Keras model is made by a sigmoid."""
    while True:
        layer, node = tensor._keras_history.operation, tensor._keras_history.node_index
        name = getattr(getattr(layer, "activation", None), "__name__", "")
        if type(layer).__name__ not in _SAME_LAYERS and (
            type(layer).__name__ != "Activation" or name != "linear"
        ):
            return name in _SIGMOIDS or type(layer).__name__ in _SIGMOID_CALLS
        tensor = layer._inbound_nodes[node].input_tensors[0]
