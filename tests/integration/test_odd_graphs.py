"""Graphs of unusual form through the whole pipeline: right, or refused in words."""

from __future__ import annotations

import numpy as np
import pytest

import edgebuild
from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.tflite.writer import write_tflite

Q = Quantization((0.1,), (0,))
SHAPE = (1, 4)
ADD = {"fused_activation_function": "NONE"}
FLAT = Tensor(8, "shape", (1,), DType.INT32, None, np.array([4], np.int32))
CONSTANT = Tensor(9, "constant", SHAPE, DType.INT8, Q, np.array([[1, 2, 3, 4]], np.int8))


def graph(inputs, outputs, *ops):
    """Return a graph of int8 tensors of four values; 8 is a flat shape, 9 a constant."""
    used = {i for op in ops for i in (*op.inputs, *op.outputs)} | {*inputs, *outputs}
    tensors = {8: FLAT, 9: CONSTANT} | {
        i: Tensor(i, f"t{i}", SHAPE, DType.INT8, Q) for i in used if i < 8
    }
    for op in ops:
        if op.kind == "RESHAPE":
            (i,) = op.outputs
            tensors[i] = Tensor(i, f"t{i}", (4,), DType.INT8, Q)
    return Graph("odd", inputs, outputs, ops, {i: tensors[i] for i in sorted(used)})


def build(folder, given, target):
    (folder / "odd.tflite").write_bytes(write_tflite(given))
    return edgebuild.build(folder / "odd.tflite", target=target, out=folder)


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param(graph((0,), (1,), Op("ADD", (0, 0), (1,), ADD)), id="one tensor twice"),
        pytest.param(graph((0,), (1,), Op("RESHAPE", (0, 8), (1,))), id="a view alone"),
        pytest.param(graph((0,), (0, 1), Op("ADD", (0, 0), (1,), ADD)), id="input as output"),
        pytest.param(graph((0, 2), (1,), Op("ADD", (0, 0), (1,), ADD)), id="input without use"),
        pytest.param(graph((0,), (1,), Op("ADD", (0, 9), (1,), ADD)), id="constant operand"),
        pytest.param(
            graph((0,), (1, 2), Op("ADD", (9, 9), (1,), ADD), Op("ADD", (0, 0), (2,), ADD)),
            id="constants alone",
        ),
        pytest.param(
            graph((0,), (1, 2), Op("RELU", (0,), (1,)), Op("RELU", (1,), (2,))),
            id="output with further use",
        ),
        pytest.param(
            graph((0,), (1, 2, 1), Op("RELU", (0,), (1,)), Op("ADD", (0, 0), (2,), ADD)),
            id="output listed twice",
        ),
        pytest.param(
            graph((0,), (1, 2), Op("RESHAPE", (0, 8), (1,)), Op("RELU", (0,), (2,))),
            id="view of what is used again",
        ),
    ],
)
def test_right(tmp_path, given, target):
    report = build(tmp_path, given, target)
    assert report.passed
    assert report.comparison.compared_bytes == 8 * 4 * len(given.outputs)


def wide(kind, *operands, shape=SHAPE, result=SHAPE):
    """Return a graph from tensor 0 to 1, whose further operands are int64 constants."""
    number = DType.INT64
    indices = tuple(range(2, 2 + len(operands)))
    held = {
        i: Tensor(i, f"c{i}", np.shape(values), number, None, np.array(values, number.numpy))
        for i, values in zip(indices, operands, strict=True)
    }
    ends = {i: Tensor(i, f"t{i}", s, DType.INT8, Q) for i, s in enumerate((shape, result))}
    return Graph("odd", (0,), (1,), (Op(kind, (0, *indices), (1,)),), ends | held)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(wide("RESHAPE", [2, 2], result=(2, 2)), id="int64 shape"),
        pytest.param(wide("SLICE", [0, 1], [1, 2], result=(1, 2)), id="int64 begin and size"),
        pytest.param(wide("RELU", shape=(), result=()), id="no dimensions"),
        pytest.param(
            graph((0,), (1,), Op("ADD", (0, 0), (1,), ADD)).replace(
                tensors={
                    **graph((0,), (1,), Op("ADD", (0, 0), (1,), ADD)).tensors,
                    2: Tensor(2, "unused", (1, 9), DType.INT8, Q),
                    3: Tensor(3, "unread", (2,), DType.INT32, None, np.array([1, 2], np.int32)),
                }
            ),
            id="tensors and buffers without use",
        ),
        pytest.param(
            graph((0,), (1,), Op("CONCATENATION", (0, 0, 0), (1,), {"axis": 0} | ADD)).replace(
                tensors={
                    0: Tensor(0, "t0", SHAPE, DType.INT8, Q),
                    1: Tensor(1, "t1", (3, 4), DType.INT8, Q),
                }
            ),
            id="one tensor three times",
        ),
        pytest.param(graph((0,), (0,), Op("RELU", (0,), (1,))), id="input as only output"),
    ],
)
def test_what_tflite_micro_takes_is_taken(tmp_path, given):
    report = build(tmp_path, given, "host")
    assert report.passed and report.comparison.equal
    assert report.comparison.compared_bytes == 8 * given.output_tensors[0].nbytes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (wide("TRANSPOSE", [1, 0], result=(4, 1)), "the permutation is a constant of int32"),
        (wide("PAD", [[0, 0], [1, 1]], result=(1, 6)), "the paddings are a constant of int32"),
        (wide("EXPAND_DIMS", [0], result=(1, 1, 4)), "the axis is a constant of int32"),
        (wide("RELU", shape=(1, 0), result=(1, 0)), "TFLite Micro cannot run this model"),
    ],
)
def test_what_tflite_micro_refuses_or_misreads_is_refused(tmp_path, given, message):
    """It takes an int64 permutation for pairs of int32, right for the smallest shapes alone."""
    with pytest.raises(InputError) as caught:
        build(tmp_path, given, "host")
    assert message in str(caught.value)


def test_an_operator_without_effect_is_left_out_and_noted(tmp_path):
    given = graph((0,), (1,), Op("ADD", (0, 0), (1,), ADD), Op("RELU", (0,), (2,)))
    report = build(tmp_path, given, "host")
    assert report.passed and [layer.kind for layer in report.layers] == ["ADD"]
    assert report.notes == ("remove_unused: RELU (operator 1) has no effect on the outputs",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            graph((0,), (1, 9), Op("RELU", (0,), (1,))),
            "odd: output 'constant' is a constant, the same",
        ),
        (graph((0,), (0,)), "has no operators"),
        (graph((), (1,), Op("RELU", (9,), (1,))), "the model has no inputs"),
        (graph((0,), (), Op("RELU", (0,), (1,))), "the model has no outputs"),
        (graph((0, 0), (1,), Op("RELU", (0,), (1,))), "an input is listed twice"),
    ],
)
def test_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        build(tmp_path, given, "cortex-m4")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.tflite"]
