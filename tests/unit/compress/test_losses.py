"""Losses: what labels and the last activation say of a model's outputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.distill import Distill
from edgebuild.compress.losses import losses_of, split_loss
from edgebuild.compress.prune import Prune
from edgebuild.compress.quality import gives_probability, predict, predict_all, quality
from edgebuild.compress.setup import Distillation, TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.training import clone, fine_tune
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)


def network(keras, activation=None, width=1):
    """Return a small network of 4 inputs that ends in ``activation``."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(width, activation=activation, name="out")(x))


def of_labels(model, x, y, **changes):
    """Return the context of a model with labels."""
    split = Split((x,), y)
    return Context(split, split, model, TrainingSetup(learning_rate=0.02, **changes))


def points(count=400):
    """Return inputs (count, 4) and on which side of a plane each lies."""
    x = RNG.normal(size=(count, 4)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0.3).astype(np.int64)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_single_output_learns_labels_and_is_distilled(keras, activation):
    """The measure is accuracy, the cut that of the activation; a student that knows nothing learns
    from the teacher alone."""
    x, y = points()
    model = network(keras, activation)
    assert gives_probability(model) == (activation is not None)
    context = of_labels(model, x, y, distillation=None)
    trained = fine_tune(State(model), context, epochs=30).model
    found = quality(trained, context.validation, trained)
    assert found.measure == "accuracy" and found.value > 0.95
    if activation is None:
        assert predict(trained, (x,)).min() < -1.0  # logits
    taught = dataclasses.replace(context, teacher=trained)
    pruned, _ = Prune(ratio=0.8, epochs=0).apply(State(trained), taught)
    after, _ = Distill(weight=1.0, epochs=20).apply(pruned, taught)
    wanted, before, now = (predict(m, (x,)) for m in (trained, pruned.model, after.model))
    assert np.abs(now - wanted).mean() < 0.5 * np.abs(before - wanted).mean()


def test_a_single_output_is_distilled_at_a_temperature(keras):
    """Against the formula: the divergence of two Bernoulli distributions with softened logits."""
    x, y = points(50)
    model, logits = network(keras, "sigmoid"), network(keras)
    losses = losses_of(of_labels(model, x, y), teacher=logits)
    assert (losses.classes, losses.ours, losses.theirs) == ((True,), (True,), (False,))
    z = RNG.normal(0, 2, (50, 1)).astype(np.float32)
    p = (1 / (1 + np.exp(-RNG.normal(0, 2, (50, 1))))).astype(np.float32)
    a, b = (1 / (1 + np.exp(-v / 3.0)) for v in (z, np.log(p / (1 - p))))
    wanted = np.mean(a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))) * 9.0
    assert float(losses.teacher_loss([z], [p], 3.0)) == pytest.approx(wanted, rel=1e-4)
    assert float(losses.teacher_loss([np.log(p / (1 - p))], [p], 3.0)) < 1e-6


def test_without_labels_a_sigmoid_is_a_probability_too(keras):
    x, _ = points(50)
    model = network(keras, "sigmoid")
    blind = of_labels(model, x, None)
    assert losses_of(blind).classes == (True,)
    assert losses_of(of_labels(network(keras), x, None)).classes == (False,)
    assert split_loss(blind, blind.validation, model) < 1e-6


def test_a_linear_output_with_other_labels_than_0_and_1_is_a_regression(keras):
    x, _ = points()
    y = np.rint(20 + 3 * x[:, 0] - 2 * x[:, 1]).astype(np.int64)
    model = network(keras)
    context = of_labels(model, x, y)
    assert losses_of(context).classes == (False,)
    before = split_loss(context, context.validation, model)
    alone = Distillation(weight=0.0)
    after = fine_tune(State(model), context, epochs=20, distill=alone).model
    assert 0 <= split_loss(context, context.validation, after) < 0.2 * before
    found = quality(after, context.validation, model)
    assert (
        found.measure == "R2"
        and found.value > 0.8 > quality(model, context.validation, model).value
    )
    with pytest.raises(
        InputError, match=r"labels y range from \d+ to \d+, but the model has 2 classes"
    ):
        losses_of(of_labels(network(keras, "sigmoid"), x, y))


