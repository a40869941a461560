import json
import os
import shutil
import signal
import zipfile
from importlib import util

import numpy as np
import pytest

from edgebuild import limits
from edgebuild.errors import InputError, InternalError, ModelError, ToolError
from edgebuild.graph import DType
from edgebuild.models.convert import float_predict, to_tflite
from edgebuild.models.shapes import BATCH_NOTE
from edgebuild.models.source import Kind, open_model
from edgebuild.models.worker import Worker, unexpected
from edgebuild.ops.cases import activation, one_op
from edgebuild.tflite import schema
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite


def refused(path, message, hint="", **options):
    with pytest.raises(ModelError, match=message) as caught:
        open_model(path, **options).close()
    assert hint in caught.value.hint
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, world", "not a model that edgebuild reads"),
        (b"<!DOCTYPE html><html>", "a web page or XML file, not a model"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"\x1c\x00\x00\x00TFL3", "damaged or truncated"),
        (b"PK\x03\x04 broken", "damaged .keras file"),
    ],
)
def test_files_that_are_no_models(tmp_path, content, message):
    (tmp_path / "m").write_bytes(content)
    refused(tmp_path / "m", message)


def test_paths_that_are_no_models(tmp_path):
    refused(tmp_path / "nowhere.h5", "no such file", hint="pass a .keras")
    refused(tmp_path, "is not a SavedModel")
    refused("/dev/null", "not a regular file")
    refused("a\0b", "is not a path|no such file")


def test_a_tflite_that_is_none(tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"hello, world")
    refused(tmp_path / "m.tflite", "not a TFLite flatbuffer")


def test_archives_that_are_no_keras_models(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("readme", "x" * 1000)
    refused(tmp_path / "m.keras", "a zip archive without config.json")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("config.json", "{}")
    monkeypatch.setattr(limits, "UNPACKED_MODEL_BYTES", 1000)
    refused(tmp_path / "m.keras", "would unpack to 1,002 B")


def test_an_archive_that_unpacks_to_much_more(tmp_path):
    """A few hundred KB of zeros that Keras would hold several times."""
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(65 << 20))
    refused(tmp_path / "m.keras", "more than 20 times as much", hint="do not trust")


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "m.tflite")
    refused(tmp_path / "m.tflite", "not a regular file")


def test_a_model_whose_activations_fill_the_memory(tmp_path):
    """440 bytes of model, 2 GB of activations."""
    tensor = activation((1, 32000, 32000, 1), 0.5)
    (tmp_path / "m.tflite").write_bytes(write_tflite(one_op("m", "RELU", [tensor], [tensor]).graph))
    refused(tmp_path / "m.tflite", "one inference needs 2,048,000,000 B", hint="smaller input")


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MODEL_BYTES", 4)
    (tmp_path / "m.h5").write_bytes(b"12345")
    refused(tmp_path / "m.h5", "larger than")


def test_tensorflow_is_absent(tmp_path, monkeypatch):
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"a Keras \.h5 file needs TensorFlow") as caught:
        open_model(tmp_path / "m.h5")
    assert caught.value.hint == "pip install 'edgebuild[keras]'"


@pytest.mark.parametrize(("dtype", "is_int8"), [(DType.INT8, True), (DType.FLOAT32, False)])
def test_a_tflite_is_int8_or_float(tmp_path, dtype, is_int8):
    tensor = activation((1, 4), 0.5, dtype=dtype)
    (tmp_path / "model").write_bytes(write_tflite(one_op("m", "RELU", [tensor], [tensor]).graph))
    source = open_model(tmp_path / "model")
    assert (source.kind, source.is_int8) == (Kind.TFLITE, is_int8)
    assert source.inputs[0].shape == (1, 4)
    source.close()


def test_a_worker_that_dies(tmp_path):
    worker = Worker("m", {"path": "m", "kind": "tflite", "trust": False})
    process = worker._launch()
    process.kill()
    with pytest.raises(ToolError, match="m: litert-quantizer or LiteRT was killed while opening"):
        worker.start()
    worker.close()


def test_a_worker_that_crashes(tmp_path):
    worker = Worker("m", {"path": "m", "kind": "keras", "trust": False})
    process = worker._launch()
    (worker.folder / "log").write_text("one\n\ntwo\n")
    process.send_signal(signal.SIGSEGV)
    with pytest.raises(ToolError, match=r"m: TensorFlow crashed \(signal 11, SIGSEGV\)") as caught:
        worker.start()
    assert caught.value.details == ("one", "two") and "damaged" not in str(caught.value)
    worker.close()


