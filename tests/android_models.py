"""Small models for the tests of Android modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.tflite import schema
from edgebuild.tflite.writer import write_tflite


def digits_graph() -> Graph:
    """One int8 input of 4, one int8 output of 3."""
    weights = np.array([[1, -2, 3, 4], [5, 6, -7, 8], [-9, 10, 11, 12]])
    return one_op(
        "fc",
        "FULLY_CONNECTED",
        [activation((1, 4), 0.05, -3), constant(weights, [0.01, 0.02, 0.03]), None],
        [activation((1, 3), 0.07, 7)],
        {"fused_activation_function": "NONE", "keep_num_dims": True},
    ).graph


def mixed_graph() -> Graph:
    """Inputs a, b (int8) and c (float32); outputs a + b as int8 and as float32, and c as int8."""
    shape = (1, 2, 3)

    def int8(index: int, name: str, scale: float, zero_point: int) -> Tensor:
        return Tensor(
            index, name, shape, DType.INT8, Quantization((scale,), (zero_point,)), None, False
        )

    def real(index: int, name: str) -> Tensor:
        return Tensor(index, name, shape, DType.FLOAT32, None, None, False)

    tensors = {
        0: int8(0, "a", 0.1, 5),
        1: int8(1, "b", 0.2, -6),
        2: real(2, "c"),
        3: int8(3, "sum", 0.25, 1),
        4: real(4, "real sum"),
        5: int8(5, "c8", 0.5, 9),
    }
    none: dict[str, Any] = {"fused_activation_function": "NONE"}
    ops = (
        Op("ADD", (0, 1), (3,), {**none, "pot_scale_int16": False}, 0),
        Op("DEQUANTIZE", (3,), (4,), {}, 1),
        Op("QUANTIZE", (2,), (5,), {}, 2),
    )
    return Graph("mixed", (0, 1, 2), (3, 4, 5), ops, tensors)


def with_signature(graph: Graph, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
    """Return the model with a signature that lists names and tensors in the order given."""
    import flatbuffers

    s = schema.module()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(write_tflite(graph), 0))
    signature = s.SignatureDefT()
    signature.signatureKey = b"serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_entry(name, index) for name, index in inputs.items()]
    signature.outputs = [_entry(name, index) for name, index in outputs.items()]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _entry(name: str, index: int) -> Any:
    entry = schema.module().TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry
