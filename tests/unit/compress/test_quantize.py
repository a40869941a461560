"""The quantize pass: what it ships, in which numbers, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import CompressionStep, State, check_order, run_pass
from edgebuild.compress.huffman import Huffman, pack_model, unpack
from edgebuild.compress.prune import Prune
from edgebuild.compress.ptq.artifact import constants, operator_formats, run_reals
from edgebuild.compress.quality import predict
from edgebuild.compress.quantize import Quantize
from edgebuild.compress.recipe import parse_recipe
from edgebuild.errors import InputError
from edgebuild.ops.support import check_supported
from edgebuild.tflite.reader import read_tflite

pytestmark = pytest.mark.keras


def noise(content, context, trained):
    """Return the noise-to-signal ratio of a quantized model's outputs."""
    x = context.validation.x
    found, exact = run_reals(content, x)[0], predict(trained, x)
    return float(np.sum((found - exact) ** 2) / np.sum((exact - exact.mean()) ** 2))


def test_int8_is_small_good_and_runs(trained, context):
    result = run_pass(Quantize(samples=50), State(trained), context)
    assert result.changed and result.state.model is trained
    assert result.quality[1].value >= result.quality[0].value - 0.02
    assert result.cost[1].bytes < 0.35 * result.cost[0].bytes
    assert result.cost[0].bytes == 4 * result.cost[0].parameters
    assert result.cost[1].parameters == result.cost[0].parameters
    graph = read_tflite(result.state.flatbuffer)
    check_supported(graph)
    assert {t.dtype for t in (*graph.input_tensors, *graph.output_tensors)} == {"int8"}
    assert "calibrated with 50 samples by min-max" in result.notes
    again, _ = Quantize(samples=50).apply(State(trained), context)
    assert again.flatbuffer == result.state.flatbuffer


def test_names_of_layers_stay(trained, context):
    state, _ = Quantize(samples=8).apply(State(trained), context)
    named = " ".join(place for place, _ in operator_formats(state.flatbuffer))
    assert "dw" in named and "out" in named


@pytest.mark.parametrize(
    ("name", "weights", "activations"),
    [("int16x8", "int8", "int16"), ("int4", "int4", "int8"), ("float16", "float32", "float32")],
)
def test_formats(trained, context, name, weights, activations):
    state, notes = Quantize(format=name, samples=50).apply(State(trained), context)
    formats = dict(operator_formats(state.flatbuffer))
    first = next(text for place, text in formats.items() if "CONV_2D" in place)
    graph = read_tflite(state.flatbuffer)
    ends = [t.name for t in (*graph.input_tensors, *graph.output_tensors)]
    assert ends == [trained.inputs[0].name, "out"]
    assert first.startswith(f"{activations}, {weights}") and first.endswith(f"to {activations}")
    assert noise(state.flatbuffer, context, trained) < {"int4": 0.5}.get(name, 0.01)
    if name == "int4":
        assert any("int8, for which there is no int4: " in n and "DEPTHWISE" in n for n in notes)


def test_int16x8_says_that_it_needs_no_clipping(trained, context):
    _, notes = Quantize(format="int16x8", calibration="mse", samples=20).apply(
        State(trained), context
    )
    assert any("int16 needs no mse" in note for note in notes)


@pytest.mark.parametrize("method", ["percentile", "mse", "entropy"])
def test_calibrations(trained, context, method):
    state, notes = Quantize(calibration=method, samples=50).apply(State(trained), context)
    assert noise(state.flatbuffer, context, trained) < 0.02
    assert any(f"by {method}" in note for note in notes)


