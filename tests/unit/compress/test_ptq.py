"""The parts of post-training quantization against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.ptq.artifact import Runner, constants, operator_formats
from edgebuild.compress.ptq.calibration import METHODS, Histogram, histograms, ranges
from edgebuild.compress.ptq.equalize import equalize
from edgebuild.compress.ptq.fitting import on_grid
from edgebuild.compress.ptq.linear import linear_of
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.ptq.rounding import Fit, adaround, channel_scales, nearest
from edgebuild.compress.ptq.writer import possible, write
from edgebuild.models.tf_model import of_keras

pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)


def filled(values):
    histogram = Histogram(float(values.min()), float(values.max()))
    histogram.add(values)
    return histogram


@pytest.fixture(scope="module")
def model(keras):
    """Every weighted form: strides, dilation, both paddings, a depth multiplier, two chains."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    inputs = keras.Input((9, 8, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.Conv2D(6, 2, dilation_rate=2, padding="same", activation="relu6")(x)
    x = layers.Conv2D(4, 2, padding="valid")(x)
    x = layers.Dense(7, activation="relu")(layers.Flatten()(x))
    made = keras.Model(inputs, layers.Dense(5, activation="softmax")(x))
    made.set_weights([w + RNG.normal(0, 0.1, w.shape) for w in made.get_weights()])
    return made


@pytest.fixture(scope="module")
def network(model):
    return Network(of_keras(model).to_tflite())


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(1)
    return [(x,) for x in rng.normal(size=(24, 9, 8, 3)).astype(np.float32)]


def outputs(content, samples):
    runner = Runner(content)
    return np.concatenate([runner.run(sample)[0] for sample in samples])


# calibration


def test_min_max_holds_zero():
    assert METHODS["min-max"](filled(np.array([2.0, 5.0])), 0) == (0.0, 5.0)
    assert METHODS["min-max"](filled(np.array([-3.0, -1.0])), 0) == (-3.0, 0.0)


def test_percentile_leaves_out_the_tail():
    values = np.linspace(0, 1, 100_001)
    low, high = METHODS["percentile"](filled(values), 99.0)
    assert low == 0.0 and high == pytest.approx(0.99, abs=1e-3)
    low, high = METHODS["percentile"](filled(values - 0.5), 90.0)
    assert (low, high) == pytest.approx((-0.4, 0.4), abs=1e-3)
    assert METHODS["percentile"](filled(values), 100.0) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_a_lonely_outlier_is_clipped(method):
    values = np.append(np.abs(RNG.normal(size=200_000)), 40.0)
    low, high = METHODS[method](filled(values), 0)
    assert low == 0.0 and 2.0 < high < 32.0
    both = np.append(RNG.normal(size=200_000), [40.0, -41.0])
    low, high = METHODS[method](filled(both), 0)
    assert -32.0 < low < -2.0 and 2.0 < high < 32.0


def test_mse_is_the_best_of_the_candidates():
    values = RNG.laplace(size=100_000)

    def error(found):
        scale = (found[1] - found[0]) / 255
        zero = np.rint(-found[0] / scale)
        q = np.clip(np.rint(values / scale) + zero, 0, 255)
        return np.mean(((q - zero) * scale - values) ** 2)

    found = {m: error(METHODS[m](filled(values), 99.9)) for m in METHODS}
    assert found["mse"] == min(found.values()) and found["mse"] < 0.9 * found["min-max"]


def test_constants_and_uniform_values_keep_their_range():
    for method in METHODS.values():
        assert method(Histogram(0.0, 0.0), 99.9) == (0.0, 0.0)
    uniform = filled(RNG.uniform(-1, 1, 200_000))
    for name in ("mse", "entropy"):
        assert METHODS[name](uniform, 0)[1] > 0.9


def test_histograms_are_of_every_tensor(network, samples):
    found = histograms(network, samples)
    assert set(found) == set(network.computed())
    first = network.inputs[0]
    everything = np.stack([s[0] for s in samples])
    assert (found[first].low, found[first].high) == pytest.approx(
        (everything.min(), everything.max())
    )
    assert found[first].counts.sum() == everything.size
    wide = ranges(found, "min-max", percentile=100.0, symmetric=True)
    assert all(low == -high for low, high in wide.values())


# matrix products


