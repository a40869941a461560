"""Every kind of source model becomes the same kind of full int8 .tflite."""

import numpy as np
import pytest

from edgebuild.errors import InputError, ModelError
from edgebuild.graph import DType
from edgebuild.models.convert import (
    float_outputs,
    float_predict,
    litert_outputs,
    to_int8_tflite,
    to_tflite,
)
from edgebuild.models.data import DataSet, load_data, match_inputs, quantize_input
from edgebuild.models.float_tflite import pack, unpack
from edgebuild.models.source import open_model
from edgebuild.ops.cases import activation, one_op
from edgebuild.tflite.oracle import run_oracle_arrays
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.conftest import NIGHTLY_PUBLIC

RNG = np.random.default_rng(0)
IMAGES = DataSet((RNG.uniform(0, 1, (40, 8, 8, 1)).astype(np.float32),), None, "images")


def int8_outputs(model, data):
    """Run a converted model on a data set; return each output as floats."""
    graph = read_tflite(model)
    x = [
        quantize_input(a, t)
        for a, t in zip(match_inputs(data, graph.input_tensors), graph.input_tensors, strict=True)
    ]
    return [
        (q.astype(np.float64) - t.zero_point) * t.scale
        for q, t in zip(run_oracle_arrays(model, x), graph.output_tensors, strict=True)
    ]


def check_full_int8(model):
    graph = read_tflite(model)
    for tensor in (*graph.input_tensors, *graph.output_tensors):
        assert tensor.dtype == DType.INT8
        assert tensor.shape[0] == 1
    assert all(t.dtype != DType.FLOAT32 for t in graph.tensors.values())
    convolutions = [n for n in graph.nodes() if n.kind == "CONV_2D"]
    assert all(len(n.input(1).quantization.scales) == n.input(1).shape[0] for n in convolutions)
    return graph


@pytest.mark.keras
@pytest.mark.parametrize(
    "fixture", ["tiny_keras", "tiny_h5", "tiny_saved_model", "tiny_float_tflite"]
)
def test_every_kind(request, fixture, tiny):
    source = open_model(request.getfixturevalue(fixture))
    assert not source.is_int8
    assert [i.shape for i in source.inputs] == [(1, 8, 8, 1)]
    converted = to_int8_tflite(source, IMAGES, samples=30)
    assert converted.notes == ("quantized to int8, calibrated with 30 of 40 samples",)
    check_full_int8(converted.model)
    expected = tiny(IMAGES.x[0], training=False).numpy()
    assert np.allclose(float_predict(source, IMAGES.x).reshape(40, 3), expected, atol=1e-5)
    (found,) = int8_outputs(converted.model, IMAGES)
    assert np.abs(found.reshape(40, 3) - expected).max() < 0.03
    source.close()


@pytest.mark.keras
@pytest.mark.parametrize("fixture", ["tiny_keras", "tiny_float_tflite"])
def test_same_inputs_same_bytes(request, fixture):
    path = request.getfixturevalue(fixture)
    models = []
    for _ in range(2):
        source = open_model(path)
        models.append(to_int8_tflite(source, IMAGES, samples=10, seed=3).model)
        source.close()
    assert models[0] == models[1]


@pytest.mark.keras
def test_the_order_of_inputs_and_outputs_is_the_model_s(keras, folder):
    # In the alphabet's order both would be swapped.
    z, a = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    big = keras.layers.Rescaling(10.0, name="zz")(z)
    both = keras.layers.Add(name="aa")([big, a])
    keras.Model([z, a], [big, both]).save(folder / "two.keras")
    source = open_model(folder / "two.keras")
    assert [i.name for i in source.inputs] == ["z", "a"]
    x = (np.ones((3, 4), np.float32), np.full((3, 4), 2, np.float32))
    data = DataSet(x, None, "two")
    outputs = int8_outputs(to_int8_tflite(source, data).model, data)
    assert [float(o.mean()) for o in outputs] == pytest.approx([10, 12], abs=0.3)
    floats = float_outputs(source, x)
    assert [float(o.mean()) for o in floats] == [10, 12]
    source.close()


NAMES = {
    "two.keras": (["val", "all"], ["class", "ALL"]),
    "two.h5": (["val", "all"], ["class", "ALL"]),
    "dictionary.keras": (["all", "val"], ["ALL", "score_10", "score_2"]),  # as model.outputs
    "dictionary_saved_model": (["all", "val"], ["ALL", "score_2", "score_10"]),
    "saved_model": (["all", "val"], ["output_0", "output_1"]),
}
"""Inputs and outputs of ``named_models``, in the order of the data."""


