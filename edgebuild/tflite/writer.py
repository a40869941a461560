"""Write a Graph as a ``.tflite`` flatbuffer that LiteRT and TFLite Micro read."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.graph import Graph, Op, Tensor
from edgebuild.tflite import schema


def write_tflite(graph: Graph) -> bytes:
    """Return ``graph`` as a TFLite flatbuffer; same graph, same bytes."""
    import flatbuffers

    s = schema.module()
    model = s.ModelT()
    model.version = 3
    model.description = b"edgebuild"
    codes = list(dict.fromkeys((op.kind, op.version) for op in graph.ops))
    model.operatorCodes = [_operator_code(*code) for code in codes]
    model.buffers = [s.BufferT()]
    position = {index: i for i, index in enumerate(sorted(graph.tensors))}
    position[-1] = -1
    subgraph = s.SubGraphT()
    subgraph.name = graph.name.encode()
    subgraph.tensors = [_tensor(graph.tensors[i], model.buffers) for i in sorted(graph.tensors)]
    subgraph.inputs = [position[i] for i in graph.inputs]
    subgraph.outputs = [position[i] for i in graph.outputs]
    subgraph.operators = [_operator(op, codes, position) for op in graph.ops]
    model.subgraphs = [subgraph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _operator_code(kind: str, version: int) -> Any:
    code = schema.module().OperatorCodeT()
    builtin, _, custom = kind.partition(" ")
    if custom:
        code.customCode = custom
    code.builtinCode = schema.enum_values("BuiltinOperator")[builtin]
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def _tensor(tensor: Tensor, buffers: list[Any]) -> Any:
    s = schema.module()
    table = s.TensorT()
    table.name = tensor.name.encode()
    table.shape = np.array(tensor.shape, np.int32)
    table.type = schema.enum_values("TensorType")[tensor.dtype.name]
    table.isVariable = tensor.is_variable
    table.hasRank = True
    table.buffer = 0
    if tensor.data is not None:
        buffer = s.BufferT()
        raw = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
        buffer.data = _packed(raw, tensor.dtype.bits) if tensor.dtype.bits < 8 else raw
        table.buffer = len(buffers)
        buffers.append(buffer)
    if tensor.quantization is not None:
        q = s.QuantizationParametersT()
        q.scale = np.array(tensor.quantization.scales, np.float32)
        q.zeroPoint = np.array(tensor.quantization.zero_points, np.int64)
        q.quantizedDimension = tensor.quantization.axis
        table.quantization = q
    return table


def _operator(op: Op, codes: list[tuple[str, int]], position: dict[int, int]) -> Any:
    s = schema.module()
    table = s.OperatorT()
    table.opcodeIndex = codes.index((op.kind, op.version))
    table.inputs = np.array([position[i] for i in op.inputs], np.int32)
    table.outputs = np.array([position[i] for i in op.outputs], np.int32)
    if op.intermediates:
        table.intermediates = np.array([position[i] for i in op.intermediates], np.int32)
    if "custom_options" in op.attrs:
        table.customOptions = np.frombuffer(op.attrs["custom_options"], np.uint8)
    options_name = schema.options_of_kind(op.kind)
    if options_name is not None:
        options = getattr(s, f"{options_name}T")()
        for field in vars(options):
            key = schema.snake(field)
            if op.attrs.get(key) is not None:
                setattr(options, field, _value(key, op.attrs[key]))
        table.builtinOptionsType = getattr(s.BuiltinOptions, options_name)
        table.builtinOptions = options
    return table


def _packed(raw: np.ndarray, bits: int) -> np.ndarray:
    """Return bytes that hold one value each as values of ``bits`` bits, the lowest bits first."""
    per_byte = 8 // bits
    padded = np.pad(raw, (0, -len(raw) % per_byte)).reshape(-1, per_byte) & ((1 << bits) - 1)
    return np.bitwise_or.reduce(padded << (np.arange(per_byte, dtype=np.uint8) * bits), axis=1)


def _value(key: str, value: Any) -> Any:
    enum = schema.enum_of_field(key)
    if enum is not None and isinstance(value, str):
        return schema.enum_values(enum)[value]
    if isinstance(value, tuple):
        real = any(isinstance(item, float) for item in value)
        return np.array(value, np.float32 if real else np.int32)
    return value
