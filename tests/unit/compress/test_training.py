"""Fine-tuning: it learns, keeps its promises, resumes, and needs no labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.apply import apply_recipe
from edgebuild.compress.base import State
from edgebuild.compress.quality import output_quality, predict, quality
from edgebuild.compress.recipe import parse_recipe
from edgebuild.compress.setup import Distillation, TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.training import DivergedError, clone, fine_tune
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


@pytest.fixture
def shaken(trained):
    """The trained model with noise on its weights."""
    model = clone(trained)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        value = np.asarray(variable)
        variable.assign(value + rng.normal(0, 0.15, value.shape))
    return model


def test_it_learns_again(shaken, context):
    before = quality(shaken, context.validation, context.teacher)
    after = fine_tune(State(shaken), context, epochs=4)
    found = quality(after.model, context.validation, context.teacher)
    assert before.value < 0.8 < 0.9 < found.value
    assert quality(shaken, context.validation, context.teacher) == before  # untouched


def test_without_labels_the_teacher_teaches(shaken, context):
    blind = dataclasses.replace(
        context,
        train=Split(context.train.x, None),
        validation=Split(context.validation.x, None),
    )
    before = quality(shaken, blind.validation, blind.teacher)
    after = fine_tune(State(shaken), blind, epochs=4, distill=None)
    found = quality(after.model, blind.validation, blind.teacher)
    assert found.measure == "agreement with the original"
    assert found.value > max(0.9, before.value)


def test_a_regression_follows_the_teacher(keras, context):
    inputs = keras.Input((4,))
    teacher = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    student = clone(teacher)
    for variable in student.weights:
        variable.assign(np.zeros(variable.shape))
    x = np.random.default_rng(0).normal(size=(512, 4)).astype(np.float32)
    plain = dataclasses.replace(
        context,
        train=Split((x,), None),
        validation=Split((x,), None),
        teacher=teacher,
        setup=TrainingSetup(learning_rate=0.05),
    )
    after = fine_tune(State(student), plain, epochs=20)
    found = quality(after.model, plain.validation, teacher)
    assert found.measure == "similarity to the original" and found.value > 0.99
    labelled = dataclasses.replace(plain, train=Split((x,), predict(teacher, (x,))))
    after = fine_tune(State(student), labelled, epochs=20, distill=Distillation(weight=0.0))
    assert quality(after.model, plain.validation, teacher).value > 0.99


def test_masks_stay_and_clusters_move_together(trained, context):
    model = clone(trained)
    kernel = model.get_layer("fc").kernel
    rng = np.random.default_rng(0)
    mask = rng.random(kernel.shape) < 0.5
    numbers = np.where(mask, rng.integers(0, 4, kernel.shape), -1)
    values = np.array([-0.2, -0.1, 0.1, 0.2, 0.0])[numbers]
    kernel.assign(values)
    state = State(model, {kernel.path: mask}, {kernel.path: numbers})
    after = fine_tune(state, context, epochs=2)
    found = np.asarray(after.model.get_layer("fc").kernel)
    assert np.all(found[~mask] == 0.0)
    for number in range(4):
        shared = found[numbers == number]
        assert np.ptp(shared) < 1e-6
    assert not np.allclose(found, values)


def test_a_killed_run_goes_on_and_a_done_one_is_not_done_again(shaken, context, tmp_path):
    said = []

    class KilledError(Exception):
        pass

    def kill_after_two(text):
        said.append(text)
        if len(said) == 2:
            raise KilledError

    whole = fine_tune(State(shaken), context, epochs=4)
    kept = dataclasses.replace(context, checkpoints=tmp_path, progress=kill_after_two)
    with pytest.raises(KilledError):
        fine_tune(State(shaken), kept, epochs=4)
    kept = dataclasses.replace(kept, progress=said.append)
    resumed = fine_tune(State(shaken), kept, epochs=4)
    assert [text.split(",")[0] for text in said] == [f"epoch {n} of 4" for n in (1, 2, 3, 4)]
    for a, b in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    fine_tune(State(shaken), kept, epochs=4)
    assert len(said) == 4
    for file in tmp_path.iterdir():
        file.write_bytes(b"damaged")
    fine_tune(State(shaken), kept, epochs=4)
    assert len(said) == 8


def test_the_users_set_up_is_used(keras, shaken, context):
    import tensorflow as tf

    calls = []

    def augment(x, rng):
        calls.append(x[0].shape)
        return (np.flip(x[0], axis=2),)

    def loss(y, output):
        return tf.reduce_sum(tf.square(tf.one_hot(y, 3) - output), axis=-1)

    setup = TrainingSetup(0.05, 64, keras.optimizers.SGD, loss, augment)
    custom = dataclasses.replace(context, setup=setup)
    after = fine_tune(State(shaken), custom, epochs=2)
    assert calls == [(64, 8, 8, 1)] * 16
    assert fine_tune(State(shaken), custom, epochs=0).model is shaken
    assert quality(after.model, context.validation, context.teacher).value > 0.5


@pytest.mark.parametrize("made", [None, (), "x[0][:3]", "(x[0][:3],)"])
def test_an_augmentation_that_changes_shapes_is_refused(shaken, context, made):
    def augment(x, rng):
        return eval(made, {"x": x}) if isinstance(made, str) else made

    custom = dataclasses.replace(context, setup=TrainingSetup(augment=augment))
    with pytest.raises(InputError, match="augment must return a tuple of arrays"):
        fine_tune(State(shaken), custom, epochs=1)


def test_the_original_is_asked_for_where_there_are_no_labels():
    outputs, x = [np.eye(3, 2)], (np.zeros((3, 1)),)
    asked = []

    def original():
        asked.append(True)
        return outputs[0]

    labelled = output_quality(outputs, Split(x, np.array([0, 1, 1])), original, [False])
    assert labelled.measure == "accuracy" and not asked
    assert output_quality(outputs, Split(x, None), original, [False]).value == 1.0 and asked


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        (TrainingSetup(learning_rate=1e30), "the loss is nan after epoch 1 of 2"),
        (TrainingSetup(loss=lambda y, output: output / 0.0), "the loss is (nan|inf) after"),
        (TrainingSetup(learning_rate=1e38, batch_size=512), "weights are not finite after epoch 1"),
    ],
)
def test_training_that_diverges_is_an_error(keras, shaken, context, setup, words):
    if "weights" in words:
        setup = dataclasses.replace(setup, optimizer=lambda rate: keras.optimizers.SGD(1e39))
    custom = dataclasses.replace(context, setup=setup)
    with pytest.raises(DivergedError, match=words) as caught:
        fine_tune(State(shaken), custom, epochs=2)
    assert "a smaller learning rate than" in caught.value.hint


def test_the_pass_that_diverges_is_named(shaken, context):
    steps = parse_recipe("prune:epochs=0,distill:learning_rate=1e30,epochs=2")
    with pytest.raises(InputError, match=r"^distill \(2 of 2\): training diverged"):
        apply_recipe(steps, dataclasses.replace(context, teacher=shaken))


@pytest.mark.parametrize("labelled", [True, False])
def test_statistics_of_training_stay_where_labels_are_missing(trained, context, labelled):
    """Samples without labels may be unlike those of training: brighter here."""
    x = tuple(array + 3.0 for array in context.train.x)
    shifted = dataclasses.replace(context, train=Split(x, context.train.y if labelled else None))
    tuned = fine_tune(State(trained), shifted, epochs=1, near=True).model
    before, after = (model.get_layer("bn") for model in (trained, tuned))
    known = np.array_equal(np.asarray(before.moving_mean), np.asarray(after.moving_mean))
    assert known is not labelled
    assert after.trainable
    assert after.momentum == before.momentum
    if not labelled:  # nothing to learn: the teacher is itself
        assert quality(tuned, Split(x, None), trained).value > 0.97


def test_scales_learn_while_statistics_stay(shaken, context):
    blind = dataclasses.replace(context, train=Split(context.train.x, None))
    tuned = fine_tune(State(shaken), blind, epochs=1, near=True).model
    before, after = (np.asarray(m.get_layer("bn").gamma) for m in (shaken, tuned))
    assert not np.array_equal(before, after)


def test_a_checkpoint_of_other_statistics_is_not_taken(shaken, context, tmp_path):
    blind = dataclasses.replace(
        context, train=Split(context.train.x, None), checkpoints=tmp_path / "kept"
    )
    far, near = (
        fine_tune(State(shaken), blind, epochs=1, near=near).model for near in (False, True)
    )
    means = [np.asarray(model.get_layer("bn").moving_mean) for model in (far, near)]
    assert not np.array_equal(*means)
