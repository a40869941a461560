"""What firmware does to inputs: the steps, their sum, and their form in a report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edgebuild.models.preprocessing import (
    NONE,
    Preprocessing,
    Step,
    affine,
    preprocessing_from_json,
)

MEAN, FACTOR = np.array([1000, 0.5], np.float32), np.array([0.01, 4], np.float32)
STEPS = (Step("sub", MEAN), Step("mul", FACTOR))


def test_steps_apply_channel_by_channel_in_float32():
    x = np.array([[1100, 0.75], [900, 0.25]], np.float64)
    found = Preprocessing({0: STEPS}).apply((x, x))
    assert found[0].dtype == np.float32 and found[1] is x
    assert found[0].tolist() == [[1.0, 1.0], [-1.0, -1.0]]


def test_a_number_for_each_value_of_a_sample():
    x = np.arange(12, dtype=np.float32).reshape(2, 1, 3, 2)
    found = Step("add", np.arange(6, dtype=np.float32)).apply(x)
    assert found[1].ravel().tolist() == [6, 8, 10, 12, 14, 16]


def test_affine_is_what_all_steps_do_together():
    scale, offset = affine((*STEPS, Step("div", np.array([2], np.float32))), 2)
    assert np.allclose(scale, [0.005, 2]) and np.allclose(offset, [-5, -1])
    assert affine((Step("add", np.arange(6, dtype=np.float32)),), 2) is None


@pytest.mark.parametrize("given", [NONE, Preprocessing({1: STEPS}, "data")])
def test_json_and_back(given):
    value = json.loads(json.dumps(given.to_json()))
    found = preprocessing_from_json(value)
    assert found.to_json() == given.to_json() and bool(found) == bool(given.steps)
