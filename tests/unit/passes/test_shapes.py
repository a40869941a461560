"""Chains over shapes become constants, whatever operators they are made of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.errors import UnsupportedOperatorError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.cases import activation, constant
from edgebuild.ops.support import check_supported, interpret
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.passes import READ_PASSES, FoldShapes, run_passes, supported_graph
from edgebuild.passes.shape_arithmetic import MOVES
from edgebuild.tflite.oracle import run_oracle_arrays
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import Spec, base, c, t

I32, I64, F32, BOOL = DType.INT32, DType.INT64, DType.FLOAT32, DType.BOOL


def of(kind, inputs, output, attrs=None):
    """Return what FoldShapes makes of one operator on constants, None where it leaves it.

    ``output`` is (shape, dtype) as the model records them.
    """
    tensors = {0: activation((1, 4)), 1: activation((1, 4))}
    for array in inputs:
        tensors[len(tensors)] = constant(array, dtype=DType(np.asarray(array).dtype.name))
    made = len(tensors)
    tensors[made] = Tensor(made, "made", *output)
    tensors = {i: dataclasses.replace(t, index=i) for i, t in tensors.items()}
    ops = (Op(kind, tuple(range(2, made)), (made,), attrs or {}), Op("RELU", (0,), (1,)))
    graph = Graph("g", (0,), (1,), ops, tensors)
    result = FoldShapes().apply(graph)
    assert result.changed == (len(result.graph.ops) == 1)
    return result.graph.tensors[made].data if result.changed else None


def i32(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("kind", "inputs", "shape", "dtype", "wanted", "attrs"),
    [
        ("STRIDED_SLICE", [i32(1, 6, 5), i32(0), i32(1), i32(1)], (), I32, 1,
         {"shrink_axis_mask": 1}),
        ("STRIDED_SLICE", [i32(1, 6, 5), i32(-1), i32(0), i32(-1)], (3,), I32, [5, 6, 1],
         {"end_mask": 1}),
        ("STRIDED_SLICE", [i32(1, 6, 5), i32(0, 1), i32(0, 3), i32(1, 1)], (1, 2), I32, [[6, 5]],
         {"new_axis_mask": 1}),
        ("SLICE", [i32(1, 6, 5), i32(1), i32(-1)], (2,), I32, [6, 5], {}),
        ("GATHER", [i32(1, 6, 5), i32(2, 0)], (2,), I32, [5, 1], {"axis": 0}),
        ("GATHER_ND", [i32(1, 6, 5), np.array([[1]], np.int32)], (1,), I32, [6], {}),
        ("PACK", [i32(1)[0], i32(30)[0]], (2,), I32, [1, 30], {"axis": 0, "values_count": 2}),
        ("CONCATENATION", [i32(1), i32(6, 5)], (3,), I32, [1, 6, 5], {"axis": 0}),
        ("CAST", [i32(1, 6)], (2,), I64, [1, 6], {}),
        ("CAST", [np.array([1.9, -1.9], np.float32)], (2,), I32, [1, -1], {}),
        ("REDUCE_PROD", [i32(2, 6, 5), i32(0)], (), I32, 60, {"keep_dims": False}),
        ("REDUCE_PROD", [i32(2, 6, 5), i32(0)], (1,), I32, [60], {"keep_dims": True}),
        ("REDUCE_MAX", [i32(2, 6, 5), i32(0)], (), I32, 6, {"keep_dims": False}),
        ("SUM", [i32(2, 6, 5), i32(0)], (), I32, 13, {"keep_dims": False}),
        ("ADD", [i32(6), i32(-2)], (1,), I32, [4], {"fused_activation_function": "NONE"}),
        ("SUB", [i32(6, 5), i32(2)], (2,), I32, [4, 3], {"fused_activation_function": "NONE"}),
        ("MUL", [i32(6, 5), i32(2)], (2,), I32, [12, 10], {}),
        ("DIV", [i32(-7), i32(2)], (1,), I32, [-3], {}),
        ("FLOOR_DIV", [i32(-7), i32(2)], (1,), I32, [-4], {}),
        ("FLOOR_MOD", [i32(-7), i32(2)], (1,), I32, [1], {}),
        ("MAXIMUM", [i32(-7), i32(2)], (1,), I32, [2], {}),
        ("EXPAND_DIMS", [i32(6, 5), i32(0)[0]], (1, 2), I32, [[6, 5]], {}),
        ("SQUEEZE", [np.array([[6, 5]], np.int32)], (2,), I32, [6, 5], {"squeeze_dims": (0,)}),
        ("RANGE", [i32(1)[0], i32(7)[0], i32(2)[0]], (3,), I32, [1, 3, 5], {}),
        ("FILL", [i32(2), i32(7)[0]], (2,), I32, [7, 7], {}),
        ("TILE", [i32(1, 2), i32(2)], (4,), I32, [1, 2, 1, 2], {}),
        ("BROADCAST_TO", [i32(3), i32(2, 2)], (2, 2), I32, [[3, 3], [3, 3]], {}),
        ("BROADCAST_ARGS", [i32(1, 3), i32(2, 1)], (2,), I32, [2, 3], {}),
        ("EQUAL", [i32(1, 3), i32(1)], (2,), BOOL, [True, False], {}),
        ("SELECT_V2", [np.array([True, False]), i32(1), i32(2)], (2,), I32, [1, 2], {}),
        ("REVERSE_V2", [i32(1, 3), i32(0)], (2,), I32, [3, 1], {}),
        ("TRANSPOSE", [np.array([[1, 2]], np.int32), i32(1, 0)], (2, 1), I32, [[1], [2]], {}),
        ("CUMSUM", [i32(1, 2, 3), i32(0)[0]], (3,), I32, [0, 1, 3], {"exclusive": True}),
        ("RESHAPE", [i32(1, 2), i32(2, 1)], (2, 1), I32, [[1], [2]], {}),
        ("NEG", [i32(3)], (1,), I32, [-3], {}),
        ("FLOOR", [np.array([1.7], np.float32)], (1,), F32, [1.0], {}),
    ],
)  # fmt: skip
def test_an_operator_on_constants(kind, inputs, shape, dtype, wanted, attrs):
    made = of(kind, inputs, (shape, dtype), attrs)
    assert made is not None and made.dtype == dtype.numpy and not made.flags.writeable
    assert made.tolist() == wanted


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attrs"),
    [
        pytest.param("DIV", [i32(1), i32(0)], ((1,), I32), {}, id="division by zero"),
        pytest.param("PACK", [i32(1), i32(2)], ((2,), I32), {"axis": 0}, id="another shape"),
        pytest.param("GATHER", [i32(1), i32(9)], ((1,), I32), {"axis": 0}, id="out of range"),
        pytest.param("FILL", [i32(9000), i32(7)[0]], ((9000,), I32), {}, id="too large"),
        pytest.param("FILL", [i32(2**30, 2**30), i32(7)[0]], ((1,), I32), {}, id="far too large"),
        pytest.param("ATAN2", [i32(1), i32(2)], ((1,), I32), {}, id="no rule"),
        pytest.param("SQRT", [np.array([2.0], np.float32)], ((1,), F32), {}, id="not exact"),
    ],
)
def test_what_is_not_known_stays(kind, inputs, output, attrs):
    assert of(kind, inputs, output, attrs) is None


def flatten(middle=(), shape_type=I32):
    """Return RELU -> RESHAPE to (1, 30) by a shape that the model computes, with ``middle``
    between the batch and the PACK."""
    tensors = [
        activation((1, 6, 5)),
        activation((1, 6, 5)),
        Tensor(0, "shape", (3,), shape_type),
        constant([0], dtype=I32),
        constant([1], dtype=I32),
        Tensor(0, "batch", (), shape_type),
        constant(30, dtype=shape_type),
        Tensor(0, "new_shape", (2,), shape_type),
        activation((1, 30)),
    ]
    ops = (
        Op("RELU", (0,), (1,)),
        Op("SHAPE", (1,), (2,), {"out_type": shape_type.name}),
        Op("STRIDED_SLICE", (2, 3, 4, 4), (5,), {"shrink_axis_mask": 1}),
        Op("PACK", (5, 6), (7,), {"axis": 0, "values_count": 2}),
        Op("RESHAPE", (1, 7), (8,), {"new_shape": None}),
    )
    numbered = {i: dataclasses.replace(t, index=i) for i, t in enumerate(tensors)}
    return Graph("flatten", (0,), (8,), ops, numbered)


@pytest.mark.parametrize("shape_type", [I32, I64])
def test_a_flatten_with_an_open_batch(shape_type):
    built = supported_graph(flatten(shape_type=shape_type), where="m")
    assert [op.kind for op in built.graph.ops] == ["RELU", "RESHAPE"]
    assert built.read.tensors[7].data.tolist() == [1, 30]
    assert "fold_shapes: SHAPE (operator 0) computed at build time" in built.notes


def test_a_shape_that_is_a_model_output_is_left():
    graph = flatten()
    result = FoldShapes().apply(graph.replace(outputs=(8, 7)))
    assert [op.kind for op in result.graph.ops] == ["RELU", "PACK", "RESHAPE"]
    with pytest.raises(UnsupportedOperatorError):
        check_supported(graph)


def test_a_graph_without_shapes_is_returned_as_it_is():
    graph = flatten()
    graph = graph.replace(ops=graph.ops[:1], outputs=(1,))
    result = FoldShapes().apply(graph)
    assert result.graph is graph and not result.changed


def test_arithmetic_on_quantized_constants_is_no_shape():
    shape = flatten()
    scaled = dataclasses.replace(constant([3], 0.5, dtype=I32), index=9)
    ops = (Op("NEG", (9,), (10,)), *shape.ops)
    tensors = {**shape.tensors, 9: scaled, 10: Tensor(10, "neg", (1,), I32)}
    read = run_passes(shape.replace(ops=ops, tensors=tensors), READ_PASSES[:1])
    assert "NEG" in [op.kind for op in read.graph.ops]


OWN_SPECS = {
    "BROADCAST_TO": Spec("BROADCAST_TO", (t((1, 4), "int8"), c([3, 4])), (t((3, 4), "int8"),), {}),
    "GATHER": Spec("GATHER", (t((2, 5), "int8"), c([4, 0, 4])), (t((2, 3), "int8"),), {"axis": 1}),
    "GATHER_ND": Spec("GATHER_ND", (t((3, 4), "int8"), c([[2], [0]])), (t((2, 4), "int8"),), {}),
}


def moved(kind):
    """Return MAXIMUM of an input and of what one operator makes of int8 constants alone."""
    spec = OWN_SPECS[kind] if kind in OWN_SPECS else base(kind, "int8")
    rng = np.random.default_rng(3)
    tensors, reads = {}, []
    for given in spec.inputs:
        if given is not None and given.data is None:
            low, high = (0, 2) if given.dtype == BOOL else (-128, 128)
            data = rng.integers(low, high, given.shape).astype(given.dtype.numpy)
            given = dataclasses.replace(given, data=data)
        reads.append(len(tensors))
        tensors[len(tensors)] = given
    writes = tuple(range(len(tensors), len(tensors) + len(spec.outputs)))
    tensors.update(zip(writes, spec.outputs, strict=True))
    made = spec.outputs[0]
    flat = dataclasses.replace(made, shape=(made.elements,))
    row, x, y = range(len(tensors), len(tensors) + 3)
    tensors |= {row: flat, x: flat, y: flat}
    tensors = {i: dataclasses.replace(t, index=i, name=f"t{i}") for i, t in tensors.items()}
    ops = (
        Op(kind, tuple(reads), writes, spec.attrs, version=spec.version),
        Op("RESHAPE", (writes[0],), (row,), {"new_shape": flat.shape}),
        Op("MAXIMUM", (x, row), (y,)),
    )
    return Graph("moved", (x,), (y,), ops, tensors)


@pytest.mark.parametrize("kind", sorted(MOVES))
def test_quantized_constants_that_are_only_moved(kind):
    """Their bytes are those that TFLite Micro moves, where it has the operator."""
    graph = moved(kind)
    built = supported_graph(graph, where="m")
    assert [op.kind for op in built.read.ops] == ["MAXIMUM"]
    (x,) = graph.input_tensors
    low = np.full(x.shape, -128, np.int8)
    (found,) = (interpret(built.graph, [low])[i] for i in built.graph.outputs)
    if kind in RESOLVER_METHODS:
        (said,) = run_oracle_arrays(write_tflite(graph), [low[None]])
        assert np.array_equal(found, said[0])


@pytest.mark.parametrize("kind", sorted(MOVES))
def test_constants_of_another_number_format_are_not_moved(kind):
    graph = moved(kind)
    for index in (*graph.ops[0].outputs, *graph.ops[1].outputs):
        other = dataclasses.replace(graph.tensors[index], quantization=Quantization((0.5,), (3,)))
        graph = graph.replace(tensors={**graph.tensors, index: other})
    assert not FoldShapes().apply(graph).changed


def test_what_is_moved_is_not_computed_on():
    graph = moved("CONCATENATION")
    op = dataclasses.replace(
        graph.ops[0], attrs={**graph.ops[0].attrs, "fused_activation_function": "RELU"}
    )
    assert not FoldShapes().apply(graph.replace(ops=(op, *graph.ops[1:]))).changed
    tensors = {i: dataclasses.replace(t, data=None) for i, t in graph.tensors.items()}
    assert not FoldShapes().apply(graph.replace(tensors=tensors)).changed


def test_a_fill_with_a_quantized_value_over_a_computed_shape():
    """tf.fill(tf.shape(x), 0.5) + x, quantized. TFLite Micro takes it with constant dimensions."""
    x = dataclasses.replace(activation((2, 3), 0.5, 4), name="x")
    tensors = [
        x, Tensor(0, "shape", (2,), I32), constant(np.int8(5), 0.5, 4),
        activation((2, 3), 0.5, 4), activation((2, 3), 0.5, 4),
    ]  # fmt: skip
    ops = (
        Op("SHAPE", (0,), (1,), {"out_type": 2}),
        Op("FILL", (1, 2), (3,)),
        Op("ADD", (0, 3), (4,), {"fused_activation_function": "NONE"}),
    )
    numbered = {i: dataclasses.replace(t, index=i) for i, t in enumerate(tensors)}
    graph = Graph("filled", (0,), (4,), ops, numbered)
    built = supported_graph(graph, where="m")
    assert [op.kind for op in built.graph.ops] == ["ADD"]
    given = np.random.default_rng(0).integers(-128, 128, (20, 2, 3)).astype(np.int8)
    fixed = dataclasses.replace(constant([2, 3], dtype=I32), index=1, name="shape")
    constant_dims = graph.replace(ops=graph.ops[1:], tensors={**graph.tensors, 1: fixed})
    (said,) = run_oracle_arrays(write_tflite(constant_dims), [given])
    for sample, wanted in zip(given, said, strict=True):
        values = interpret(built.graph, [sample])
        assert np.array_equal(values[built.graph.outputs[0]], wanted)
