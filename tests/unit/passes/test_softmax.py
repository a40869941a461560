"""SOFTMAX over logits that never differ is as TFLite Micro can run it."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.support import interpret
from edgebuild.passes import SteadySoftmax, supported_graph
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.writer import write_tflite


def softmax(scale, beta=1.0, classes=3):
    shape = (1, classes)
    ends = [activation(shape, scale, 4)], [activation(shape, 1 / 256, -128)]
    return one_op("softmax", "SOFTMAX", *ends, {"beta": beta}).graph


@pytest.mark.parametrize(("scale", "beta"), [(7.8e-9, 1.0), (0.1, 0.0), (1e-20, 3.0)])
def test_logits_that_never_differ(scale, beta):
    result = SteadySoftmax().apply(softmax(scale, beta))
    assert result.changed and "its logits never differ" in result.notes[0]
    graph = supported_graph(softmax(scale, beta), where="m").graph
    sample = np.array([[-128, 0, 127]], np.int8)
    (outputs,) = run_oracle(write_tflite(graph), [[sample.tobytes()]]).outputs
    assert np.frombuffer(outputs[0], np.int8).tolist() == [-43, -43, -43]
    assert interpret(graph, [sample])[graph.outputs[0]].tolist() == [[-43, -43, -43]]


@pytest.mark.parametrize(("scale", "beta"), [(0.1, 1.0), (1.5e-8, 1.0), (0.1, -1.0)])
def test_others_are_left(scale, beta):
    graph = softmax(scale, beta)
    result = SteadySoftmax().apply(graph)
    assert result.graph is graph and not result.changed