def test_rows_and_matrix_give_what_litert_computes(network, samples):
    runner = Runner(network.content(), keep_all=True)
    runner.run(samples[0])
    for op in network.weighted():
        linear = linear_of(network, op)
        x, weights = runner.tensor(op.inputs[0]), network.constant(op.inputs[1])
        rows = linear.rows(x, np.random.default_rng(0), 10_000)
        matrix = linear.matrix(weights)
        assert np.array_equal(linear.weights_of(matrix), weights)
        bias = network.bias(op)
        found = linear.products(rows, matrix) + (0 if bias is None else bias)
        expected = runner.tensor(op.output).reshape(found.shape)
        assert np.allclose(np.clip(found, *linear.bounds), expected, atol=1e-4), network.label(op)
        errors = np.ones((len(rows), len(matrix)), np.float32)
        step = np.zeros_like(matrix)
        step[1, 2] = 1e-1
        gain = np.sum(linear.products(rows, matrix + step) - linear.products(rows, matrix))
        assert linear.gradient(rows, errors)[1, 2] * 1e-1 == pytest.approx(gain, abs=2e-2)
        squares = np.broadcast_to(linear.squares(rows), matrix.shape)
        assert np.all(squares >= 0) and squares.shape == matrix.shape


# rounding


@pytest.mark.parametrize("bits", [4, 8])
def test_chosen_integers_come_out_exactly(network, samples, bits):
    """What AdaRound chooses is what the file holds: every weight, rounded at random."""
    rng = np.random.default_rng(1)
    name = {4: "int4", 8: "int8"}[bits]
    formats = {op.number: possible(network, op, name) for op in network.operators}
    changes, chosen = {}, {}
    for op in network.weighted():
        if formats[op.number] != name:
            continue
        linear = linear_of(network, op)
        matrix = linear.matrix(network.constant(op.inputs[1]))
        scales = channel_scales(matrix, bits, clip=bits == 4)
        top = (1 << (bits - 1)) - 1
        ratio = matrix / scales
        q = np.clip(np.floor(ratio) + rng.integers(0, 2, ratio.shape), -top, top)
        q = np.where(np.abs(ratio) >= top - 1e-6, np.sign(ratio) * top, q)
        chosen[op.inputs[1]] = linear.weights_of(q).astype(np.int8)
        changes[op.inputs[1]] = linear.weights_of(q * scales)
    found = ranges(histograms(network, samples), "min-max", percentile=100.0)
    written = network.replaced(changes)
    content = write(written, found, formats)
    stored = [a for a in constants(content).values() if a.dtype in (np.int8, np.uint8)]
    packed = {a.tobytes() for a in stored}
    for q in chosen.values():
        flat = q.ravel()
        if bits == 4:
            flat = np.append(flat, np.zeros(flat.size % 2, np.int8))
            flat = ((flat[1::2] & 15) << 4 | flat[::2] & 15).astype(np.uint8)
        assert flat.tobytes() in packed
    assert len(chosen) == (6 if bits == 8 else 5)  # litert-quantizer has no int4 depthwise


def test_clipped_scales_err_less():
    matrix = RNG.laplace(size=(5, 200))
    matrix[4] = 0.0
    errors = []
    for clip in (False, True):
        scales = channel_scales(matrix, 4, clip=clip)
        errors.append(np.sum((nearest(matrix, scales, 4) * scales - matrix) ** 2, axis=1))
        assert np.all(np.abs(nearest(matrix, scales, 4)).max(axis=1)[:4] == 7)
    assert np.all(errors[1] <= errors[0]) and errors[1].sum() < 0.8 * errors[0].sum()


def test_adaround_beats_nearest_and_is_repeatable(network, samples):
    runner = Runner(network.content(), keep_all=True)
    op = network.weighted()[3]
    linear = linear_of(network, op)
    matrix, bias = linear.matrix(network.constant(op.inputs[1])), network.bias(op)
    rng = np.random.default_rng(0)
    rows = []
    for sample in samples:
        runner.run(sample)
        rows.append(linear.rows(runner.tensor(op.inputs[0]), rng, 100))
    rows = np.concatenate(rows)
    target = np.clip(linear.products(rows, matrix) + bias, *linear.bounds)
    scales = channel_scales(matrix, 4)
    fit = Fit(linear, rows, target, bias)
    q = adaround(fit, matrix, scales, 4, steps=300, seed=0)
    assert np.array_equal(q, adaround(fit, matrix, scales, 4, steps=300, seed=0))
    plain = nearest(matrix, scales, 4)
    assert np.all(np.abs(q - matrix / scales) < 1.0 + 1e-6) and np.any(q != plain)
    errors = [fit.errors((choice * scales).astype(np.float32)).sum() for choice in (plain, q)]
    assert errors[1] < 0.9 * errors[0]
    sparse = np.where(np.abs(matrix) < np.median(np.abs(matrix)), 0.0, matrix)
    scales = channel_scales(sparse, 4)
    q = adaround(fit, sparse, scales, 4, steps=300, seed=0)
    assert np.all(q[sparse == 0.0] == 0.0) and np.any(q != nearest(sparse, scales, 4))


def test_on_grid_touches_int4_alone(network):
    formats = {op.number: possible(network, op, "int4") for op in network.operators}
    changed = on_grid(network, formats)
    depthwise = next(op for op in network.weighted() if op.kind == "DEPTHWISE_CONV_2D")
    assert depthwise.inputs[1] not in changed.changes and len(changed.changes) == 5
    assert not network.changes


