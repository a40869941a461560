"""Inputs from what batch normalization remembers: nearer to training's than any noise."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.invert import BATCH, invert
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


def test_statistics_come_near_and_every_class_is_there(trained):
    made = invert(trained, samples=300, steps=40)
    assert [x.shape for x in made.x] == [(300, 8, 8, 1)]
    assert made.x[0].dtype == np.float32
    before, after = made.off
    assert after < 0.6 * before
    given = np.asarray(trained(made.x[0]))
    assert made.sure == pytest.approx(float(given.max(axis=1).mean()), abs=1e-4)
    assert 0.6 < made.sure < 0.95
    shares = np.bincount(given.argmax(axis=1), minlength=3) / 300
    assert shares.min() > 0.25


def test_equal_seed_equal_inputs(trained):
    first, same, other = (invert(trained, samples=8, steps=3, seed=seed).x[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_limits_are_kept(trained):
    x = invert(trained, samples=BATCH, steps=10, limits=(-0.25, 0.5)).x[0]
    assert (x.min(), x.max()) == (-0.25, 0.5)


def normalized(keras, shapes, means, deviations, end):
    """A model whose inputs go into batch normalization, which has seen so much."""
    layers = keras.layers
    inputs = [keras.Input(shape) for shape in shapes]
    hidden = []
    for number, tensor in enumerate(inputs):
        norm = layers.BatchNormalization(epsilon=1e-9, name=f"bn{number}")
        hidden.append(layers.Flatten()(norm(tensor)))
        norm.moving_mean.assign(means[number])
        norm.moving_variance.assign(np.square(deviations[number]))
    joined = layers.Concatenate()(hidden) if len(hidden) > 1 else hidden[0]
    return keras.Model(inputs, end(joined))


def test_inputs_have_the_means_and_deviations_that_were_seen(keras):
    keras.utils.set_random_seed(0)
    means = [np.array([300.0, 220.0]), np.array([0.02, 0.0, -0.01])]
    deviations = [np.array([40.0, 80.0]), np.array([0.02, 0.03, 0.02])]
    model = normalized(keras, [(5, 2), (3,)], means, deviations, keras.layers.Dense(4))
    made = invert(model, samples=BATCH, steps=80)
    for x, mean, deviation in zip(made.x, means, deviations, strict=True):
        rows = x.reshape(-1, x.shape[-1])
        np.testing.assert_allclose(rows.mean(axis=0), mean, atol=0.1 * deviation.max())
        np.testing.assert_allclose(rows.std(axis=0), deviation, rtol=0.15)
    assert made.off[1] < 0.1
    assert made.sure is None  # real numbers, no classes


def test_one_probability_is_two_classes(keras):
    keras.utils.set_random_seed(0)
    end = keras.layers.Dense(1, activation="sigmoid")
    model = normalized(keras, [(6,)], [np.zeros(6)], [np.ones(6)], end)
    made = invert(model, samples=BATCH, steps=60)
    given = np.asarray(model(made.x[0]))[:, 0]
    assert 0.4 < np.mean(given > 0.5) < 0.6
    assert made.sure > 0.7


def test_a_model_that_remembers_nothing_is_refused(keras):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(InputError, match="no batch normalization"):
        invert(model, samples=4, steps=1)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((4,), "int32", "int32, which gradients cannot move"), ((None, 4), "float32", "its size")],
)
def test_inputs_that_cannot_be_moved_are_refused(keras, shape, dtype, words):
    inputs = keras.Input(shape, dtype=dtype)
    wide = keras.ops.cast(inputs, "float32")
    model = keras.Model(inputs, keras.layers.BatchNormalization()(wide))
    with pytest.raises(InputError, match=words):
        invert(model, samples=4, steps=1)


def test_a_damaged_model_is_refused(keras):
    end = keras.layers.Dense(2)
    model = normalized(keras, [(3,)], [np.zeros(3)], [np.full(3, np.nan)], end)
    with pytest.raises(InputError, match="not finite"):
        invert(model, samples=4, steps=2)
