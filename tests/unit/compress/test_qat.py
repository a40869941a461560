"""Quantization-aware training: what was trained is what is written, integer by integer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.cluster import Cluster
from edgebuild.compress.ptq.calibration import histograms, ranges
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.qat import compare_integers, range_groups, train_network
from edgebuild.compress.qat_graph import spec_of
from edgebuild.compress.qat_model import (
    LAYER,
    quantized_model,
    trained_constants,
    trained_ranges,
)
from edgebuild.compress.quality import predict, state_quality
from edgebuild.compress.quantize import Quantize, calibration_samples
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.sparsify import Sparsify
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError
from edgebuild.models.tf_model import of_keras
from edgebuild.tflite.reader import read_tflite

pytestmark = pytest.mark.keras


def network_of(model, context, samples=100):
    """Return the float network of a Keras model, and its calibrated ranges."""
    network = Network(of_keras(model).to_tflite())
    counted = histograms(network, calibration_samples(model, context, samples))
    return network, ranges(counted, "min-max", percentile=100.0)


@pytest.fixture(scope="module")
def learned(trained):
    """The network, the .tflite that training left, and the Keras model that was trained."""
    from .conftest import split

    context = Context(split(512, 1), split(200, 2), trained, TrainingSetup(batch_size=32))
    network, found = network_of(trained, context)
    content, model = train_network(network, found, State(trained), context, 3)
    return network, found, content, model, context


def test_the_file_has_what_was_trained(learned):
    """Operator by operator: scale and zero point of each output, integers of weights and biases."""
    network, found, content, model, _ = learned
    graph = read_tflite(content, name="n", where="n")
    groups, ends = range_groups(network, found), trained_ranges(model)
    constants, axes = trained_constants(model), model.get_layer(LAYER).axis
    assert [op.kind for op in network.operators] == [op.kind for op in graph.ops]
    weighted = 0
    for op, written in zip(network.operators, graph.ops, strict=True):
        activation = {}
        pairs = (*zip(op.inputs, written.inputs, strict=False), (op.outputs[0], written.outputs[0]))
        for mine, theirs in pairs:
            if mine not in groups:
                continue
            low, high = ends[groups[mine]]
            quantization = graph.tensors[theirs].quantization
            activation[mine] = scale = (high - low) / 255
            assert quantization.scales[0] == pytest.approx(scale, rel=1e-6)
            assert quantization.zero_points[0] == np.rint(-128 - low / scale)
        if str(op.inputs[1] if len(op.inputs) > 1 else -1) not in axes:
            continue
        values = constants[op.inputs[1]].astype(np.float64)
        others = tuple(i for i in range(values.ndim) if i != axes[str(op.inputs[1])])
        scales = np.abs(values).max(axis=others, keepdims=True) / 127
        np.testing.assert_array_equal(
            graph.tensors[written.inputs[1]].data, np.rint(values / scales)
        )
        biases = constants[op.inputs[2]] / (scales.reshape(-1) * activation[op.inputs[0]])
        assert np.abs(graph.tensors[written.inputs[2]].data - biases).max() <= 1
        weighted += 1
    assert weighted == 6


def test_the_trained_model_computes_the_files_integers(learned):
    _, _, content, model, context = learned
    equal, worst = compare_integers(model, content, [context.validation.x[0]])
    assert equal > 0.9
    assert worst <= 2


def test_before_training_it_is_the_calibrated_network(trained, context):
    network, found = network_of(trained, context)
    model = quantized_model(network, spec_of(network), range_groups(network, found), found)
    for tensor, (low, high) in trained_ranges(model).items():
        assert low == pytest.approx(min(found[tensor][0], 0.0), abs=1e-6)
        assert high >= found[tensor][1] - 1e-6
    ours = predict(model, context.validation.x)
    theirs = predict(trained, context.validation.x)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.97
    assert np.abs(ours - theirs).max() < 0.2


def test_weights_and_ranges_learn(learned):
    network, found, _, model, _ = learned
    constants = trained_constants(model)
    assert any(not np.allclose(network.constant(t), v, atol=1e-3) for t, v in constants.items())
    assert any(
        abs(high - found[t][1]) > 1e-3 * found[t][1]
        for t, (_, high) in trained_ranges(model).items()
    )


def test_training_mends_what_rounding_breaks(keras, context):
    """One channel 1,000 times as wide as the rest leaves them no levels: training finds a way."""
    layers = keras.layers
    keras.utils.set_random_seed(4)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    norm = layers.BatchNormalization()
    dense = layers.Dense(3, activation="softmax")
    model = keras.Model(inputs, dense(layers.Flatten()(layers.ReLU()(norm(x)))))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(context.train.x[0], context.train.y, epochs=6, verbose=0)
    wide = np.where(np.arange(8) == 0, 1000.0, 1.0).astype(np.float32)
    gamma, beta, *statistics = norm.get_weights()
    norm.set_weights([gamma * wide, beta * wide, *statistics])
    kernel, bias = dense.get_weights()
    dense.set_weights([kernel / np.tile(wide, len(kernel) // 8)[:, None], bias])
    context = dataclasses.replace(context, teacher=model)
    made = [Quantize(epochs=n).apply(State(model), context) for n in (0, 3)]
    exact, plain, trained = (
        state_quality(s, context.validation, model).value
        for s in (State(model), *(state for state, _ in made))
    )
    assert plain < exact - 0.05
    assert trained > plain + 0.5 * (exact - plain)
    assert made[1][1][0].startswith("trained with int8 for 3 epochs; ranges moved by ")


def test_zeros_of_a_sparse_model_stay(trained, context):
    sparse, _ = Sparsify(0.7, steps=1, epochs=0).apply(State(trained), context)
    network, found = network_of(sparse.model, context)
    _, model = train_network(network, found, sparse, context, 1)
    constants = trained_constants(model)
    for op in network.weighted():
        before = network.constant(op.inputs[1])
        assert np.all(constants[op.inputs[1]][before == 0.0] == 0.0)
        assert np.count_nonzero(before == 0.0) > 0 or op.kind != "CONV_2D"


def test_without_labels_and_with_equal_seeds_the_bytes_are_equal(trained, context):
    bare = dataclasses.replace(context, train=Split(context.train.first(96).x, None))
    first, second = (Quantize(epochs=1).apply(State(trained), bare)[0] for _ in "ab")
    assert first.flatbuffer == second.flatbuffer


def test_operators_of_every_kind(keras):
    """Each kind computes what LiteRT computes: the model of before agrees with the float one."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    one, two = keras.Input((8, 8, 4), name="one"), keras.Input((8, 8, 4), name="two")
    x = layers.Concatenate()([one, layers.LeakyReLU()(two)])
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.AveragePooling2D(2)(layers.ZeroPadding2D(1)(x))
    gate = layers.Dense(8, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)])
    x = layers.Subtract()([x, layers.Conv2D(8, 1, activation="tanh")(x)])
    x = layers.Permute((2, 1, 3))(layers.Maximum()([x, layers.Activation("hard_swish")(x)]))
    outputs = layers.Dense(3)(layers.Flatten()(x)), layers.MaxPooling2D(2)(x)
    model = keras.Model([one, two], outputs)
    rng = np.random.default_rng(0)
    part = Split(tuple(rng.normal(size=(64, 8, 8, 4)).astype(np.float32) for _ in "ab"), None)
    context = Context(part, part, model, TrainingSetup(batch_size=16))
    try:
        network, found = network_of(model, context, 64)
        spec = spec_of(network)
    except InputError as error:
        pytest.fail(str(error))
    trainable = quantized_model(network, spec, range_groups(network, found), found)
    ours, theirs = (predict(m, part.x) for m in (trainable, model))
    noise = np.sum((ours - theirs) ** 2) / np.sum((theirs - theirs.mean()) ** 2)
    assert noise < 0.02
    after, _ = Quantize(epochs=1).apply(State(model), context)
    assert state_quality(after, part, model).value > 0.9


