"""After channels are gone, kernels are fitted to what was there, without gradients or labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.prune import Prune
from edgebuild.compress.quality import predict
from edgebuild.compress.reconstruct import descend, nearer, reconstruct
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.sparsify import Sparsify
from edgebuild.compress.splits import Split
from edgebuild.compress.surgery import remove_channels
from edgebuild.compress.training import clone
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


def bare(context):
    """The same without labels."""
    return dataclasses.replace(context, train=dataclasses.replace(context.train, y=None))


def halved(model, context, **options):
    return Prune(0.5, criterion="l1", epochs=0, **options).apply(State(model), context)[0].model


def noise(model, original, x):
    wanted = predict(original, x)
    return np.mean((predict(model, x) - wanted) ** 2) / np.var(wanted)


def test_half_of_the_channels_come_closer(trained, context):
    alone = bare(context)
    plain, fitted = (halved(trained, alone, fit=fit) for fit in ("off", "auto"))
    x = context.validation.x
    assert noise(fitted, trained, x) < 0.5 * noise(plain, trained, x)


def test_with_labels_it_is_done_when_asked_for(trained, context):
    same, plain, fitted = (halved(trained, context, fit=fit) for fit in ("auto", "off", "on"))
    for a, b in zip(same.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert noise(fitted, trained, context.validation.x) < noise(
        plain, trained, context.validation.x
    )


def test_a_channel_that_copies_another_is_not_missed(keras):
    """What a removed channel said is all in one that stays: the fit finds the exact weights."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((9, 5))
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, name="a")(inputs)
    x = layers.Conv1D(4, 3, strides=2, padding="same", use_bias=False, name="b")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x)))
    kernel = np.asarray(model.get_layer("a").kernel).copy()
    kernel[..., 5] = -2.0 * kernel[..., 1]
    model.get_layer("a").kernel.assign(kernel)
    x = np.random.default_rng(0).normal(size=(200, 9, 5)).astype(np.float32)
    split = Split((x,), None)
    context = Context(split, split, model, TrainingSetup())
    channels = channel_map(model)
    gone = frozenset({int(channels.outputs["a"][5])})
    smaller = remove_channels(State(model), channels, gone)
    fitted = reconstruct(State(model), smaller, context, channels, gone)
    assert noise(smaller.model, model, (x,)) > 0.05
    assert noise(fitted.model, model, (x,)) < 1e-3


def test_two_inputs_and_a_shared_layer(keras):
    keras.utils.set_random_seed(2)
    layers = keras.layers
    first, second = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(8, activation="relu", name="shared")
    both = layers.Concatenate()([shared(first), shared(second)])
    hidden = layers.Dense(8, activation="relu", name="hidden")(both)
    model = keras.Model([first, second], layers.Dense(3, name="out")(hidden))
    x = np.random.default_rng(0).normal(size=(2, 300, 6)).astype(np.float32)
    split = Split((x[0], x[1]), None)
    context = Context(split, split, model, TrainingSetup())
    plain, fitted = (halved(model, context, fit=fit) for fit in ("off", "auto"))
    assert noise(fitted, model, split.x) < 0.8 * noise(plain, model, split.x)
    for a, b in zip(
        plain.get_layer("shared").weights, fitted.get_layer("shared").weights, strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_fine_tuning_that_leads_away_is_undone(trained, context):
    alone = dataclasses.replace(
        context,
        train=dataclasses.replace(context.train, y=None),
        validation=dataclasses.replace(context.validation, y=None),
    )
    fitted = State(halved(trained, alone))
    worse = State(clone(fitted.model))
    out = worse.model.get_layer("out")
    out.kernel.assign(-np.asarray(out.kernel))
    assert nearer(fitted, worse, alone) is fitted
    assert nearer(worse, fitted, alone) is fitted
    wild = dataclasses.replace(alone, setup=TrainingSetup(learning_rate=50.0))
    kept, _ = Prune(0.5, criterion="l1", epochs=1).apply(State(trained), wild)
    for a, b in zip(kept.model.get_weights(), fitted.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_masked_weights_stay(trained, context):
    model = clone(trained)
    mask = np.random.default_rng(0).random(model.get_layer("fc").kernel.shape) < 0.5
    model.get_layer("fc").kernel.assign(np.asarray(model.get_layer("fc").kernel) * mask)
    state = State(model, {"fc/kernel": mask})
    after, _ = Prune(0.5, epochs=0, fit="on").apply(state, context)
    assert not np.asarray(after.model.get_layer("fc").kernel)[~after.masks["fc/kernel"]].any()


def test_the_model_that_was_given_is_not_changed(trained, context):
    before = [array.copy() for array in trained.get_weights()]
    halved(trained, bare(context))
    for a, b in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_fit_can_be():
    with pytest.raises(InputError, match="fit is one of auto, on, off"):
        Prune(fit="maybe")


def sparse(model, context, **options):
    state, _ = Sparsify(0.6, steps=1, epochs=0, **options).apply(State(model), context)
    return state


def test_zeros_are_made_up_for_by_what_is_left(trained, context):
    alone = bare(context)
    plain, fitted = (sparse(trained, alone, fit=fit) for fit in ("off", "auto"))
    x = context.validation.x
    assert noise(fitted.model, trained, x) < 0.5 * noise(plain.model, trained, x)
    for path, mask in fitted.masks.items():
        (kernel,) = (v for v in fitted.model.weights if v.path == path)
        assert not np.asarray(kernel)[~mask].any()
        np.testing.assert_array_equal(mask, plain.masks[path])


def test_zeros_with_labels_are_fitted_when_asked_for(trained, context):
    same, plain, fitted = (sparse(trained, context, fit=f).model for f in ("auto", "off", "on"))
    for a, b in zip(same.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    x = context.validation.x
    assert noise(fitted, trained, x) < noise(plain, trained, x)
    with pytest.raises(InputError, match="fit is one of auto, on, off"):
        Sparsify(fit="maybe")


def test_the_descent_finds_what_solving_each_column_finds():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 30)) @ rng.normal(size=(30, 30))
    square, product = rows.T @ rows + np.eye(30), rng.normal(size=(30, 7))
    free = rng.random((30, 7)) < 0.5
    free[:, 0], free[:, 1] = True, False
    found = descend(square, product, free)
    assert not found[~free].any()
    for column in range(7):
        left = free[:, column]
        exact = np.linalg.solve(square[np.ix_(left, left)], product[left, column])
        np.testing.assert_allclose(found[left, column], exact, rtol=1e-3, atol=1e-6)
