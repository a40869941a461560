"""Whole blocks: what may be left out, what goes first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.blocks import CRITERIA, RemoveBlocks, removable_blocks
from edgebuild.compress.costs import model_cost
from edgebuild.compress.quality import predict
from edgebuild.compress.setup import TrainingSetup
from edgebuild.errors import InputError

from .conftest import blobs, split

pytestmark = pytest.mark.keras


def layers_of(model):
    return [block.layers for block in removable_blocks(model)]


@pytest.fixture(scope="module")
def deep(keras):
    """Two residual blocks, the second with a projection, and a chain of dense layers."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    skip = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.Conv2D(4, 3, padding="same", name="a")(skip)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="sum")(layers.Add(name="add")([x, skip]))
    y = layers.Conv2D(8, 3, strides=2, padding="same", name="b")(x)
    x = layers.Add(name="wide")([y, layers.Conv2D(8, 1, strides=2, name="projection")(x)])
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(6, activation="relu", name="d1")(x)
    x = layers.Dense(6, name="d2")(x)
    x = layers.ReLU(name="r2")(layers.BatchNormalization(name="bn2")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*blobs(), epochs=6, verbose=0)
    return model


@pytest.fixture
def context(deep):
    return Context(split(400, 1), split(200, 2), deep, TrainingSetup(batch_size=32))


def test_branches_then_chains(deep):
    assert layers_of(deep) == [("a", "bn", "add"), ("b", "wide"), ("d2", "bn2", "r2")]
    macs = [block.macs for block in removable_blocks(deep)]
    assert macs == [64 * 9 * 4 * 4, 16 * 9 * 4 * 8, 36]


def test_a_branch_that_says_nothing_changes_nothing(deep, context):
    from edgebuild.compress.surgery import bypass
    from edgebuild.compress.training import clone

    model = clone(deep)
    for name in ("gamma", "beta"):
        variable = getattr(model.get_layer("bn"), name)
        variable.assign(np.zeros(variable.shape))
    block = removable_blocks(model)[0]
    state = State(model, {"a/kernel": np.ones((3, 3, 4, 4), bool), "b/kernel": np.ones(1)})
    small = bypass(state, block.end, block.begin)
    x = context.validation.x
    np.testing.assert_allclose(predict(small.model, x), predict(model, x), atol=1e-5)
    assert set(small.masks) == {"b/kernel"}


@pytest.mark.parametrize("criterion", CRITERIA)
def test_count(deep, context, criterion):
    state, notes = RemoveBlocks(2, criterion=criterion, epochs=0).apply(State(deep), context)
    assert len(notes) == 2 and all("removed" in note for note in notes)
    assert len(removable_blocks(state.model)) == 1
    everything, notes = RemoveBlocks(9, criterion=criterion, epochs=0).apply(State(deep), context)
    assert len(notes) == 3 and not removable_blocks(everything.model)


def test_the_least_loss_goes_first(deep, context):
    from edgebuild.compress.training import clone

    model = clone(deep)
    for name in ("gamma", "beta"):
        variable = getattr(model.get_layer("bn"), name)
        variable.assign(np.full(variable.shape, 1e-4))
    _, notes = RemoveBlocks(1, epochs=0).apply(State(model), context)
    assert notes[0].startswith("a to add removed: 9,216 MACs, loss ")


def test_ratio_and_fine_tuning(deep, context):
    for labels in (True, False):
        told = context
        if not labels:
            parts = {n: getattr(context, n) for n in ("train", "validation")}
            bare = {n: dataclasses.replace(part, y=None) for n, part in parts.items()}
            told = dataclasses.replace(context, **bare)
        step = RemoveBlocks(ratio=0.3, epochs=2, epochs_between=1)
        state, notes = step.apply(State(deep), told)
        assert model_cost(state.model).macs <= 0.7 * model_cost(deep).macs
        assert notes


def test_nothing_to_leave_out(keras, context):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    state = State(model)
    after, notes = RemoveBlocks(3).apply(state, context)
    assert after is state and notes == ("no block was removed",)
    assert RemoveBlocks(0).apply(State(context.teacher), context)[1] == notes


def test_a_gate_and_what_is_read_outside(keras):
    layers = keras.layers
    inputs = keras.Input((4, 4, 6))
    x = layers.Conv2D(6, 1, name="c")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="times")([x, gate])
    inner = layers.Conv2D(6, 3, padding="same", name="inner")(x)
    outer = layers.Conv2D(6, 3, padding="same", name="outer")(inner)
    model = keras.Model(inputs, layers.Concatenate()([inner, outer]))
    assert layers_of(model) == [("c",), ("pool", "gate", "times"), ("inner",), ("outer",)]
    shared = layers.Dense(5, name="shared")
    a = keras.Input((5,))
    x = shared(layers.Dense(5, name="own")(shared(a)))
    model = keras.Model(a, layers.Dense(1)(x))
    assert layers_of(model) == [("own",)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 1.0}, "below 1"),
        ({"criterion": "los"}, "did you mean 'loss'"),
        ({"count": -1}, "at least 0"),
    ],
)
def test_options_that_cannot_be_right(options, words):
    with pytest.raises(InputError, match=words):
        RemoveBlocks(**options)
