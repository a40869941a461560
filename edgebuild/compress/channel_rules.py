"""What each kind of layer does with channels: one rule for each kind.

Kinds are names of classes, of layers and of the functions of ``keras.ops``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.compress.channels import Call, Rule, Tracer

_COMPARES = {"softmax", "log_softmax", "sparsemax", "sparse_plus", "glu", "squareplus_glu"}
"""Activations of a channel that depend on the other channels."""


def rule_for(call: Call) -> Rule | None:
    """Return the rule for a call, None for what is not understood."""
    import keras

    if not call.node.input_tensors or not _channels_last(call.layer):
        return None
    rules = _LAYERS if isinstance(call.layer, keras.Layer) else _FUNCTIONS
    return rules.get(call.kind)


def whole_groups(layer: Any) -> bool:
    """Return whether a grouped convolution loses groups as a whole. Otherwise it keeps all groups,
    and all lose the same channels: finer where groups are few and wide."""
    return bool(layer.groups >= layer.kernel.shape[-2])


def _pass_on(tracer: Tracer, call: Call) -> np.ndarray:
    return call.inputs[0]


def _activate(tracer: Tracer, call: Call) -> np.ndarray:
    if _compares(call.layer):
        tracer.fix(call.inputs[0])
    return call.inputs[0]


def _compares(layer: Any) -> bool:
    """Return whether an activation of a layer, or of a cell, depends on several channels. One that
    is a layer may."""
    import keras

    found = [getattr(layer, name, None) for name in ("activation", "recurrent_activation")]
    return any(isinstance(a, keras.Layer) or getattr(a, "__name__", "") in _COMPARES for a in found)


def _normalize(tracer: Tracer, call: Call) -> np.ndarray | None:
    axis, rank = call.layer.axis, len(call.node.output_tensors[0].shape)
    if (list(axis) if isinstance(axis, (list, tuple)) else [axis]) not in ([-1], [rank - 1]):
        return None
    for variable in call.layer.weights:
        if len(variable.shape) == 1:
            tracer.bind(variable, call.inputs[0])
    return call.inputs[0]


def _prelu(tracer: Tracer, call: Call) -> np.ndarray:
    alpha = call.layer.alpha
    if alpha.shape[-1] == len(call.inputs[0]):
        tracer.bind(alpha, call.inputs[0])
    return call.inputs[0]


def _connect(tracer: Tracer, call: Call) -> np.ndarray:
    """Rule of dense layers and convolutions, also transposed ones."""
    layer, given = call.layer, call.inputs[0]
    made = tracer.made(call.name, call.width)
    transposed = call.kind.endswith("Transpose")
    if getattr(layer, "groups", 1) > 1:
        _tie_groups(tracer, layer, given, made)
        inner = None if whole_groups(layer) else given[: layer.kernel.shape[-2]]
        tracer.bind(layer.kernel, inner, made)
    else:
        tracer.bind(layer.kernel, *((made, given) if transposed else (given, made)))
    rank = len(layer.kernel.shape)
    tracer.kernels[call.name] = ((layer.kernel.path, rank - 2 if transposed else rank - 1),)
    return _finish(tracer, call, made)


def _finish(tracer: Tracer, call: Call, made: np.ndarray) -> np.ndarray:
    if call.layer.use_bias:
        tracer.bind(call.layer.bias, made)
    if _compares(call.layer):
        tracer.fix(made)
    return made


def _tie_groups(tracer: Tracer, layer: Any, given: np.ndarray, made: np.ndarray) -> None:
    rows, columns = given.reshape(layer.groups, -1), made.reshape(layer.groups, -1)
    if whole_groups(layer):
        for row, column in zip(rows, columns, strict=True):
            tracer.union(np.concatenate([row, column]), row[:1])
    else:
        tracer.union(given, rows[0])
        tracer.union(made, columns[0])


def _separable(tracer: Tracer, call: Call) -> np.ndarray:
    layer, given = call.layer, call.inputs[0]
    made = tracer.made(call.name, layer.filters)
    tracer.bind(layer.depthwise_kernel, given, None)
    tracer.bind(layer.pointwise_kernel, np.repeat(given, layer.depth_multiplier), made)
    kernel = layer.pointwise_kernel
    tracer.kernels[call.name] = ((kernel.path, len(kernel.shape) - 1),)
    return _finish(tracer, call, made)


def _depthwise(tracer: Tracer, call: Call) -> np.ndarray:
    layer, given = call.layer, call.inputs[0]
    tracer.bind(layer.kernel, given, None)
    return _finish(tracer, call, np.repeat(given, layer.depth_multiplier))


def _einsum(tracer: Tracer, call: Call) -> np.ndarray | None:
    """Rule of ``abc,cd->abd``: the input's last axis is summed over, the output's last is new."""
    layer = call.layer
    before, after = layer.equation.replace(" ", "").split("->")
    before, kernel = before.split(",")
    given, new = before[-1], after[-1]
    if given not in kernel or given in after or new not in kernel or new in before:
        return None
    made = tracer.made(call.name, call.width)
    tracer.bind(layer.kernel, *({given: call.inputs[0], new: made}.get(c) for c in kernel))
    tracer.kernels[call.name] = ((layer.kernel.path, kernel.index(new)),)
    if layer.bias is not None and layer.bias_axes.endswith(new):
        tracer.bind(layer.bias, *[None] * (len(layer.bias.shape) - 1), made)
    elif layer.bias is not None and new in layer.bias_axes:
        return None
    if _compares(layer):
        tracer.fix(made)
    return made


def _embed(tracer: Tracer, call: Call) -> np.ndarray:
    made = tracer.made(call.name, call.layer.output_dim)
    tracer.bind(call.layer.embeddings, None, made)
    tracer.kernels[call.name] = ((call.layer.embeddings.path, 1),)
    return made


def _recurrent(tracer: Tracer, call: Call) -> list[np.ndarray]:
    cell = call.layer.cell
    made = tracer.made(call.name, getattr(cell, "units", None) or cell.filters)
    tracer.kernels[call.name] = (_cell(tracer, cell, call.inputs[0], made),)
    for state in call.inputs[1:]:  # that it begins with
        tracer.union(state, made)
    return [made] * len(call.node.output_tensors)  # the states that it ends with too


def _bidirectional(tracer: Tracer, call: Call) -> np.ndarray | None:
    layers = (call.layer.forward_layer, call.layer.backward_layer)
    cells = [layer.cell for layer in layers if type(layer).__name__ in _GATES]
    simple = len(call.inputs) == len(call.node.output_tensors) == 1
    if len(cells) < 2 or cells[0].units != cells[1].units or not simple:
        return None
    made = tracer.made(call.name, cells[0].units)
    tracer.kernels[call.name] = tuple(_cell(tracer, cell, call.inputs[0], made) for cell in cells)
    return np.concatenate([made, made]) if call.layer.merge_mode == "concat" else made


def _cell(tracer: Tracer, cell: Any, given: np.ndarray, made: np.ndarray) -> tuple[str, int]:
    """Bind a recurrent cell's weights, whose gates are side by side; return its kernel and axis."""
    gates = np.resize(made, cell.kernel.shape[-1])
    tracer.bind(cell.kernel, given, gates)
    tracer.bind(cell.recurrent_kernel, made, gates)
    if cell.use_bias:
        tracer.bind(cell.bias, gates)
    if _compares(cell):
        tracer.fix(made)
    return cell.kernel.path, len(cell.kernel.shape) - 1


