"""A model with what passes changed computes the same, and keeps the rest of the file."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgebuild.graph import DType, Op, Tensor
from edgebuild.ops.cases import activation, one_op
from edgebuild.passes import READ_PASSES, run_passes
from edgebuild.tflite.edited import edited
from edgebuild.tflite.metadata import describe, read_metadata, write_metadata
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite


def model_with_a_range():
    """Return a model whose shape TFLite Micro cannot compute: it has no RANGE."""
    case = one_op("net", "RELU", [activation((1, 6))], [activation((1, 6))])
    numbers = [(10, 2), (11, 4), (12, 1)]
    scalars = {
        i: Tensor(i, f"n{i}", (), DType.INT32, data=np.array(n, np.int32)) for i, n in numbers
    }
    made = {20: Tensor(20, "shape", (2,), DType.INT32)}
    out = {21: dataclasses.replace(activation((2, 3)), index=21, name="out")}
    ops = (
        *case.graph.ops,
        Op("RANGE", (10, 11, 12), (20,), {}, 1),
        Op("RESHAPE", (1, 20), (21,), {}, 2),
    )
    graph = case.graph
    return graph.replace(
        tensors={**graph.tensors, **scalars, **made, **out}, ops=ops, outputs=(21,)
    )


def test_folded_operators_are_left_out_and_the_rest_stays():
    plain = write_tflite(model_with_a_range())
    data = write_metadata(plain, describe(read_tflite(plain), name="net", description="kept"))
    before = read_tflite(data)
    after = run_passes(before, READ_PASSES).graph
    made = edited(data, before, after)
    again = read_tflite(made)
    assert [op.kind for op in again.ops] == ["RELU", "RESHAPE"]
    assert again.tensors[again.ops[1].inputs[1]].data.tolist() == [2, 3]
    assert [t.name for t in again.input_tensors] == ["in0"]
    assert read_metadata(made).description == "kept"
    sample = np.arange(-3, 3, dtype=np.int8)
    (outputs,) = run_oracle(made, [[sample.tobytes()]]).outputs
    assert np.frombuffer(outputs[0], np.int8).tolist() == [0, 0, 0, 0, 1, 2]
    assert edited(data, before, after) == made


def test_attributes_change():
    graph = one_op("s", "SOFTMAX", [activation((1, 3))], [activation((1, 3))], {"beta": 1.0}).graph
    data = write_tflite(graph)
    before = read_tflite(data)
    op = dataclasses.replace(before.ops[0], attrs={**before.ops[0].attrs, "beta": 2.5})
    made = read_tflite(edited(data, before, before.replace(ops=(op,))))
    assert made.ops[0].attrs["beta"] == 2.5