# equalization


def test_equalization_changes_no_output(network, samples):
    balanced, notes = equalize(network)
    assert np.allclose(outputs(balanced.content(), samples), outputs(network.content(), samples),
                       atol=1e-5)  # fmt: skip
    first, second = balanced.weighted()[:2]
    behind = np.abs(balanced.constant(first.inputs[1])).max(axis=(1, 2, 3))
    ahead = np.abs(balanced.constant(second.inputs[1])).max(axis=(0, 1, 2))
    ahead = ahead.reshape(-1, 2).max(axis=1)  # two outputs of each channel
    assert np.allclose(behind, ahead, rtol=1e-2)
    # ReLU6 does not commute with a factor; pooling, flattening and ReLU do
    assert (
        notes == (notes[0],)
        and notes[0].startswith("equalization: 4 pairs")
        and "1 are" in (notes[0])
    )


def test_a_channel_without_weights_stays(keras, samples):
    layers = keras.layers
    inputs = keras.Input((9, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    weights = model.get_weights()
    weights[0][..., 1] = 0.0
    model.set_weights(weights)
    network = Network(of_keras(model).to_tflite())
    balanced, _ = equalize(network)
    assert np.allclose(outputs(balanced.content(), samples), outputs(network.content(), samples),
                       atol=1e-5)  # fmt: skip


def test_without_a_chain_nothing_is_balanced(keras):
    inputs = keras.Input((4,))
    network = Network(of_keras(keras.Model(inputs, keras.layers.Dense(3)(inputs))).to_tflite())
    same, notes = equalize(network)
    assert same is network and "no two layers" in notes[0]


# writing


def test_formats_of_one_file(network, samples):
    found = ranges(histograms(network, samples), "min-max", percentile=100.0)
    formats = {op.number: possible(network, op, "int8") for op in network.operators}
    weighted = network.weighted()
    for op, name in zip(weighted, ("int16x8", "float32", "int4", "int4", "float16"), strict=False):
        formats[op.number] = possible(network, op, name)
    content = write(network, found, formats)
    kinds = [
        text.split(" to ")[0] for place, text in operator_formats(content) if "CONV_2D" in place
    ]
    assert kinds[0].startswith("int16, int8") and kinds[1].startswith("float32, float32")
    assert kinds[2].startswith("int8, int4")
    assert np.abs(outputs(content, samples) - outputs(network.content(), samples)).max() < 0.2
    same = write(network, found, dict.fromkeys(formats, "float32"))
    assert np.array_equal(outputs(same, samples), outputs(network.content(), samples))


def test_several_subgraphs_are_refused():
    import copy

    from edgebuild.models.float_tflite import pack, unpack
    from tests.small import small_model

    model = unpack(small_model())
    model.subgraphs = [*model.subgraphs, copy.deepcopy(model.subgraphs[0])]
    with pytest.raises(ValueError, match="several subgraphs"):
        Network(pack(model))
    assert State(None).flatbuffer is None


@pytest.mark.parametrize("name", ["int4", "int8", "int16x8"])
def test_a_channel_without_weights_keeps_its_bias(keras, samples, name):
    layers = keras.layers
    inputs = keras.Input((9, 8, 3))
    x = layers.Conv2D(3, 3, kernel_initializer="zeros", bias_initializer="ones")(inputs)
    network = Network(of_keras(keras.Model(inputs, layers.ReLU()(x))).to_tflite())
    found = ranges(histograms(network, samples), "min-max", percentile=100.0)
    formats = {op.number: possible(network, op, name) for op in network.operators}
    content = write(network, found, formats)
    assert name != "int4" or any("int4" in text for _, text in operator_formats(content))
    assert np.allclose(outputs(content, samples), 1.0, atol=0.01)


def test_an_index_stays_a_float(keras):
    layers = keras.layers
    inputs = keras.Input((9,))
    x = layers.GlobalAveragePooling1D()(layers.Embedding(16, 8)(inputs))
    network = Network(of_keras(keras.Model(inputs, layers.Dense(2)(x))).to_tflite())
    given = [(x,) for x in RNG.integers(0, 16, (30, 9)).astype(np.float32)]
    found = ranges(histograms(network, given), "min-max", percentile=100.0)
    formats = {op.number: possible(network, op, "int16x8") for op in network.operators}
    content = write(network, found, formats)
    exact = outputs(network.content(), given)
    assert np.abs(outputs(content, given) - exact).max() < 0.02 * np.abs(exact).max()


def test_entropy_is_not_led_by_a_spike():
    """A background of one value, as a bias gives, must not cost the tail its range."""
    values = np.append(np.full(300_000, 0.37), np.abs(RNG.normal(size=200_000)))
    assert METHODS["entropy"](filled(values), 0)[1] > 3.0
