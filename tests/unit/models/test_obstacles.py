"""What TensorFlow's converter crashes or fails on, and the words for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import edgebuild
from edgebuild.errors import ModelError, ToolError
from edgebuild.models.obstacles import converter_error, danger
from edgebuild.models.tf_model import of_keras

pytestmark = pytest.mark.keras


def sequence(keras, *layers, shape=(5, 4)):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(3)])


def graph_of(model):
    import tensorflow as tf

    opened = of_keras(model)
    return tf.function(opened._single).get_concrete_function(*opened._specs()).graph


@pytest.mark.parametrize(
    ("kind", "shape"), [("LSTM", (5, 4)), ("GRU", (5, 4)), ("SimpleRNN", (5, 4)),
                        ("ConvLSTM2D", (3, 5, 5, 2))],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True])
def test_loops_are_named(keras, kind, shape, wrapped):
    layers = keras.layers
    options = {"kernel_size": 3} if kind == "ConvLSTM2D" else {}

    def model(**more):
        layer = getattr(layers, kind)(3, name="memory", **options, **more)
        layer = layers.Bidirectional(layer, name="both") if wrapped else layer
        return sequence(keras, layer, layers.Flatten(), shape=shape)

    looped = model()
    found = danger(graph_of(looped), looped)
    name = "Bidirectional 'both'" if wrapped else f"{kind} 'memory'"
    assert found.doing == f"calibrating a model with {name}, whose loop it cannot calibrate"
    assert "unroll=True" in found.hint
    unrolled = model(unroll=True)
    assert danger(graph_of(unrolled), unrolled) is None


def test_a_crash_of_the_converter_and_the_way_around_it(keras, tmp_path, monkeypatch):
    """The same weights with unroll=True build, and compute what Keras computes."""
    monkeypatch.setattr("edgebuild.pipeline.plan.cache_dir", lambda: tmp_path / "cache")
    layers = keras.layers
    looped = sequence(keras, layers.LSTM(4, name="memory"))
    looped.save(tmp_path / "looped.keras")
    x = np.random.default_rng(0).normal(size=(40, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    options = {"data": str(tmp_path / "x.npz"), "target": "host", "out": tmp_path / "out"}
    with pytest.raises(ModelError, match=r"converter crashed \(signal 11\) while calibrating") as e:
        edgebuild.build(tmp_path / "looped.keras", **options)
    assert "LSTM 'memory', whose loop it cannot calibrate" in e.value.message
    assert "set_weights" in e.value.hint and "damaged" not in str(e.value)

    unrolled = sequence(keras, layers.LSTM(4, name="memory", unroll=True))
    unrolled.set_weights(looped.get_weights())
    unrolled.save(tmp_path / "unrolled.keras")
    report = edgebuild.build(tmp_path / "unrolled.keras", **options)
    assert report.comparison.different_bytes == 0


def test_state_between_calls_and_the_way_around_it(keras):
    layers = keras.layers
    inputs = keras.Input(batch_shape=(1, 1, 4))
    layer = layers.LSTM(4, stateful=True, name="memory")
    model = keras.Model(inputs, layers.Dense(3)(layer(inputs)))
    with pytest.raises(ModelError, match=r"keeps state in variables .* LSTM 'memory'") as caught:
        of_keras(model).to_tflite()
    assert "stateful=False" in caught.value.hint

    states = [keras.Input((4,), name=name) for name in ("h", "c")]
    again = layers.LSTM(4, unroll=True, return_state=True, name="memory")
    value, *after = again(inputs, initial_state=states)
    explicit = keras.Model([inputs, *states], [layers.Dense(3)(value), *after])
    explicit.set_weights(
        [w for w in model.get_weights() if w.shape != (1, 4)][: len(explicit.weights)]
    )
    samples = [np.ones((4, 1, *t.shape[1:]), np.float32) for t in explicit.inputs]
    assert of_keras(explicit).to_int8(samples)


def test_operators_that_tflite_does_not_have(keras):
    model = keras.Sequential([keras.Input((4, 4, 4, 2)), keras.layers.MaxPooling3D(name="pool")])
    with pytest.raises(ModelError, match="TFLite has no operator for MaxPool3D") as caught:
        of_keras(model).to_tflite()
    assert caught.value.details == ("MaxPool3D: in MaxPooling3D 'pool'",)
    assert "replace these layers" in caught.value.hint


def test_a_failure_of_the_converter_is_not_the_models(keras):
    import tensorflow as tf

    error = converter_error(RuntimeError("first\nsecond"), "full int8", tf.Graph(), None)
    assert isinstance(error, ToolError)
    assert error.message.endswith("failed to make a full int8 model: first")
    assert error.details == ("second",) and "damaged" not in str(error)


def test_a_danger_goes_through_the_pipe(keras):
    model = sequence(keras, keras.layers.GRU(3, name="memory"))
    told = dataclasses.asdict(danger(graph_of(model), model))
    assert told["doing"] == "calibrating a model with GRU 'memory', whose loop it cannot calibrate"


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "<frozen runpy>:198:1: error: 'tfl.foo' op failed to verify\n<x>:1:1: note: from",
            ToolError,
            "full int8 model: 'tfl.foo' op failed to verify",
        ),
        ("Failed to quantize: op ATAN2 is not quantizable", ModelError, "op ATAN2"),
    ],
)
def test_the_quantizers_words_come_without_a_place_in_python(said, kind, words):
    from edgebuild.compress.ptq.writer import _refused

    found = _refused(RuntimeError(said))
    assert type(found) is kind and words in found.message and "runpy" not in str(found)
    assert found.exit_code == (3 if kind is ToolError else 2) and found.hint
