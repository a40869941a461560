import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.models.accuracy import Accuracy, evaluate, labels_for, read_labels

SCORES = np.array([[3, 1], [0, 5], [2, 2], [-9, -8]], np.int8)  # argmax: 0, 1, 0, 1


@pytest.mark.parametrize(
    ("y", "correct"),
    [
        ([0, 1, 0, 1], 4),
        ([[0], [1], [1], [1]], 3),
        ([0.0, 1.0, 0.0, 0.0], 3),
        ([[1, 0], [0, 1], [0, 1], [1, 0]], 2),
    ],
)
def test_classes_and_one_hot(y, correct):
    result = evaluate(SCORES, np.array(y))
    assert result == Accuracy(correct, 4)
    assert result.value == correct / 4


def test_a_batch_dimension_inside_the_output():
    assert evaluate(SCORES[:, np.newaxis], np.array([0, 1, 0, 1])).correct == 4


def test_a_single_sigmoid_output():
    scores = np.array([[0.2], [0.7], [0.5]])
    assert evaluate(scores, np.array([0, 1, 0])).correct == 3
    quantized = np.array([[-100], [50], [0]], np.int8)
    assert evaluate(quantized, np.array([0, 1, 0]), threshold=0).correct == 3


def test_a_single_logit():
    scores = np.array([[-2.0], [0.3], [0.1], [-0.1]])
    y = np.array([0, 1, 1, 0])
    assert evaluate(scores, y, probability=False).correct == 4
    assert evaluate(scores, y).correct == 2


def test_a_single_output_of_a_regression():
    scores, y = np.array([[12.0], [26.0]]), np.array([12, 26])
    assert evaluate(scores, y, probability=False) is None
    with pytest.raises(
        InputError, match="labels y range from 12 to 26, but the model has 2 classes"
    ):
        evaluate(scores, y)


@pytest.mark.parametrize(
    "y",
    [None, SCORES.astype(float), np.array([[0.3, 0.7]] * 4)],
)
def test_no_accuracy_for_what_is_no_classifier(y):
    assert evaluate(SCORES, y) is None


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 1], r"labels y range from 0 to 2, but the model has 2 classes \(0 to 1\)"),
        ([-1, 0, 0, 0], "labels y range from -1 to 0"),
        ([[0, 0, 1]] * 4, "labels y have 3 values a sample, the model has 2 outputs"),
        ([0.5, 1.5, 0.1, 0.2], r"labels y have fractions, but the model has 2 classes \(0 to 1\)"),
    ],
)
def test_labels_that_do_not_fit(y, message):
    with pytest.raises(InputError, match=message):
        evaluate(SCORES, np.array(y))


def test_a_mask_has_a_class_for_each_position():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5, 3, 4, 6))
    y = scores.argmax(-1)
    y[0, 0, :2] += 1 - 6 * (y[0, 0, :2] == 5)
    assert evaluate(scores, y) == evaluate(scores, y[..., np.newaxis]) == Accuracy(58, 60)
    assert evaluate(scores, np.eye(6)[y]) == Accuracy(58, 60)
    with pytest.raises(InputError, match="y1 range from 0 to 6, but the model has 6 classes"):
        read_labels(np.where(y == 5, 6, y), scores.shape[1:], name="y1")


def test_a_mask_of_one_channel_is_cut_at_the_threshold():
    scores = np.array([0.2, 0.6, 0.7, 0.1]).reshape(1, 2, 2, 1)
    y = np.array([[[0, 1], [0, 0]]])
    assert evaluate(scores, y) == Accuracy(3, 4)
    assert evaluate(scores, y / 2) is None  # values between are no classes


def test_a_sequence_has_a_class_for_each_step():
    scores = np.random.default_rng(1).normal(size=(7, 5, 3))
    assert evaluate(scores, scores.argmax(-1)) == Accuracy(35, 35)


def test_class_numbers_come_out_of_argmax():
    labels = read_labels(np.array([3, 0, 7]), (1,), direct=True)
    assert labels.judge(np.array([[3], [0], [6]], np.int32), 0.5).accuracy == Accuracy(2, 3)


def test_values_have_positions_and_channels():
    y = np.random.default_rng(2).normal(size=(4, 6, 2))
    assert read_labels(y, (6, 2)).values.shape == (4, 6, 2)
    assert read_labels(y.reshape(4, -1), (1, 12)).values.shape == (4, 1, 12)
    assert read_labels(np.array([858.0, 1147.0]), (1,), probability=False).values.shape == (2, 1, 1)


def test_a_model_that_reconstructs_its_input_has_values():
    """Black and white images look like masks."""
    x = np.random.default_rng(3).integers(0, 2, (6, 4, 4, 1)).astype(float)
    assert labels_for((4, 4, 1), x, x).numbers is None
    assert labels_for((4, 4, 1), x, 1 - x).numbers is not None


@pytest.mark.parametrize(
    ("first", "hint"),
    [
        (5, "if the classes are numbered from 5, subtract 5 from y; otherwise check that these"),
        (-1, "check that these labels belong to this model, or leave y out"),
    ],
)
def test_labels_that_may_be_numbered_otherwise(first, hint):
    with pytest.raises(InputError, match="labels y range from") as error:
        labels_for((10,), np.arange(40) % 10 + first)
    assert error.value.hint.startswith(hint)