@pytest.fixture(scope="module")
def named_models(keras, folder):
    """Models of two inputs whose outputs are 2 and 10 times ``val``, and ``all + 2 val``."""
    val, every = keras.Input((4,), name="val"), keras.Input((4,), name="all")
    layers = keras.layers
    double = layers.Rescaling(2.0, name="class")(val)
    both = layers.Add(name="ALL")([every, double])
    two = keras.Model([val, every], [double, both])
    two.save(folder / "two.keras")
    two.save(folder / "two.h5")
    two.export(folder / "saved_model", verbose=False)
    outputs = {"score_10": val * 10.0, "ALL": both, "score_2": double}
    dictionary = keras.Model({"val": val, "all": every}, outputs)
    dictionary.save(folder / "dictionary.keras")
    dictionary.export(folder / "dictionary_saved_model", verbose=False)
    return folder


@pytest.mark.keras
@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_outputs_keep_their_names(named_models, name):
    """Those of Keras, or of the SavedModel's signature, each at the values that it stands for."""
    source = open_model(named_models / name)
    inputs, outputs = NAMES[name]
    assert [i.name for i in source.inputs] == inputs
    fed = {"val": np.full((3, 4), 1, np.float32), "all": np.full((3, 4), 5, np.float32)}
    data = DataSet(tuple(fed[i] for i in inputs), None, "named")
    expected = {"class": 2, "ALL": 7, "score_2": 2, "score_10": 10, "output_0": 2, "output_1": 7}
    for form in ("int8", "float32"):
        model = to_tflite(source, data, form).model
        graph = read_tflite(model)
        assert [t.name for t in graph.input_tensors] == inputs
        assert [t.name for t in graph.output_tensors] == outputs
        arrays = [a[:, None] for a in data.x]
        found = int8_outputs(model, data) if form == "int8" else litert_outputs(model, arrays)
        means = [float(o.mean()) for o in found]
        assert means == pytest.approx([expected[o] for o in outputs], abs=0.2)
    floats = [float(o.mean()) for o in float_outputs(source, data.x)]
    assert floats == pytest.approx([expected[o] for o in outputs])
    source.close()


@pytest.mark.keras
def test_outputs_of_one_layer_are_told_apart_by_a_number(keras, folder):
    x = keras.Input((4, 2), name="x\u202e")
    layer = keras.layers.LSTM(3, return_sequences=True, return_state=True, unroll=True, name="rnn")
    keras.Model(x, layer(x)).save(folder / "states.keras")
    source = open_model(folder / "states.keras")
    graph = read_tflite(to_tflite(source, None, "float32").model)
    assert [t.name for t in graph.input_tensors] == ["x"]
    assert [t.name for t in graph.output_tensors] == ["rnn", "rnn_1", "rnn_2"]
    source.close()


@pytest.mark.keras
def test_a_float_model_without_data_and_with_noise(tiny_float_tflite):
    source = open_model(tiny_float_tflite)
    with pytest.raises(InputError, match="needs calibration data") as caught:
        to_int8_tflite(source, None)
    saving = "np.savez('calibration.npz', x=x, y=labels), where x has the shape (samples, 8, 8, 1)"
    assert saving in caught.value.hint and "--data calibration.npz" in caught.value.details[0]
    converted = to_int8_tflite(source, load_data("random", source), samples=5)
    assert "5 RANDOM samples" in converted.notes[0]
    with pytest.raises(InputError, match="must be at least 1"):
        to_int8_tflite(source, IMAGES, samples=0)
    source.close()
    with pytest.raises(InputError, match=r"expects samples of shape \[8, 8, 1\]"):
        to_int8_tflite(source, DataSet((np.zeros((3, 5), np.float32),), None, "x"))


@pytest.mark.keras
def test_a_layer_without_an_int8_form(keras, folder):
    x = keras.Input((4,))
    keras.Model(x, keras.ops.erfinv(x)).save(folder / "erfinv.keras")
    source = open_model(folder / "erfinv.keras")
    data = DataSet((np.zeros((3, 4), np.float32),), None, "x")
    with pytest.raises(ModelError, match=r"erfinv.keras.*TFLite has no operator for Erfinv"):
        to_int8_tflite(source, data)
    source.close()


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    case = one_op("m", "RELU", [activation((1, 4), 0.5)], [activation((1, 4), 0.5)])
    path = tmp_path_factory.mktemp("int8") / "relu.tflite"
    path.write_bytes(write_tflite(case.graph))
    return path


