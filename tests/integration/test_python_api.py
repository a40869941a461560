"""Objects of a Python program: a Keras model and arrays, built as they are."""

import numpy as np
import pytest

import edgebuild
from edgebuild.errors import ModelError

keras = pytest.importorskip("keras")


def net(name="tiny-net"):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4,), name="x"), keras.layers.Dense(3, activation="softmax", name="scores")],
        name=name,
    )


def test_a_keras_model_and_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    model, y = net(), np.arange(30) % 3
    report = edgebuild.build(model, target="host", data=(x, y), run="host")
    assert report.name == "tiny_net"
    assert report.passed
    assert report.accuracy.shipped is not None
    # The same object again, and an equal one, whatever the clock says: nothing has changed.
    assert edgebuild.build(net(), target="host", data=(x, y), run="host").cached
    model.layers[0].set_weights([w + 0.1 for w in model.layers[0].get_weights()])
    assert not edgebuild.build(model, target="host", data=(x, y), run="host").cached


def test_a_keras_model_that_cannot_be_saved(tmp_path, monkeypatch):
    class Broken(keras.layers.Layer):
        def get_config(self):
            raise RuntimeError("no configuration")

    model = keras.Sequential([keras.Input((4,)), Broken()], name="broken")
    with pytest.raises(ModelError, match="Keras cannot save the model 'broken'"):
        edgebuild.build(model, target="host", data="random")
