"""Hard-concrete gates: they learn what to shut, fold exactly, and leave a smaller model."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress import l0
from edgebuild.compress.base import State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.costs import model_cost
from edgebuild.compress.groups import groups_of
from edgebuild.compress.l0 import L0
from edgebuild.compress.quality import predict
from edgebuild.compress.recipe import parse_recipe
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


def test_more_strength_removes_more_and_quality_stays(trained, context):
    sizes = []
    for strength in (0.1, 2.0):
        after, notes = L0(strength=strength, epochs=8, finetune=3, multiple=1).apply(
            State(trained), context
        )
        sizes.append(model_cost(after.model).parameters)
        found = predict(after.model, context.validation.x).argmax(1)
        assert np.mean(found == context.validation.y) > 0.95
        assert any("channels" in note for note in notes)
    assert sizes[1] < sizes[0] < model_cost(trained).parameters


def test_gates_fold_into_the_kernels_exactly(trained):
    channels = channel_map(trained)
    groups = [g for g in groups_of(channels) if l0._gateable(g, trained, channels)]
    numbers = {c: i for i, c in enumerate(c for g in groups for c in g.channels)}
    gated = l0._with_gates(State(trained), channels, numbers, np.ones(len(numbers)), 4.0)
    gates = gated.model.get_layer("l0_gates")
    rng = np.random.default_rng(0)
    gates.learned.assign(rng.normal(0, 1.0, len(numbers)))
    values = gates.values()
    assert 0.0 in values  # some are shut
    assert len(set(values)) > 5
    folded = l0._without_gates(State(trained), gated.model, channels, numbers, values)
    x = [rng.normal(size=(20, 8, 8, 1)).astype(np.float32)]
    np.testing.assert_allclose(predict(folded.model, x), predict(gated.model, x), atol=1e-6)
    # What is shut can go without a trace.
    gone = frozenset(c for c, i in numbers.items() if values[i] == 0.0)
    smaller = l0.remove_channels(folded, channels, gone)
    np.testing.assert_allclose(predict(smaller.model, x), predict(gated.model, x), atol=1e-5)


@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D"])
def test_wide_groups_read_through_the_same_gates(keras, kind):
    inputs = keras.Input((8, 1) if kind == "Conv1D" else (8, 8, 1))
    convolution = getattr(keras.layers, kind)
    x = convolution(12, 3, padding="same", activation="relu", name="before")(inputs)
    x = convolution(8, 3, groups=2, padding="same", name="grouped")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    channels = channel_map(model)
    groups = [g for g in groups_of(channels) if l0._gateable(g, model, channels)]
    assert [group.layers for group in groups] == [("before",), ("grouped",)]
    numbers = {c: i for i, c in enumerate(c for g in groups for c in g.channels)}
    gated = l0._with_gates(State(model), channels, numbers, np.ones(len(numbers)), 4.0)
    gates = gated.model.get_layer("l0_gates")
    rng = np.random.default_rng(0)
    gates.learned.assign(rng.normal(0, 1.0, len(numbers)))
    values = gates.values()
    folded = l0._without_gates(State(model), gated.model, channels, numbers, values)
    x = [rng.normal(size=(20, *model.inputs[0].shape[1:])).astype(np.float32)]
    np.testing.assert_allclose(predict(folded.model, x), predict(gated.model, x), atol=1e-6)
    gone = frozenset(c for c, i in numbers.items() if values[i] == 0.0)
    smaller = l0.remove_channels(folded, channels, gone)
    assert gone
    np.testing.assert_allclose(predict(smaller.model, x), predict(gated.model, x), atol=1e-5)


def test_the_penalty_is_the_papers():
    gates = l0._gates_class()([2.0, 1.0], 1.0, seed=0)
    gates.build()
    gates.learned.assign([0.3, -1.0])
    # P(gate > 0) = sigmoid(log_alpha - beta log(-gamma / zeta)), Louizos et al., equation 12.
    shift = 2 / 3 * np.log(0.1 / 1.1)
    chances = 1 / (1 + np.exp(-(np.array([0.3, -1.0]) - shift)))
    assert float(gates.penalty()) == pytest.approx(2 * chances[0] + chances[1], rel=1e-5)
    drawn = np.array([np.asarray(gates._sample()) for _ in range(2000)])
    assert drawn.min() == 0.0
    assert drawn.max() == 1.0
    np.testing.assert_allclose((drawn > 0).mean(axis=0), chances, atol=0.04)


def test_channels_keep_a_multiple(trained, context):
    after, _ = L0(strength=2.0, epochs=8, finetune=0, multiple=4).apply(State(trained), context)
    sizes = [len(ids) for ids in channel_map(after.model).outputs.values()]
    assert all(size % 4 == 0 for size in sizes[:-1])


def test_units_that_read_themselves_have_no_gates(keras, context):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Reshape((8, 8))(inputs)
    model = keras.Model(
        inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.GRU(4, name="gru")(x))
    )
    state = State(model)
    after, notes = L0(epochs=1).apply(state, context)
    assert after is state
    why = "not only convolutions and dense layers mix its channels"
    assert notes == (f"gru has no gates: {why}", "no layer has channels that gates could remove")


def test_without_epochs_no_gate_is_trained(trained, context):
    state = State(trained)
    after, notes = L0(epochs=0, finetune=0).apply(state, context)
    assert after is state and notes == ("epochs=0 trains no gates, so all channels stay",)
    tuned, notes = L0(epochs=0, finetune=1).apply(state, context)
    assert tuned is not state and notes == ("epochs=0 trains no gates, so all channels stay",)


def test_equal_seeds_give_equal_models_and_no_labels_are_needed(trained, context):
    import dataclasses

    bare = Split(context.train.first(128).x, None)
    blind = dataclasses.replace(context, train=bare)
    results = [L0(strength=1.0, epochs=2, finetune=1).apply(State(trained), blind) for _ in "ab"]
    for a, b in zip(*(after.model.get_weights() for after, _ in results), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.0}, "strength 0 is not above 0"),
        ({"by": "macss"}, "unknown measure 'macss'; did you mean 'macs'"),
        ({"finetune": -1}, "are at least 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        L0(**options)


def test_by_channels_every_gate_costs_the_same(trained, context):
    after, _ = L0(strength=2.0, by="channels", epochs=6, finetune=0, multiple=1).apply(
        State(trained), context
    )
    assert model_cost(after.model).parameters < model_cost(trained).parameters
    assert parse_recipe("l0:by=channels") == (L0(by="channels"),)
