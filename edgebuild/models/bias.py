"""Repair biases that do not fit their integers. For the child process.

A channel whose weights are all but zero, as pruning leaves them, gets a scale from litert-quantizer
that is so small that its bias, in steps of input scale times weight scale, is cut off. Such a
channel gets the smallest scale that leaves its bias within 30 bits, as the TFLite converter does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.tflite import schema

MAX_BIAS = 1 << 30
"""The other half of an int32 is for the products."""

_MAX_WIDE_BIAS = 1 << 46
"""Of an int64, beside int16 activations: half of what the kernels' rescaling takes."""

_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def repair_biases(quantized: Any, original: Any) -> None:
    """Change the model object ``quantized`` in place; ``original`` is the float model it is of.

    Both are ``ModelT`` objects whose tensors have the same names.
    """
    s = schema.module()
    graph = quantized.subgraphs[0]
    floats = {
        tensor.name: original.buffers[tensor.buffer].data
        for tensor in original.subgraphs[0].tensors
        if tensor.type == s.TensorType.FLOAT32
    }
    kinds = {schema.enum_values("BuiltinOperator")[kind] for kind in _KINDS}
    for op in graph.operators:
        if quantized.operatorCodes[op.opcodeIndex].builtinCode not in kinds or len(op.inputs) < 3:
            continue
        if min(op.inputs[:3]) < 0:
            continue  # without a bias
        x, weights, bias = (graph.tensors[i] for i in op.inputs[:3])
        raw = floats.get(bias.name)
        wide = bias.type in (s.TensorType.INT32, s.TensorType.INT64)
        if raw is None or weights.type != s.TensorType.INT8 or not wide:
            continue
        _repair(quantized, x, weights, bias, np.frombuffer(bytes(raw), "<f4").astype(np.float64))


def _repair(model: Any, x: Any, weights: Any, bias: Any, exact: np.ndarray) -> None:
    step = float(x.quantization.scale[0])
    old = np.asarray(weights.quantization.scale, np.float64)
    narrow = bias.type == schema.module().TensorType.INT32
    needed = np.abs(exact) / (step * (MAX_BIAS if narrow else _MAX_WIDE_BIAS))
    scales = np.maximum(old, needed if len(old) == len(exact) else needed.max())
    if np.array_equal(scales, old):
        return
    q = np.asarray(model.buffers[weights.buffer].data, np.uint8).view(np.int8)
    q = q.reshape(weights.shape)
    along = [1] * q.ndim
    along[weights.quantization.quantizedDimension] = len(old)
    _set_data(model, weights, np.rint(q * (old / scales).reshape(along)).astype(np.int8))
    rounded = np.rint(exact / (step * scales))
    _set_data(model, bias, rounded.astype("<i4" if narrow else "<i8"))
    weights.quantization.scale = scales.astype(np.float32)
    bias.quantization.scale = (step * scales).astype(np.float32)


def _set_data(model: Any, tensor: Any, array: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = np.frombuffer(array.tobytes(), np.uint8)
