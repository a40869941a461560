"""Distillation as a pass: from the original, from a file, with hidden values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import State
from edgebuild.compress.distill import Distill, hint_layers
from edgebuild.compress.prune import Prune
from edgebuild.compress.quality import predict
from edgebuild.compress.setup import Distillation, TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError, ModelError

pytestmark = pytest.mark.keras


@pytest.fixture
def student(trained, context):
    """A pruned network that has not been trained since."""
    return Prune(ratio=0.5, epochs=0, multiple=1).apply(State(trained), context)[0]


def agreement(model, context):
    outputs = (predict(m, context.validation.x).argmax(1) for m in (model, context.teacher))
    return float(np.mean(np.equal(*outputs)))


def test_a_student_learns_from_the_original_without_labels(student, context):
    blind = dataclasses.replace(context, train=Split(context.train.x, None))
    after, notes = Distill(epochs=6).apply(student, blind)
    assert notes == ("teacher: the original",)
    assert agreement(after.model, context) > max(0.95, agreement(student.model, context))


def test_hidden_values_come_closer_where_they_are_matched(student, trained, context):
    pairs = hint_layers(student.model, trained)
    assert pairs == sorted(pairs, key=[layer.name for layer in trained.layers].index)
    assert 1 <= len(pairs) <= 3
    after, notes = Distill(epochs=3, features=1.0).apply(student, context)
    assert notes[1] == f"matched: {', '.join(pairs)}"
    # The student has its own shape again, without the maps.
    assert [v.path for v in after.model.weights] == [v.path for v in student.model.weights]
    assert not any(
        np.array_equal(a, b)
        for a, b in zip(after.model.get_weights(), student.model.get_weights(), strict=True)
        if a.ndim > 1
    )


def test_features_alone_teach(student, context):
    """With no weight on outputs and no labels, hidden values are the only source."""
    blind = dataclasses.replace(context, train=Split(context.train.x, None))
    job = Distill(epochs=3, features=5.0, weight=0.0)
    after, _ = job.apply(student, blind)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(after.model.get_weights(), student.model.get_weights(), strict=True)
    )


def test_a_teacher_from_a_file(trained, student, context, tmp_path):
    trained.save(tmp_path / "big.keras")
    by_file = Distill(epochs=1, teacher=str(tmp_path / "big.keras")).apply(student, context)
    by_context = Distill(epochs=1).apply(student, context)
    assert by_file[1] == ("teacher: big.keras",)
    for a, b in zip(by_file[0].model.get_weights(), by_context[0].model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_teacher_of_another_task_is_refused(keras, student, context, tmp_path):
    inputs = keras.Input((8, 8, 1))
    other = keras.Model(inputs, keras.layers.Dense(7)(keras.layers.Flatten()(inputs)))
    other.save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"has the outputs \[\(7,\)\], the model \[\(3,\)\]"):
        Distill(teacher=str(tmp_path / "other.keras")).apply(student, context)
    with pytest.raises(InputError, match="no such file"):
        Distill(teacher=str(tmp_path / "none.keras")).apply(student, context)


def test_the_setup_turns_the_teacher_off(student, context):
    """Then a wrong teacher makes no difference."""
    alone = TrainingSetup(batch_size=32, distillation=None)
    first = fine_tune(student, dataclasses.replace(context, setup=alone), epochs=1)
    nonsense = dataclasses.replace(context, setup=alone, teacher=student.model)
    second = fine_tune(student, nonsense, epochs=1)
    taught = fine_tune(student, dataclasses.replace(context, teacher=student.model), epochs=1)
    same = [
        all(
            np.array_equal(a, b)
            for a, b in zip(first.model.get_weights(), other.model.get_weights(), strict=True)
        )
        for other in (second, taught)
    ]
    assert same == [True, False]


def test_no_epochs_change_nothing(student, context):
    assert Distill(epochs=0).apply(student, context)[0] is student


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature 0 is not above 0"),
        ({"weight": 1.5}, "weight 1.5 is not between 0 and 1"),
        ({"features": -1.0}, "at least 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Distill(**options)


def test_default_is_half_of_the_loss():
    assert TrainingSetup().distillation == Distillation(3.0, 0.5)


def test_a_teacher_with_code_in_it_is_trusted_like_the_model(keras, trained, context, tmp_path):
    inputs = keras.Input((8, 8, 1))
    same = keras.layers.Lambda(lambda x: x * 1.0, output_shape=(8, 8, 1))(inputs)
    keras.Model(inputs, trained(same)).save(tmp_path / "teacher.keras")
    step = Distill(epochs=1, teacher=str(tmp_path / "teacher.keras"))
    with pytest.raises(ModelError, match="Lambda"):
        step.apply(State(trained), context)
    trusting = dataclasses.replace(context, trust=True)
    assert step.apply(State(trained), trusting)[1] == ("teacher: teacher.keras",)
    (tmp_path / "teacher.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"is no \.keras or \.h5 file"):
        Distill(teacher=str(tmp_path / "teacher.onnx")).apply(State(trained), context)