@pytest.fixture(scope="module")
def regression(keras):
    """A network of every weighted form with real outputs, on which rounding shows."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 1, activation="relu6")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x)
    x = layers.Dense(12, activation="relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.normal(0, 0.05, w.shape) for w in model.get_weights()])
    return model


def test_fitted_int4_is_better(regression, context, tmp_path):
    trained = regression
    kept = dataclasses.replace(context, checkpoints=tmp_path)
    options = {"format": "int4", "samples": 60, "rounding_steps": 200}
    plain, _ = Quantize(format="int4", samples=60, bias_correction=False).apply(
        State(trained), context
    )
    biased, _ = Quantize(bias_correction=True, **options).apply(State(trained), context)
    whole = Quantize(rounding="adaround", bias_correction=True, **options)
    fitted, notes = whole.apply(State(trained), kept)
    errors = [noise(s.flatbuffer, context, trained) for s in (plain, biased, fitted)]
    assert errors[1] < errors[0] and errors[2] < 0.5 * errors[0], errors
    assert any("error of the output -" in note for note in notes)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6  # a layer each
    files[0].write_bytes(b"cut off")
    again, _ = whole.apply(State(trained), kept)
    assert again.flatbuffer == fitted.flatbuffer


def test_equalized(trained, context):
    state, notes = Quantize(equalize=True, samples=50).apply(State(trained), context)
    assert any("pairs of layers balanced" in note for note in notes)
    assert noise(state.flatbuffer, context, trained) < 0.02


def test_huffman_packs_the_quantized_numbers(trained, context):
    state, _ = Quantize(samples=20).apply(State(trained), context)
    result = run_pass(Huffman(), state, context)
    assert result.state is state and "the quantized numbers" in result.notes[0]
    stored, packed = constants(state.flatbuffer), unpack(pack_model(state))
    assert stored.keys() == packed.keys()
    assert all(np.array_equal(stored[k], packed[k]) for k in stored)
    assert len(pack_model(state)) < sum(a.nbytes for a in stored.values()) + 300  # and their names


def test_nothing_else_follows(trained, context):
    state, _ = Quantize(samples=8).apply(State(trained), context)
    with pytest.raises(InputError, match="quantize must come after prune") as refused:
        run_pass(Prune(), state, context)
    assert "huffman" in refused.value.hint
    with pytest.raises(InputError, match="quantize must come after prune"):
        parse_recipe("quantize,prune")
    with pytest.raises(InputError, match="quantize may occur only once"):
        parse_recipe("quantize,quantize")
    assert len(parse_recipe("prune,quantize,huffman")) == 3
    check_order("prune", ["sparsify"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "int9"}, "unknown format 'int9'; did you mean 'int"),
        ({"calibration": "minmax"}, "did you mean 'min-max'"),
        ({"rounding": "adaptive"}, "unknown rounding"),
        ({"percentile": 20.0}, "percentile 20"),
        ({"samples": 0}, "at least 1"),
        ({"mixed": 1.5}, "mixed 1.5"),
        ({"mixed": 0.1, "epochs": 1}, "after training"),
        ({"percentile": 90.0}, "percentile needs calibration=percentile, not min-max"),
        ({"mixed": 0.1, "format": "float16"}, "mixed chooses each operator's format"),
        ({"format": "float16", "rounding": "adaround"}, "not rounded by adaround"),
        ({"format": "float16", "calibration": "mse"}, "needs no ranges, so calibration=mse"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Quantize(**options)


def test_several_inputs_keep_their_order(keras, context):
    layers = keras.layers
    a, b = keras.Input((6,), name="zebra"), keras.Input((3,), name="ant")
    z = layers.Concatenate()([layers.Dense(8, activation="relu")(a), layers.Dense(4)(b)])
    model = keras.Model([a, b], [layers.Dense(2)(z), layers.Dense(5, activation="softmax")(z)])
    rng = np.random.default_rng(0)
    x = tuple(rng.normal(size=(80, n)).astype(np.float32) for n in (6, 3))
    split = dataclasses.replace(context.train, x=x, y=None)
    two = dataclasses.replace(context, train=split, validation=split, teacher=model)
    result = run_pass(Quantize(), State(model), two)
    assert result.quality[1].value > 0.99
    shapes = [array.shape for array in run_reals(result.state.flatbuffer, x)]
    assert shapes == [(80, 2), (80, 5)]


def test_recurrent_layers(keras, context):
    layers = keras.layers
    x = np.random.default_rng(0).normal(size=(60, 6, 4)).astype(np.float32)
    split = dataclasses.replace(context.train, x=(x,), y=None)
    for unroll in (True, False):
        inputs = keras.Input((6, 4))
        model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(5, unroll=unroll)(inputs)))
        small = dataclasses.replace(context, train=split, validation=split, teacher=model)
        if unroll:
            result = run_pass(Quantize(rounding="adaround"), State(model), small)
            assert result.quality[1].value > 0.98
            continue
        with pytest.raises(InputError, match="has a loop") as refused:
            Quantize().apply(State(model), small)
        assert "unroll=True" in refused.value.hint


def test_a_step_goes_through_json(trained, context):
    result = run_pass(Quantize(samples=8), State(trained), context)
    step = CompressionStep("quantize", {}, result.notes, result.cost, result.quality)
    assert dataclasses.asdict(step)["cost"][1]["bytes"] == result.cost[1].bytes


def test_mixed_keeps_the_quality_and_saves_bytes(regression, context):
    blind = dataclasses.replace(context.validation, y=None)
    with_teacher = dataclasses.replace(context, validation=blind, teacher=regression)
    found = {}
    for tolerance in (1e-5, 0.003, 0.2):
        step = Quantize(mixed=tolerance, samples=50)
        result = run_pass(step, State(regression), with_teacher)
        assert result.quality[0].measure == "similarity to the original"
        assert result.quality[1].value >= 1.0 - tolerance - 1e-6
        assert any(note.startswith("mixed: ") and "lost on" in note for note in result.notes)
        found[tolerance] = result
    sizes = [found[t].cost[1].bytes for t in found]
    assert sizes[0] > sizes[1] > sizes[2]
    kinds = [{text for _, text in operator_formats(r.state.flatbuffer)} for r in found.values()]
    assert any("float32, float32" in text for text in kinds[0])
    assert any("int4" in text for text in kinds[2])