def test_a_worker_that_does_not_answer(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"x")
    worker = Worker("m", {"path": str(path), "kind": "tflite", "trust": False})
    with pytest.raises(ToolError, match="opening the model took more than 0 s"):
        worker.request("open", timeout_s=0.0, path=str(path), kind="tflite", trust=False)
    assert not worker.folder.exists()


def test_an_error_that_nobody_has_foreseen_is_a_bug_with_a_log(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"x" * 100)
    worker = Worker("m", {"path": str(path), "kind": "tflite", "trust": False})
    with pytest.raises(InternalError) as caught:
        worker.request("open", timeout_s=60.0, path=None, kind="tflite", trust=False)
    assert "Traceback" in caught.value.log and "Traceback" not in str(caught.value)
    worker.close()


@pytest.mark.keras
def test_the_content_decides_not_the_name(tiny_h5, tmp_path):
    shutil.copy(tiny_h5, tmp_path / "model.keras")
    source = open_model(tmp_path / "model.keras")
    assert source.kind == Kind.H5
    source.close()


@pytest.mark.keras
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_sequential_model_that_was_never_built(keras, folder, suffix):
    path = folder / f"unbuilt.{suffix}"
    keras.Sequential([keras.layers.Dense(3)]).save(path)
    refused(path, "was saved without its input shapes", hint="begin it with keras.Input(shape)")


@pytest.mark.keras
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambda_layers_are_code(keras, folder, suffix):
    path = folder / f"lambda.{suffix}"
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)]).save(path)
    refused(path, "the Lambda layer 'lambda.*' contains Python code", hint="--trust-model")
    if suffix == "keras":
        source = open_model(path, trust=True)
        assert source.inputs[0].shape == (1, 4)
        source.close()


def h5_with(path, target, change):
    """Copy a .h5 model and change its configuration."""
    import h5py

    shutil.copy(path, target)
    with h5py.File(target, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)
    return target


@pytest.mark.keras
def test_settings_of_keras_2(tiny_h5, tmp_path):
    def add(config):
        for layer in config["config"]["layers"]:
            settings = layer["config"]
            if layer["class_name"] == "DepthwiseConv2D":
                settings |= {"groups": 1, "kernel_initializer": None}
            if layer["class_name"] == "BatchNormalization":
                settings |= {"fused": True, "renorm": False, "virtual_batch_size": None}
            if layer["class_name"] == "Dense":
                settings |= {"activation": "softmax_v2"}
                settings["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}

    open_model(h5_with(tiny_h5, tmp_path / "old.h5", add)).close()

    def unknown(config):
        config["config"]["layers"][-1]["config"]["groups"] = 2

    refused(h5_with(tiny_h5, tmp_path / "bad.h5", unknown), "Keras cannot load it")


@pytest.mark.keras
def test_layers_that_only_keras_2_has(tiny_h5, tmp_path):
    def change(config):
        config["config"]["layers"][-1]["class_name"] = "TFOpLambda"

    refused(
        h5_with(tiny_h5, tmp_path / "m.h5", change),
        "is a TFOpLambda, which Keras 3 cannot load",
        hint="SavedModel",
    )

    def custom(config):
        config["config"]["layers"][-1]["class_name"] = "MyLayer"

    refused(
        h5_with(tiny_h5, tmp_path / "n.h5", custom),
        "layer '.*' uses the custom class MyLayer",
        hint="model.export",
    )


@pytest.mark.keras
@pytest.mark.parametrize("functional", [False, True])
def test_a_layer_of_the_users_own_is_named(tmp_path, functional):
    import keras

    class Swish(keras.layers.Layer):
        def call(self, x):
            return x * keras.ops.sigmoid(x)

    x = keras.Input((4,))
    layers = [Swish(name="swish_1"), Swish(name="swish_2"), keras.layers.Dense(2)]
    model = keras.Sequential([x, *layers])
    if functional:
        model = keras.Model(x, layers[2](layers[1](layers[0](x))))
    model.save(tmp_path / "m.keras")
    refused(
        tmp_path / "m.keras",
        "m.keras: layer 'swish_1' uses the custom class Swish, whose code is not stored",
        hint="model.export",
    )


def test_a_folder_of_models_names_them(tmp_path):
    (tmp_path / "b.tflite").write_bytes(b"x")
    (tmp_path / "a.keras").write_bytes(b"x")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    refused(
        tmp_path, "is not a SavedModel", hint="one of the models in it: a.keras, b.tflite, saved"
    )


@pytest.mark.keras
def test_damaged_h5(tiny_h5, tmp_path):
    import h5py

    content = tiny_h5.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.h5", "damaged .h5 file")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.zeros(3)
    refused(tmp_path / "weights.h5", "contains weights but no model")
    shutil.copy(tiny_h5, tmp_path / "link.h5")
    with h5py.File(tmp_path / "link.h5", "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    refused(tmp_path / "link.h5", "'elsewhere' is a link")
    shutil.copy(tiny_h5, tmp_path / "json.h5")
    with h5py.File(tmp_path / "json.h5", "r+") as file:
        file.attrs["model_config"] = "{"
    refused(tmp_path / "json.h5", "configuration is not valid JSON")


@pytest.mark.keras
def test_damaged_keras(tiny_keras, tmp_path):
    content = bytearray(tiny_keras.read_bytes())
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.keras", "damaged .keras file")
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "flip.keras").write_bytes(content)
    refused(tmp_path / "flip.keras", "damaged|cannot load")


@pytest.mark.keras
def test_saved_models_that_are_refused(keras, tiny_saved_model, tmp_path):
    import tensorflow as tf

    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4])])
        def serve(self, x):
            return x + tf.strings.to_number(tf.io.read_file("/etc/hostname"))

    module = Reader()
    tf.saved_model.save(module, str(tmp_path / "reads"), signatures=module.serve)
    refused(tmp_path / "reads", r"runs code or touches files \(ReadFile\)", hint="--trust-model")
    open_model(tmp_path / "reads", trust=True).close()
    shutil.copytree(tiny_saved_model, tmp_path / "cut")
    proto = tmp_path / "cut/saved_model.pb"
    proto.write_bytes(proto.read_bytes()[:1000])
    refused(tmp_path / "cut", "saved_model.pb is damaged")
    proto.write_bytes(b"")
    refused(tmp_path / "cut", "saved_model.pb is empty")


