"""Intervals and tests against published values, and against their definitions worked out anew."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgebuild.models.statistics import (
    MOST_SAMPLES,
    Z95,
    Interval,
    drop_interval,
    mcnemar,
    samples_to_decide,
    samples_to_width,
    wilson,
)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
     (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_wilson_as_newcombe_tabulates_it(correct, total, low, high):
    """Newcombe 1998, Stat. Med. 17, pp. 857 to 872, table I, method 3."""
    found = wilson(correct, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(total - correct, total)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("lost", "gained", "total", "low", "high"), [(1, 7, 21, -0.517, -0.026)])
def test_drop_as_published(lost, gained, total, low, high):
    """Fagerland, Lydersen and Laake 2014, Stat. Med. 33: airway hyper-responsiveness, Tango."""
    found = drop_interval(lost, gained, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)


def by_brute_force(lost, gained, total, drop):
    """Return the score statistic with the likeliest probabilities found on a fine grid."""
    gain = np.linspace(max(0.0, -drop), (1 - drop) / 2, 400_001)[1:-1]
    rest = total - lost - gained
    likelihood = rest * np.log(1 - 2 * gain - drop)
    likelihood += lost * np.log(gain + drop) + gained * np.log(gain)
    best = gain[np.argmax(likelihood)]
    return (lost - gained - total * drop) / math.sqrt(total * (2 * best + drop - drop**2))


@pytest.mark.parametrize(
    ("lost", "gained", "total"), [(6, 16, 161), (12, 2, 50), (3, 1, 40), (55, 30, 10_000)]
)
def test_the_drops_interval_ends_where_the_score_test_refuses(lost, gained, total):
    found = drop_interval(lost, gained, total)
    assert by_brute_force(lost, gained, total, found.low) == pytest.approx(Z95, abs=2e-3)
    assert by_brute_force(lost, gained, total, found.high) == pytest.approx(-Z95, abs=2e-3)
    other = drop_interval(gained, lost, total)
    assert (-other.high, -other.low) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("total", [1, 4, 100, 10_000])
def test_where_nothing_changed_the_interval_is_no_point(total):
    found = drop_interval(0, 0, total)
    assert found.high == pytest.approx(Z95**2 / (total + Z95**2))
    assert found.low == pytest.approx(-found.high)


def test_all_lost():
    assert drop_interval(5, 0, 5).high == pytest.approx(1.0)
    assert drop_interval(0, 5, 5).low == pytest.approx(-1.0)
    assert drop_interval(1, 0, 1).low < 0 < drop_interval(5, 0, 5).low


def test_coverage():
    """The interval holds the true drop 95 times of 100, whichever that is: counted exactly."""
    total, covered = 25, []
    table = {
        (b, c): drop_interval(b, c, total)
        for b, c in itertools.product(range(total + 1), repeat=2)
        if b + c <= total
    }
    for loss, gain in ((0.04, 0.04), (0.1, 0.02), (0.2, 0.1), (0.5, 0.2)):
        chance = 0.0
        for (b, c), interval in table.items():
            if interval.low <= loss - gain <= interval.high:
                rest = total - b - c
                ways = math.comb(total, b) * math.comb(total - b, c)
                chance += ways * loss**b * gain**c * (1 - loss - gain) ** rest
        covered.append(chance)
    assert min(covered) > 0.93 and 0.94 < np.mean(covered) < 0.98


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1.0), (1, 7, 0.0703125), (6, 16, 0.0524788), (1, 1, 1.0), (5, 0, 0.0625),
     (6, 0, 0.03125)],
)  # fmt: skip
def test_mcnemar(lost, gained, p):
    assert mcnemar(lost, gained) == pytest.approx(p, rel=1e-6)
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-6)


def test_mcnemar_of_many():
    """Near the normal approximation, and finite where 2**-n is no number."""
    z = (300 - 1) / math.sqrt(10_300)  # with the continuity correction
    assert mcnemar(5_300, 5_000) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)
    assert mcnemar(20_000, 0) == 0.0


def test_an_interval_decides():
    interval = Interval(0.01, 0.03)
    assert [interval.decides(limit) for limit in (0.005, 0.01, 0.02, 0.03, 0.04)] == [
        True, False, False, True, True,
    ]  # fmt: skip
    assert interval.width == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("lost", "gained", "total", "limit"), [(5, 3, 270, 0.02), (0, 0, 270, 0.01), (30, 5, 500, 0.01)]
)
def test_samples_to_decide_is_the_least(lost, gained, total, limit):
    needed = samples_to_decide(lost, gained, total, limit)

    def at(samples):
        share = samples / total
        return drop_interval(lost * share, gained * share, samples).decides(limit)

    assert at(needed) and not at(needed - 1)
    if (lost, gained) == (0, 0):
        assert needed == math.ceil(Z95**2 * (1 - limit) / limit)


def test_samples_that_nobody_has():
    assert samples_to_decide(3, 0, 300, 0.01) is None  # the drop is the limit
    assert samples_to_width(300, 300, 1000, 1e-6) is None
    assert MOST_SAMPLES >= 1_000_000


def test_samples_to_width():
    assert samples_to_width(0, 0, 4, 0.1) == 73
    needed = samples_to_width(40, 20, 1000, 0.01)
    assert drop_interval(0.04 * needed, 0.02 * needed, needed).width <= 0.01
