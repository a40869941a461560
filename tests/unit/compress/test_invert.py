"""Inputs from what batch normalization remembers: nearer to training's than any noise."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.invert import MOST_BATCH, _batch, _Maker, _Noise, _Seen, invert
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
    x = invert(trained, samples=MOST_BATCH, steps=10, limits=(-0.25, 0.5)).x[0]
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
    made = invert(model, samples=MOST_BATCH, steps=80)
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
    made = invert(model, samples=MOST_BATCH, steps=60)
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
    [
        ((4,), "int32", "int32, which cannot be made by gradient descent"),
        ((None, 4), "float32", "its size"),
    ],
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


def test_more_classes_than_a_batch_are_asked_for_in_turn(keras):
    keras.utils.set_random_seed(0)
    end = keras.layers.Dense(400, activation="softmax")
    model = normalized(keras, [(6,)], [np.zeros(6)], [np.ones(6)], end)
    seen = _Seen(model)
    seen.learn_outputs([np.zeros((4, 6), np.float32)])
    rng = np.random.default_rng(0)
    wishes = np.concatenate([seen.wishes(MOST_BATCH, rng)[0] for _ in range(25)])
    np.testing.assert_allclose(wishes.sum(axis=1), 1.0, atol=1e-6)
    assert np.bincount(wishes.argmax(axis=1), minlength=400).tolist() == [16] * 400


def test_every_batch_begins_anew(trained):
    """The first batch's momentum would move the second."""
    seen = _Seen(trained)
    x = np.random.default_rng(0).normal(size=(MOST_BATCH, 8, 8, 1)).astype(np.float32)
    seen.learn_outputs([x])
    wishes = seen.wishes(MOST_BATCH, np.random.default_rng(0))
    maker = _Maker(seen, [_Noise()], [x.shape], 5, None)
    first, second = (maker.make([x], wishes) for _ in range(2))
    assert first[:2] == second[:2]
    np.testing.assert_array_equal(first[2][0], second[2][0])


def test_named_inputs_and_half_precision(keras):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = {"zz": keras.Input((4,), name="a"), "aa": keras.Input((2,), name="b")}
    norms = [layers.BatchNormalization(dtype="mixed_float16")(x) for x in inputs.values()]
    outputs = layers.Dense(3, activation="softmax", dtype="float32")(layers.Concatenate()(norms))
    made = invert(keras.Model(inputs, outputs), samples=8, steps=3)
    assert [x.shape for x in made.x] == [tuple(t.shape) for t in _eight(keras, inputs)]


def _eight(keras, inputs):
    """What eight samples of each input are, in the model's order."""
    model = keras.Model(inputs, keras.layers.Concatenate()(list(inputs.values())))
    return [np.zeros((8, *tensor.shape[1:])) for tensor in model.inputs]


def test_numbers_of_rows_are_refused(keras):
    inputs = keras.Input((5,))  # float32, as Keras has it where nothing is said
    rows = keras.layers.Embedding(10, 4)(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(rows))
    with pytest.raises(InputError, match="numbers of a table's rows, which cannot"):
        invert(model, samples=4, steps=1)


def test_an_input_of_which_nothing_is_known_is_refused(keras):
    first, second = keras.Input((3,)), keras.Input((3,))
    known = keras.layers.BatchNormalization()(first)
    model = keras.Model([first, second], keras.layers.Add()([known, second]))
    with pytest.raises(InputError, match="input 1 leads to no batch normalization"):
        invert(model, samples=4, steps=1)


def test_a_large_model_is_inverted_in_smaller_batches(keras):
    inputs = keras.Input((1024, 1024, 8))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert _batch(model) == 16
    small = keras.Input((4,))
    assert _batch(keras.Model(small, keras.layers.BatchNormalization()(small))) == MOST_BATCH
