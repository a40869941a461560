"""Metadata says what the model, the data and the user say of inputs, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.models.data import DataSet
from edgebuild.ops.cases import activation, one_op
from edgebuild.pipeline.describe import with_metadata
from edgebuild.project import Normalization
from edgebuild.tflite.metadata import read_metadata
from edgebuild.tflite.writer import write_tflite
from tests.small import small_graph


def float_graph(kind="SOFTMAX"):
    ends = [[activation((1, 2, 3), dtype=DType.FLOAT32)] for _ in range(2)]
    return one_op("m", kind, *ends).graph


def metadata(graph, *sets, **options):
    model = with_metadata(write_tflite(graph), graph, "m", sets=sets, **options)
    return read_metadata(model)


def data(x, **options):
    return DataSet((x,), None, "set", **options)


FLOATS = np.linspace(-0.25, 3, 24).astype(np.float32).reshape(4, 2, 3)
BYTES = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)


def test_a_float_input_has_the_range_of_all_data():
    (found,) = metadata(float_graph(), data(FLOATS), data(FLOATS * 2)).inputs
    assert (found.minimum, found.maximum) == ((-0.5,), (6.0,))
    assert (found.mean, found.std) == ((), ())


@pytest.mark.parametrize(
    ("sets", "minimum"),
    [
        ((), ()),
        ((data(FLOATS, is_random=True),), ()),
        ((DataSet((FLOATS, FLOATS), None, "2"),), ()),
    ],
)
def test_noise_and_no_data_say_nothing(sets, minimum):
    assert metadata(float_graph(), *sets).inputs[0].minimum == minimum


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [("SOFTMAX", (0, 1)), ("LOGISTIC", (0, 1)), ("TANH", (-1, 1)), ("RELU", ())],
)
def test_a_float_output_has_the_range_that_its_operator_gives(kind, bounds):
    (found,) = metadata(float_graph(kind), data(FLOATS)).outputs
    assert (*found.minimum, *found.maximum) == bounds


@pytest.mark.parametrize(
    ("sets", "pair"),
    [
        ([data(BYTES)], (0, 1)),
        ([data(BYTES / np.float32(255), scale="0..1")], (0, 255)),
        ([data(BYTES / np.float32(127.5) - 1, scale="-1..1")], (127.5, 127.5)),
        ([data(BYTES), data(FLOATS)], ()),
        ([data(FLOATS, scale="0..1"), data(FLOATS, scale="-1..1")], ()),
    ],
    ids=["bytes", "0..1", "-1..1", "bytes and floats", "two scales"],
)
def test_8_bit_data_have_a_normalization(sets, pair):
    (found,) = metadata(float_graph(), *sets).inputs
    assert (*found.mean, *found.std) == pair


def test_int8_has_the_range_of_its_numbers_and_the_normalization_of_real_values():
    image = np.zeros((3, 8, 8, 1), np.float32)
    (found,) = metadata(small_graph(), data(image, scale="0..1")).inputs
    assert (found.minimum, found.maximum) == ((0.0,), (1.0,))
    assert (found.mean, found.std) == ((0.0,), (255.0,))
    (found,) = metadata(small_graph(), data(image.astype(np.int8), scale="0..1")).inputs
    assert found.mean == ()  # quantized already


def test_the_user_s_normalization_is_over_that_of_the_data():
    graph = float_graph()
    name = graph.input_tensors[0].name
    pair = Normalization((1.0, 2.0, 3.0), (0.5, 0.25, 4.0))
    (found,) = metadata(graph, data(BYTES), normalization={name: pair}).inputs
    assert (found.mean, found.std) == (pair.mean, pair.std)


def test_a_normalization_that_does_not_fit():
    graph = small_graph()
    model = write_tflite(graph)
    one, two = Normalization((1.0,), (1.0,)), Normalization((1.0, 2.0), (1.0, 1.0))
    with pytest.raises(InputError, match="'imag' is not an input; did you mean 'image'"):
        with_metadata(model, graph, "m", normalization={"imag": one})
    with pytest.raises(InputError, match="normalization of 'image' has 2 means"):
        with_metadata(model, graph, "m", normalization={"image": two})
    own = with_metadata(model, graph, "m")
    assert with_metadata(own, graph, "other") == own
    with pytest.raises(InputError, match="metadata of its own"):
        with_metadata(own, graph, "m", normalization={"image": one})
