"""Why a tensor departs: rules over calibration data and measured tensors."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.models import causes
from edgebuild.models.causes import calibration_reasons, called

RNG = np.random.default_rng(0)
JUDGED = RNG.normal(size=(300, 5))
DRAWN = np.arange(100, 300)


def of(given):
    return calibration_reasons([given], [JUDGED], ["x"], DRAWN)


def with_value(value):
    given = JUDGED[DRAWN].copy()
    given[7, 2] = value
    return given


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (np.zeros((200, 5)), causes.CONSTANT, "input 'x' are 0 everywhere"),
        (np.tile(JUDGED[:1], (200, 1)), causes.CONSTANT, "input 'x' are all the same"),
        (with_value(1e4), causes.OUTLIER, "sample 107 of the calibration data has 10000 at [2] of"),
        (with_value(-1e4), causes.OUTLIER, "has -10000 at [2]"),
        (JUDGED[DRAWN] * 255, causes.WIDE, "they are scaled differently"),
    ],
)
def test_calibration_data_that_spoil_a_range(given, kind, words):
    (reason,) = of(given)
    assert reason.kind == kind and words in reason.sentence and reason.remedy


@pytest.mark.parametrize(
    "given", [JUDGED[DRAWN], with_value(9.0), JUDGED[DRAWN] / 9, np.abs(JUDGED[DRAWN])]
)
def test_data_that_are_like_those_that_judge_are_not_blamed(given):
    assert of(given) == []


def test_whole_numbers_are_indices_and_have_no_range():
    assert calibration_reasons([np.zeros((5, 2), int)], [np.ones((5, 2))], ["ids"], DRAWN) == []


def test_what_a_converter_calls_a_tensor_is_shortened():
    assert called("net/relu_1/Relu;net/bn/add;net/conv") == "relu_1/Relu"
    assert called("hidden") == "hidden"
