"""All that is unsupported is reported at once, grouped, with what helps."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgebuild.errors import ModelError, UnsupportedOperatorError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.cases import activation
from edgebuild.ops.origins import keras_layer, origin
from edgebuild.ops.support import check_supported, unsupported

SHAPE = (1, 4)


def chain(*kinds, dtype=DType.INT8, names=()):
    """Return a graph of one-input operators in a row; tensors are called ``names``."""
    tensors = {
        i: dataclasses.replace(activation(SHAPE, 0.1, 0, dtype), index=i, name=name)
        for i, name in enumerate(names or [f"t{i}" for i in range(len(kinds) + 1)])
    }
    ops = tuple(Op(kind, (i,), (i + 1,), {}, i) for i, kind in enumerate(kinds))
    return Graph("chain", (0,), (len(kinds),), ops, tensors)


def test_operators_are_grouped_with_their_places():
    names = ["x", "m/abs_1/Abs", "t2", "m/abs_2/Abs", "t4", "functional_1/elu/Elu"]
    graph = chain("ABS", "RELU", "ABS", "TANH", "ELU", names=names)
    odd = dataclasses.replace(graph.tensors[3], dtype=DType.UINT32, quantization=None)
    graph = graph.replace(tensors={**graph.tensors, 3: odd}, others=(chain("RELU"),))
    found = unsupported(graph)
    assert [(f.kind, f.formats, [p.operator for p in f.places]) for f in found.forms] == [
        ("ABS", "int8 -> int8", [0]),
        ("ABS", "int8 -> uint32", [2]),
        ("TANH", "uint32 -> int8", [3]),
        ("ELU", "int8 -> int8", [4]),
    ]
    assert found.forms[0].places[0].layer == "abs_1"
    assert found.forms[2].reason == "no kernel computes with uint32"
    assert found.forms[3].places[0].layer == "elu"
    assert all(form.in_tflite_micro for form in found.forms)
    assert "2 subgraphs" in found.problems[0]
    with pytest.raises(UnsupportedOperatorError) as error:
        check_supported(graph, where="net.tflite")
    assert (
        error.value.message == "net.tflite: 4 of 5 operators have no kernel in edgebuild (3 kinds)"
    )
    text = str(error.value)
    assert "did you mean" not in text and "relu(x) + relu(-x)" in text
    assert "TFLite Micro supports this operator" in text and "in layer elu" in text
    facts = error.value.facts["unsupported"]
    assert facts == found.to_json()
    assert json.loads(json.dumps(facts))["forms"][3]["places"][0]["layer"] == "elu"


def test_a_long_report_is_cut_for_people_alone():
    graph = chain(*(f"CUSTOM mine{i}" for i in range(60)))
    with pytest.raises(UnsupportedOperatorError) as error:
        check_supported(graph)
    assert len(error.value.details) < 60 and "--json lists all" in error.value.details[-1]
    assert len(error.value.facts["unsupported"]["forms"]) == 60


def test_equal_forms_are_one_with_all_places():
    (form,) = unsupported(chain(*["ABS"] * 50)).forms
    assert len(form.places) == 50
    assert form.lines()[0].startswith("50 x ABS (int8 -> int8), operators 0, 1, 2, 3 and 46 more")


def test_a_float_model_is_one_line_with_the_way_on():
    graph = chain("RELU", "TANH", dtype=DType.FLOAT32)
    with pytest.raises(UnsupportedOperatorError) as error:
        check_supported(graph, where="net.tflite")
    assert error.value.message == (
        "net.tflite: this is a float model, and generated C computes on integers"
    )
    assert error.value.details == () and "--data" in error.value.hint
    (form,) = unsupported(chain("RELU", "COS", dtype=DType.FLOAT32)).forms
    assert form.kind == "COS"


def test_what_contradicts_itself_is_an_error_of_the_file():
    graph = chain("RELU", "ABS")
    odd = dataclasses.replace(graph.tensors[0], quantization=Quantization((0.1,), (999,)))
    both = graph.replace(tensors={**graph.tensors, 0: odd})
    with pytest.raises(UnsupportedOperatorError, match="1 of 2 operators has") as error:
        check_supported(both)
    assert any("zero point outside" in line for line in error.value.details)
    alone = both.replace(ops=both.ops[:1], outputs=(1,))
    with pytest.raises(ModelError, match="the file contradicts itself: tensor 0"):
        check_supported(alone)


def test_shapes_that_cannot_be():
    graph = chain("RELU")
    longer = dataclasses.replace(graph.tensors[1], shape=(1, 5))
    with pytest.raises(
        ModelError, match=r"computes shapes \[\[1, 4\]\], the file says \[\[1, 5\]\]"
    ):
        check_supported(graph.replace(tensors={**graph.tensors, 1: longer}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sparse": True, "stored": True}, "stored sparse"),
        ({"is_variable": True}, "keeps state"),
        ({"dtype": DType.STRING, "quantization": None}, "no kernel computes with string"),
    ],
)
def test_tensors_that_no_kernel_takes(changes, reason):
    graph = chain("RELU", "RELU")
    odd = dataclasses.replace(graph.tensors[1], **changes)
    first, *_ = unsupported(graph.replace(tensors={**graph.tensors, 1: odd})).forms
    assert reason in first.reason


def test_an_operator_without_outputs_is_reported():
    state = Tensor(2, "state", SHAPE, DType.RESOURCE)
    graph = chain("RELU")
    ops = (*graph.ops, Op("ASSIGN_VARIABLE", (2, 1), (), {}, 1))
    (form,) = unsupported(graph.replace(ops=ops, tensors={**graph.tensors, 2: state})).forms
    assert (form.kind, form.formats) == ("ASSIGN_VARIABLE", "resource, int8 -> nothing")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("sequential_1/flatten_1/strided_slice/stack", "flatten_1"),
        ("functional_4_1/sequential_1/conv2d_1/convolution", "conv2d_1"),
        ("model/dense/MatMul;model/dense/BiasAdd", "dense"),
        ("StatefulPartitionedCall_1:0", ""),
        ("StatefulPartitionedCall/net/conv/Conv2D", "conv"),
        ("net/conv/Conv2D", "conv"),
        ("functional_3_1/Add", ""),
        ("tfl.quantize", ""),
        ("serving_default_x:0", ""),
        ("", ""),
        (";;///", ""),
    ],
)
def test_the_layer_in_a_tensor_name(name, layer):
    assert keras_layer(name) == layer


def test_operators_of_tensorflow_itself():
    assert "TFLITE_BUILTINS" in origin("CUSTOM FlexErf").instead
    assert origin("CUSTOM mine").keras == ""


@pytest.mark.parametrize(
    ("change", "way"),
    [
        ({"others": (chain("RELU"),)}, "without control flow: recurrent layers with unroll=True"),
        ({"inputs": ()}, "export the model again, with its inputs and outputs"),
        ({"outputs": ()}, "export the model again, with its inputs and outputs"),
    ],
)
def test_what_concerns_the_whole_model_has_a_way_on_too(change, way):
    graph = chain("RELU").replace(**change)
    assert way in unsupported(graph).hint()
    other = chain("ABS").replace(**change)
    assert way in unsupported(other).hint() and "relu(x) + relu(-x)" in unsupported(other).hint()


def test_formats_and_needs_have_a_way_on():
    graph = chain("RELU", "RELU")
    odd = dataclasses.replace(graph.tensors[1], dtype=DType.UINT32, quantization=None)
    hint = unsupported(graph.replace(tensors={**graph.tensors, 1: odd})).hint()
    assert "quantize the float model to int8, e.g. edgebuild build" in hint
    found = unsupported(chain("SOFTMAX"))  # its output's scale is not 1/256
    assert found.forms and "change the model to what is needed" in found.hint()
