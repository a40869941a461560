"""NNAPI: every operator at every feature level, and every limit kept and broken.

``TAKEN_FROM`` and ``BROKEN`` state what is expected on their own; they do not read the table.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from edgebuild.delegates.nnapi import check, runtime_level
from edgebuild.delegates.table import load_table
from edgebuild.graph import Graph, Op
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.conftest import shared_path
from tests.single_ops import S4, Spec, base, c, edited, t, w

FACTS = shared_path() / "facts" / "nnapi_delegate_ops.json"
FL6, FL7, FL8 = 1_000_006, 1_000_007, 1_000_008
LEVELS = (*range(27, 36), FL6, FL7, FL8)
DTYPES = ("float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")

FLOAT_29 = {"float32": 29}
EIGHT = {"float32": 27, "uint8": 27, "int8": 27}
EIGHT_29 = {"float32": 29, "uint8": 29, "int8": 29}
FOUR_29 = {**EIGHT_29, "int32": 29}
FOUR_FL7 = dict.fromkeys(("float32", "uint8", "int8", "int32"), FL7)
WEIGHTED = {"float32": 27, "uint8": 27, "int8": 29}
COMPARED = {**FOUR_29, "bool": 29}

TAKEN_FROM: dict[str, dict[str, int]] = {
    **dict.fromkeys(("ABS", "EXP", "LOG", "POW", "COS", "SIN", "SQRT", "LOG_SOFTMAX"), FLOAT_29),
    **{key: {**EIGHT, "int32": 30} for key in ("ADD", "MUL")},
    "SUB": {"float32": 28, "uint8": 29, "int8": 29, "int32": 30},
    "DIV": {"float32": 28},
    **{key: {**FOUR_29, "float16": 29} for key in ("ARG_MAX", "ARG_MIN")},
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), EIGHT),
    "L2_POOL_2D": {"float32": 27},
    "BATCH_MATMUL": {"float32": FL6, "int32": FL6, "int8": FL6},
    "CAST": {"float32": 29, "uint8": 29, "int8": 30, "int32": 29},
    "CONCATENATION": {**EIGHT, "float16": 27},
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), WEIGHTED),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "HARD_SWISH", "SOFTMAX"), EIGHT),
    "DEQUANTIZE": {"uint8": 27, "int8": 29, "float16": 30},
    "ELU": {"float32": 30},
    **{key: {"float32": 27} for key in ("EMBEDDING_LOOKUP", "HASHTABLE_LOOKUP", "RNN")},
    **dict.fromkeys(
        ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), COMPARED
    ),
    **{key: {**FOUR_29, "float16": 29} for key in ("EXPAND_DIMS", "GATHER")},
    "FILL": {"float32": 30, "int32": 30, "int64": 30},
    **dict.fromkeys(("LEAKY_RELU", "PRELU", "RESIZE_NEAREST_NEIGHBOR", "PADV2"), EIGHT_29),
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN"), EIGHT_29),
    **dict.fromkeys(("LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1"), EIGHT),
    "L2_NORMALIZATION": {"float32": 27, "uint8": 29, "int8": 29},
    "LSTM": {"float32": 28, "uint8": 28, "int8": 30},
    **dict.fromkeys(("MAXIMUM", "MINIMUM", "SELECT", "SLICE", "TILE", "TOPK_V2"), FOUR_29),
    **{key: {"float32": 28, "uint8": 29, "int8": 29} for key in ("MEAN", "PAD")},
    **dict.fromkeys(("MIRROR_PAD", "REVERSE_V2"), FOUR_FL7),
    "NEG": {"float32": 29, "int32": 29},
    "PACK": {"float32": 30, "int8": 30, "uint8": FL6, "int32": FL6},
    "QUANTIZE": {"uint8": 29, "int8": 30},
    **dict.fromkeys(("REDUCE_PROD", "SUM"), FLOAT_29),
    "RESHAPE": {**EIGHT, "int32": FL6},
    "RESIZE_BILINEAR": {"float32": 27, "uint8": 29, "int8": 29},
    "RSQRT": {"float32": 29, "uint8": FL7, "int8": FL7},
    "SPLIT": {"float32": 29, "uint8": 29, "int8": 30, "int32": 29},
    "SPLIT_V": dict.fromkeys(("float32", "uint8", "int8", "int32"), 30),
    "SQUARED_DIFFERENCE": {"float32": 28, "uint8": 29, "int8": 30, "int32": 30},
    "STRIDED_SLICE": {"float32": 28, "uint8": 28, "int8": 28},
    "SVDF": {"float32": 28},
    "TANH": {"float32": 27, "uint8": 29, "int8": 29},
    "UNPACK": {"float32": 30, "uint8": 30, "int8": 30},
}
"""The first level at which each type of a valid form is taken; types that are absent never are."""

UNLISTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "L2_NORMALIZATION")
"""From feature level 3 on they have no list of types, and only those of NNAPI are tried."""

ANY_TYPE = {
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "REDUCE_ANY"), 29),
    **dict.fromkeys(("FLOOR", "LOCAL_RESPONSE_NORMALIZATION", "LSH_PROJECTION"), 27),
    **dict.fromkeys(("BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "SQUEEZE", "TRANSPOSE"), 28),
    **dict.fromkeys(("BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), 29),
    **dict.fromkeys(("UNIDIRECTIONAL_SEQUENCE_RNN", "TRANSPOSE_CONV"), 29),
    "DENSIFY": 30,
}
"""Operators without a list of types: the first level of float32 and 8 bits; int16 never is."""

MAX_VERSION = {
    **dict.fromkeys(("ABS", "EXP", "LOG", "POW", "COS", "SIN", "SQRT", "LOG_SOFTMAX", "DIV"), 1),
    **dict.fromkeys(("L2_POOL_2D", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "ELU", "FILL"), 1),
    **dict.fromkeys(("EMBEDDING_LOOKUP", "EXPAND_DIMS", "FLOOR", "HASHTABLE_LOOKUP", "RNN"), 1),
    **dict.fromkeys(("LEAKY_RELU", "PRELU", "LOCAL_RESPONSE_NORMALIZATION", "LSH_PROJECTION"), 1),
    **dict.fromkeys(("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "REDUCE_PROD", "SUM", "TILE"), 1),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_RNN"), 1),
    **dict.fromkeys(("SUB", "LSTM", "MAXIMUM", "MINIMUM", "RESIZE_BILINEAR", "SPLIT"), 3),
    **dict.fromkeys(("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "DEPTHWISE_CONV_2D"), 3),
    **dict.fromkeys(("CONV_2D", "FULLY_CONNECTED"), 5),
    "TRANSPOSE_CONV": 4,
    **dict.fromkeys(("DENSIFY", "DEPTH_TO_SPACE", "HARD_SWISH"), None),
}
"""The highest version of the operator; 2 where it is absent, None for any."""


def verdict(spec: Spec, level: int):
    graph = spec.graph()
    if graph.inputs:
        graph = read_tflite(write_tflite(graph), survey=True)
    (found,) = check(graph, Delegate("nnapi", feature_level=level)).verdicts
    return found


def reached(level: int, first: int | None) -> bool:
    """API levels from 31 on guarantee feature level 5, which is 31."""
    return first is not None and (min(level, 31) if level < 100 else level) >= first


def best(kind: str) -> str:
    """A type with which the operator is taken earliest."""
    return (
        min(TAKEN_FROM[kind], key=TAKEN_FROM[kind].__getitem__) if kind in TAKEN_FROM else "float32"
    )


@pytest.mark.parametrize("kind", sorted(TAKEN_FROM))
def test_types_by_level(kind):
    for dtype in ("float32", "uint8", "int8", "int16") if kind in UNLISTED else DTYPES:
        spec = base(kind, dtype)
        for level in LEVELS:
            expected = reached(level, TAKEN_FROM[kind].get(dtype))
            found = verdict(spec, level)
            assert found.delegated == expected, (dtype, level, found.reason)


@pytest.mark.parametrize("kind", sorted(ANY_TYPE))
def test_operators_without_a_list_of_types(kind):
    for dtype in ("float32", "uint8", "int8"):
        for level in LEVELS:
            expected = reached(level, ANY_TYPE[kind])
            assert verdict(base(kind, dtype), level).delegated == expected, (dtype, level)
    fixed = ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "LSH_PROJECTION", "DENSIFY")
    if kind not in fixed:
        assert not verdict(base(kind, "int16"), FL8).delegated


def test_every_operator_of_the_table_is_stated_here():
    assert set(TAKEN_FROM) | set(ANY_TYPE) == set(load_table("nnapi").ops)


@pytest.mark.parametrize("kind", sorted({*TAKEN_FROM, *ANY_TYPE}))
def test_versions(kind):
    most = MAX_VERSION.get(kind, 2)
    plain = base(kind, best(kind))
    assert verdict(edited(plain, version=most or 9), FL8).delegated
    if most:
        refused = verdict(edited(plain, version=most + 1), FL8)
        assert refused.reason.endswith(f"the operator's version must be at most {most}")


@pytest.mark.parametrize("kind", ["ONE_HOT", "CUMSUM", "SELECT_V2", "GELU", "ADD_N", "SQUARE"])
def test_others_are_never_taken(kind):
    assert verdict(base(kind), FL8).reason == f"NNAPI has no {kind}"


@pytest.mark.skipif(not FACTS.exists(), reason="../shared/facts is not there")
@pytest.mark.parametrize("level", LEVELS)
def test_the_facts_say_the_same(level):
    """Minimum levels, types and versions, read from the facts by rules of their own."""
    facts = json.loads(FACTS.read_text())["ops"]
    assert set(facts) == {*TAKEN_FROM, *ANY_TYPE}
    runtime = min(level, 31) if level < 100 else level
    for kind, fact in facts.items():
        types = fact.get("input_types")
        for before in sorted(fact.get("types_before_sdk", {}), key=int, reverse=True):
            if runtime < int(before):
                types = fact["types_before_sdk"][before]
        stated = TAKEN_FROM.get(kind, {})
        first = min(stated.values(), default=ANY_TYPE.get(kind, 0))
        assert first >= fact["min_sdk"], kind
        for dtype, taken_from in stated.items():
            if reached(level, taken_from) and types and kind not in ("DEQUANTIZE", "QUANTIZE"):
                assert dtype.upper() in types, (kind, dtype)
        assert MAX_VERSION.get(kind, 2) == fact["max_op_version"], kind


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
    ("constant float16", edited(base("DEQUANTIZE", "float16"), inputs={0: w(S4, "float16")}), None),
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


def test_api_levels_become_runtime_levels():
    assert [runtime_level(level) for level in range(27, 36)] == [27, 28, 29, 30, *[31] * 5]
    assert [runtime_level(level) for level in (FL6, FL7, FL8)] == [FL6, FL7, FL8]


def test_the_notes_say_that_it_is_deprecated_and_what_replaces_it():
    found = check(base("ADD").graph(), Delegate("nnapi", feature_level=33))
    text = " ".join(found.notes)
    assert "deprecated since Android 15" in text
    assert "android-gpu" in text and "android-npu" in text
    assert "API level 33 guarantees only NNAPI feature level 5 (Android 12)" in text


def test_at_most_three_partitions():
    kinds = ["ABS", "CUMSUM"] * 4
    tensors = {i: dataclasses.replace(t(), index=i, name=f"t{i}") for i in range(len(kinds) + 1)}
    ops = tuple(Op(kind, (i,), (i + 1,)) for i, kind in enumerate(kinds))
    found = check(
        Graph("chain", (0,), (len(kinds),), ops, tensors), Delegate("nnapi", feature_level=30)
    )
    assert found.delegated_partitions == 3
    assert found.fallbacks[-2].reason.startswith("only 3 partitions are delegated")


def test_a_reason_names_the_level():
    assert verdict(base("ABS"), 28).reason == "it needs NNAPI feature level 3 (Android 10)"
    assert verdict(base("MIRROR_PAD"), 30).reason == "it needs NNAPI feature level 7"
    reason = verdict(edited(base("CONV_2D"), dilation_w_factor=2), 28).reason
    assert reason == "dilation_w_factor must be 1, before NNAPI feature level 3 (Android 10)"