def test_what_cannot_be_trained_is_named(keras):
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, keras.ops.cumsum(keras.layers.Conv2D(3, 2)(inputs), 1))
    part = Split((np.zeros((32, 4, 4, 2), np.float32),), None)
    context = Context(part, part, model, TrainingSetup())
    with pytest.raises(InputError, match=r"cannot be trained with integers: #.* CUMSUM"):
        Quantize(epochs=1).apply(State(model), context)
    with pytest.raises(InputError, match="training with int16x8 is not supported"):
        Quantize(epochs=1, format="int16x8").apply(State(model), context)


def test_shared_weights_stay_shared(trained, context):
    shared, _ = Cluster(bits=2, epochs=0).apply(State(trained), context)
    network, found = network_of(shared.model, context)
    _, model = train_network(network, found, shared, context, 1)
    layer = model.get_layer(LAYER)
    for op in network.weighted():
        before, after = network.constant(op.inputs[1]), np.asarray(layer.tensors[str(op.inputs[1])])
        assert not np.array_equal(before, after)
        for value in np.unique(before):
            assert len(np.unique(after[before == value])) == 1


def test_constant_operands_are_rounded_as_in_the_file(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = layers.BatchNormalization()(layers.ReLU()(layers.Rescaling(0.37, -0.21)(inputs)))
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    norm = next(layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.3, 2.0, 2), rng.normal(size=2), np.zeros(2), np.ones(2)])
    part = Split((rng.normal(size=(100, 8, 8, 2)).astype(np.float32),), None)
    context = Context(part, part, model, TrainingSetup(batch_size=16))
    network, found = network_of(model, context)
    content, twin = train_network(network, found, State(model), context, 1)
    equal, worst = compare_integers(twin, content, part.x)
    assert equal > 0.9 and worst <= 1


