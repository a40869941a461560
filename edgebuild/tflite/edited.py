"""A ``.tflite`` with what graph passes changed, and everything else as it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.graph import Graph, Op
from edgebuild.tflite import schema


def edited(data: bytes, before: Graph, after: Graph) -> bytes:
    """Return the model ``data`` as ``after``; the same input gives the same bytes.

    Names, metadata, signatures and further subgraphs stay.

    Args:
        data: a ``.tflite`` flatbuffer.
        before: what ``read_tflite`` makes of it.
        after: the same with operators left out, tensors made constant, or inputs or
            attributes changed.
    """
    import flatbuffers

    s = schema.module()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data, 0))
    _own_buffers(model, data)
    subgraph = model.subgraphs[0]
    old = {op.source_index: op for op in before.ops}
    for op in after.ops:
        _change(subgraph.operators[op.source_index], old[op.source_index], op)
    subgraph.operators = [subgraph.operators[op.source_index] for op in after.ops]
    for index, tensor in after.tensors.items():
        if tensor.data is not None and not before.tensors[index].is_constant:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8)
            subgraph.tensors[index].buffer = len(model.buffers)
            subgraph.tensors[index].shapeSignature = None
            model.buffers.append(buffer)
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _change(table: Any, before: Op, after: Op) -> None:
    if before.inputs != after.inputs:
        table.inputs = np.array(after.inputs, np.int32)
    for field in vars(table.builtinOptions) if table.builtinOptions is not None else ():
        key = schema.snake(field)
        if before.attrs.get(key) != after.attrs.get(key):
            setattr(table.builtinOptions, field, after.attrs[key])


def _own_buffers(model: Any, data: bytes) -> None:
    """Bring the constants of a model of over 2 GiB, which lie behind it, into their buffers."""
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data[buffer.offset : buffer.offset + buffer.size], np.uint8)
            buffer.offset = buffer.size = 0
