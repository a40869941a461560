"""Small Keras models and data for compression tests."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import Context
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split


@pytest.fixture(scope="session")
def keras():
    return pytest.importorskip("keras", reason="pip install 'edgebuild[keras]'")


def blobs(count=600, classes=3, seed=0):
    """Return images (count, 8, 8, 1) with a bright row that tells the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.normal(0, 0.3, (count, 8, 8, 1)).astype(np.float32)
    x[np.arange(count), y * 2] += 1.0
    return x, y


def split(count, seed):
    """Return blobs as a split."""
    x, y = blobs(count, seed=seed)
    return Split((x,), y)


@pytest.fixture(scope="session")
def trained(keras):
    """A residual network with a depthwise block, trained on blobs."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    skip = layers.ReLU()(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(skip)
    x = layers.Conv2D(8, 3, padding="same", name="b")(x)
    x = layers.Add(name="add")([x, skip])
    x = layers.DepthwiseConv2D(3, padding="same", name="dw")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu", name="fc")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = blobs()
    model.fit(x, y, epochs=8, verbose=0)
    return model


@pytest.fixture
def context(trained):
    x, y = blobs(512, seed=1)
    vx, vy = blobs(200, seed=2)
    return Context(Split((x,), y), Split((vx,), vy), trained, TrainingSetup(batch_size=32))