def noise(shape, count=96):
    """Return unlabelled samples for ``shape``, or for each shape of a list."""
    rng = np.random.default_rng(0)
    shapes = shape if isinstance(shape, list) else [shape]
    return Split(tuple(rng.normal(size=(count, *s)).astype(np.float32) for s in shapes), None)


def trained_integers(model, part):
    """Return the share of integers that the trained model and its file have in common, and the
    largest difference."""
    context = Context(part, part, model, TrainingSetup(batch_size=16))
    network, found = network_of(model, context)
    content, twin = train_network(network, found, State(model), context, 1)
    return compare_integers(twin, content, part.x)


def test_slices_splits_and_sums(keras):
    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 4))
    x = layers.Concatenate()([inputs[:, 2:9:2, :, :3], inputs[:, :4, :, 1:4]])
    a, b = ops.split(layers.Conv2D(6, 3, activation="relu")(x), 2, axis=-1)
    x = ops.sum(layers.Add()([a, b]), axis=(1, 2))
    model = keras.Model(inputs, [layers.Dense(3)(x), layers.GlobalMaxPooling2D()(a)])
    equal, worst = trained_integers(model, noise((12, 12, 4)))
    assert equal > 0.9 and worst <= 2


def test_dilated_and_grouped_convolutions(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 4))
    x = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(inputs)
    x = layers.Conv1D(8, 3, padding="same", dilation_rate=4, activation="relu")(x)
    x = layers.Conv1D(8, 3, padding="same", groups=2)(x)
    x = layers.DepthwiseConv1D(3, dilation_rate=2, activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    equal, worst = trained_integers(model, noise((32, 4)))
    assert equal > 0.75 and worst <= 2


def test_two_inputs_that_share_their_layers(keras):
    """The quantizer copies a bias that two calls share: t2's copy is not t21."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    first, second = keras.Input((12, 12, 1), name="left"), keras.Input((12, 12, 1), name="right")
    shared = [
        layers.Conv2D(4, 3, strides=2, activation="relu"),
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(8),
    ]
    ends = []
    for x in (first, second):
        for layer in shared:
            x = layer(x)
        ends.append(x)
    apart = layers.Subtract()(ends)
    outputs = layers.Dense(1)(layers.Multiply()([apart, apart]))
    model = keras.Model([first, second], outputs)
    part = noise([(12, 12, 1), (12, 12, 1)])
    state, _ = Quantize(epochs=1).apply(
        State(model), Context(part, part, model, TrainingSetup(batch_size=16))
    )
    assert state_quality(state, part, model).value > 0.9
    names = [t.name for t in read_tflite(state.flatbuffer).tensors.values()]
    assert len(set(names)) == len(names) and {"left", "right"} <= set(names)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_batch_that_is_built_into_shapes(keras, kind):
    """Unrolled recurrent layers start from constants of batch 1: samples go one by one."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, layers.Dense(2)(getattr(layers, kind)(4, unroll=True)(inputs)))
    part = noise((3, 4), 32)
    context = Context(part, part, model, TrainingSetup(batch_size=16))
    state, notes = Quantize(epochs=1).apply(State(model), context)
    assert state_quality(state, part, model).value > 0.95
    assert "with int8" in notes[-1]


def test_transposed_convolutions_and_attention(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.LayerNormalization()(layers.Add()([x, inputs]))
    x = layers.PReLU()(layers.Reshape((6, 1, 4))(x))
    x = layers.Conv2DTranspose(5, (3, 2), strides=2, padding="same", activation="elu")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    part = noise((6, 4), 32)
    context = Context(part, part, model, TrainingSetup(batch_size=16))
    state, _ = Quantize(epochs=1).apply(State(model), context)
    assert state_quality(state, part, model).value > 0.8


def test_the_better_of_calibrated_and_trained_is_kept(trained, context):
    wild = dataclasses.replace(context, setup=TrainingSetup(batch_size=32, learning_rate=100.0))
    plain, _ = Quantize().apply(State(trained), context)
    kept, notes = Quantize(epochs=1).apply(State(trained), wild)
    assert kept.flatbuffer == plain.flatbuffer
    assert notes[-1].startswith("1 epochs in int8 did not help, so the calibrated model is kept")


def test_equalized_before_training(trained, context):
    _, notes = Quantize(epochs=1, equalize=True).apply(State(trained), context)
    assert notes[0].startswith("equalization: ") and "with int8" in notes[1]


def test_a_killed_run_goes_on(trained, context, tmp_path):
    short = dataclasses.replace(context, train=context.train.first(96))

    def kill(message):
        if message.startswith("epoch 1 of 2"):
            raise KeyboardInterrupt

    step, seen = Quantize(epochs=2, samples=20), []
    whole, _ = step.apply(State(trained), short)
    kept = dataclasses.replace(short, checkpoints=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        step.apply(State(trained), dataclasses.replace(kept, progress=kill))
    again, _ = step.apply(State(trained), dataclasses.replace(kept, progress=seen.append))
    assert again.flatbuffer == whole.flatbuffer
    assert [m[:12] for m in seen if m.startswith("epoch")] == ["epoch 2 of 2"]


def test_the_loss_sees_probabilities_that_sum_to_one(learned):
    """Rounded to int8's grid they do not, and would be taken for logits."""
    _, _, _, model, context = learned
    x = context.validation.x[0]
    whole, rounded = (np.asarray(model(x, training=t)).reshape(-1, 3) for t in (True, False))
    np.testing.assert_allclose(whole.sum(1), 1.0, atol=1e-5)
    assert np.abs(rounded.sum(1) - 1.0).max() > 1e-3
    assert np.abs(whole - rounded).max() <= 1 / 256 + 1e-6
