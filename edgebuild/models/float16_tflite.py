"""A ``.tflite`` with float16 numbers as one of float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.tflite import schema


def in_float32(model: Any) -> None:
    """Turn float16 tensors of an unpacked model into float32, and leave out what converted them.

    float32 holds every number of float16, so that nothing is lost.
    """
    for subgraph in model.subgraphs:
        wide = _widen(model, subgraph)
        if wide:
            _leave_out_casts(model, subgraph, wide)
            _leave_out_tensors(model, subgraph)


def _widen(model: Any, subgraph: Any) -> set[int]:
    """Change the type of each float16 tensor and its values; return their numbers."""
    s = schema.module()
    found, places = set(), dict[int, int]()
    for index, tensor in enumerate(subgraph.tensors):
        if tensor.type != s.TensorType.FLOAT16:
            continue
        found.add(index)
        tensor.type = s.TensorType.FLOAT32
        tensor.quantization = None
        raw = model.buffers[tensor.buffer].data
        if raw is None or len(raw) == 0:
            continue
        if tensor.buffer not in places:
            values = np.frombuffer(bytes(raw), "<f2").astype("<f4")
            buffer = s.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            places[tensor.buffer] = len(model.buffers)
            model.buffers.append(buffer)
        tensor.buffer = places[tensor.buffer]
    return found


def _leave_out_casts(model: Any, subgraph: Any, wide: set[int]) -> None:
    """Leave out the operators that convert between float16 and float32; their readers read what
    they read."""
    operators = schema.module().BuiltinOperator
    casts = (operators.DEQUANTIZE, operators.CAST)
    instead: dict[int, int] = {}
    kept = []
    for op in subgraph.operators:
        op.inputs = [instead.get(int(i), int(i)) for i in (() if op.inputs is None else op.inputs)]
        code = model.operatorCodes[op.opcodeIndex]
        ends = [int(i) for i in (*op.inputs, *op.outputs)]
        floats = all(subgraph.tensors[i].type == schema.module().TensorType.FLOAT32 for i in ends)
        read, made = ends[0], ends[-1]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in casts and floats and (
            read in wide or made in wide
        ):  # fmt: skip
            instead[made] = read
        else:
            kept.append(op)
    subgraph.operators = kept
    subgraph.outputs = [instead.get(int(i), int(i)) for i in subgraph.outputs]
    for signature in model.signatureDefs or []:
        for entry in signature.outputs or []:
            entry.tensorIndex = instead.get(int(entry.tensorIndex), int(entry.tensorIndex))


def _leave_out_tensors(model: Any, subgraph: Any) -> None:
    """Leave out the tensors that nothing reads or makes any more."""
    ends = (subgraph.inputs, subgraph.outputs)
    lists = [*ends, *(x for op in subgraph.operators for x in (op.inputs, op.outputs))]
    used = sorted({int(i) for found in lists for i in found if i >= 0})
    place = {old: new for new, old in enumerate(used)} | {-1: -1}
    subgraph.tensors = [subgraph.tensors[old] for old in used]
    subgraph.inputs, subgraph.outputs = ([place[int(i)] for i in end] for end in ends)
    for op in subgraph.operators:
        op.inputs = [place[int(i)] for i in op.inputs]
        op.outputs = [place[int(i)] for i in op.outputs]
    for signature in model.signatureDefs or []:
        for entry in (*(signature.inputs or []), *(signature.outputs or [])):
            entry.tensorIndex = place[int(entry.tensorIndex)]
