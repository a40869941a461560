"""Channels that no weight reads, and what sparsify makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.sparsify import Sparsify, sparse_kernels
from edgebuild.compress.unread import parts_of, unread

pytestmark = pytest.mark.keras


def found(model, **masks):
    """Return how many channels are unread of each layer, with zeros where ``masks`` has them."""
    channels = channel_map(model)
    alive = {path.replace("__", "/"): mask for path, mask in masks.items()}
    gone = unread(model, channels, alive)
    return {
        name: count
        for name, ids in channels.outputs.items()
        if (count := int(np.isin(ids, list(gone)).sum()))
    }


def rows(shape, *dead):
    """Return a kernel's mask without the inputs ``dead``."""
    mask = np.ones(shape, bool)
    mask[..., dead, :] = False
    return mask


def test_a_unit_whose_reader_is_all_zeros(keras):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="b")(x))
    assert found(model) == {}
    assert found(model, b__kernel=rows((5, 3), 1, 4)) == {"a": 2}
    one = rows((5, 3), 1)
    one[1, 2] = True
    assert found(model, b__kernel=one) == {}
    # An output that is all zeros, and the model's own outputs, are no such thing.
    assert found(model, b__kernel=np.zeros((5, 3), bool), a__kernel=rows((4, 5))) == {"a": 5}


def test_all_positions_of_a_flattened_channel_count(keras):
    inputs = keras.Input((2, 2, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(3, 1, name="a")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, name="b")(x))
    assert found(model, b__kernel=rows((12, 2), 1, 4, 7)) == {}
    assert found(model, b__kernel=rows((12, 2), 1, 4, 7, 10)) == {"a": 1}


def test_a_sum_is_read_where_any_of_its_readers_reads(keras):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, name="a")(inputs)
    y = keras.layers.Dense(5, name="b")(x)
    z = keras.layers.Add()([x, y])
    model = keras.Model(inputs, keras.layers.Dense(2, name="c")(z))
    gone = rows((5, 2), 0, 3)
    assert found(model, c__kernel=gone) == {}
    assert found(model, c__kernel=gone, b__kernel=rows((5, 5), 3)) == {"a": 1, "b": 1}


def test_what_a_normalization_over_channels_reads_is_read(keras):
    def model(normalization):
        inputs = keras.Input((4,))
        x = normalization(keras.layers.Dense(5, name=f"a{normalization.name}")(inputs))
        return keras.Model(inputs, keras.layers.Dense(3, name="b")(x))

    gone = rows((5, 3), 1)
    assert found(model(keras.layers.LayerNormalization(name="1")), b__kernel=gone) == {}
    assert found(model(keras.layers.BatchNormalization(name="2")), b__kernel=gone) == {"a2": 1}


def test_recurrent_units_read_each_other(keras):
    inputs = keras.Input((3, 4))
    x = keras.layers.SimpleRNN(5, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="b")(x))
    gone, own = rows((5, 2), 1), rows((5, 5), 1)
    own[:, 1] = False
    assert found(model, b__kernel=gone) == {}
    assert found(model, b__kernel=gone, a__simple_rnn_cell__recurrent_kernel=own) == {"a": 1}


def test_heads_are_read(keras):
    inputs = keras.Input((3, 8))
    x = keras.layers.Dense(8)(inputs)
    x = keras.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    assert found(model, mha__attention_output__kernel=np.zeros((2, 4, 8), bool)) == {}


@pytest.mark.parametrize("options", [{}, {"scope": "layer"}, {"pattern": "block2x1"}])
def test_no_weight_is_kept_for_what_nothing_reads(keras, context, options):
    """A hidden unit with large weights before it and small ones behind it."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    for units, name in ((12, "a"), (10, "b")):
        x = keras.layers.Dense(units, activation="relu", name=name)(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="c")(x))
    for layer in model.layers[2:]:
        layer.bias.assign(np.linspace(0.5, 1.0, layer.units))
    kernels = {v.path: v for v in sparse_kernels(model)}
    c, b, a = (np.array(kernels[f"{name}/kernel"][:]) for name in "cba")
    c[2:6] *= 1e-3
    b[:, 2:6] *= 10  # worth nothing, and with them the units of a that only they read
    b[:4, :2] = b[:4, 6:] = 1e-3
    a[:, :4] *= 10
    for name, value in zip("cba", (c, b, a), strict=True):
        kernels[f"{name}/kernel"].assign(value)
    sparsify = Sparsify(0.5, steps=1, epochs=0, fit="off", **options)
    state, _ = sparsify.apply(State(model), context)
    left = {v.path: np.asarray(v) != 0 for v in sparse_kernels(state.model)}
    channels = channel_map(state.model)
    gone = unread(state.model, channels, left)
    for path, mask in left.items():
        assert not (mask & parts_of(channels.axes[path], gone)).any()
    if options.get("scope") != "layer":
        assert not left["b/kernel"][:, 2:6].any() and not left["a/kernel"][:, :4].any()
        biases = [np.flatnonzero(layer.bias).tolist() for layer in state.model.layers[2:]]
        assert biases == [[*range(4, 12)], [0, 1, 6, 7, 8, 9], [0, 1, 2]]
    kept = sum(int(mask.sum()) for mask in left.values())
    assert kept / sum(mask.size for mask in left.values()) == pytest.approx(0.5, abs=0.01)
