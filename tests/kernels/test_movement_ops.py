"""Movement and reduction operators: their limits, the kernels chosen, and several in one model.

That each case agrees with TFLite Micro and with the compiled C is in ``test_cases.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.ops import OPS
from edgebuild.ops import movement as move
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.support import check_supported, interpret, node_reason
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.oracle import run_oracle_arrays
from edgebuild.tflite.writer import write_tflite
from tests.kernels import harness

CPU = CpuFeatures()


def ints(*values, dtype=DType.INT32):
    return constant(values, dtype=dtype)


def a(*shape, dtype=DType.INT8, scale=0.1, zero_point=0):
    return activation(shape, scale, zero_point, dtype)


LIMITS = [
    ("RESHAPE", [a(2, 3)], a(2, 3, dtype=DType.INT16), {}, "same type, int8, int16, int32"),
    ("RESHAPE", [a(2, 3), a(1, dtype=DType.INT32)], a(6), {}, "operand is constant"),
    ("RESHAPE", [a(2, 3)], a(5), {}, "equally many elements"),
    (
        "EXPAND_DIMS",
        [a(3, dtype=DType.INT32), ints(0)],
        a(1, 3, dtype=DType.INT32),
        {},
        "or float32",
    ),
    ("TRANSPOSE", [a(1, 1, 1, 1, 1, 1), ints(*range(6))], a(1), {}, "at most 5 dimensions"),
    ("TRANSPOSE", [a(2, 0), ints(1, 0)], a(0, 2), {}, "none zero"),
    ("TRANSPOSE", [a(2, 3), ints(0, 0)], a(2, 2), {}, "names each dimension once"),
    ("TRANSPOSE", [a(2, 3), ints(1, -2)], a(3, 2), {}, "names each dimension once"),
    ("TRANSPOSE", [a(2, 3), a(2, dtype=DType.INT32)], a(3, 2), {}, "permutation is a constant"),
    ("TRANSPOSE", [a(2, 3)], a(3, 2), {}, "permutation is a constant"),
    ("PAD", [a(2), ints(1, -1)], a(2), {}, "none negative"),
    ("PAD", [a(2), ints(1, 1, 1)], a(4), {}, "two for each dimension"),
    ("PAD", [a(2), ints(1, 1, dtype=DType.INT64)], a(4), {}, "constant of int32"),
    ("PAD", [a(2), ints(1, 1), constant([0], 0.1)], a(4), {}, "no third operand"),
    ("PADV2", [a(2), ints(1, 1)], a(4), {}, "the value is one constant"),
    ("PADV2", [a(2), ints(1, 1), constant([0], 0.2)], a(4), {}, "quantized like the output"),
    ("PADV2", [a(2), ints(1, 1), constant([0, 0], 0.1)], a(4), {}, "one constant"),
    ("MEAN", [a(2, 3, dtype=DType.FLOAT32), ints(0)], a(3), {"keep_dims": False}, "are int8"),
    ("MEAN", [a(1, 1, 1, 1, 1, 1), ints(0)], a(1), {"keep_dims": False}, "1 to 5 dimensions"),
    ("MEAN", [a(2, 3), ints(2)], a(2), {"keep_dims": False}, "within the dimensions"),
    ("MEAN", [a(2, 3), a(1, dtype=DType.INT32)], a(2), {"keep_dims": False}, "a constant of int32"),
    ("MEAN", [a(2, 1 << 24), ints(1)], a(2), {"keep_dims": False}, "at most 2**23 values"),
    ("SUM", [a(64), ints(0)], a(scale=1e-7), {"keep_dims": False}, "28 bits"),
    ("CONCATENATION", [a(1)] * 11, a(11), {"axis": 0}, "1 to 10 inputs"),
    ("CONCATENATION", [a(2), a(2, dtype=DType.INT16)], a(4), {"axis": 0}, "have one type"),
    ("CONCATENATION", [a(2), None], a(4), {"axis": 0}, "1 to 10 inputs"),
    ("CONCATENATION", [a(2, 3), a(3, 3)], a(2, 6), {"axis": 1}, "equal shapes but along the axis"),
    ("CONCATENATION", [a(2, 3), a(6)], a(2, 6), {"axis": 1}, "equal shapes but along the axis"),
    ("CONCATENATION", [a(2), a(2)], a(4), {"axis": 1}, "one of at most 5 dimensions"),
    ("CONCATENATION", [a(2), a(2, scale=0.2)], a(4), {"axis": 0}, "the same quantization"),
    (
        "CONCATENATION",
        [a(2), a(2)],
        a(4),
        {"axis": 0, "fused_activation_function": "RELU"},
        "no fused activation",
    ),
    ("PACK", [a(2), a(3)], a(2, 2), {"axis": 0, "values_count": 2}, "the inputs one shape"),
    ("PACK", [a(2), a(2)], a(2, 2), {"axis": 2, "values_count": 2}, "one of the output's dim"),
    ("PACK", [a(2), a(2)], a(2, 2), {"axis": 0, "values_count": 3}, "number of inputs"),
    ("SPLIT", [a(1, dtype=DType.INT32), a(4)], a(4), {"num_splits": 1}, "axis is a constant"),
    ("SPLIT", [ints(1), a(4)], a(4), {"num_splits": 1}, "one of the dimensions"),
    ("SPLIT", [ints(0), a(4)], a(4), {"num_splits": 2}, "`num_splits` equal parts"),
    ("SPLIT", [ints(0)], a(4), {"num_splits": 1}, "same type"),
    ("UNPACK", [a(2, 3)], a(3), {"axis": 2, "num": 1}, "axis is one of the dimensions"),
    ("UNPACK", [a(2, 3)], a(3), {"axis": 0, "num": 1}, "one for each step"),
    ("SLICE", [a(4), ints(0), ints(2, dtype=DType.INT64)], a(2), {}, "constants of one type"),
    ("SLICE", [a(4), ints(0, 0), ints(2, 2)], a(2), {}, "a value for each dimension"),
    ("SLICE", [a(4), ints(3), ints(2)], a(2), {}, "lies inside the input"),
    ("SLICE", [a(4), ints(4), ints(-1)], a(1), {}, "not empty"),
    ("STRIDED_SLICE", [a(4), ints(0), ints(2)], a(2), {}, "begin, end and strides are constants"),
    ("STRIDED_SLICE", [a(4), ints(0), ints(2), ints(1)], a(2), {"offset": True}, "no `offset`"),
    ("STRIDED_SLICE", [a(4), ints(0), ints(2), ints(1)], a(2), {"new_axis_mask": 1}, "no new axes"),
    ("STRIDED_SLICE", [a(4), ints(0), ints(2), ints(0)], a(2), {}, "no stride is 0"),
    (
        "STRIDED_SLICE",
        [a(4), ints(0), ints(2), ints(-1)],
        a(),
        {"shrink_axis_mask": 1},
        "none is negative where an axis shrinks",
    ),
    ("STRIDED_SLICE", [a(4), ints(3), ints(1), ints(1)], a(1), {}, "not empty"),
    (
        "STRIDED_SLICE",
        [a(4), ints(4), ints(5), ints(1)],
        a(),
        {"shrink_axis_mask": 1},
        "at an index inside",
    ),
    ("ARG_MAX", [a(4), ints(0)], a(1), {}, "the output is int32"),
    ("ARG_MAX", [a(4), ints(1)], a(1, dtype=DType.INT32), {}, "one of the dimensions"),
    ("RESIZE_BILINEAR", [a(2, 2), ints(4, 4)], a(4, 4), {}, "4 dimensions"),
    ("RESIZE_BILINEAR", [a(1, 2, 2, 1), ints(4)], a(1, 4, 4, 1), {}, "two int32"),
    ("RESIZE_BILINEAR", [a(1, 2, 2, 1), ints(4, 40000)], a(1), {}, "1 to 32767"),
    (
        "RESIZE_BILINEAR",
        [a(1, 2, 2, 1), ints(4, 4)],
        a(1, 4, 4, 1),
        {"align_corners": True, "half_pixel_centers": True},
        "not both",
    ),
    ("RESIZE_BILINEAR", [a(1, 1, 1, 1), ints(1, 1500)], a(1), {}, "outside the input"),
    (
        "RESIZE_NEAREST_NEIGHBOR",
        [a(1, 2, 2, 1, dtype=DType.INT32), ints(4, 4)],
        a(1, 4, 4, 1, dtype=DType.INT32),
        {},
        "same type, int8, int16 or float32",
    ),
]


@pytest.mark.parametrize(("kind", "inputs", "output", "attrs", "sentence"), LIMITS)
def test_limits_are_told(kind, inputs, output, attrs, sentence):
    case = one_op("limit", kind, inputs, [output], attrs)
    assert sentence in node_reason(case.graph.node(0))


def call_of(kind, inputs, outputs, attrs=None):
    case = one_op("call", kind, inputs, outputs, attrs or {})
    check_supported(case.graph)
    return OPS[kind].kernel(case.graph.node(0), CPU)


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attrs"),
    [
        ("RESHAPE", [a(2, 3)], a(6), {}),
        ("TRANSPOSE", [a(1, 5, 1, 3), ints(0, 2, 1, 3)], a(1, 1, 5, 3), {}),
        ("SLICE", [a(2, 3), ints(0, 0), ints(-1, 3)], a(2, 3), {}),
        ("STRIDED_SLICE", [a(2, 3), ints(0, 0), ints(2, 3), ints(1, 1)], a(2, 3), {}),
        ("PAD", [a(2, 3), ints(0, 0, 0, 0)], a(2, 3), {}),
        ("CONCATENATION", [a(2, 3)], a(2, 3), {"axis": 1}),
        ("PACK", [a(2, 3)], a(1, 2, 3), {"axis": 0, "values_count": 1}),
        ("UNPACK", [a(1, 3)], a(3), {"axis": 0, "num": 1}),
    ],
)
def test_what_moves_nothing_is_a_view(kind, inputs, output, attrs):
    call = call_of(kind, inputs, [output], attrs)
    assert call.view
    assert call.in_place == ((0, 0),)
    assert call.params == {"bytes": output.nbytes}


@pytest.mark.parametrize(
    ("shape", "order", "count", "stride", "run"),
    [
        ((1, 8, 9, 3), (0, 3, 1, 2), (1, 1, 1, 3, 72), (0, 0, 0, 1, 3), 1),
        ((2, 8, 9, 3), (0, 2, 1, 3), (1, 1, 2, 9, 8), (0, 0, 216, 3, 27), 3),
        ((4, 5, 6), (1, 2, 0), (1, 1, 1, 30, 4), (0, 0, 0, 1, 30), 1),
    ],
)
def test_transpose_walks_few_loops(shape, order, count, stride, run):
    output = a(*(shape[i] for i in order))
    params = call_of("TRANSPOSE", [a(*shape), ints(*order)], [output]).params
    assert params == {"offset": 0, "count": count, "stride": stride, "run": run}


def test_slice_of_whole_rows_is_one_run():
    box = [ints(2, 0, 0), ints(3, -1, -1)]
    inputs = [a(8, 5, 3, dtype=DType.INT16), *box]
    params = call_of("SLICE", inputs, [a(3, 5, 3, dtype=DType.INT16)]).params
    assert (params["offset"], params["run"]) == (60, 90)
    assert params["count"] == (1,) * 5


def test_pad_merges_what_is_not_padded():
    paddings = ints(0, 0, 1, 2, 3, 4, 0, 0)
    params = call_of("PAD", [a(2, 5, 6, 7), paddings], [a(2, 8, 13, 7)]).params
    assert params["count"] == (1, 1, 2, 5)
    assert params["before"] == (0, 0, 0, 91, 21)
    assert params["after"] == (0, 0, 0, 182, 28)
    assert params["run"] == 42


def test_global_average_pooling_reduces_in_one_loop():
    attrs = {"keep_dims": False}
    params = call_of("MEAN", [a(1, 7, 7, 64), ints(1, 2)], [a(1, 64)], attrs).params
    assert (params["kept"], params["kept_stride"]) == ((1, 1, 64), (0, 0, 1))
    assert (params["reduced"], params["reduced_stride"]) == ((1, 1, 49), (0, 0, 64))


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-20, 20)), max_size=move.MAX_LOOPS),
)
def test_simplify_keeps_the_walk(loops):
    def walk(nest):
        steps = ([i * loop.stride for i in range(loop.count)] for loop in nest)
        return [sum(position) for position in itertools.product(*steps)]

    before = [move.Loop(*loop) for loop in loops]
    nest, run = move.simplify(before)
    assert walk([*nest, move.Loop(run, 1)]) == walk(before)
    assert len(nest) <= len(before)


def chain() -> Graph:
    """A model in which every kernel reads what another one wrote, with several pointers."""
    shapes = {
        0: (1, 4, 4, 6),  # input
        2: (1, 4, 4, 3),
        3: (1, 4, 4, 3),
        5: (1, 6, 6, 3),  # padded
        7: (1, 6, 6, 3),  # resized
        8: (1, 6, 6, 6),  # concatenated
        10: (1, 6, 6, 6),  # rows and columns exchanged
        12: (1, 6),  # mean
        13: (1, 1, 6),  # reshaped
        14: (2, 1, 6),  # packed with itself
        15: (1, 6),
        16: (1, 6),
        18: (1,),  # largest
    }
    operands = {
        1: 3,
        4: [[0, 0], [1, 1], [2, 0], [0, 0]],
        6: [6, 6],
        9: [0, 2, 1, 3],
        11: [1, 2],
        17: -1,
    }
    tensors = {i: activation(s, 0.1, 3) for i, s in shapes.items()}
    tensors |= {i: constant(v, dtype=DType.INT32) for i, v in operands.items()}
    tensors[18] = Tensor(0, "", (1,), DType.INT32)
    named = {i: dataclasses.replace(t, index=i, name=f"t{i}") for i, t in tensors.items()}
    ops = (
        Op("SPLIT", (1, 0), (2, 3), {"num_splits": 2}),
        Op("PAD", (2, 4), (5,)),
        Op("RESIZE_BILINEAR", (3, 6), (7,), {"half_pixel_centers": True}),
        Op("CONCATENATION", (5, 7), (8,), {"axis": -1}),
        Op("TRANSPOSE", (8, 9), (10,)),
        Op("MEAN", (10, 11), (12,), {"keep_dims": False}),
        Op("RESHAPE", (12,), (13,), {"new_shape": (1, 1, 6)}),
        Op("PACK", (12, 12), (14,), {"axis": 0, "values_count": 2}),
        Op("UNPACK", (14,), (15, 16), {"axis": 0, "num": 2}),
        Op("ARG_MAX", (15, 17), (18,), {"output_type": "INT32"}),
    )
    return Graph("chain", (0,), (13, 16, 18), ops, named)


def graph_of(name, shapes, constants, ops, outputs) -> Graph:
    """A model with input 0; ``shapes`` and ``constants`` go by tensor index."""
    tensors = {i: a(*s, zero_point=3) for i, s in shapes.items()} | constants
    named = {i: dataclasses.replace(t, index=i, name=f"t{i}") for i, t in tensors.items()}
    return Graph(name, (0,), outputs, ops, named)


def shared_memory() -> list[Graph]:
    """Models in which memory is shared by a view and by something that must not spoil it."""
    flat, wide = {"new_shape": (6,)}, {"new_shape": (2, 3)}
    weights = {
        i: constant(np.arange(n).reshape(s), 0.1, 3) for i, n, s in ((1, 6, 6), (5, 12, (2, 6)))
    }
    return [
        graph_of(
            "view_and_in_place_read_one_input",
            {0: (2, 3), 1: (6,), 2: (2, 3), 3: (6,), 4: (6,)},
            {},
            (
                Op("RESHAPE", (0,), (1,), flat),
                Op("RELU", (0,), (2,)),
                Op("RELU6", (1,), (3,)),
                Op("ADD", (3, 1), (4,), {"fused_activation_function": "NONE"}),
            ),
            (2, 4),
        ),
        graph_of(
            "output_is_a_view_of_what_is_overwritten",
            {0: (2, 3), 1: (6,), 2: (2, 3)},
            {},
            (Op("RESHAPE", (0,), (1,), flat), Op("RELU", (0,), (2,))),
            (1, 2),
        ),
        graph_of(
            "two_outputs_view_the_input",
            {0: (2, 3), 1: (6,), 2: (2, 3), 3: (6,)},
            {},
            (
                Op("RESHAPE", (0,), (1,), flat),
                Op("RESHAPE", (1,), (2,), wide),
                Op("RESHAPE", (1,), (3,), flat),
            ),
            (2, 3),
        ),
        graph_of(
            "constants_move",
            {0: (2, 3), 2: (2, 3), 3: (2, 6), 6: (2, 3), 7: (2, 3), 8: (4, 2, 3)},
            weights | {4: ints(1)},
            (
                Op("RESHAPE", (1,), (2,), wide),
                Op("CONCATENATION", (0, 2), (3,), {"axis": 1}),
                Op("SPLIT", (4, 5), (6, 7), {"num_splits": 2}),
                Op("PACK", (6, 7, 0, 2), (8,), {"axis": 0, "values_count": 4}),
            ),
            (3, 8),
        ),
        graph_of(
            "one_input_twice",
            {0: (2, 3), 1: (2, 6), 3: (2, 3), 4: (2, 3), 5: (2, 3)},
            {2: ints(1)},
            (
                Op("CONCATENATION", (0, 0), (1,), {"axis": 1}),
                Op("SPLIT", (2, 1), (3, 4), {"num_splits": 2}),
                Op("RELU", (3,), (5,)),
            ),
            (3, 4, 5),
        ),
    ]


@pytest.fixture(params=[chain(), *shared_memory()], ids=lambda graph: graph.name)
def model_rows(request):
    graph = request.param
    check_supported(graph)
    samples = harness.sample_inputs(graph, 4)
    return graph, samples, [interpret(graph, sample) for sample in samples]


def test_model_equals_tflite_micro(model_rows):
    graph, samples, values = model_rows
    stacked = [np.stack(column) for column in zip(*samples, strict=True)]
    outputs = run_oracle_arrays(write_tflite(graph), stacked)
    for index, output in zip(graph.outputs, outputs, strict=True):
        np.testing.assert_array_equal(output, np.stack([v[index] for v in values]))


def test_model_in_one_arena_equals_the_reference(model_rows, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    graph, samples, values = model_rows
    program = harness.build_program([graph], CPU, harness.SANITIZED_GCC, tmp_path)
    requests = [harness.Request(0, sample) for sample in samples]
    for row, outputs in zip(values, harness.run_program(program, [graph], requests), strict=True):
        for index, output in zip(graph.outputs, outputs, strict=True):
            np.testing.assert_array_equal(output, row[index])


MY_KINDS = sorted({kind for kind, *_ in LIMITS} | {"SQUEEZE", "PADV2"})
OPTIONS = (
    *("axis", "num", "num_splits", "values_count", "begin_mask", "end_mask"),
    *("shrink_axis_mask", "new_axis_mask", "ellipsis_mask", "keep_dims"),
)


def any_node(kind: str, rng: np.random.Generator):
    """A structurally valid node of a kind, with operands and options that may make no sense."""

    def shape():
        return tuple(rng.integers(0, 4, rng.integers(0, 7)).tolist())

    def tensor():
        dtype = list(DType)[rng.integers(len(DType))] if rng.random() < 0.3 else DType.INT8
        kind_of = rng.random()
        if kind_of < 0.1:
            return None
        if kind_of < 0.5:
            return a(*shape(), dtype=dtype)
        dtype = DType.INT64 if rng.random() < 0.1 else DType.INT32
        return constant(rng.integers(-3, 6, shape()[:2]), dtype=dtype)

    inputs = [a(*(d + 1 for d in shape()[:5])) if rng.random() < 0.7 else tensor()]
    inputs += [tensor() for _ in range(rng.integers(0, 4))]
    outputs = [tensor() or a(1) for _ in range(rng.integers(1, 4))]
    outputs = [dataclasses.replace(t, data=None) for t in outputs]
    attrs = {key: int(rng.integers(-5, 6)) for key in OPTIONS}
    return one_op("any", kind, inputs, outputs, attrs).graph.node(0)


@pytest.mark.parametrize("kind", MY_KINDS)
def test_no_node_makes_a_constraint_raise(kind):
    rng = np.random.default_rng(5)
    accepted = 0
    for _ in range(400):
        node = any_node(kind, rng)
        if not node_reason(node):
            accepted += 1
            shapes = OPS[kind].output_shapes(node)
            assert len(shapes) >= 1
            if shapes == tuple(t.shape for t in node.outputs):
                OPS[kind].kernel(node, CPU)
    assert accepted < 400
