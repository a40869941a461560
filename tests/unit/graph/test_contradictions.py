"""What a file says of its tensors and cannot be true is an error of the file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.errors import ModelError
from edgebuild.graph import DType, Quantization
from edgebuild.graph.contradictions import contradictions, refuse_contradictions
from edgebuild.ops.cases import activation, constant, one_op


def fully_connected(**changes):
    """Return a layer with per-channel weights and bias; ``changes`` are {tensor: fields}."""
    scales = (0.1, 0.2, 0.3)
    graph = one_op(
        "fc",
        "FULLY_CONNECTED",
        [
            activation((1, 4), 0.5, -3),
            constant(np.arange(12).reshape(3, 4), scales),
            constant([1, 2, 3], scales, dtype=DType.INT32),
        ],
        [activation((1, 3), 0.25, 7)],
        {"fused_activation_function": "NONE", "keep_num_dims": False},
    ).graph
    names = {"x": 0, "weights": 1, "bias": 2, "y": 3}
    tensors = dict(graph.tensors)
    for name, fields in changes.items():
        tensors[names[name]] = dataclasses.replace(tensors[names[name]], **fields)
    return graph.replace(tensors=tensors)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": {"quantization": Quantization((float("nan"),), (0,))}}, "not a positive number"),
        ({"x": {"quantization": Quantization((-0.5,), (0,))}}, "not a positive number"),
        ({"y": {"quantization": Quantization((0.0,), (0,))}}, "a scale of 0"),
        ({"x": {"quantization": Quantization((0.5,), (300,))}}, "zero point outside -128..127"),
        ({"weights": {"quantization": Quantization((0.1,) * 3, (0,) * 3, 7)}}, "along axis 7"),
        ({"weights": {"quantization": Quantization((0.1,) * 2, (0,) * 2, 0)}}, "2 scales along"),
        ({"y": {"shape": (1 << 30, 1 << 30)}}, "larger than 1 GiB"),
    ],
)
def test_found(changes, sentence):
    graph = fully_connected(**changes)
    (problems,) = contradictions(graph).values()
    assert len(problems) == 1 and sentence in problems[0]
    with pytest.raises(ModelError, match="net: the file contradicts itself"):
        refuse_contradictions(graph, where="net")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": {"quantization": Quantization((0.1,) * 3, (0,) * 3, 3)}},
        {"weights": {"quantization": Quantization((0.1, 0.0, 0.3), (0,) * 3, 0)}},
        {"bias": {"quantization": None}},
    ],
)
def test_right(changes):
    assert not contradictions(fully_connected(**changes))


def test_tensors_that_nothing_uses_may_be_odd():
    graph = fully_connected()
    odd = dataclasses.replace(activation((1, 4), float("nan")), index=9)
    assert not contradictions(graph.replace(tensors={**graph.tensors, 9: odd}))
