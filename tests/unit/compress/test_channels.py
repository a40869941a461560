"""The dependency graph, proved by surgery: removing channels that are zero changes no output."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.quality import predict
from edgebuild.compress.surgery import remove_channels

pytestmark = pytest.mark.keras


def same_after_removal(model, count=2, *, seed=0):
    """Silence some channels, remove them, compare outputs; return the smaller model."""
    rng = np.random.default_rng(seed)
    channels = channel_map(model)
    gone = set()
    for name in channels.outputs:
        members = sorted(set(channels.prunable(name).tolist()))
        if len(members) > count and gone.isdisjoint(members):
            gone |= set(rng.choice(members, count, replace=False).tolist())
    assert gone, "nothing can be removed"
    for variable in model.weights:
        value = np.asarray(variable).copy()
        if value.ndim == 1:
            value = rng.normal(0.5, 0.2, value.shape).clip(0.1)
        for axis, ids in enumerate(channels.axes.get(variable.path, ())):
            if ids is not None:
                dead = [slice(None)] * value.ndim
                dead[axis] = np.isin(ids, sorted(gone))
                value[tuple(dead)] = 0.0
        if variable.path.endswith("moving_variance"):
            value = np.where(value == 0, 1.0, value)
        variable.assign(value)
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(4, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    before = predict(model, x)
    small = remove_channels(State(model), channels, frozenset(gone)).model
    assert small.count_params() < model.count_params()
    np.testing.assert_allclose(predict(small, x), before, rtol=1e-4, atol=1e-5)
    return small


def test_residual_depthwise_flatten(trained, keras):
    from edgebuild.compress.training import clone

    small = same_after_removal(clone(trained))
    assert small.get_layer("stem").filters == small.get_layer("b").filters == 6
    assert small.get_layer("fc").units == 10
    assert small.get_layer("out").units == 3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_multiplier_and_separable(keras, multiplier):
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1)(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=multiplier)(x)
    x = layers.SeparableConv2D(8, 3, depth_multiplier=multiplier)(x)
    x = layers.GlobalAveragePooling2D()(x)
    same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))


def test_concatenation_of_several_inputs_and_outputs(keras):
    layers = keras.layers
    a, b = keras.Input((8, 4)), keras.Input((8, 5))
    x = layers.Concatenate()([layers.Conv1D(6, 3)(a), layers.Conv1D(5, 3)(b)])
    x = layers.Activation("relu")(layers.LayerNormalization(center=False, scale=False)(x))
    shared = layers.Dense(6, name="shared")
    left, right = shared(layers.Flatten()(x)), layers.GlobalMaxPooling1D()(x)
    model = keras.Model([a, b], [layers.Dense(2)(left), layers.Dense(2)(right)])
    channels = channel_map(model)
    assert len(channels.prunable("shared")) == 6


def test_a_shared_layer_keeps_its_inputs_equal(keras):
    layers = keras.layers
    a, b = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(5, name="shared")
    x = layers.Subtract()([shared(layers.Dense(8)(a)), shared(layers.Dense(8)(b))])
    same_after_removal(keras.Model([a, b], layers.Dense(1)(x)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_units(keras, kind):
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x = getattr(layers, kind)(6, return_sequences=True)(inputs)
    x = getattr(layers, kind)(5)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert channel_map(model).fixed.isdisjoint(channel_map(model).outputs[model.layers[1].name])


def test_reshape(keras):
    layers = keras.layers
    inputs = keras.Input((4, 4, 2))
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 1)(inputs))
    x = layers.Reshape((4, 24))(layers.ReLU()(x))
    same_after_removal(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))


def test_what_is_not_understood_keeps_its_channels(keras):
    layers = keras.layers
    inputs = keras.Input((4, 8))
    x = layers.Dense(8, name="d")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    softmax = layers.Dense(8, activation="softmax", name="gate")(x)
    model = keras.Model(inputs, layers.Dense(2)(softmax))
    channels = channel_map(model)
    assert len(channels.prunable("d")) == len(channels.prunable("gate")) == 0
    assert any("attention" in note for note in channels.notes)
