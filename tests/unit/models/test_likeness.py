import numpy as np
import pytest

from edgebuild.models.likeness import AGREEMENT, SIMILARITY, likeness, middle_similarity
from edgebuild.models.statistics import wilson

RNG = np.random.default_rng(0)


def test_classes_agree():
    original = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    found = likeness(np.array([[9, 1], [1, 2], [1, 2], [7, 6]]), original)
    assert (found.measure, found.value) == (AGREEMENT, 0.75)
    assert found.values.tolist() == [1, 1, 0, 1]
    assert found.interval() == wilson(3, 4)


def test_similarity_is_one_minus_noise_to_signal():
    original = RNG.normal(3, 2, (400, 5))
    outputs = original + RNG.normal(0, 0.5, original.shape)
    found = likeness(outputs, original)
    noise, signal = np.sum((outputs - original) ** 2), np.sum((original - original.mean()) ** 2)
    assert found.measure == SIMILARITY
    assert found.value == pytest.approx(1 - noise / signal)
    assert found.value == pytest.approx(1 - 0.25 / 4, abs=0.01)
    interval = found.interval()
    assert interval.low < found.value < interval.high <= 1.0 and interval.width < 0.02
    assert likeness(original, original).value == 1.0


def test_parts_compare_with_each_other():
    original = RNG.normal(size=(100, 3))
    outputs = original.copy()
    bad = np.arange(100) < 20
    outputs[bad] += 1.0
    found = likeness(outputs, original)
    assert found.of(~bad).value == 1.0 and found.of(bad).value < 0.2
    assert 0.2 * found.of(bad).value + 0.8 * found.of(~bad).value == pytest.approx(found.value)


def test_one_sample_says_nothing_of_others():
    found = likeness(np.ones((1, 3)), np.ones((1, 3)))
    assert found.value == 1.0 and found.interval() is None


def test_constant_outputs_are_alike_or_not():
    assert likeness(np.ones((4, 3)), np.full((4, 3), 2.0)).value == 0.0
    assert likeness(np.full((4, 3), 2.01), np.full((4, 3), 2.0)).value == 1.0
    assert likeness(np.full((4, 3), 1e-6), np.zeros((4, 3))).value == 1.0
    assert likeness(np.ones((4, 3)), np.zeros((4, 3))).value == 0.0


def test_few_values_that_follow_the_original_do_so_in_its_middle():
    wanted = RNG.normal(size=400)
    assert middle_similarity(np.round(wanted), wanted, 0.0) > 0.5
    wanted[:20] = 1e4
    assert middle_similarity(np.where(wanted > 1e3, 1e4, 0), wanted, 0.0) < 0.1
    assert middle_similarity(np.where(wanted > 1e3, 1e4, 0), wanted, 2.0) == 1.0
