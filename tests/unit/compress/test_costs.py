"""MACs of each kind of layer; what pruning predicts is what the smaller model has."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.costs import layer_macs, model_cost
from edgebuild.compress.groups import groups_of
from edgebuild.compress.measures import COSTS, Costs
from edgebuild.compress.surgery import remove_channels

pytestmark = pytest.mark.keras


def macs(keras, shape, layer):
    inputs = keras.Input(shape)
    return dict(layer_macs(keras.Model(inputs, layer(inputs))))[layer.name]


def test_macs_of_layers(keras):
    layers = keras.layers
    image = (8, 8, 4)
    for layer, shape, count in (
        (layers.Dense(5), (3, 4), 3 * 4 * 5),
        (layers.EinsumDense("abc,cde->abde", (3, 2, 5)), (3, 4), 3 * 4 * 2 * 5),
        (layers.EinsumDense("abcd,cde->abe", (3, 5)), (3, 2, 4), 3 * 2 * 4 * 5),
        (layers.Conv2D(6, 3, strides=2, padding="same"), image, 16 * 9 * 4 * 6),
        (layers.Conv2D(6, 3, groups=2, padding="same"), image, 64 * 9 * 2 * 6),
        (layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), image, 64 * 9 * 8),
        (layers.SeparableConv2D(6, 3, padding="same"), image, 64 * (9 * 4 + 4 * 6)),
        (layers.Conv2DTranspose(6, 3, strides=2), image, 64 * 9 * 4 * 6),
        (layers.LSTM(5), (7, 4), 7 * (4 * 20 + 5 * 20)),
        (layers.Bidirectional(layers.SimpleRNN(5)), (7, 4), 2 * 7 * (4 * 5 + 5 * 5)),
        (layers.TimeDistributed(layers.Dense(5)), (7, 4), 7 * 4 * 5),
        (layers.ReLU(), image, 0),
    ):
        assert macs(keras, shape, layer) == count, layer.name


def test_macs_of_attention_are_those_of_its_projections(keras):
    query, value = keras.Input((5, 6)), keras.Input((7, 4))
    layer = keras.layers.MultiHeadAttention(2, 3, 8, name="attention")
    model = keras.Model([query, value], layer(query, value))
    assert dict(layer_macs(model))["attention"] == 5 * 6 * (2 * 3 + 2 * 8) + 7 * 4 * 2 * (3 + 8)
    assert model_cost(model).nonzero < model_cost(model).parameters  # biases begin at zero


def _sequence(keras):
    layers = keras.layers
    inputs = keras.Input((6, 5))
    x = layers.Dense(8)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 2)(x, x))
    x = layers.BatchNormalization()(layers.EinsumDense("abc,cd->abd", (6, 9))(x))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.GRU(5)(layers.TimeDistributed(layers.Dense(7))(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def _image(keras):
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(inputs)
    x = layers.Conv2DTranspose(6, 3, strides=2, use_bias=False, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(8, 3, depth_multiplier=2, padding="same")(x)
    x = layers.Reshape((-1, 16))(layers.MaxPooling2D()(x))
    x = layers.Conv1D(4, 1)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


@pytest.mark.parametrize("make", [_sequence, _image])
@pytest.mark.parametrize("dsp", [False, True])
def test_what_is_predicted_is_what_is_left(keras, make, dsp):
    model = make(keras)
    channels = channel_map(model)
    groups = groups_of(channels)
    removed = np.array([group.count // 2 for group in groups])
    gone = (c for g, n in zip(groups, removed.tolist(), strict=True) for c in g.channels[:n])
    small = remove_channels(State(model), channels, frozenset(gone)).model
    costs = Costs(model, channels, groups, dsp=dsp)
    for by in COSTS:
        after = Costs(small, channel_map(small), (), dsp=dsp).of(by, np.zeros(0))
        assert costs.of(by, removed) == pytest.approx(after), by
        assert after < costs.of(by, 0 * removed), by
    assert costs.of("macs", removed) == pytest.approx(model_cost(small).macs)
    assert costs.of("parameters", removed) == pytest.approx(model_cost(small).parameters)
