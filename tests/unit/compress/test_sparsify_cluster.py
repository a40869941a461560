"""Sparsity and weight sharing: patterns, shares, and that later passes keep them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgebuild.compress.base import State, run_pass
from edgebuild.compress.cluster import Cluster, kmeans
from edgebuild.compress.prune import Prune
from edgebuild.compress.sparsify import (
    Sparsify,
    as_matrix,
    block_sizes,
    from_matrix,
    largest,
    n_of_m,
    output_axes,
    sparse_kernels,
)
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


def kernels(model):
    return {v.path: np.asarray(v) for v in sparse_kernels(model)}


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_share_of_zeros(trained, context, scope):
    result = run_pass(Sparsify(0.7, scope=scope, steps=2, epochs=2), State(trained), context)
    found = kernels(result.state.model)
    zeros = sum(int((w == 0).sum()) for w in found.values())
    assert zeros / sum(w.size for w in found.values()) == pytest.approx(0.7, abs=0.02)
    shares = [float((w == 0).mean()) for w in found.values()]
    assert (max(shares) - min(shares) < 0.05) == (scope == "layer")
    assert result.quality[1].value > 0.85
    assert result.cost[1].nonzero < 0.4 * result.cost[0].nonzero


def test_two_of_four(trained, context):
    state, _ = Sparsify(pattern="2:4", steps=1, epochs=1).apply(State(trained), context)
    assert output_axes(state.model) == {"dw/kernel": (-2, -1)}
    for path, weights in kernels(state.model).items():
        rows = as_matrix(weights, (-2, -1) if path == "dw/kernel" else (-1,))
        groups = rows[: len(rows) // 4 * 4].reshape(-1, 4, rows.shape[1])
        assert np.all((groups != 0).sum(axis=1) == 2), path


@pytest.mark.parametrize(
    ("pattern", "steps", "left"),
    [
        ("2:4", 1, [2]),
        ("2:4", 2, [3, 2]),
        ("2:4", 4, [3, 3, 2, 2]),
        ("1:4", 4, [3, 2, 1, 1]),
        ("4:8", 3, [6, 5, 4]),
    ],
)
def test_n_of_m_is_reached_in_steps(trained, context, monkeypatch, pattern, steps, left):
    seen = []

    def tune(state, context, *, epochs, near):
        seen.append((state.masks, epochs))
        return state

    monkeypatch.setattr("edgebuild.compress.sparsify.fine_tune", tune)
    step = Sparsify(pattern=pattern, steps=steps, epochs=8)
    state, _ = step.apply(State(trained), context)
    of = int(pattern[-1])
    for (masks, _), count in zip(seen, left, strict=True):
        for path in ("a/kernel", "fc/kernel"):
            mask = as_matrix(masks[path], (-1,))
            assert np.all(mask.reshape(-1, of, mask.shape[1]).sum(axis=1) == count)
    for (before, _), (after, _) in itertools.pairwise(seen):
        assert not any(np.any(after[path] & ~before[path]) for path in before)
    assert [epochs for _, epochs in seen] == [8 // steps] * (steps - 1) + [8]
    assert state.masks is seen[-1][0]


def test_two_of_four_runs_over_the_inputs_of_an_output(keras, context):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Reshape((8, 8))(inputs)
    x = layers.DepthwiseConv1D(4, depth_multiplier=2, name="deep")(x)
    x = layers.SeparableConv1D(8, 4, name="parts")(x)
    x = layers.Conv1DTranspose(8, 4, name="wide")(x)
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, x)
    state, _ = Sparsify(pattern="2:4", steps=1, epochs=0).apply(State(model), context)
    found = kernels(state.model)
    axes = {  # of the outputs
        "deep/kernel": (1, 2),
        "parts/depthwise_kernel": (1, 2),
        "parts/pointwise_kernel": (2,),
        "wide/kernel": (1,),
        "mha/query/kernel": (1, 2),
        "mha/attention_output/kernel": (2,),
    }
    for path, outputs in axes.items():
        weights = found[path]
        inputs = [axis for axis in range(weights.ndim) if axis not in outputs]
        columns = math.prod(weights.shape[axis] for axis in outputs)
        groups = weights.transpose(*inputs, *outputs).reshape(-1, 4, columns)
        assert np.all((groups != 0).sum(axis=1) == 2), path


def test_a_kernel_with_fewer_inputs_than_a_pattern_keeps_all(keras, context):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 1, name="thin")(inputs)
    x = keras.layers.Dense(8, name="wide")(x)
    thin, state = keras.Model(inputs, x), State(keras.Model(inputs, x))
    after, notes = Sparsify(pattern="2:4", steps=2, epochs=0).apply(state, context)
    assert list(after.masks) == ["wide/kernel"]
    assert np.all(np.asarray(after.model.get_layer("thin").kernel) != 0)
    assert notes == (
        "wide/kernel: 50.0% of 32 are zero",
        "thin/kernel: keeps all: an output has 1, too few for 2:4",
    )
    state = State(thin)
    after, notes = Sparsify(pattern="7:9", epochs=1).apply(state, context)
    assert after is state and len(notes) == 2


def test_biases_and_scales_of_two_dimensions_are_no_kernels(keras, context):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.GRU(4, return_sequences=True, name="gru")(layers.Reshape((8, 8))(inputs))
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    x = layers.LayerNormalization(axis=[1, 2], name="norm")(x)
    model = keras.Model(inputs, layers.PReLU(name="leak")(x))
    assert list(kernels(model)) == [
        *("gru/gru_cell/kernel", "gru/gru_cell/recurrent_kernel"),
        *(f"mha/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
    ]
    for step in (Sparsify(steps=1, epochs=0), Cluster(epochs=0), Sparsify(pattern="2:4", epochs=0)):
        _, notes = step.apply(State(model), context)
        assert len(notes) == 6 and not any("bias" in note for note in notes)


@pytest.mark.parametrize("outputs", [(-1,), (-2, -1), (-2,), (-3, -1)])
def test_a_kernel_as_a_matrix_and_back(outputs):
    kernel = np.arange(120).reshape(2, 3, 4, 5)
    matrix = as_matrix(kernel, outputs)
    assert matrix.shape[1] == np.prod([kernel.shape[axis] for axis in outputs])
    assert np.array_equal(from_matrix(matrix, kernel.shape, outputs), kernel)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_of_equal_weights_no_more_go_than_asked(trained, context, scope):
    state, _ = Cluster(bits=1, epochs=0).apply(State(trained), context)
    sparse = Sparsify(0.2, scope=scope, steps=1, epochs=0)
    after, again = (kernels(sparse.apply(state, context)[0].model) for _ in range(2))
    zeros = {path: int((w == 0).sum()) for path, w in after.items()}
    if scope == "layer":
        assert zeros == {path: round(0.2 * w.size) for path, w in after.items()}
    assert sum(zeros.values()) == pytest.approx(0.2 * sum(w.size for w in after.values()), abs=3)
    assert all(np.array_equal(after[path], again[path]) for path in after)


def test_a_kernel_that_loses_all_its_weights_is_named(trained, context):
    state, _ = Sparsify(0.2, steps=1, epochs=0).apply(State(trained), context)
    kernel = state.model.get_layer("a").kernel
    kernel.assign(np.asarray(kernel) * 1e-6)
    why = "a/kernel: all 576 are zero, what it reads has no effect"
    _, notes = Sparsify(0.8, steps=1, epochs=0).apply(state, context)
    assert f"{why}: scope=layer leaves it its share" in notes
    _, notes = Sparsify(0.8, scope="layer", steps=1, epochs=0).apply(state, context)
    assert "a/kernel: 80.0% of 576 are zero" in notes
    _, notes = Sparsify(0.8, "block600x8", "layer", steps=1, epochs=0).apply(state, context)
    assert why in notes


def test_equal_blocks_go_one_by_one():
    (mask,) = largest([np.ones((4, 4))], 0.3, (2, 2))
    assert mask.sum() == 8 and not mask[:2].any()  # 4.8 weights: the second block is the last


def test_what_was_zero_stays_so(trained, context):
    state, _ = Sparsify(0.9, steps=1, epochs=0).apply(State(trained), context)
    for again in (Sparsify(0.0, steps=1, epochs=0), Sparsify(pattern="2:4", steps=1, epochs=0)):
        after, _ = again.apply(state, context)
        assert all(not np.any(after.masks[p] & ~mask) for p, mask in state.masks.items())


def test_n_of_m_keeps_the_largest():
    size = np.array([[1.0], [4], [3], [2], [9]])
    assert n_of_m(size, 2, 4)[:, 0].tolist() == [False, True, True, False, True]


def test_blocks(trained, context):
    size = np.arange(8.0).reshape(4, 2)
    assert block_sizes(size, 2, 2).tolist() == [[1.5, 1.5], [1.5, 1.5], [5.5, 5.5], [5.5, 5.5]]
    state, _ = Sparsify(0.5, pattern="block4x2", steps=1, epochs=0).apply(State(trained), context)
    weights = kernels(state.model)["fc/kernel"]
    blocks = weights.reshape(-1, 4, 6, 2).transpose(0, 2, 1, 3).reshape(-1, 8)
    assert set((blocks != 0).sum(axis=1).tolist()) <= {0, 8}


def test_clusters_share_values_and_keep_zeros(trained, context):
    sparse, _ = Sparsify(0.6, steps=1, epochs=1).apply(State(trained), context)
    result = run_pass(Cluster(bits=3, epochs=2), sparse, context)
    before, after = kernels(sparse.model), kernels(result.state.model)
    for path, weights in after.items():
        assert np.array_equal(weights == 0, before[path] == 0)
        assert len(np.unique(weights[weights != 0])) <= 8
    assert result.quality[1].value > 0.85


def test_bits_by_tolerance_and_groups(trained, context):
    loose, _ = Cluster(bits=0, tolerance=0.3, epochs=0).apply(State(trained), context)
    tight, _ = Cluster(bits=0, tolerance=0.02, epochs=0).apply(State(trained), context)
    count = {s: len(np.unique(kernels(s.model)["fc/kernel"])) for s in (loose, tight)}
    assert count[loose] < count[tight]
    for path, weights in kernels(tight.model).items():
        original = kernels(trained)[path]
        error = np.sqrt(np.mean((weights - original) ** 2) / np.mean(original**2))
        assert error <= 0.021
    grouped, _ = Cluster(bits=2, groups=3, epochs=0).apply(State(trained), context)
    weights = kernels(grouped.model)["fc/kernel"]
    assert 8 < len(np.unique(weights)) <= 12
    assert all(len(np.unique(weights[:, i : i + 4])) <= 4 for i in (0, 4, 8))


def test_groups_are_of_output_channels(keras, context):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 1, name="first")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(x)
    x = layers.Conv2DTranspose(8, 3, name="wide")(x)
    model = keras.Model(inputs, layers.Dense(3, name="out")(layers.Flatten()(x)))
    state, _ = Cluster(bits=1, groups=4, epochs=0).apply(State(model), context)
    found = kernels(state.model)
    deep = found["deep/kernel"].reshape(9, 4, 3)  # four groups of three of the twelve outputs
    wide = found["wide/kernel"].transpose(0, 1, 3, 2).reshape(-1, 4, 2)
    for weights in (deep, wide):
        assert len(np.unique(weights)) == 8
        assert all(len(np.unique(weights[:, group])) == 2 for group in range(4))


def test_a_tolerance_that_is_missed_is_told(trained, context):
    _, notes = Cluster(bits=0, tolerance=1e-9, epochs=0).apply(State(trained), context)
    told = [note for note in notes if "misses tolerance=1e-09" in note]
    assert any(note.startswith("fc/kernel: ") for note in told)
    _, notes = Cluster(bits=0, tolerance=0.1, epochs=0).apply(State(trained), context)
    assert not any("misses" in note for note in notes)


def test_pruning_after_them_keeps_both(trained, context):
    state, _ = Sparsify(0.5, steps=1, epochs=0).apply(State(trained), context)
    state, _ = Cluster(bits=4, epochs=0).apply(state, context)
    state, _ = Prune(0.5, epochs=2).apply(state, context)
    for path, weights in kernels(state.model).items():
        dead = weights[~state.masks[path]]
        assert dead.tobytes() == bytes(dead.nbytes)  # plain zeros: a minus would be stored
        assert np.any(~state.masks[path])
        shared = state.clusters[path]
        for number in range(int(shared.max()) + 1):
            members = weights[shared == number]
            assert not members.size or np.ptp(members) < 1e-5


def test_kmeans():
    values = np.array([0.0, 0.1, 0.9, 1.0, 5.0])
    numbers, centroids = kmeans(values, 3)
    assert numbers.tolist() == [0, 0, 0, 0, 1] or len(centroids) == 3
    assert np.all(np.diff(centroids) > 0)
    numbers, centroids = kmeans(np.array([2.0, 2.0]), 4)
    assert centroids.tolist() == [2.0] and numbers.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Sparsify, {"pattern": "4:2"}, "keeps all weights"),
        (Sparsify, {"pattern": "rows"}, "unknown pattern"),
        (Sparsify, {"pattern": "block0x4"}, "empty blocks"),
        (Sparsify, {"sparsity": 1.0}, "below 1"),
        (Sparsify, {"pattern": "2:4", "sparsity": 0.95}, "zeroes 0.5 of the weights, not"),
        (Sparsify, {"scope": "all"}, "global or layer"),
        (Sparsify, {"steps": 0}, "at least 1"),
        (Cluster, {"bits": 9}, "0 to 8"),
        (Cluster, {"tolerance": 0.1}, "tolerance chooses the bits, not bits=4"),
        (Cluster, {"groups": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_be_right(kind, options, words):
    with pytest.raises(InputError, match=words):
        kind(**options)


def test_a_pattern_may_say_its_own_share():
    assert Sparsify(pattern="1:4", sparsity=0.75).pattern == "1:4"
