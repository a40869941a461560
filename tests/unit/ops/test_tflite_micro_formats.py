"""What is said of TFLite Micro's number formats is what its package runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from edgebuild.errors import ModelError
from edgebuild.graph import DType, Quantization
from edgebuild.ops.cases import activation
from edgebuild.ops.refusal import FormGroups
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.ops.tflite_micro_formats import FORMATS, known_to_run, spelled
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import Spec, base, t
from tests.tflite_micro_probes import probes

CHILD = """
import json, sys
import numpy
from tflite_micro.python.tflite_micro import runtime
for line in sys.stdin:
    try:
        model, inputs = json.loads(line)
        one = runtime.Interpreter.from_bytes(bytes.fromhex(model), arena_size=1 << 18)
        for position, (shape, dtype) in enumerate(inputs):
            one.set_input(numpy.zeros(shape, dtype), position)
        one.invoke()
        print("runs", flush=True)
    except RuntimeError as error:
        print(error, flush=True)
"""


def node_of(graph):
    (node,) = graph.nodes()
    return node


def test_every_format_runs_in_the_package():
    asked, lines = [], []
    for graph in probes():
        node = node_of(graph)
        if known_to_run(node):
            asked.append((node.kind, spelled(node)))
            inputs = [[t.shape, str(t.dtype.numpy)] for t in graph.input_tensors]
            lines.append(json.dumps([write_tflite(graph).hex(), inputs]))
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = zip(asked, done.stdout.splitlines(), strict=True)
    found = {form for form, answer in said if answer == "runs"}
    assert found == {(kind, line) for kind, lines in FORMATS.items() for line in lines}
    assert set(FORMATS) <= set(RESOLVER_METHODS)


@pytest.mark.parametrize(
    ("kind", "form"), [("CONV_2D", "uint8"), ("SQUARE", "int8"), ("ADD", "int64")]
)
def test_formats_that_the_package_refuses_are_not_said_to_run(kind, form):
    graph = base(kind, form).graph()
    assert not known_to_run(node_of(graph))
    with pytest.raises(ModelError):
        run_oracle(write_tflite(graph), [[bytes(t.nbytes) for t in graph.input_tensors]])


def said_of(graph, reason="no kernel for this operator"):
    groups = FormGroups()
    groups.add(node_of(graph), reason)
    (form,) = groups.forms()
    return form


def test_what_is_said():
    assert (
        said_of(base("ABS", "int8").graph())
        .lines()[-1]
        .endswith("(TFLite Micro supports this operator)")
    )
    form = said_of(base("ABS", "uint32").graph())
    assert form.in_tflite_micro and form.tflite_micro == "operator"
    assert form.lines()[-1].endswith(
        "(TFLite Micro has this operator, but perhaps not in these number formats)"
    )
    absent = said_of(base("ATAN2", "float32").graph())
    assert "TFLite Micro does not support this operator" in absent.lines()[-1]


def test_a_form_that_fails_for_something_else_may_fail_there_too():
    """A softmax with an odd scale, an empty tensor: the number formats are no promise."""
    odd = Quantization((1 / 128,), (0,))
    made = dataclasses.replace(activation((1, 4)), quantization=odd)
    graph = Spec("SOFTMAX", (activation((1, 4)),), (made,), {"beta": 1.0}).graph()
    assert said_of(graph, "needs: output scale is 1/256").tflite_micro == "formats"
    empty = Spec("ABS", (t((1, 0), "int8"),), (t((1, 0), "int8"),), {}).graph()
    assert said_of(empty).tflite_micro == "formats"
    text = Spec("RESHAPE", (t((1, 4)),), (t((4,)),), {}).graph()
    tensors = {i: dataclasses.replace(one, dtype=DType.STRING) for i, one in text.tensors.items()}
    assert said_of(text.replace(tensors=tensors), "no kernel").tflite_micro == "operator"


def test_an_operand_that_may_be_left_out():
    graph = base("CONV_2D", "int8").graph()
    (op,) = graph.ops
    assert known_to_run(node_of(graph))
    bare = graph.replace(ops=(dataclasses.replace(op, inputs=op.inputs[:2]),))
    assert known_to_run(node_of(bare))
