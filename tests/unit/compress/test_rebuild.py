"""Nested models become one; what nobody reads is left out."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.apply import open_original
from edgebuild.compress.quality import predict_all
from edgebuild.compress.rebuild import flatten, rebuild

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


def test_what_is_read_instead(keras):
    inputs = keras.Input((4,))
    middle = keras.layers.Dense(4, name="middle")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="out")(middle))
    small, pairs = rebuild(model, instead={id(middle): inputs})
    assert [new.name for _, new in pairs] == ["out"]
    assert [layer.name for layer in small.layers][1:] == ["out"]
