"""Data that a Python entry gives piece by piece."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.models import streams
from edgebuild.models.data import load_data
from edgebuild.models.source import InputSpec
from edgebuild.models.streams import collect, is_stream

X = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
Y = np.arange(6)


def batches(size=4):
    for start in range(0, 6, size):
        yield X[start : start + size], Y[start : start + size]


class Indexed:
    """As ``keras.utils.PyDataset`` is: without an ``__iter__``."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        return X[2 * number : 2 * number + 2], Y[2 * number : 2 * number + 2]


@pytest.mark.parametrize(
    "data",
    [
        batches(),
        zip(X, Y, strict=True),
        iter([(X, Y)]),
        Indexed(),
        ({"in0": x, "y": y} for x, y in batches()),
        (({"in0": x}, y) for x, y in batches()),
    ],
    ids=["batches", "samples", "one batch", "indexed", "dictionaries", "inputs by name"],
)
def test_pieces_become_arrays(data):
    assert is_stream(data)
    found = collect(data, [(2, 2)], ["in0"])
    assert found.pop("y").tolist() == Y.tolist()
    (x,) = found.values()
    assert np.array_equal(x, X)


def test_several_inputs_without_labels():
    found = collect(([x, 2 * x] for x in X), [(2, 2), (2, 2)], ["a", "b"])
    assert np.array_equal(found["x1"], 2 * X) and list(found) == ["x0", "x1"]


def test_labels_of_several_outputs():
    found = collect(((x, (1, 2)) for x in X), [(2, 2)], ["in0"], 2)
    assert found["y0"].tolist() == [1] * 6 and found["y1"].tolist() == [2] * 6


def test_what_is_no_stream():
    for data in (X, [X, X], (X, Y), {"x": X}, "text"):
        assert not is_stream(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter(()), "gives nothing"),
        ((x for x in (X[:2], X[:1, :1])), r"different shapes: \(2, 2, 2\), \(1, 1, 2\)"),
        (((x, 1, 1) for x in X), "pieces of 3 parts"),
        (iter([(X[0], 1), X[0]]), "piece 1 has x, the first has x, y"),
        (itertools.repeat(X), "has no end"),
    ],
)
def test_streams_that_cannot_be_used(monkeypatch, data, message):
    monkeypatch.setattr(streams, "DATA_BYTES", 10_000)
    with pytest.raises(InputError, match=message):
        collect(data, [(2, 2)], ["in0"])


class Model:
    outputs = ()
    inputs = (InputSpec("in0", (1, 2, 2), DType.FLOAT32),)


def test_a_generator_of_an_entry(tmp_path):
    (tmp_path / "helper_of_pieces.py").write_text("N = 5\n")
    (tmp_path / "entry_of_pieces.py").write_text(
        "import numpy as np\n"
        "def data():\n"
        "    import helper_of_pieces\n"
        "    for i in range(helper_of_pieces.N):\n"
        "        yield np.full((2, 2), i), i % 2\n"
        "def broken():\n"
        "    yield np.zeros((2, 2))\n"
        "    raise ValueError('no more')\n"
    )
    data = load_data("entry_of_pieces:data", Model, folder=tmp_path)
    assert data.x[0].shape == (5, 2, 2) and data.y.tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(InputError, match="failed: ValueError: no more"):
        load_data("entry_of_pieces:broken", Model, folder=tmp_path)


@pytest.mark.keras
def test_data_sets_of_tensorflow(keras):
    import tensorflow as tf

    pairs = tf.data.Dataset.from_tensor_slices((X, Y))
    for data in (pairs, pairs.batch(4), pairs.repeat(2).take(6)):
        found = collect(data, [(2, 2)], ["in0"])
        assert np.array_equal(found["x"], X) and found["y"].tolist() == Y.tolist()
    with pytest.raises(InputError, match="repeats without an end") as caught:
        collect(pairs.repeat(), [(2, 2)], ["in0"])
    assert "take(1000)" in caught.value.hint
