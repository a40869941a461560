"""What is questionable about calibration data, each with its evidence, and what is not."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgebuild.models.calibration_review import (
    Finding,
    finding_from_json,
    outlying_samples,
    review_calibration,
)


def images(count: int = 100) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (count, 8, 8, 1)).astype(np.float32)


def review(x: np.ndarray, **given: object) -> tuple[Finding, ...]:
    settings = {"drawn": len(x), **given}
    return review_calibration([x], ["image"], **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "x",
    [
        images(),
        np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32),
        np.random.default_rng(2).integers(0, 256, (50, 4, 4, 3)).astype(np.uint8),
        (np.random.default_rng(3).uniform(size=(200, 40)) < 0.02).astype(np.float32),  # one-hot
    ],
)
def test_usual_data_are_not_questioned(x):
    assert review(x) == ()


def test_an_outlier_is_named_with_its_place_and_the_range_without_it():
    x = images()
    x[7, 3, 5, 0] = 1e4
    (found,) = review(x)
    assert (found.kind, found.sample, found.position) == ("outlier", 7, (3, 5, 0))
    assert found.value == 1e4 and found.range_with[1] == 1e4 and found.range_without[1] < 1
    assert found.sentence.startswith("sample 7 has 10000 at [3, 5, 0]; without it the range of the")
    assert outlying_samples([x]).tolist() == [7]


def test_a_negative_outlier_and_several():
    x = images(200)
    x[11, 0, 0, 0], x[150, 1, 1, 0] = -50, 1e6
    assert {f.sample for f in review(x) if f.kind == "outlier"} == {11, 150}
    assert outlying_samples([x]).tolist() == [11, 150]


def test_many_large_samples_are_a_part_of_the_data():
    x = images()
    x[:5] *= 100
    assert not [f for f in review(x) if f.kind == "outlier"]


def test_an_outlier_in_a_column_that_a_wider_one_hides():
    x = np.random.default_rng(0).uniform(0, 1, (100, 3)).astype(np.float32) * [1e5, 1, 1]
    x[42, 1] = 500
    (found,) = review(x)
    assert (found.sample, found.position) == (42, (1,))
    assert "without it column 1 is" in found.sentence


@pytest.mark.parametrize(("value", "kind"), [(0.0, "all-zero"), (3.5, "constant")])
def test_a_set_of_one_value(value, kind):
    (found,) = review(np.full((50, 4), value, np.float32))
    assert found.kind == kind and found.warning


def test_too_few_samples():
    assert "few-samples" in {f.kind for f in review(images(4))}
    assert "few-samples" in {f.kind for f in review(images(), drawn=1)}


def test_samples_that_do_not_fill_the_range():
    x = np.random.default_rng(0).lognormal(0, 2, (12, 1)).astype(np.float32)
    (found,) = (f for f in review(x) if f.kind == "range-not-filled")
    assert found.sentence.startswith("12 samples do not cover the range of the input: half of them")


def test_classes_that_calibrate_nothing():
    labels = np.repeat([0, 1], 50)
    (found,) = review(
        images(), labels=labels, judged_labels=np.arange(4), classes=["a", "b", "c c"]
    )
    assert found.kind == "missing-classes"
    assert found.sentence.endswith("2 of 4 classes in the evaluation data: 'c c', 3")


def test_a_set_that_judges_itself_is_no_warning():
    (found,) = review(images(), judges=True)
    assert found.kind == "judges-itself" and not found.warning and "--train" in found.sentence


def test_json_and_back():
    x = images()
    x[7, 3, 5, 0] = 1e4
    for found in review(x, judges=True):
        assert finding_from_json(json.loads(json.dumps(asdict(found)))) == found
