"""Narrower and shallower networks with new weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import State, run_pass
from edgebuild.compress.channels import channel_map
from edgebuild.compress.quality import predict
from edgebuild.compress.scale import Scale, with_new_weights
from edgebuild.compress.training import clone
from edgebuild.errors import InputError
from edgebuild.targets import CpuFeatures

pytestmark = pytest.mark.keras


def counts(model):
    return {name: len(ids) for name, ids in channel_map(model).outputs.items()}


def test_width(trained, context):
    state, notes = Scale(width=0.6, epochs=0).apply(State(trained), context)
    assert counts(state.model) == {"stem": 5, "a": 5, "b": 5, "fc": 7, "out": 3}
    assert "fc: 12 to 7 channels" in notes
    dsp = dataclasses.replace(context, features=CpuFeatures(dsp=True))
    state, _ = Scale(width=0.01, epochs=0).apply(State(trained), dsp)
    assert counts(state.model) == {"stem": 4, "a": 4, "b": 4, "fc": 4, "out": 3}


def test_depth(trained, context):
    state, notes = Scale(depth=0.0, epochs=0).apply(State(trained), context)
    assert set(counts(state.model)) == {"stem", "fc", "out"}
    assert sorted(notes) == ["a to add removed", "dw removed"]
    state, notes = Scale(depth=0.5, epochs=0).apply(State(trained), context)
    assert len(notes) == 1


def test_new_weights_by_seed_then_training(trained, context):
    step = Scale(width=0.5, epochs=0)
    first, again = (step.apply(State(trained), context)[0].model for _ in range(2))
    other = step.apply(State(trained), dataclasses.replace(context, seed=1))[0].model
    np.testing.assert_array_equal(first.get_layer("fc").kernel, again.get_layer("fc").kernel)
    assert not np.allclose(first.get_layer("fc").kernel, other.get_layer("fc").kernel)
    np.testing.assert_array_equal(first.get_layer("bn").gamma, np.ones(4))
    trained_anew = run_pass(Scale(width=0.5, epochs=12), State(trained), context)
    assert trained_anew.quality[1].value > 0.9


def test_nothing_to_scale(trained, context):
    state = State(trained)
    after, notes = Scale().apply(state, context)
    assert after is state and notes == ("nothing is scaled",)


def test_known_statistics_of_the_inputs_stay(keras):
    x = np.random.default_rng(0).normal(3.0, 5.0, (50, 4)).astype(np.float32)
    normalize = keras.layers.Normalization()
    normalize.adapt(x)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, normalize(inputs))
    for copy in (clone(model), with_new_weights(model, 0)):
        np.testing.assert_allclose(predict(copy, [x]), predict(model, [x]), rtol=1e-6)


@pytest.mark.parametrize("options", [{"width": 0.0}, {"depth": 1.1}, {"epochs": -1}])
def test_options_that_cannot_be_right(options):
    with pytest.raises(InputError, match=f"scale: {next(iter(options))}"):
        Scale(**options)


def test_new_weights_learn_new_statistics_without_labels(trained, context):
    """Those of the original would be 0 and 1 in a network that begins anew."""
    alone = dataclasses.replace(context, train=dataclasses.replace(context.train, y=None))
    state, _ = Scale(width=0.75, epochs=2).apply(State(trained), alone)
    assert np.abs(np.asarray(state.model.get_layer("bn").moving_mean)).max() > 1e-3