def _attend(tracer: Tracer, call: Call) -> np.ndarray | None:
    """Rule of multi-head attention: heads are removed, as a whole."""
    layer, node = call.layer, call.node
    if getattr(layer, "_output_shape", None) is not None or len(node.output_tensors) > 1:
        return None  # scores have a value for each head
    query, value, key = _attended(tracer, node)
    grouped = call.kind == "GroupedQueryAttention"
    count = layer.num_key_value_heads if grouped else layer.num_heads
    wide = layer.head_dim if grouped else layer.value_dim
    if call.name not in tracer.outputs:
        tracer.outputs[call.name] = np.repeat(tracer.new(count), wide)
    heads = tracer.outputs[call.name][::wide]
    asking = np.repeat(heads, layer.num_query_heads // count) if grouped else heads
    sides: list[tuple[Any, np.ndarray, np.ndarray]] = [
        (layer._query_dense, query, asking),
        (layer._key_dense, key, heads),
        (layer._value_dense, value, heads),
    ]
    if getattr(layer, "_use_gate", getattr(layer, "use_gate", False)):
        sides.append((layer._gate_dense, query, asking))
    for dense, given, of in sides:
        tracer.bind(dense.kernel, given, of, None)
        if dense.bias is not None:
            tracer.bind(dense.bias, of, None)
    out = layer._output_dense
    tracer.bind(out.kernel, asking, None, query)
    if out.bias is not None:
        tracer.bind(out.bias, query)
    tracer.kernels[call.name] = (
        *((dense.kernel.path, 1) for dense, _, _ in sides),
        (out.kernel.path, 0),
    )
    return query


def _attended(tracer: Tracer, node: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the channels of query, value and key."""
    names = ("query", "value", "key")
    given = dict(zip(names, node.arguments.args, strict=False)) | node.arguments.kwargs
    value = given["value"]
    key = value if given.get("key") is None else given["key"]
    return tracer.tensors[id(given["query"])], tracer.tensors[id(value)], tracer.tensors[id(key)]


def _join(tracer: Tracer, call: Call) -> np.ndarray:
    widest = max(call.inputs, key=len)
    for channels in call.inputs:
        if len(channels) == len(widest):
            tracer.union(channels, widest)
        else:  # broadcast
            tracer.fix(channels)
    arguments = call.node.arguments
    tensors = {id(tensor) for tensor in arguments.keras_tensors}
    for other in arguments._flat_arguments:
        shape: Any = getattr(other, "shape", ())
        if id(other) not in tensors and len(shape) and shape[-1] != 1:  # a constant for each
            tracer.fix(widest)
    return widest


def _concatenate(tracer: Tracer, call: Call) -> np.ndarray:
    if call.layer.axis in (-1, len(call.node.output_tensors[0].shape) - 1):
        return np.concatenate(call.inputs)
    return _join(tracer, call)


def _reshape(tracer: Tracer, call: Call) -> np.ndarray | None:
    """Rule of what keeps the order of elements: the last axis becomes a repetition of itself, or a
    part of which it is a repetition."""
    before, after = call.node.input_tensors[0].shape, call.node.output_tensors[0].shape
    given = call.inputs[0]
    if None in (*before[1:], before[-1], *after[1:], after[-1]):
        return None
    if before[-1] % after[-1] == 0:
        tracer.union(given, given[: after[-1]])
    elif after[-1] % before[-1]:
        return None
    tracer.reshaped[call.name] = np.resize(given, after[-1])
    return tracer.reshaped[call.name]


def _permute(tracer: Tracer, call: Call) -> np.ndarray | None:
    return call.inputs[0] if call.layer.dims[-1] == len(call.layer.dims) else None


def _channels_last(layer: Any) -> bool:
    return getattr(layer, "data_format", None) in (None, "channels_last")


_GATES = ("LSTM", "GRU", "SimpleRNN")
_PASSING = (
    *("ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D"),
    *("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "Identity"),
    *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D"),
    *("AveragePooling3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
    *("GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"),
    *("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D"),
    *("UpSampling1D", "UpSampling2D", "UpSampling3D", "RepeatVector", "Masking"),
)
_PASSING_FUNCTIONS = (
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Gelu", "Elu", "Selu", "Softplus", "Softsign"),
    *("HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "Absolute", "Negative", "Square"),
)
_CONNECTING = (
    *("Dense", "Conv1D", "Conv2D", "Conv3D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
)
_JOINING = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")

_LAYERS: dict[str, Rule] = {
    **dict.fromkeys(_PASSING, _pass_on),
    **dict.fromkeys(_CONNECTING, _connect),
    **dict.fromkeys((*_JOINING, "Average"), _join),
    **dict.fromkeys(_GATES, _recurrent),
    "Activation": _activate,
    "BatchNormalization": _normalize,
    "LayerNormalization": _normalize,
    "RMSNormalization": _normalize,
    "PReLU": _prelu,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "EinsumDense": _einsum,
    "Embedding": _embed,
    "Bidirectional": _bidirectional,
    "MultiHeadAttention": _attend,
    "GroupedQueryAttention": _attend,
    "Concatenate": _concatenate,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Permute": _permute,
}
_FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(_PASSING_FUNCTIONS, _pass_on),
    **dict.fromkeys(_JOINING, _join),
    "ReLU": _pass_on,
    "Concatenate": _concatenate,
    "Reshape": _reshape,
}
"""Not ``Average``: over an axis, where the layer is over its inputs."""
