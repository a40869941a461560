"""The dependency graph, proved by surgery: removing channels that are zero changes no output."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.costs import nodes
from edgebuild.compress.groups import groups_of, layer_ratios, prunable_groups
from edgebuild.compress.quality import predict_all
from edgebuild.compress.surgery import remove_channels

pytestmark = pytest.mark.keras


def same_after_removal(model, count=2, *, seed=0):
    """Silence some channels, remove them, compare outputs; return the smaller model."""
    rng = np.random.default_rng(seed)
    channels = channel_map(model)
    gone = set()
    for group in groups_of(channels):
        if group.count > count:
            gone |= set(rng.choice(group.channels, count, replace=False).tolist())
    return silenced(model, channels, gone)


def silenced(model, channels, gone):
    """Silence channels, remove them, compare outputs; return the smaller model."""
    assert gone, "nothing can be removed"
    rng = np.random.default_rng(0)
    for variable in model.weights:
        value = np.asarray(variable).copy()
        if value.ndim == 1:
            value = rng.normal(0.5, 0.2, value.shape).clip(0.1)
        for axis, ids in enumerate(channels.axes.get(variable.path, ())):
            if ids is not None:
                dead = [slice(None)] * value.ndim
                dead[axis] = np.isin(ids, sorted(gone))
                value[tuple(dead)] = 0.0
        if variable.path.endswith("moving_variance"):
            value = np.where(value == 0, 1.0, value)
        variable.assign(value)
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(4, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    x = [abs(a.round()) if a.ndim == 2 and a.shape[1] == 3 else a for a in x]  # words
    before = predict_all(model, x)
    small = remove_channels(State(model), channels, frozenset(gone)).model
    assert small.count_params() < model.count_params()
    for ours, theirs in zip(predict_all(small, x), before, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    return small


def test_residual_depthwise_flatten(trained, keras):
    from edgebuild.compress.training import clone

    small = same_after_removal(clone(trained))
    assert small.get_layer("stem").filters == small.get_layer("b").filters == 6
    assert small.get_layer("fc").units == 10
    assert small.get_layer("out").units == 3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_multiplier_and_separable(keras, multiplier):
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(6, 1)(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=multiplier)(x)
    x = layers.SeparableConv2D(8, 3, depth_multiplier=multiplier)(x)
    x = layers.GlobalAveragePooling2D()(x)
    same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))


def test_concatenation_of_several_inputs_and_outputs(keras):
    layers = keras.layers
    a, b = keras.Input((8, 4)), keras.Input((8, 5))
    x = layers.Concatenate()([layers.Conv1D(6, 3)(a), layers.Conv1D(5, 3)(b)])
    x = layers.Activation("relu")(layers.LayerNormalization(center=False, scale=False)(x))
    shared = layers.Dense(6, name="shared")
    left, right = shared(layers.Flatten()(x)), layers.GlobalMaxPooling1D()(x)
    model = keras.Model([a, b], [layers.Dense(2)(left), layers.Dense(2)(right)])
    channels = channel_map(model)
    assert len(channels.prunable("shared")) == 6


def test_a_shared_layer_keeps_its_inputs_equal(keras):
    layers = keras.layers
    a, b = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(5, name="shared")
    x = layers.Subtract()([shared(layers.Dense(8)(a)), shared(layers.Dense(8)(b))])
    same_after_removal(keras.Model([a, b], layers.Dense(1)(x)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_units(keras, kind):
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x = getattr(layers, kind)(6, return_sequences=True)(inputs)
    x = getattr(layers, kind)(5)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    assert channel_map(model).fixed.isdisjoint(channel_map(model).outputs[model.layers[1].name])


def test_reshape(keras):
    layers = keras.layers
    inputs = keras.Input((4, 4, 2))
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 1)(inputs))
    x = layers.Reshape((4, 24))(layers.ReLU()(x))
    same_after_removal(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))


@pytest.mark.parametrize("shape", [(4, 4, 6), (2, 48), (16, 6)])
def test_reshape_of_dense_units(keras, shape):
    layers = keras.layers
    inputs = keras.Input((5,))
    x = layers.Reshape(shape)(layers.Dense(96, name="wide")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    same_after_removal(model)


@pytest.mark.parametrize(
    ("groups", "given", "made", "left"),
    [(2, 8, 12, (6, 10)), (4, 8, 8, (4, 4)), (6, 6, 12, (4, 8)), (2, 2, 4, (2, 4))],
)
def test_grouped_convolution(keras, groups, given, made, left):
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(given, 1, activation="relu", name="before")(inputs)
    x = layers.Conv2D(made, 3, groups=groups, name="grouped")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    if left == (given, made):  # two groups: either both lose a channel or a group goes
        return
    gone, channels = set(), channel_map(model)
    for group in groups_of(channels):
        gone |= set(group.channels[: 2 if groups > 2 else 1])
    small = silenced(model, channels, gone)
    assert small.get_layer("before").filters == left[0]
    assert small.get_layer("grouped").filters == left[1]


@pytest.mark.parametrize("kind", ["Conv1DTranspose", "Conv2DTranspose"])
def test_transposed_convolution(keras, kind):
    layers = keras.layers
    inputs = keras.Input((5, 3) if "1D" in kind else (5, 5, 3))
    x = getattr(layers, kind)(6, 3, strides=2, name="up")(inputs)
    x = getattr(layers, kind)(5, 2)(layers.PReLU(shared_axes=[1])(x))
    small = same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))
    assert small.get_layer("up").filters == 4


@pytest.mark.parametrize("merge", ["concat", "sum", "mul"])
def test_bidirectional(keras, merge):
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), merge, name="both")(inputs)
    x = layers.Bidirectional(layers.GRU(5))(x)
    small = same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))
    both = small.get_layer("both")
    assert both.forward_layer.units == both.backward_layer.units == 4


def test_activations_that_compare_units(keras):
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x = layers.LSTM(6, activation="softmax", return_sequences=True, name="a")(inputs)
    x = layers.GRU(6, recurrent_activation="softmax", return_sequences=True, name="b")(x)
    x = layers.Bidirectional(layers.SimpleRNN(6, "softmax", return_sequences=True), name="c")(x)
    x = layers.Dense(6, activation=layers.Softmax(), name="d")(x)
    x = layers.Dense(6, name="e")(x)
    channels = channel_map(keras.Model(inputs, layers.Dense(2)(x)))
    assert [len(channels.prunable(name)) for name in "abcde"] == [0, 0, 0, 0, 6]


def test_states_of_recurrent_layers(keras):
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x, h, c = layers.LSTM(6, return_sequences=True, return_state=True, name="a")(inputs)
    y = layers.LSTM(6, name="b")(x, initial_state=[h, c])
    small = same_after_removal(keras.Model(inputs, layers.Dense(2)(layers.Add()([y, c]))))
    assert small.get_layer("a").units == small.get_layer("b").units == 4


@pytest.mark.parametrize("masking", ["embedding", "layer", "given"])
def test_masks_are_no_inputs(keras, masking):
    layers = keras.layers
    inputs = keras.Input((3,))
    x = layers.Embedding(6, 8, mask_zero=masking == "embedding", name="words")(inputs)
    x = layers.Masking(name="mask")(x) if masking == "layer" else x
    mask = keras.ops.not_equal(inputs, 0) if masking == "given" else None
    both = layers.Bidirectional(layers.GRU(6, return_sequences=True), name="both")
    x = both(x, mask=mask)
    x = layers.TimeDistributed(layers.Dense(6), name="each")(x, mask=mask)
    more = (None, mask) if masking == "given" else ()
    x, h, c = layers.LSTM(6, return_sequences=True, return_state=True, name="a")(x, *more)
    x = layers.LSTM(6, return_sequences=True, name="b")(x, initial_state=[h, c], mask=mask)
    x = layers.GlobalAveragePooling1D()(x, mask=mask)
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {group.layers: group.count for group in prunable_groups(model)}
    words = {} if masking == "layer" else {("words",): 8}  # it compares them all with a value
    assert found == {**words, ("both",): 6, ("each",): 6, ("a", "b"): 6}
    assert channel_map(model).notes == ()
    small = same_after_removal(model)
    assert small.get_layer("a").units == small.get_layer("b").units == 4


def test_time_distributed_and_embedding(keras):
    layers = keras.layers
    inputs = keras.Input((3, 6, 6, 2))
    words = keras.Input((3,))
    x = layers.TimeDistributed(layers.Conv2D(5, 3), name="conv")(inputs)
    x = layers.TimeDistributed(layers.Flatten())(x)
    x = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="fc")(x)
    x = layers.Add()([x, layers.Embedding(10, 8, name="words")(words)])
    small = same_after_removal(keras.Model([inputs, words], layers.Dense(2)(x)))
    assert small.get_layer("conv").layer.filters == 3
    assert small.get_layer("fc").layer.units == small.get_layer("words").output_dim == 6


@pytest.mark.parametrize("out", ["abd", "abde"])
def test_einsum(keras, out):
    layers = keras.layers
    inputs = keras.Input((3, 5))
    x = layers.Dense(6)(inputs)
    shape, bias = ((None, 6), "d") if out == "abd" else ((None, 2, 6), "de")
    x = layers.EinsumDense(f"abc,c{out[2:]}->{out}", shape, bias_axes=bias, name="e")(x)
    small = same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))
    assert small.get_layer("e").kernel.shape[-1] == 4
    x = layers.EinsumDense("abc,bd->adc", (4, 5))(inputs)
    assert any("keeps all" in n for n in channel_map(keras.Model(inputs, x)).notes)


@pytest.mark.parametrize("gate", [False, True])
def test_attention_heads(keras, gate):
    layers = keras.layers
    a, b = keras.Input((4, 8)), keras.Input((6, 5))
    x = layers.Dense(8, name="d")(a)
    x = layers.MultiHeadAttention(4, 3, 2, use_gate=gate, name="self")(x, x) + x
    x = layers.MultiHeadAttention(4, 3, name="cross")(x, b)
    x = layers.GroupQueryAttention(3, 6, 3, use_gate=gate, name="grouped")(x, value=x)
    small = same_after_removal(keras.Model([a, b], layers.Dense(2)(x)))
    assert small.get_layer("self").num_heads == small.get_layer("cross").num_heads == 2
    assert small.get_layer("grouped").num_query_heads == 2
    assert small.get_layer("d").units == 6


def test_functions_and_constants(keras):
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((6, 4))
    x = layers.Dense(8, name="free")(inputs)
    x = ops.relu(x) * 0.5 + x
    x = layers.Permute((2, 1))(layers.Permute((2, 1))(layers.Dense(6, name="held")(x)))
    y = layers.Dense(5, name="constant")(inputs) * np.arange(5, dtype=np.float32)
    y = layers.Softmax()(layers.Dense(6, name="compared")(y))
    z = layers.Activation("softmax")(layers.Dense(6, name="compared2")(y))
    model = keras.Model(inputs, [layers.Dense(2)(t) for t in (x, y, z)])
    channels = channel_map(model)
    held = {n for n in channels.outputs if not len(channels.prunable(n))}
    assert {"held", "constant", "compared", "compared2"} <= held and "free" not in held
    same_after_removal(model)


@pytest.mark.parametrize("shape", [(-1, 96), (-1, 8, 12), (-1, 4, 4, 3), (-1, 4, 4, 6)])
def test_reshape_as_a_function(keras, shape):
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((4, 4, 2))
    x = ops.reshape(layers.Conv2D(6, 1, name="c")(inputs), shape)
    x = layers.Dense(5)(layers.Flatten()(ops.relu(x)))
    small = same_after_removal(keras.Model(inputs, layers.Dense(2)(x)))
    assert small.get_layer("c").filters < 6
    assert len({node.operation.name for node in nodes(small)}) == len(nodes(small))


def test_a_function_is_not_the_layer_of_its_name(keras):
    layers, ops = keras.layers, keras.ops
    inputs = keras.Input((6, 4))
    x = layers.Dense(6, name="averaged")(inputs)
    x = layers.Dense(6, name="in_a_row")(ops.average(x, axis=-1))
    x = layers.Dense(8, name="free")(ops.reshape(ops.reshape(x, (-1,)), (-1, 6)))
    x = ops.concatenate([x, layers.Average()([x, x])], axis=-1)
    model = keras.Model(inputs, layers.Dense(2)(x))
    channels = channel_map(model)
    assert {n: len(channels.prunable(n)) for n in ("averaged", "in_a_row", "free")} == {
        "averaged": 0, "in_a_row": 0, "free": 8
    }  # fmt: skip
    same_after_removal(model)


def test_channels_that_meet_in_part(keras):
    layers = keras.layers
    inputs = keras.Input((6,))
    x = layers.Concatenate()([layers.Dense(4, name="a")(inputs), layers.Dense(5, name="b")(inputs)])
    x = layers.Add()([x, layers.Dense(9, name="c")(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {group.layers: group.count for group in prunable_groups(model)}
    assert found == {("a", "c"): 4, ("b", "c"): 5}
    small = same_after_removal(model, 1)
    assert layer_ratios(model, small) in ("a:3", "b:4", "a:3+b:4")


def test_what_is_not_understood_keeps_its_channels(keras):
    layers = keras.layers
    inputs = keras.Input((4, 8))
    x = layers.Dense(8, name="d")(inputs)
    x = layers.GroupNormalization(2, name="grouped")(x)
    softmax = layers.Dense(8, activation="softmax", name="gate")(x)
    first = layers.Conv2D(4, 1, data_format="channels_first", name="first")
    x = first(layers.Reshape((1, 4, 8))(softmax))
    model = keras.Model(inputs, layers.Dense(2)(x))
    channels = channel_map(model)
    assert len(channels.prunable("d")) == len(channels.prunable("gate")) == 0
    assert channels.notes == (
        "grouped (GroupNormalization) keeps all channels", "first (Conv2D) keeps all channels"
    )  # fmt: skip
