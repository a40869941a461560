"""A signature's names find their tensors, in whatever order it lists them."""

from __future__ import annotations

import random
import struct

import pytest

from edgebuild.errors import ModelError
from edgebuild.tflite.signatures import signature_names
from edgebuild.tflite.writer import write_tflite
from tests.android_models import mixed_graph, with_signature

INPUTS = {"sea": 2, "bee": 1, "ay": 0}
OUTPUTS = {"x": 5, "y": 4, "z": 3}


def test_names_by_place():
    model = with_signature(mixed_graph(), INPUTS, OUTPUTS)
    assert signature_names(model) == ({0: "ay", 1: "bee", 2: "sea"}, {0: "z", 1: "y", 2: "x"})


@pytest.mark.parametrize(
    "inputs", [{"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 1}, {"a": 0, "b": 1, "": 2}, {}]
)
def test_a_signature_that_does_not_name_every_input(inputs):
    assert signature_names(with_signature(mixed_graph(), inputs, OUTPUTS)) == ({}, {})


def test_no_signature():
    assert signature_names(write_tflite(mixed_graph())) == ({}, {})


def test_damaged_files_are_model_errors_or_nothing():
    model = with_signature(mixed_graph(), INPUTS, OUTPUTS)
    rng = random.Random(1)
    refused = 0
    for _ in range(500):
        data = bytearray(model)
        struct.pack_into("<I", data, rng.randrange(len(data) - 4), rng.getrandbits(32))
        try:
            signature_names(bytes(data))
        except ModelError:
            refused += 1
    assert refused > 20
