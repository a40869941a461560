"""NNAPI: every operator at every feature level; ``test_nnapi_limits.py`` breaks every limit.

``TAKEN_FROM`` states what is expected on its own; it does not read the table.
"""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgebuild.delegates.nnapi import check, runtime_level
from edgebuild.delegates.table import load_table
from edgebuild.graph import Graph, Op
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.conftest import facts_path
from tests.single_ops import Spec, base, edited, t

FACTS = facts_path() / "nnapi_delegate_ops.json"
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
        graph = read_tflite(write_tflite(graph))
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


@pytest.mark.models
@pytest.mark.skipif(not FACTS.exists(), reason="no facts beside the public models")
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
