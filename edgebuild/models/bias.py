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
        integers = weights.type in (s.TensorType.INT8, s.TensorType.INT4)
        if raw is None or not integers or not wide:
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
    int4 = weights.type == schema.module().TensorType.INT4
    stored = np.asarray(model.buffers[weights.buffer].data, np.uint8)
    q = _unpacked(stored, weights.shape) if int4 else stored.view(np.int8).reshape(weights.shape)
    along = [1] * q.ndim
    along[weights.quantization.quantizedDimension] = len(old)
    moved = np.rint(q * (old / scales).reshape(along)).astype(np.int8)
    _set_data(model, weights, _packed(moved) if int4 else moved)
    rounded = np.rint(exact / (step * scales))
    _set_data(model, bias, rounded.astype("<i4" if narrow else "<i8"))
    weights.quantization.scale = scales.astype(np.float32)
    bias.quantization.scale = (step * scales).astype(np.float32)


def _unpacked(stored: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Return int4 numbers as int8; of two in a byte the first is in the low half."""
    halves = np.stack([stored << 4, stored & 0xF0], axis=-1).astype(np.uint8)
    q: np.ndarray = halves.view(np.int8).ravel()[: int(np.prod(shape))].reshape(shape) >> 4
    return q


def _packed(q: np.ndarray) -> np.ndarray:
    """Return int8 numbers from -8 to 7 as int4, two in a byte."""
    flat = np.append(q.ravel(), np.zeros(q.size % 2, np.int8))
    packed: np.ndarray = ((flat[1::2] & 15) << 4 | flat[::2] & 15).astype(np.uint8)
    return packed


def _set_data(model: Any, tensor: Any, array: np.ndarray) -> None:
    model.buffers[tensor.buffer].data = np.frombuffer(array.tobytes(), np.uint8)