@pytest.mark.keras
@pytest.mark.parametrize("fixture", ["tiny_keras", "tiny_saved_model", "tiny_float_tflite"])
def test_formats_that_need_no_data(request, fixture, tiny, tmp_path):
    """Each is what LiteRT runs, close to the float model, and passes unchanged a second time."""
    source = open_model(request.getfixturevalue(fixture))
    expected = tiny(IMAGES.x[0], training=False).numpy()
    stored = {"dynamic": DType.INT8, "float16": DType.FLOAT16, "float32": DType.FLOAT32}
    for form, dtype in stored.items():
        converted = to_tflite(source, None, form)
        graph = read_tflite(converted.model)
        weights = [n.input(1) for n in graph.nodes() if n.kind == "CONV_2D"]
        if form == "float16":  # a DEQUANTIZE, which delegates fold, stands before each weight
            weights = [n.input(0) for n in graph.nodes() if n.kind == "DEQUANTIZE"]
        # TensorFlow leaves weights that are too few to gain anything alone.
        assert {t.dtype for t in weights} <= {dtype, DType.FLOAT32}
        assert len(converted.notes) == 1
        assert graph.input_tensors[0].dtype == DType.FLOAT32
        (found,) = litert_outputs(converted.model, [IMAGES.x[0][:, None]])
        assert np.abs(found.reshape(40, 3) - expected).max() < 0.03
        path = tmp_path / f"{form}.tflite"
        path.write_bytes(converted.model)
        again = open_model(path)
        if again.stored_format is not None:
            assert to_tflite(again, None, form).model == converted.model
        again.close()
    source.close()


def test_int8_is_not_turned_back(int8_file):
    source = open_model(int8_file)
    converted = to_tflite(source, None, "float16")
    assert converted.model == source.content
    assert "already has int8 numbers" in converted.notes[0]


def test_int8_passes_unchanged(int8_file):
    source = open_model(int8_file)
    assert source.is_int8
    assert to_int8_tflite(source, None).model == int8_file.read_bytes()
    with pytest.raises(InputError, match="an int8 model has no float baseline"):
        float_predict(source, np.zeros((1, 4), np.float32))


def test_a_float_model_of_one_operator(tmp_path):
    float4 = activation((1, 4), dtype=DType.FLOAT32)
    (tmp_path / "m.tflite").write_bytes(write_tflite(one_op("m", "RELU", [float4], [float4]).graph))
    source = open_model(tmp_path / "m.tflite")
    x = np.array([[-1, 0, 1, 2]], np.float32)
    assert float_predict(source, x).reshape(-1).tolist() == [0, 0, 1, 2]
    check_full_int8(to_int8_tflite(source, DataSet((x,), None, "x")).model)
    source.close()


@pytest.mark.parametrize("form", ["int8", "dynamic", "float16", "float32"])
def test_inputs_and_outputs_of_a_float_tflite_keep_their_names(tmp_path, form):
    """An app's wrapper calls them by these."""
    float4 = [activation((1, 4), dtype=DType.FLOAT32) for _ in range(3)]
    given = write_tflite(one_op("m", "ADD", float4[:2], float4[2:]).graph)
    model = unpack(given)
    for index, name in enumerate((b"left", b"right", b"sum")):
        model.subgraphs[0].tensors[index].name = name
    (tmp_path / "m.tflite").write_bytes(pack(model))
    source = open_model(tmp_path / "m.tflite")
    data = DataSet((np.ones((3, 4), np.float32),) * 2, None, "x")
    graph = read_tflite(to_tflite(source, data, form).model)
    source.close()
    assert [t.name for t in graph.input_tensors] == ["left", "right"]
    assert [t.name for t in graph.output_tensors] == ["sum"]


@pytest.mark.parametrize("name", ["kws", "resnet8", "ad01", "vww96"])
def test_real_float_tflite(mlperf_dir, name):
    source = open_model(mlperf_dir / f"{name}_float.tflite")
    check_real(source)


@pytest.mark.parametrize("mlperf_dir", NIGHTLY_PUBLIC, indirect=True)
@pytest.mark.keras
@pytest.mark.parametrize("name", ["kws_saved_model", "resnet8.h5", "ad01.h5", "vww96.h5"])
def test_real_tensorflow(mlperf_dir, keras, name):
    check_real(open_model(mlperf_dir / f"{name}"))


def check_real(source):
    """Convert, and compare with the float model on what it was calibrated with."""
    data = load_data("random", source)
    few = DataSet((data.x[0][:8],), None, "few")
    converted = to_int8_tflite(source, few)
    check_full_int8(converted.model)
    expected = float_predict(source, few.x)
    (found,) = int8_outputs(converted.model, few)
    error = np.abs(found.reshape(expected.shape) - expected).mean()
    assert error < 0.1 * max(1.0, float(np.abs(expected).mean()))
    source.close()
