"""NNAPI: every limit of the table, kept and broken.

``BROKEN`` states what is expected on its own; it does not read the table.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.delegates.table import load_table
from tests.single_ops import S4, Spec, base, c, edited, t, w
from tests.unit.delegates.test_nnapi import (
    ANY_TYPE,
    DTYPES,
    FL6,
    FL8,
    LEVELS,
    TAKEN_FROM,
    reached,
    verdict,
)

FC, CONV, DEPTHWISE = "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"
LOGICAL = ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")
FIVE = (1, 1, 8, 8, 4)
CONV_SCALES = tuple(0.01 * (i + 1) for i in range(6))
COARSE = {0: t(S4, "uint8", 0.9), 1: w((6, 3, 3, 4), "uint8", scale=0.9)}
HALF = {"align_corners": True}


def _five(kind: str) -> Spec:
    return edited(base(kind), inputs={0: t(FIVE), 1: t(FIVE)}, outputs={0: t(FIVE)})


def _scalar_output(kind: str) -> Spec:
    return edited(base(kind), outputs={0: t(())}, keep_dims=False)


def _hybrid(kind: str, position: int = 1) -> Spec:
    plain = base(kind)
    shape = plain.inputs[position].shape
    return edited(plain, inputs={position: w(shape, "uint8")})


def _lstm_of_24() -> Spec:
    return edited(base("LSTM"), inputs={20: None, 21: None, 22: None, 23: None})


def _basic_lstm(**changes) -> Spec:
    x = {"dtype": "uint8", "scale": 1 / 128, "zero": 128}
    inputs = [
        t((1, 4), **x),
        t((1, 4), **x),
        w((16, 8), "uint8"),
        c([0] * 16, scale=0.01),
        t((1, 4), "int16", 16 / 32768),
    ]
    outputs = [t((1, 4), **x), t((1, 4), "int16", 16 / 32768), t((1, 8), **x), t((1, 16), "int16")]
    attrs = {"fused_activation_function": "TANH", "kernel_type": "BASIC"}
    return edited(Spec("LSTM", tuple(inputs), tuple(outputs), attrs), **changes)


BROKEN: list[tuple[str, Spec, int | None]] = [
    # (what is broken, operator, first level that takes it all the same)
    *((f"{k} rank 5", _five(k), None) for k in ("ADD", "MUL", "SUB", "DIV", "SQUARED_DIFFERENCE")),
    ("int32 ADD with RELU", edited(base("ADD", "int32"), fused_activation_function="RELU"), None),
    ("int32 MUL with RELU", edited(base("MUL", "int32"), fused_activation_function="RELU"), None),
    ("int32 SUB with RELU", edited(base("SUB", "int32"), fused_activation_function="RELU"), None),
    ("float ADD with RELU", edited(base("ADD"), fused_activation_function="RELU"), 27),
    ("int64 axis", edited(base("ARG_MAX"), inputs={1: c(3, "int64")}), 29),
    ("int64 axis too large", edited(base("ARG_MAX"), inputs={1: c(1 << 40, "int64")}), None),
    ("int64 axis moves", edited(base("ARG_MIN"), inputs={1: t((), "int64")}), None),
    ("float axis", edited(base("ARG_MIN"), inputs={1: t(())}), None),
    ("int64 output", edited(base("ARG_MAX"), output_type="INT64"), None),
    (
        "quantized window of 400",
        edited(base("AVERAGE_POOL_2D", "uint8"), filter_width=20, filter_height=20),
        None,
    ),
    (
        "float window of 400",
        edited(base("AVERAGE_POOL_2D"), filter_width=20, filter_height=20),
        27,
    ),
    ("L2 pool RELU", edited(base("L2_POOL_2D"), fused_activation_function="RELU"), 29),
    ("matmul mixed", edited(base("BATCH_MATMUL"), inputs={1: t((2, 4, 5), "int8")}), None),
    (
        "matmul rank 5",
        edited(base("BATCH_MATMUL"), inputs={0: t((1, 1, 2, 3, 4)), 1: t((1, 1, 2, 4, 5))}),
        None,
    ),
    ("matmul broadcast", edited(base("BATCH_MATMUL"), inputs={1: t((1, 4, 5))}), None),
    ("crops", edited(base("BATCH_TO_SPACE_ND"), inputs={2: c([[0, 1], [0, 0]])}), None),
    ("crops move", edited(base("BATCH_TO_SPACE_ND"), inputs={2: t((2, 2), "int32")}), None),
    ("hybrid", _hybrid("BIDIRECTIONAL_SEQUENCE_LSTM", 2), None),
    ("hybrid", _hybrid("UNIDIRECTIONAL_SEQUENCE_LSTM", 2), None),
    ("hybrid", _hybrid("UNIDIRECTIONAL_SEQUENCE_RNN"), None),
    ("hybrid", _hybrid(CONV), 29),
    ("hybrid", _hybrid(FC), 29),
    ("hybrid", _hybrid("LSTM", 4), 29),
    ("cast to int8", edited(base("CAST"), outputs={0: t(S4, "int8")}), 30),
    ("cast to bool", edited(base("CAST"), outputs={0: t(S4, "bool")}), None),
    ("concat RELU", edited(base("CONCATENATION"), fused_activation_function="RELU"), None),
    ("concat rank 5", edited(base("CONCATENATION"), inputs={0: t(FIVE)}), None),
    (
        "concat of two scales",
        edited(base("CONCATENATION", "uint8"), inputs={1: t(S4, "uint8", 0.1)}),
        29,
    ),
    ("concat int8", edited(base("CONCATENATION", "int8"), inputs={1: t(S4, "int8", 0.1)}), 27),
    ("no bias", Spec(CONV, base(CONV).inputs[:2], base(CONV).outputs, base(CONV).attrs), None),
    (
        "per channel",
        edited(base(CONV, "uint8"), inputs={1: w((6, 3, 3, 4), "uint8", scale=CONV_SCALES)}),
        29,
    ),
    ("dilated", edited(base(CONV), dilation_w_factor=2), 29),
    ("dilated", edited(base(DEPTHWISE), dilation_h_factor=2), 29),
    ("groups", edited(base(CONV), inputs={1: w((6, 3, 3, 2))}), 29),
    ("coarse scales", edited(base(CONV, "uint8"), inputs=COARSE), 29),
    (
        "coarse scales",
        edited(base(DEPTHWISE, "uint8"), inputs={0: COARSE[0]}, outputs={0: t(S4, "uint8", 0.01)}),
        29,
    ),
    (
        "coarse scales",
        edited(
            base(FC, "uint8"), inputs={0: t((2, 4), "uint8", 0.9), 1: w((3, 4), "uint8", scale=0.9)}
        ),
        29,
    ),
    ("int16 output", edited(base(FC), outputs={0: t((2, 3), "int16")}), None),
    ("keep_num_dims", edited(base(FC), keep_num_dims=True), 30),
    ("densify moves", edited(base("DENSIFY"), inputs={0: t((4, 4))}), None),
    ("zero point", edited(base("DEQUANTIZE", "int8"), inputs={0: t(S4, "int8", 0.05, 3)}), 30),
    ("float16 version 3", edited(base("DEQUANTIZE", "float16"), version=3), 30),
    ("axis moves", edited(base("EXPAND_DIMS"), inputs={1: t((), "int32")}), None),
    ("int64 axis", edited(base("EXPAND_DIMS"), inputs={1: c(0, "int64")}), None),
    ("dims move", edited(base("FILL"), inputs={0: t((2,), "int32")}), None),
    ("int64 dims", edited(base("FILL"), inputs={0: c([2, 3], "int64")}), 30),
    ("large dims", edited(base("FILL"), inputs={0: c([1 << 40, 3], "int64")}), None),
    ("large value", edited(base("FILL", "int64"), inputs={1: c(1 << 40, "int64")}), None),
    ("int64 positions", edited(base("GATHER"), inputs={1: t((3,), "int64")}), None),
    ("scalar positions", edited(base("GATHER"), inputs={1: t((), "int32")}), None),
    ("uint8 output", edited(base("HASHTABLE_LOOKUP"), outputs={0: t((3, 4), "uint8")}), None),
    ("L2 RELU", edited(base("L2_NORMALIZATION"), fused_activation_function="RELU"), None),
    ("L2 rank 2", edited(base("L2_NORMALIZATION"), inputs={0: t((4, 4))}), 29),
    ("sparse", edited(base("LSH_PROJECTION"), inputs={2: None}, type=1), None),
    (
        "sparse with two inputs",
        Spec("LSH_PROJECTION", base("LSH_PROJECTION").inputs[:2], (t((2,), "int32"),), {"type": 1}),
        29,
    ),
    ("24 inputs", _lstm_of_24(), 29),
    ("basic LSTM", _basic_lstm(), 28),
    ("basic, float weights", _basic_lstm(inputs={2: w((16, 8))}), None),
    ("basic, other scale", _basic_lstm(inputs={0: t((1, 4), "uint8", 0.1)}), None),
    ("basic, weights move", _basic_lstm(inputs={2: t((16, 8), "uint8")}), None),
    ("basic, biases move", _basic_lstm(inputs={3: t((16,), "int32", 0.01)}), None),
    ("scalar moves", edited(base("MAXIMUM"), inputs={1: t(())}), None),
    ("scalar", edited(base("MINIMUM"), inputs={1: c(1.0, "float32")}), 29),
    *((f"{k} to a scalar", _scalar_output(k), None) for k in ("MEAN", "SUM", "REDUCE_PROD")),
    ("REDUCE_ANY to a scalar", _scalar_output("REDUCE_ANY"), None),
    ("REDUCE_MAX of a scalar", edited(base("REDUCE_MAX"), inputs={0: t(())}), None),
    ("MEAN rank 5", edited(base("MEAN"), inputs={0: t(FIVE)}, outputs={0: t(FIVE)}), None),
    ("three inputs", edited(base("MIRROR_PAD"), inputs={2: c(0.0, "float32")}), None),
    ("empty", edited(base("MIRROR_PAD"), inputs={0: t((1, 0, 8, 4))}), None),
    ("last axis", edited(base("PACK"), axis=-1), FL6),
    ("last axis", edited(base("PACK"), axis=4), FL6),
    ("axis 3", edited(base("PACK"), axis=3), 30),
    ("last axis", edited(base("UNPACK"), axis=2), None),
    ("last axis", edited(base("UNPACK"), axis=-1), None),
    ("rank 1", edited(base("UNPACK"), inputs={0: t((2,))}), None),
    ("rank 5", edited(base("UNPACK"), inputs={0: t(FIVE)}), None),
    ("empty", edited(base("PAD"), inputs={0: t((1, 0, 8, 4))}), None),
    ("pad value", edited(base("PAD"), inputs={2: c(0.0, "float32")}), 29),
    ("uint8 from int8", edited(base("QUANTIZE", "uint8"), inputs={0: t(S4, "int8")}), 29),
    (
        "no scale",
        edited(base("QUANTIZE", "int8"), outputs={0: t(S4, "int8", quantized=False)}),
        None,
    ),
    (
        "input without scale",
        edited(base("QUANTIZE", "int8"), inputs={0: t(S4, "int8", quantized=False)}),
        None,
    ),
    ("rank 5", edited(base("RESHAPE"), inputs={0: t(FIVE)}), None),
    ("to rank 5", edited(base("RESHAPE"), outputs={0: t(FIVE)}), None),
    ("shape moves", edited(base("RESHAPE"), inputs={1: t((3,), "int32")}), None),
    (
        "to a scalar",
        Spec("RESHAPE", (t((1,)),), (t(()),), {"new_shape": (0,)}),
        None,
    ),
    ("align", edited(base("RESIZE_BILINEAR"), **HALF), 30),
    ("half pixel", edited(base("RESIZE_BILINEAR"), half_pixel_centers=True), 30),
    ("size moves", edited(base("RESIZE_BILINEAR"), inputs={1: t((2,), "int32")}), None),
    ("rank 3", edited(base("RESIZE_BILINEAR"), inputs={0: t((8, 8, 4))}), None),
    ("not square", edited(base("RESIZE_BILINEAR"), outputs={0: t((1, 16, 8, 4))}), 29),
    ("align", edited(base("RESIZE_NEAREST_NEIGHBOR"), **HALF), 30),
    ("size moves", edited(base("RESIZE_NEAREST_NEIGHBOR"), inputs={1: t((2,), "int32")}), None),
    ("three inputs", edited(base("REVERSE_V2"), inputs={2: c([0])}), None),
    (
        "four inputs",
        Spec("RNN", base("RNN").inputs[:4], base("RNN").outputs, base("RNN").attrs),
        None,
    ),
    ("int8 weights", edited(base("RNN"), inputs={1: w((4, 4), "int8")}), None),
    ("int8 weights", edited(base("SVDF"), inputs={1: w((4, 4), "int8")}), None),
    (
        "four inputs",
        Spec("SVDF", base("SVDF").inputs[:4], base("SVDF").outputs, base("SVDF").attrs),
        None,
    ),
    ("other shape", edited(base("SELECT"), inputs={0: t((1,), "bool")}), None),
    ("int64 begin", edited(base("SLICE"), inputs={1: c([0, 1, 0, 0], "int64")}), None),
    ("int64 size", edited(base("SLICE"), inputs={2: c([1, 4, 8, 4], "int64")}), None),
    ("rank 3", edited(base("SOFTMAX"), inputs={0: t((2, 2, 8))}), 29),
    ("rank 5", edited(base("SOFTMAX"), inputs={0: t(FIVE)}), None),
    ("int16 output", edited(base("SOFTMAX"), outputs={0: t((2, 8), "int16")}), None),
    ("axis moves", edited(base("SPLIT"), inputs={0: t((), "int32")}), None),
    ("sizes move", edited(base("SPLIT_V"), inputs={1: t((2,), "int32")}), None),
    ("int64 sizes", edited(base("SPLIT_V"), inputs={1: c([1, 3], "int64")}), None),
    ("axis moves", edited(base("SPLIT_V"), inputs={2: t((), "int32")}), None),
    ("a size of 0", edited(base("SPLIT_V"), inputs={1: c([0, 4])}), None),
    ("all dimensions", edited(base("SQUEEZE"), squeeze_dims=()), 29),
    ("int64 multipliers", edited(base("TILE"), inputs={1: c([1, 1, 2, 1], "int64")}), None),
    ("k moves", edited(base("TOPK_V2"), inputs={1: t((), "int32")}), None),
    ("perm moves", edited(base("TRANSPOSE"), inputs={1: t((4,), "int32")}), None),
    ("shape moves", edited(base("TRANSPOSE_CONV"), inputs={0: t((4,), "int32")}), None),
    ("filter moves", edited(base("TRANSPOSE_CONV"), inputs={1: t((6, 3, 3, 4))}), None),
    (
        "19 inputs",
        Spec(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            base("UNIDIRECTIONAL_SEQUENCE_LSTM").inputs[:19],
            base("UNIDIRECTIONAL_SEQUENCE_LSTM").outputs,
            base("UNIDIRECTIONAL_SEQUENCE_LSTM").attrs,
        ),
        None,
    ),
    *(
        ("one input", Spec(k, base(k).inputs[:1], base(k).outputs, base(k).attrs), None)
        for k in ("PAD", "PADV2", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE")
    ),
    (
        "one input",
        Spec("TRANSPOSE_CONV", base("TRANSPOSE_CONV").inputs[:1], (t(S4),), {}),
        None,
    ),
    *((f"{k} of floats", edited(base(k), inputs={0: t(S4)}), None) for k in LOGICAL),
    ("float axis", edited(base("ARG_MAX"), inputs={1: t(())}), None),
    ("int64 axis moves", edited(base("ARG_MAX"), inputs={1: t((), "int64")}), None),
    ("int64 axis too large", edited(base("ARG_MIN"), inputs={1: c(1 << 40, "int64")}), None),
    ("int64 output", edited(base("ARG_MIN"), output_type="INT64"), None),
    ("dilated height", edited(base(CONV), dilation_h_factor=2), 29),
    ("dilated width", edited(base(DEPTHWISE), dilation_w_factor=2), 29),
    ("float dims", edited(base("FILL"), inputs={0: c([2.0, 3.0], "float32")}), None),
    ("no dims", edited(base("FILL"), inputs={0: c(np.zeros(0))}), None),
    ("int16", edited(base("LSH_PROJECTION"), inputs={2: t((4,), "int16")}), None),
    ("scalar moves", edited(base("MINIMUM"), inputs={1: t(())}), None),
    ("empty", edited(base("PADV2"), inputs={0: t((1, 0, 8, 4))}), None),
    ("of int32", edited(base("QUANTIZE", "uint8"), inputs={0: t(S4, "int32")}), None),
    ("REDUCE_MIN of a scalar", edited(base("REDUCE_MIN"), inputs={0: t(())}), None),
    ("half pixel", edited(base("RESIZE_NEAREST_NEIGHBOR"), half_pixel_centers=True), 30),
    ("int64 axis", edited(base("SPLIT"), inputs={0: c(3, "int64")}), None),
    ("sizes of rank 2", edited(base("SPLIT_V"), inputs={1: c([[1, 3]])}), None),
    ("int64 axis", edited(base("SPLIT_V"), inputs={2: c(3, "int64")}), None),
    ("int64 k", edited(base("TOPK_V2"), inputs={1: c(3, "int64")}), None),
    ("uint8 values", edited(base("EMBEDDING_LOOKUP"), inputs={1: w((10, 4), "uint8")}), None),
]


@pytest.mark.parametrize(
    ("what", "spec", "first"), BROKEN, ids=[f"{spec.kind} {what}" for what, spec, _ in BROKEN]
)
def test_limits(what, spec, first):
    for level in LEVELS:
        found = verdict(spec, level)
        assert found.delegated == reached(level, first), (level, found.reason)


def test_every_limit_of_the_table_is_broken_by_some_case():
    """A limit that no case here breaks would be one that nobody has tested."""
    table, broken = load_table("nnapi"), set()
    plain = [base(kind, dtype) for kind in (*TAKEN_FROM, *ANY_TYPE) for dtype in DTYPES] + [
        edited(base(kind), version=99) for kind in (*TAKEN_FROM, *ANY_TYPE)
    ]
    for spec in [*plain, *(spec for _, spec, _ in BROKEN)]:
        for level in (27, 28, 29, 31, FL8):
            reason = verdict(spec, level).reason
            broken |= {(spec.kind, part) for part in reason.split("; ")}
    missing = [
        (kind, c.sentence)
        for kind, constraints in table.ops.items()
        for c in constraints
        if (kind, c.sentence) not in broken
    ]
    assert missing == []
