"""How sure an accuracy is: intervals for one classifier and for two judged on the same samples.

For the difference of two classifiers only the samples count on which one is right and the other
wrong: ``lost`` (the first is right) and ``gained`` (the second is right) of ``total``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

MOST_SAMPLES = 10_000_000
_STEPS = 60  # halvings of an interval of 2: below a double's precision


@dataclass(frozen=True)
class Interval:
    """Where a value lies with 95 % confidence, both ends inclusive."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """``high - low``."""
        return self.high - self.low

    def decides(self, limit: float) -> bool:
        """Return whether all of it is at most ``limit``, or all of it above."""
        return self.high <= limit or self.low > limit


def wilson(correct: float, total: float) -> Interval:
    """Return Wilson's score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    share, z2 = correct / total, Z95 * Z95
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = (
        Z95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + (z2 / total) / total / 4)
    )
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def drop_interval(lost: float, gained: float, total: float) -> Interval:
    """Return the score interval of the drop ``(lost - gained) / total`` on the same samples.

    Tango 1998, Stat. Med. 17: every difference that a score test does not refuse. It holds its
    confidence for few discordant pairs, or none, where Wald's interval is a point; see the
    comparison of Fagerland, Lydersen and Laake 2014, Stat. Med. 33.
    """
    drop = (lost - gained) / total
    return Interval(
        _edge(lambda d: _score(lost, gained, total, d) > Z95, -1.0, drop),
        _edge(lambda d: _score(lost, gained, total, d) >= -Z95, drop, 1.0),
    )


def _edge(below: Callable[[float], bool], low: float, high: float) -> float:
    """Return where ``below``, true at first, turns false between ``low`` and ``high``."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(lost: float, gained: float, total: float, drop: float) -> float:
    """Return the score statistic for the hypothesis that the difference is ``drop``."""
    distance = lost - gained - total * drop
    # The likeliest probability of a gain, given the difference: a root of a x^2 + b x + c.
    a = 2 * total
    b = -lost - gained + (2 * total - lost + gained) * drop
    c = -gained * drop * (1 - drop)
    gain = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = total * (2 * gain + drop * (1 - drop))
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def clustered(sums: np.ndarray, counts: np.ndarray) -> tuple[Interval, float]:
    """Return the 95 % interval of the ratio ``sum(sums) / sum(counts)`` and the p-value that it is
    zero, both arrays (samples,): positions of one sample are not independent of each other.

    The linearized ratio estimator over clusters (Cochran 1977, Sampling Techniques, 6.4), normal.
    """
    value = float(sums.sum() / counts.sum())
    count = int(np.count_nonzero(counts))
    if count < 2:
        return Interval(-1.0, 1.0), 1.0
    residuals = sums - value * counts
    variance = float(np.sum(residuals**2)) * count / (count - 1)
    half = Z95 * math.sqrt(variance) / float(counts.sum())
    interval = Interval(max(-1.0, value - half), min(1.0, value + half))
    if half == 0.0:
        return interval, 0.0 if value else 1.0
    return interval, math.erfc(abs(value) / (half / Z95) / math.sqrt(2))


def mcnemar(lost: int, gained: int) -> float:
    """Return the p-value, two-sided and exact, of McNemar's test that nothing changed (1947,
    Psychometrika 12): of a fair coin that was thrown ``lost + gained`` times."""
    thrown, fewer = lost + gained, min(lost, gained)
    if thrown == 0:
        return 1.0
    # Summed from the largest term down, in logarithms: 2**-thrown underflows.
    scale = thrown * math.log(2)
    terms = (
        math.exp(math.lgamma(thrown + 1) - math.lgamma(k + 1) - math.lgamma(thrown - k + 1) - scale)
        for k in range(fewer, -1, -1)
    )
    return min(1.0, 2 * math.fsum(terms))


def samples_to_decide(lost: int, gained: int, total: int, limit: float) -> int | None:
    """Return how many samples would tell whether the drop is at most ``limit``, if they went on
    like these ones; None for more than ``MOST_SAMPLES``."""
    return _least(lost, gained, total, lambda interval: interval.decides(limit))


def samples_to_width(lost: int, gained: int, total: int, width: float) -> int | None:
    """Return how many samples would make the drop's interval at most ``width`` wide."""
    return _least(lost, gained, total, lambda interval: interval.width <= width)


def _least(lost: int, gained: int, total: int, tells: Callable[[Interval], bool]) -> int | None:
    def enough(samples: int) -> bool:
        share = samples / total
        return tells(drop_interval(lost * share, gained * share, samples))

    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_SAMPLES:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
