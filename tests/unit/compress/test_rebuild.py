"""Nested models become one, activations that are layers stand for themselves; what nobody reads is
left out."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.apply import open_original
from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.groups import prunable_groups
from edgebuild.compress.quality import predict_all
from edgebuild.compress.rebuild import flatten, rebuild
from edgebuild.compress.surgery import remove_channels
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


@pytest.fixture
def nested(keras):
    """A model with a functional and a sequential model in it, each called twice."""
    layers = keras.layers
    i = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="c")(i)
    first = keras.Model(i, layers.BatchNormalization()(x), name="first")
    second = keras.Sequential(
        [layers.Conv2D(4, 3, padding="same", name="c"), layers.ReLU()], name="second"
    )
    inputs = keras.Input((8, 8, 3), name="x")
    a = first(inputs)
    b = second(second(a))
    other = first(layers.Conv2D(3, 1)(b))
    y = layers.Dense(2)(layers.Flatten()(keras.ops.relu(b + other)))
    return keras.Model({"x": inputs}, [y, b])


def test_nested_models_are_resolved(nested, tmp_path):
    flat = flatten(nested)
    kinds = {type(layer).__name__ for layer in flat.layers}
    assert kinds.isdisjoint({"Functional", "Sequential"})
    paths = [variable.path for variable in flat.weights]
    assert len(set(paths)) == len(paths) == len(nested.weights)
    assert {"c/kernel", "second_c/kernel"} <= set(paths)
    x = [np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)]
    for ours, theirs in zip(predict_all(flat, x), predict_all(nested, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert flatten(flat) is flat
    nested.save(tmp_path / "nested.keras")
    opened = open_original(tmp_path / "nested.keras", "keras", trust=False, seed=0)
    assert [layer.name for layer in opened.layers] == [layer.name for layer in flat.layers]


@pytest.fixture
def activated(keras):
    """A model of layers whose activations are layers of one name."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    leaks = [layers.PReLU(shared_axes=axes, name="leak") for axes in ([1, 2], [1], None)]
    x = layers.Conv2D(8, 3, padding="same", activation=leaks[0], name="a")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation=leaks[1], name="b")(x)
    inner = keras.Input((8, 8, 8))
    y = layers.Conv2D(8, 3, activation=leaks[2], name="c")(inner)
    x = keras.Model(inner, y, name="nested")(x)
    x = layers.Dense(6, activation=layers.LeakyReLU(0.3), name="d")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3, activation=layers.Softmax(), name="out")(x))
    model(np.zeros((1, 8, 8, 2), np.float32))
    rng = np.random.default_rng(0)
    for layer in leaks:
        layer.alpha.assign(rng.normal(0.2, 0.1, layer.alpha.shape))
    return model


def test_layers_that_are_activations_stand_behind(activated, tmp_path):
    flat = flatten(activated)
    names = [layer.name for layer in flat.layers if layer.name.endswith("leak")]
    assert names == ["leak", "b_leak", "nested_c_leak"]
    assert flat.get_layer("a").activation.__name__ == "linear"
    assert flat.count_params() == activated.count_params()
    x = [np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)]
    want = predict_all(activated, x)[0]
    np.testing.assert_array_equal(predict_all(flat, x)[0], want)
    assert flatten(flat) is flat
    activated.save(tmp_path / "activated.keras")
    opened = open_original(tmp_path / "activated.keras", "keras", trust=False, seed=0)
    np.testing.assert_allclose(predict_all(opened, x)[0], want, atol=1e-6)
    groups = {group.layers: group.count for group in prunable_groups(flat)}
    assert groups == {("a",): 8, ("c",): 8, ("d",): 6}
    channels = channel_map(flat)
    gone = frozenset(np.concatenate([ids[:2] for ids in map(channels.prunable, "acd")]).tolist())
    small = remove_channels(State(flat), channels, gone).model
    assert [small.get_layer(name).alpha.shape for name in names] == [
        *((1, 1, 6), (1, 8, 6), (6, 6, 6))
    ]


def test_an_activation_that_was_never_called(keras):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, activation=keras.layers.PReLU(), name="d")(inputs)
    flat = flatten(keras.Model(inputs, keras.layers.Dense(2)(x)))
    assert flat.get_layer("d").get_weights()[0].shape == (4, 5)
    assert flat.count_params() == 20 + 5 + 5 + 10 + 2


def test_what_is_read_instead(keras):
    inputs = keras.Input((4,))
    middle = keras.layers.Dense(4, name="middle")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(middle))
    small, pairs = rebuild(model, instead={id(middle): inputs})
    assert [new.name for _, new in pairs] == ["out"]
    assert [layer.name for layer in small.layers][1:] == ["out"]


def test_dimensions_that_are_open_get_the_shape_that_is_given(keras, tmp_path):
    """Whatever the model is: plain, nested, Sequential; its weights and names stay."""
    layers = keras.layers
    inputs = keras.Input((None, None, 2), name="image")
    inner = keras.Sequential([keras.Input((None, None, 4)), layers.Conv2D(5, 3, name="c")])
    x = inner(layers.Conv2D(4, 3, activation="relu", name="a")(inputs))
    outputs = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "open.keras")
    opened = open_original(
        tmp_path / "open.keras", "keras", trust=False, seed=0, shapes=[(1, 12, 10, 2)]
    )
    assert opened.input_shape == (None, 12, 10, 2) and opened.inputs[0].name == "image"
    assert opened.get_layer("c").output.shape == (None, 8, 6, 5)
    x = [np.random.default_rng(0).normal(size=(3, 12, 10, 2)).astype(np.float32)]
    np.testing.assert_array_equal(predict_all(opened, x)[0], predict_all(model, x)[0])
    flat = keras.Sequential([keras.Input((None, 3)), layers.Conv1D(2, 3), layers.ReLU()])
    flat.save(tmp_path / "flat.keras")
    opened = open_original(
        tmp_path / "flat.keras", "keras", trust=False, seed=0, shapes=[(1, 9, 3)]
    )
    assert opened.output_shape == (None, 7, 2)
    fixed = keras.Model(opened.inputs, opened.outputs)
    assert flatten(fixed, [(1, 9, 3)]) is fixed


def test_a_shape_that_the_layers_do_not_take_is_refused_in_words(keras):
    inputs = keras.Input((None, 4))
    x = keras.layers.Reshape((2, 8))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    assert flatten(model, [(1, 4, 4)]).output_shape == (None, 2, 2)
    with pytest.raises(
        InputError, match=r"cannot be compressed for inputs of \(1, 5, 4\)"
    ) as caught:
        flatten(model, [(1, 5, 4)])
    assert "keras.Input of that shape" in caught.value.hint
