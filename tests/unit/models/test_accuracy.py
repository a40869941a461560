import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.models.accuracy import Accuracy, evaluate

SCORES = np.array([[3, 1], [0, 5], [2, 2], [-9, -8]], np.int8)  # argmax: 0, 1, 0, 1


def identity(x):
    return x[0]


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
    result = evaluate(identity, SCORES, np.array(y), batch=3)
    assert result == Accuracy(correct, 4)
    assert result.value == correct / 4


def test_a_batch_dimension_inside_the_output():
    assert evaluate(lambda x: x[0][:, np.newaxis], SCORES, np.array([0, 1, 0, 1])).correct == 4


def test_a_single_sigmoid_output():
    scores = np.array([[0.2], [0.7], [0.5]])
    assert evaluate(identity, scores, np.array([0, 1, 0])).correct == 3
    quantized = np.array([[-100], [50], [0]], np.int8)
    assert evaluate(identity, quantized, np.array([0, 1, 0]), threshold=0).correct == 3


def test_a_single_logit():
    scores = np.array([[-2.0], [0.3], [0.1], [-0.1]])
    y = np.array([0, 1, 1, 0])
    assert evaluate(identity, scores, y, probability=False).correct == 4
    assert evaluate(identity, scores, y).correct == 2


def test_a_single_output_of_a_regression():
    scores, y = np.array([[12.0], [26.0]]), np.array([12, 26])
    assert evaluate(identity, scores, y, probability=False) is None
    with pytest.raises(InputError, match="labels y go from 12 to 26, the model has 2 classes"):
        evaluate(identity, scores, y)


@pytest.mark.parametrize(
    "y",
    [None, np.array([0.5, 1.5, 0.1, 0.2]), SCORES.astype(float), np.array([[0.3, 0.7]] * 4)],
)
def test_no_accuracy_for_what_is_no_classifier(y):
    assert evaluate(identity, SCORES, y) is None


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 1], r"labels y go from 0 to 2, the model has 2 classes \(0 to 1\)"),
        ([-1, 0, 0, 0], "labels y go from -1 to 0"),
        ([[0, 0, 1]] * 4, "labels y have 3 values a sample, the model has 2 outputs"),
    ],
)
def test_labels_that_do_not_fit(y, message):
    with pytest.raises(InputError, match=message):
        evaluate(identity, SCORES, np.array(y))
