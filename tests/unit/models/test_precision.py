"""Models of half and mixed precision are taken as float32."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.errors import ModelError
from edgebuild.graph import DType
from edgebuild.models.convert import litert_outputs, to_int8_tflite, to_tflite
from edgebuild.models.data import DataSet
from edgebuild.models.keras_file import load_keras
from edgebuild.models.source import open_model
from edgebuild.models.tf_model import of_keras
from edgebuild.tflite.reader import read_tflite

pytestmark = pytest.mark.keras

X = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype(np.float32)


def mixed(keras, policy):
    """Return a model that was made under a policy, its last layer in float32 as Keras advises."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((8, 8, 2))
        x = layers.Conv2D(4, 3, activation="relu")(inputs)
        x = layers.SeparableConv2D(6, 3)(layers.BatchNormalization()(x))
        x = layers.Dense(5, activation="tanh")(layers.GlobalAveragePooling2D()(x))
        return keras.Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_every_policy(keras, tmp_path, policy, suffix):
    model, path = mixed(keras, policy), tmp_path / f"m.{suffix}"
    model.save(path)
    loaded, notes = load_keras(path, suffix, trust=False)
    assert notes == (f"trained in {policy}, read as float32",)
    assert {str(layer.compute_dtype) for layer in loaded.layers} == {"float32"}
    assert {str(w.dtype) for w in loaded.weights} == {"float32"}
    theirs = np.asarray(model(X.astype(str(model.inputs[0].dtype))), np.float32)
    np.testing.assert_allclose(np.asarray(loaded(X)), theirs, atol=0.02)
    graph = read_tflite(of_keras(loaded).to_int8([X[:, None]]))
    assert DType.FLOAT32 not in {t.dtype for t in graph.tensors.values()}


def test_a_saved_model(keras, tmp_path):
    model = mixed(keras, "mixed_float16")
    model.export(tmp_path / "saved", verbose=False)
    source = open_model(tmp_path / "saved")
    graph = read_tflite(to_int8_tflite(source, DataSet((X,), None, "x")).model)
    assert DType.FLOAT32 not in {t.dtype for t in graph.tensors.values()}
    (found,) = litert_outputs(to_tflite(source, None, "float32").model, [X[:, None]])
    source.close()
    np.testing.assert_allclose(found[:, 0], np.asarray(model(X)), atol=0.02)


def test_float32_has_no_note(keras, tmp_path):
    mixed(keras, "float32").save(tmp_path / "m.keras")
    assert load_keras(tmp_path / "m.keras", "keras", trust=False)[1] == ()


def test_what_keras_has_quantized_is_refused(keras, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.quantize("int8")
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="quantized by Keras already") as caught:
        load_keras(tmp_path / "m.keras", "keras", trust=False)
    assert "before model.quantize" in caught.value.hint


def test_a_float16_tflite_is_quantized(tiny_keras, tmp_path):
    data = DataSet((X[..., :1],), None, "x")
    source = open_model(tiny_keras)
    half, whole = (to_tflite(source, None, form).model for form in ("float16", "float32"))
    source.close()
    graphs = []
    for name, content in (("half", half), ("whole", whole)):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        opened = open_model(path)
        assert bool(opened.notes) == (opened.stored_format == "float16") == (name == "half")
        graphs.append(read_tflite(to_int8_tflite(opened, data).model))
        opened.close()
    for ours, theirs in zip(graphs[0].ops, graphs[1].ops, strict=True):
        assert ours.kind == theirs.kind
        a, b = (g.tensors[op.outputs[0]] for g, op in zip(graphs, (ours, theirs), strict=True))
        assert a.scale == pytest.approx(b.scale, rel=0.01)
    assert [t.name for t in graphs[0].input_tensors] == [t.name for t in graphs[1].input_tensors]
