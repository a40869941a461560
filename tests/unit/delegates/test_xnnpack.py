"""XNNPACK's table says what LiteRT does, for generated operators and real models."""

from __future__ import annotations

import pytest

from edgebuild.delegates.table import load_table
from edgebuild.delegates.xnnpack import check, reasons
from edgebuild.profile import Delegate
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.conftest import made_models, models_path
from tests.litert_truth import CRASHED, ask
from tests.single_ops import base, c, edited, t, w
from tests.xnnpack_cases import cases, unpacked
from tests.xnnpack_random import random_models

LITERT_LACKS = ("edgetpu", "posenet")
"""Models with a custom operator that is not LiteRT's own."""
REAL = [
    path
    for path in sorted(models_path().glob("**/*.tflite"))
    if not any(word in path.name for word in LITERT_LACKS)
]
TABLE = load_table("xnnpack")


def reason(spec):
    (found,) = reasons(spec.graph(), TABLE)
    return found


@pytest.fixture(scope="module")
def answers():
    models = [(name, write_tflite(graph)) for name, graph in cases()]
    asked = zip(models, ask([model for _, model in models]), strict=True)
    return [(name, model, answer) for (name, model), answer in asked if answer is not None]


def test_the_table_agrees_with_litert_on_every_single_operator(answers):
    wrong = []
    for name, model, answer in answers:
        found = [not r for r in reasons(read_tflite(model), TABLE)]
        if found != answer:
            wrong.append((name, answer, found))
    assert wrong == []


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 400), pytest.param(2, 10_000, marks=pytest.mark.slow)]
)
def test_the_table_agrees_with_litert_on_random_operators(seed, count):
    """LiteRT refuses or crashes on about a third of them; the others have to agree."""
    models = list(random_models(seed, count))
    wrong, compared = [], 0
    for (name, model), answer in zip(models, ask([m for _, m in models]), strict=True):
        if answer is None or answer == CRASHED:
            continue
        found = [not r for r in reasons(read_tflite(model), TABLE)]
        compared += 1
        if found != answer:
            wrong.append((name, answer))
    assert wrong == []
    assert compared > count / 2


def test_the_comparison_is_large_and_two_sided(answers):
    assert len(answers) >= 1000
    assert all(answer != CRASHED for *_, answer in answers)
    last = [answer[-1] for *_, answer in answers]
    assert sum(last) > 300
    assert sum(not taken for taken in last) > 300


def test_every_operator_of_the_table_was_asked_for_and_taken(answers):
    taken = {name.split()[0] for name, _, answer in answers if answer[-1]}
    unasked = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "STABLEHLO_COMPOSITE"}
    builtin = {kind for kind in TABLE.ops if not kind.startswith("CUSTOM")}
    assert builtin - unasked - taken == set()


@pytest.mark.models
@pytest.mark.skipif(not REAL, reason="no public models (EDGEBUILD_MODELS)")
def test_the_table_agrees_with_litert_on_public_models():
    assert_delegated(REAL)


@pytest.mark.keras
def test_the_table_agrees_with_litert_on_whole_models():
    paths = sorted(made_models().glob("*.tflite"))
    assert len(paths) == 8
    assert_delegated(paths)
    assert_partitions(paths)


def assert_delegated(paths):
    models = [path.read_bytes() for path in paths]
    for path, model, answer in zip(paths, models, ask(models), strict=True):
        found = check(read_tflite(model), Delegate("xnnpack"))
        assert [v.delegated for v in found.verdicts] == answer, path.name


@pytest.mark.models
@pytest.mark.skipif(not REAL, reason="no public models (EDGEBUILD_MODELS)")
def test_partitions_are_those_that_litert_makes():
    assert_partitions(REAL)


def assert_partitions(paths):
    from ai_edge_litert.interpreter import Interpreter

    for path in paths:
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        nodes = interpreter._get_ops_details()
        made = sum(node["op_name"] == "DELEGATE" for node in nodes)
        found = check(read_tflite(path.read_bytes()), Delegate("xnnpack"))
        assert found.delegated_partitions == made, path.name


def test_a_reason_is_the_limit_in_words():
    assert reason(base("SOFTMAX", "int8")) == "inputs and outputs must be float32 or float16"
    assert reason(edited(base("SOFTMAX"), beta=2.0)) == "beta must be 1"
    assert reason(base("GATHER")) == "XNNPACK has no GATHER"
    assert reason(edited(base("CONV_2D"), inputs={1: t((6, 3, 3, 4))})) == (
        "input 1 must be a constant, or unpacked from one by DEQUANTIZE or DENSIFY"
    )


def test_several_broken_limits_are_all_named():
    spec = edited(
        base("CONV_2D", "int8"),
        inputs={2: c([0] * 6)},
        fused_activation_function="TANH",
    )
    assert reason(spec) == (
        "input 2 must have a scale; the fused activation must be NONE, RELU, RELU_N1_TO_1 or RELU6"
    )


def test_float16_weights_are_unpacked_once_when_their_reader_is_taken():
    found = reasons(unpacked(base("CONV_2D"), "float16"), TABLE)
    assert found == ["", ""]


def test_float16_weights_stay_on_the_cpu_with_their_reader():
    found = reasons(unpacked(base("POW"), "float16"), TABLE)
    assert found[0] == "its constant is read by POW, which stays on the CPU"
    assert found[1] == "XNNPACK has no POW"


def test_dynamic_range_weights_are_taken():
    assert reason(edited(base("FULLY_CONNECTED"), inputs={1: w((3, 4), "int8")})) == ""
