"""Whether a float model is right at all, and which scale of the data it takes."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgebuild.models.baseline_review import baseline_from_json, review_baseline

RNG = np.random.default_rng(0)
Y = np.arange(400) % 4
X = (np.eye(4)[Y] * 0.6 + RNG.uniform(0, 0.4, (400, 4))).astype(np.float32)


def classifier(x):
    """Right for values from 0 to 1; far beyond them or between the first steps it names class 0."""
    scores = np.asarray(x[0], np.float64)
    odd = (scores.max(axis=1) > 2) | (scores.max(axis=1) < 0.3)
    return np.where(odd[:, np.newaxis], [1.0, 0, 0, 0], scores)


@pytest.mark.parametrize(
    ("given", "scale"), [(X * 255, "x / 255"), (X / 255, "x * 255"), (X, None)]
)
def test_the_scale_that_brings_a_classifier_back(given, scale):
    found = review_baseline(classifier, [given], Y)
    if scale is None:
        assert found is None
        return
    assert (found.measure, found.value, found.constant) == ("accuracy", 0.25, 0.25)
    assert found.scale == scale
    assert f"with {scale} it is 100.00%: prepare the data that way" in found.sentence
    assert baseline_from_json(json.loads(json.dumps(asdict(found)))) == found


def test_images_from_0_to_255_for_a_model_of_minus_1_to_1():
    def centred(x):
        return np.where(np.abs(x[0]).max(axis=1)[:, np.newaxis] > 1.1, [1.0, 0, 0, 0], x[0] - 1)

    given = (X * 255).astype(np.uint8)
    found = review_baseline(centred, [given], Y)
    assert found.scale in ("x / 127.5 - 1", "x / 255") and found.attempts[2].value == 1.0


def test_where_no_scale_helps_that_is_said():
    def model(x):
        return np.tile([0.4, 0.3, 0.2, 0.1], (len(x[0]), 1)) + 0.001 * np.asarray(x[0])[:, :1]

    found = review_baseline(model, [X], Y)
    assert (
        found.scale == "" and "other preparations of the data (x / 255, x * 255" in found.sentence
    )


def test_inverted_values():
    found = review_baseline(lambda x: np.square(x[0], dtype=np.float64), [(1 - X) * 200], Y)
    assert found.scale == "max + min - x (inverted)"


def test_images_in_bgr():
    """A model that tells by the first channel whether red is bright."""
    bright = RNG.integers(0, 2, 200)
    images = RNG.uniform(0, 0.4, (200, 4, 4, 3)).astype(np.float32)
    images[..., 0] += bright[:, np.newaxis, np.newaxis] * 0.5

    def model(x):
        red = x[0][..., 0].mean(axis=(1, 2)).clip(0, 1)
        return np.stack([1 - red, red], axis=1)

    assert review_baseline(model, [images], bright) is None
    found = review_baseline(model, [images[..., ::-1]], bright)
    assert found.scale == "x[..., ::-1] (BGR, not RGB)"


def test_few_samples_of_a_right_model_are_not_questioned():
    assert review_baseline(classifier, [X[:40]], Y[:40]) is None


def test_a_regression_that_is_no_better_than_the_mean():
    labels = X @ np.array([[1.0], [2], [3], [4]])

    def model(x):
        return np.asarray(x[0], np.float64) @ np.array([[1.0], [2], [3], [4]])

    assert review_baseline(model, [X], labels) is None
    found = review_baseline(model, [X * 255], labels)
    assert (found.measure, found.scale) == ("R2", "x / 255") and found.value < 0
    assert found.sentence.startswith("the float model's error is no smaller than that of always")
    assert "with x / 255 it is R2 1: prepare the data that way" in found.sentence


@pytest.mark.parametrize("where", ["input", "labels"])
def test_an_outlier_is_the_cause_and_not_the_scale(where):
    labels, given = (X @ np.array([[1.0], [2], [3], [4]])).astype(np.float32), X.copy()
    if where == "input":
        given[7, 2] = 1e5
    else:
        labels[7] = 1e6

    def model(x):
        return 0.1 + np.asarray(x[0], np.float64) @ np.array([[1.0], [2], [3], [4]])

    found = review_baseline(model, [given], labels)
    assert found.scale == "" and found.attempts == () and 0.9 < found.usual < 1
    assert found.sentence.startswith("the float model's error is no smaller than that of always")
    value, named = ("100000", "the input") if where == "input" else ("1e+06", "the labels y")
    assert f"because of outliers: sample 7 has {value} at " in found.sentence
    assert f"without it the range of {named} is" in found.sentence
    assert found.sentence.endswith("correct or remove that sample")
    assert found.headline == "outliers in these data hide how right the float model is"
    assert baseline_from_json(json.loads(json.dumps(asdict(found)))) == found


def test_a_scale_is_found_in_spite_of_an_outlier():
    labels, given = X @ np.array([[1.0], [2], [3], [4]]), X * 255
    given[7, 2] = 1e8

    def model(x):
        return np.asarray(x[0], np.float64) @ np.array([[1.0], [2], [3], [4]])

    assert review_baseline(model, [given], labels).scale == "x / 255"


@pytest.mark.parametrize("y", [None, X[:, :1]])
def test_an_output_that_is_the_same_for_every_sample(y):
    found = review_baseline(lambda x: np.zeros((len(x[0]), 1)), [X], y)
    assert found.measure == "constant"
    assert found.sentence.startswith("the float model gives the same output for all 400 samples")
    assert found.headline == "the float model gives the same output for every sample"


def test_without_labels_nothing_is_questioned():
    assert review_baseline(classifier, [X], None) is None


def softmax_of(factor):
    """A classifier for inputs whose logits, times ``factor``, are right."""

    def predict(x):
        logits = np.asarray(x[0], np.float64) * factor
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return found[:, np.newaxis]  # a batch of 1, as an interpreter has it

    return predict


@pytest.mark.parametrize(
    ("given", "factor", "measure", "scale", "words"),
    [
        (X * 255, 8, "certainty", "x / 255", "outputs are saturated for 100% of the samples"),
        (X, 8 / 255, "variety", "x * 255", "nearly the same output for all 400 samples"),
        (X, 8, None, "", ""),  # right as it is
        (X * 255, 8 / 255, None, "", ""),
        (X, 60, None, "", ""),  # certain, as a model is that was trained for long
        (X[:10] * 255, 8, None, "", ""),  # too few
        (X * 0, 8, None, "", ""),  # no scale helps
        (np.tile(X[:1], (50, 1)), 8, None, "", ""),  # one sample again and again
        (np.tile(X[:1], (50, 1)) * 255, 8, None, "", ""),
    ],
)
def test_without_labels_only_the_extremes_tell(given, factor, measure, scale, words):
    found = review_baseline(softmax_of(factor), [np.asarray(given, np.float32)], None)
    if measure is None:
        assert found is None
        return
    assert (found.measure, found.scale) == (measure, scale)
    assert words in found.sentence and f"with {scale} " in found.sentence
    assert baseline_from_json(json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.parametrize(
    ("given", "factor", "warned"),
    [(X * 255, 8, True), (X, 8, False), (X, 60, False), (X * 255, 8 / 255, False)],
)
def test_a_model_that_is_right_by_chance_of_its_scale_is_named(given, factor, warned):
    """Which class is the largest does not depend on the scale here, and probabilities do."""
    labels = X.reshape(len(X), -1).argmax(axis=1)
    found = review_baseline(softmax_of(factor), [np.asarray(given, np.float32)], labels)
    assert (found is not None) == warned
    if found is not None:
        assert (found.measure, found.scale) == ("certainty", "x / 255")


def test_a_scale_on_which_a_right_model_is_wrong_is_not_advised():
    """A model that is certain of all, and right, where x / 255 would make it wrong."""

    def model(x):
        logits = 100 * (np.asarray(x[0], np.float64) - 100)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)

    values = 50.0 + 100 * np.eye(4, dtype=np.float32)[np.arange(80) % 4]
    assert review_baseline(model, [values], np.arange(80) % 4) is None


def test_without_labels_values_tell_nothing():
    assert review_baseline(lambda x: np.asarray(x[0][:, :1]), [X * 255], None) is None


def test_few_samples_are_not_blamed_on_the_data():
    def model(x):
        return np.eye(4, dtype=np.float32)[[1, 2, 3]]

    found = review_baseline(model, [X[:3]], np.array([1, 2, 3]))
    assert found.value == 1.0 and found.scale == ""
    assert found.sentence.endswith("(only 3 samples): use more samples")