def test_the_other_outputs_tell_by_themselves(keras):
    inputs = keras.Input((4,))
    dense = keras.layers.Dense
    outputs = [dense(3, "softmax"), dense(1), dense(1, "sigmoid"), dense(2, "softmax"), dense(2)]
    model = keras.Model(inputs, [layer(inputs) for layer in outputs])
    x, y = points(50)
    assert losses_of(of_labels(model, x, y)).classes == (True, False, True, True, False)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.arange(40) % 10 + 5,
            r"labels y range from 5 to 14, but the model has 10 classes \(0 to 9\)",
        ),
        (np.arange(40) % 3 - 1, "labels y range from -1 to 1, but the model has 10 classes"),
        (np.arange(40) / 8, r"labels y have fractions, but the model has 10 classes \(0 to 9\)"),
        (np.ones((40, 7)), "labels y have 7 values a sample, the model has 10 outputs"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_training(keras, y, message):
    model = network(keras, "softmax", 10)
    x = np.zeros((40, 4), np.float32)
    with pytest.raises(InputError, match=message):
        fine_tune(State(model), of_labels(model, x, y), epochs=1)


def test_values_for_one_output_are_one_a_sample(keras):
    x = np.zeros((40, 4), np.float32)
    with pytest.raises(InputError, match="labels y have 3 values a sample, the model has 1 output"):
        losses_of(of_labels(network(keras), x, np.full((40, 3), 0.4)))


def test_scores_may_have_inner_dimensions(keras):
    inputs = keras.Input((4,))
    rows = keras.layers.Reshape((1, 1, 3))(keras.layers.Dense(3, "softmax")(inputs))
    model = keras.Model(inputs, rows)
    x, y = points(64)
    after = fine_tune(State(clone(model)), of_labels(model, x, y), epochs=1).model
    assert not np.array_equal(predict(after, (x,)), predict(model, (x,)))


def two_outputs(keras):
    """Return a network of 4 inputs with an output of two classes and one of two values."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    outputs = [keras.layers.Dense(2, activation="softmax")(x), keras.layers.Dense(2)(x)]
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("first", [True, False], ids=["both", "second alone"])
@pytest.mark.parametrize("distillation", [Distillation(), None], ids=["distilled", "labels"])
def test_labels_of_further_outputs_are_learned(keras, first, distillation):
    """An output without labels learns from the original, also where nothing else is distilled."""
    x, y = points()
    values = np.stack([x[:, 0] - x[:, 2], 2 * x[:, 3]], axis=1)
    model = two_outputs(keras)
    split = Split((x,), y if first else None, more={1: values})
    setup = TrainingSetup(learning_rate=0.02, distillation=distillation)
    context = Context(split, split, model, setup)
    losses = losses_of(context)
    assert losses.classes == (True, False) and losses.labelled == ((0, 1) if first else (1,))
    assert losses.unlabelled != first
    after = fine_tune(State(model), context, epochs=20).model
    (scores, found), (before, at_first) = (predict_all(m, (x,)) for m in (after, model))
    wrong = np.mean((found - values) ** 2)
    assert wrong < (0.2 if distillation is None else 0.7) * np.mean((at_first - values) ** 2)
    if first:
        assert np.mean(scores.argmax(1) == y) > 0.85
        assert quality(after, split, model).measure == "accuracy and R2"
    else:
        assert np.abs(scores - before).mean() < 0.1
        assert quality(after, split, model).measure == "R2"
    assert split_loss(context, split, after) < split_loss(context, split, model)


def test_labels_of_a_further_output_that_do_not_fit_are_named(keras):
    x, y = points(50)
    split = Split((x,), y, more={1: np.ones((50, 3))})
    context = Context(split, split, two_outputs(keras), TrainingSetup())
    with pytest.raises(InputError, match="labels y1 have 3 values a sample, the model has 2"):
        losses_of(context)


def mask_model(keras, classes):
    """Return a network that gives each of 6 x 6 pixels ``classes`` scores."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    last = "sigmoid" if classes == 1 else "softmax"
    return keras.Model(inputs, keras.layers.Conv2D(classes, 1, activation=last)(x))


def sequence_model(keras, classes):
    """Return a network that gives each of 12 steps ``classes`` scores."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 1))
    x = keras.layers.Conv1D(6, 3, padding="same", activation="relu")(inputs)
    last = "sigmoid" if classes == 1 else "softmax"
    return keras.Model(inputs, keras.layers.Conv1D(classes, 1, activation=last)(x))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("made", [mask_model, sequence_model])
def test_a_label_for_each_position_is_learned(keras, made, classes):
    """Segmentation masks and sequences: through training, pruning by worth, and the measure."""
    model = made(keras, classes)
    x = RNG.normal(size=(256, *model.input_shape[1:])).astype(np.float32)
    cuts = [0.0] if classes == 1 else [-0.5, 0.5]
    y = np.digitize(x[..., 0], cuts)
    context = of_labels(model, x, y)
    assert losses_of(context).classes == (True,)
    before = quality(model, context.validation, model)
    after = fine_tune(State(model), context, epochs=15)
    found = quality(after.model, context.validation, model)
    assert found.measure == "accuracy" and found.value > max(0.85, before.value + 0.1)
    pruned, _ = Prune(ratio=0.3, criterion="taylor", epochs=2).apply(after, context)
    assert quality(pruned.model, context.validation, model).value > 0.75
