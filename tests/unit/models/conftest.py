"""Small real models, made once."""

from __future__ import annotations

import os
from importlib import util

import pytest


@pytest.fixture(scope="session")
def keras():
    """Keras on TensorFlow; skips where it is not installed."""
    if util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed (pip install edgebuild[keras])")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import keras

    return keras


@pytest.fixture(scope="session")
def tiny(keras):
    """A convolutional classifier of 8x8 grey images, with seeded weights."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder for models that several tests read."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny_keras(tiny, folder):
    """``tiny`` as a .keras file."""
    path = folder / "tiny.keras"
    tiny.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_h5(tiny, folder):
    """``tiny`` as a legacy .h5 file."""
    path = folder / "tiny.h5"
    tiny.save(path)
    return path


@pytest.fixture(scope="session")
def tiny_saved_model(tiny, folder):
    """``tiny`` as an exported SavedModel."""
    path = folder / "tiny_saved_model"
    tiny.export(path, verbose=False)
    return path


@pytest.fixture(scope="session")
def tiny_float_tflite(tiny, folder):
    """``tiny`` as a float .tflite with a dynamic batch."""
    import tensorflow as tf

    path = folder / "tiny_float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(tiny).convert())
    return path