@pytest.mark.keras
def test_shapes_must_be_known(keras, folder):
    path = folder / "open.keras"
    keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalMaxPooling2D()]).save(path)
    with pytest.raises(InputError, match=r"has dynamic dimensions: \?,\?,\?,3"):
        open_model(path)
    source = open_model(path, shapes={"": (1, 8, 6, 3)})
    assert [spec.shape for spec in source.inputs] == [(1, 8, 6, 3)]
    assert source.notes == (BATCH_NOTE,)
    made = read_tflite(to_tflite(source, None, "float32").model)
    assert [t.shape for t in made.input_tensors] == [(1, 8, 6, 3)]
    source.close()
    open_shapes = tf_lite(keras.models.load_model(path))
    (folder / "open.tflite").write_bytes(open_shapes)
    source = open_model(folder / "open.tflite", shapes={"": (1, 8, 6, 3)})
    assert [t.shape for t in read_tflite(source.content).input_tensors] == [(1, 8, 6, 3)]
    assert not read_tflite(source.content).input_tensors[0].signature
    found = float_predict(source, [np.ones((2, 1, 8, 6, 3), np.float32)])
    assert found.size == 2 * 3 and np.all(found == 1)
    source.close()


def tf_lite(model):
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def open_relu(lengths):
    """Return an int8 ``.tflite`` of RELU whose input and output leave dimensions open."""
    import flatbuffers

    s = schema.module()
    ends = [activation((1, 1, 1, 3))], [activation((1, 1, 1, 3))]
    content = write_tflite(one_op("relu", "RELU", *ends).graph)
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(content, 0))
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = lengths
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_open_dimensions_of_an_int8_file(tmp_path):
    path = tmp_path / "open.tflite"
    path.write_bytes(open_relu([-1, -1, -1, 3]))
    with pytest.raises(InputError, match="input 'in0' has dynamic dimensions"):
        open_model(path)
    graph = read_tflite(open_model(path, shapes={"in0": (1, 4, 5, 3)}).content)
    assert [t.shape for t in graph.tensors.values()] == [(1, 4, 5, 3)] * 2
    with pytest.raises(InputError, match="does not fit the model's"):
        open_model(path, shapes={"in0": (1, 4, 5, 4)})
    # What LiteRT runs on a phone may stay open.
    source = open_model(path, any_format=True)
    assert source.content == path.read_bytes() and "are dynamic" in source.notes[0]
    path.write_bytes(open_relu([-1, 1, 1, 3]))
    source = open_model(path)
    assert source.content == path.read_bytes() and source.notes == (BATCH_NOTE,)


def test_a_flatbuffer_that_litert_refuses_is_the_files_fault():
    error = unexpected(ValueError("The model is not a valid Flatbuffer buffer"), "m.tflite")
    assert isinstance(error, ModelError)
    assert "m.tflite: the flatbuffer is damaged" in error.message
    assert isinstance(unexpected(ValueError("else"), "m.tflite"), InternalError)
