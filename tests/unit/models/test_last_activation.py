"""Whether a single output is a probability: by Keras layers and by TFLite operators."""

from __future__ import annotations

import pytest

from edgebuild.models.last_activation import graph_gives_probability, keras_gives_probability
from edgebuild.models.tf_model import of_keras
from edgebuild.tflite.reader import read_tflite

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        (lambda layers, ops: [layers.Dense(1)], False),
        (lambda layers, ops: [layers.Dense(1, "tanh")], False),
        (lambda layers, ops: [layers.Dense(1, "relu6")], False),
        (lambda layers, ops: [layers.Dense(1, "sigmoid")], True),
        (lambda layers, ops: [layers.Dense(1, "hard_sigmoid")], True),
        (lambda layers, ops: [layers.Dense(1), layers.Activation("sigmoid")], True),
        (lambda layers, ops: [layers.Dense(1), ops.sigmoid], True),
        (lambda layers, ops: [layers.Dense(1, "sigmoid"), layers.Reshape((1, 1))], True),
        (lambda layers, ops: [layers.Dense(1, "sigmoid"), layers.Activation("linear")], True),
        (lambda layers, ops: [layers.Dense(1, "sigmoid"), layers.Rescaling(20.0)], False),
    ],
)
def test_the_last_activation(ends, wanted):
    keras = pytest.importorskip("keras")
    value = inputs = keras.Input((4,))
    for step in ends(keras.layers, keras.ops):
        value = step(value)
    model = keras.Model(inputs, value)
    assert keras_gives_probability(model.outputs[0]) == wanted
    assert graph_gives_probability(read_tflite(of_keras(model).to_tflite())) == wanted
