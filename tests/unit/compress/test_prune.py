"""Pruning does what it says: ratio, measure, criterion, multiples, steps, quality."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State, run_pass
from edgebuild.compress.channels import channel_map
from edgebuild.compress.costs import model_cost
from edgebuild.compress.measures import Costs
from edgebuild.compress.prune import (
    MEASURES,
    Prune,
    layer_ratios,
    layer_sensitivities,
    prunable_groups,
)
from edgebuild.compress.selection import Selection, Start
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.worth import CRITERIA, channel_worth
from edgebuild.errors import InputError
from edgebuild.targets import CpuFeatures

pytestmark = pytest.mark.keras


def counts(model):
    return {name: len(ids) for name, ids in channel_map(model).outputs.items()}


def test_ratio_of_each_layer(trained, context):
    result = run_pass(Prune(0.5, epochs=0), State(trained), context)
    assert counts(result.state.model) == {"stem": 4, "a": 4, "b": 4, "fc": 6, "out": 3}
    assert "stem: 8 to 4 channels" in result.notes
    assert result.cost[1].parameters < result.cost[0].parameters
    assert result.changed and model_cost(trained) == result.cost[0]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("by", ["macs", "parameters"])
def test_ratio_of_the_whole(trained, context, criterion, by):
    state, _ = Prune(0.4, by=by, criterion=criterion, epochs=0).apply(State(trained), context)
    before, after = (getattr(model_cost(m), by) for m in (trained, state.model))
    assert 0.45 * before < after <= 0.601 * before


def estimated(model, by):
    return Costs(model, channel_map(model), ()).of(by, np.zeros(0))


@pytest.mark.parametrize("by", ["bytes", "ram", "cycles"])
def test_ratio_of_what_the_target_has(trained, context, by):
    state, _ = Prune(0.4, by=by, epochs=0).apply(State(trained), context)
    before, after = (estimated(m, by) for m in (trained, state.model))
    assert 0.4 * before < after <= 0.6 * before


def test_a_depthwise_mac_costs_more_cycles(keras):
    inputs = keras.Input((8, 8, 4))
    layers = keras.layers
    cycles = [
        Costs(model, channel_map(model), (), dsp=dsp).of("cycles", np.zeros(0))
        for dsp in (False, True)
        for model in (
            keras.Model(inputs, layers.DepthwiseConv2D(6, padding="same")(inputs)),
            keras.Model(inputs, layers.Conv2D(4, 3, padding="same")(inputs)),
        )
    ]
    depthwise, dense, depthwise_dsp, dense_dsp = cycles
    assert depthwise > 2 * dense and depthwise_dsp > 2 * dense_dsp
    assert depthwise > 2 * depthwise_dsp and dense > 2 * dense_dsp


def test_estimates_of_bytes_and_ram(trained):
    # 4 kernels and biases, the depthwise one; batch normalization is folded away.
    weights = 9 * 8 + 2 * 9 * 8 * 8 + 9 * 8 + 16 * 8 * 12 + 12 * 3
    assert estimated(trained, "bytes") == weights + 4 * (8 + 8 + 8 + 8 + 12 + 3)
    assert estimated(trained, "ram") == 3 * 8 * 8 * 8  # the skip and both sides of a layer


@pytest.mark.parametrize("by", [m for m in MEASURES if m != "channels"])
def test_as_much_as_can_go(trained, context, by):
    state, notes = Prune(0.9999, by=by, epochs=0).apply(State(trained), context)
    smallest = {"stem": 1, "a": 1, "b": 1, "fc": 1, "out": 3}
    assert counts(state.model) == smallest | ({"fc": 12} if by == "ram" else {})
    assert any(f"{by}: " in note and "can be removed, not 99.99 %" in note for note in notes)


def test_layers_of_their_own(trained, context):
    def after(**options):
        state, _ = Prune(epochs=0, **options).apply(State(trained), context)
        return counts(state.model)

    assert after(ratio=0.0, layers="a:0.25+fc:5") == {
        "stem": 8, "a": 6, "b": 8, "fc": 5, "out": 3
    }  # fmt: skip
    assert after(layers="fc") == {"stem": 8, "a": 8, "b": 8, "fc": 6, "out": 3}
    assert after(layers="stem:0") == {"stem": 8, "a": 4, "b": 8, "fc": 6, "out": 3}
    kept = after(ratio=0.6, by="macs", layers="b:7")
    assert kept["stem"] == 7 and kept["a"] < 7
    assert after(ratio=0.0, layers="a:0.5", multiple=3)["a"] == 6
    with pytest.raises(InputError, match="no layer 'stemm'; did you mean 'stem'"):
        after(layers="stemm:0.5")


def test_a_shape_in_words_gives_the_shape_again(trained, context):
    first, _ = Prune(0.5, by="macs", epochs=0).apply(State(trained), context)
    words = layer_ratios(trained, first.model)
    again, _ = Prune(0.0, layers=words, epochs=0).apply(State(trained), context)
    for a, b in zip(first.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert layer_ratios(trained, trained) == ""


def test_groups(trained):
    groups = {group.layers: group.count for group in prunable_groups(trained)}
    assert groups == {("stem", "b"): 8, ("a",): 8, ("fc",): 12}


def test_sensitive_layers_are_spared(trained, context):
    lost = layer_sensitivities(State(trained), context)
    assert set(lost) == {"stem", "a", "fc"} and max(lost.values()) > 0.0
    state, _ = Prune(0.4, by="macs", epochs=0, sensitivity=1.0).apply(State(trained), context)
    assert model_cost(state.model).macs <= 0.601 * model_cost(trained).macs


def test_multiples_of_what_kernels_like(trained, context):
    dsp = dataclasses.replace(context, features=CpuFeatures(dsp=True))
    state, _ = Prune(0.3, epochs=0).apply(State(trained), dsp)
    assert counts(state.model) == {"stem": 8, "a": 8, "b": 8, "fc": 8, "out": 3}
    state, _ = Prune(0.3, epochs=0, multiple=2).apply(State(trained), dsp)
    assert counts(state.model) == {"stem": 6, "a": 6, "b": 6, "fc": 8, "out": 3}


def test_nothing_to_remove(trained, context):
    state = State(trained)
    after, notes = Prune(0.0, epochs=0).apply(state, context)
    assert after is state and notes[-1] == "nothing could be removed: ratio=0 removes nothing"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"multiple": 100_000}, "no layer has more than 100,000 channels, so none can be removed"),
        ({"ratio": 0.01}, "ratio=0.01 is less than a layer can lose"),
    ],
)
def test_the_reason_when_nothing_is_removed(trained, context, options, why):
    _, notes = Prune(epochs=0, **options).apply(State(trained), context)
    assert f"nothing could be removed: {why}" in notes[-1]


def test_no_layer_has_channels_that_may_go(keras, context):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    alone = dataclasses.replace(context, teacher=model)
    _, notes = Prune(epochs=0, criterion="l1").apply(State(model), alone)
    assert notes == ("nothing could be removed: no layer has channels that can be removed",)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ("out:0.5", "'out': its channels cannot be removed"),
        ("a:500", "'a': it has 8 channels, 500 may stay"),
        ("a:0.05", "'a': the channels to remove of its 8 are fewer than it can lose"),
        ("*:0.5+a:0.7", "'a': an earlier entry already decides on its channels"),
    ],
)
def test_words_about_layers_that_remove_nothing_are_told(trained, context, layers, why):
    _, notes = Prune(layers=layers + "+fc:0.5", epochs=0).apply(State(trained), context)
    assert f"layers: nothing is removed from {why}" in notes
    _, notes = Prune(layers="a:0+fc:0.5", epochs=0).apply(State(trained), context)
    assert not any("nothing goes" in note for note in notes)


def test_fine_tuning_brings_it_back_and_is_deterministic(trained, context):
    prune = Prune(0.5, steps=2, epochs=4)
    first = run_pass(prune, State(trained), context)
    again = run_pass(prune, State(trained), context)
    assert first.quality[1].value > 0.9
    assert first.quality[1].measure == "accuracy"
    for a, b in zip(first.state.model.weights, again.state.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_useless_channel_is_worth_least(trained, context):
    from edgebuild.compress.training import clone

    model = clone(trained)
    kernel = np.asarray(model.get_layer("a").kernel).copy()
    kernel[..., 3] *= 1e-4
    model.get_layer("a").kernel.assign(kernel)
    channels = channel_map(model)
    for criterion in ("l1", "l2", "taylor"):
        worth = channel_worth(State(model), channels, context, criterion)
        mine = [worth[c] for c in channels.outputs["a"].tolist()]
        assert int(np.argmin(mine)) == 3, criterion


def test_a_useless_channel_is_worth_least_without_labels(trained, context):
    from edgebuild.compress.training import clone

    model = clone(trained)
    kernel = np.asarray(model.get_layer("fc").kernel).copy()
    kernel[..., 5] *= 1e-3
    model.get_layer("fc").kernel.assign(kernel)
    model.get_layer("fc").bias.assign(np.asarray(model.get_layer("fc").bias) * (np.arange(12) != 5))
    bare = {name: dataclasses.replace(getattr(context, name), y=None) for name in ("train",)}
    alone = dataclasses.replace(context, teacher=model, **bare)
    channels = channel_map(model)
    worth = channel_worth(State(model), channels, alone, "taylor")
    mine = [worth[c] for c in channels.outputs["fc"].tolist()]
    assert mine[5] < 1e-3 * np.mean(mine)


def test_masks_and_clusters_are_cut_too(trained, context):
    path = "fc/kernel"
    shape = trained.get_layer("fc").kernel.shape
    marks = np.arange(np.prod(shape)).reshape(shape)
    state = State(trained, {path: marks % 2 == 0}, {path: marks % 4})
    after, _ = Prune(0.5, epochs=0).apply(state, context)
    small = after.model.get_layer("fc").kernel.shape
    assert after.masks[path].shape == after.clusters[path].shape == tuple(small)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 1.0}, "below 1"),
        ({"by": "mac"}, "did you mean 'macs'"),
        ({"criterion": "l3"}, "unknown criterion"),
        ({"steps": 0}, "at least 1"),
        ({"layers": "a:1.5"}, "neither a ratio"),
        ({"layers": "a:x"}, "neither a ratio"),
        ({"layers": "a:0.5+b+a:0.7"}, "'a' is there twice"),
        ({"layers": "a&b:4+b&a:4"}, "'b&a' is there twice"),
    ],
)
def test_options_that_cannot_be_right(options, words):
    with pytest.raises(InputError, match=words):
        Prune(**options)


@pytest.mark.parametrize("by", ["bytes", "cycles", "macs"])
def test_nothing_goes_in_vain(trained, context, by):
    """Giving back a multiple to any layer would miss the goal."""
    options = Prune(0.5, by=by, epochs=0)
    selection = Selection(options, (), State(trained), context)
    start = Start.of(options, State(trained), context)
    removed = selection.removed(start, 1.0)
    assert selection.costs.of(by, removed) <= 0.5 * start.original
    for i, group in enumerate(selection.groups):
        fewer = [n for n in selection.numbers(group) if n < removed[i]]
        if fewer:
            back = removed.copy()
            back[i] = fewer[-1]
            assert selection.costs.of(by, back) > 0.5 * start.original
    assert any(removed)


def test_an_embedding_loses_columns_by_taylor(keras):
    inputs = keras.Input((6,))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 8, name="e")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    kernel = np.asarray(model.layers[-1].kernel)
    model.layers[-1].kernel.assign(np.where(np.arange(8)[:, np.newaxis] % 2, kernel, 0.0))
    x = np.random.default_rng(0).integers(0, 20, (64, 6)).astype(np.float32)
    words = np.asarray(model.get_layer("e").embeddings)
    for y in (np.arange(64) % 3, None):
        split = Split((x,), y)
        context = Context(split, split, model, TrainingSetup())
        state, _ = Prune(0.5, epochs=0, fit="off").apply(State(model), context)
        np.testing.assert_array_equal(state.model.get_layer("e").embeddings, words[:, 1::2])
