"""How much a regression's error by its labels rose, and how sure that is."""

from __future__ import annotations

import math

import numpy as np

from edgebuild.models.statistics import Z95, Interval

SMALL_ERROR = 1e-3
"""Of the labels' spread: a float model's error below that counts as that."""


def error_increase(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray
) -> tuple[float | None, Interval | None]:
    """Return by which ratio the root mean square error rose from ``before`` to ``after``, outputs
    of the shape of ``labels`` (samples, ...), and its 95 % interval; None where there is none.

    The interval is that of the logarithm of a ratio of means, by the delta method. A model that is
    all but right may have no error: see ``SMALL_ERROR``.
    """
    floor = (SMALL_ERROR * float(labels.std())) ** 2
    mine, its = (
        np.mean((a - labels).reshape(len(labels), -1) ** 2, axis=1) for a in (after, before)
    )
    first, second = max(float(its.mean()), floor), max(float(mine.mean()), floor)
    if first <= 0:
        return None, None
    ratio = math.sqrt(second / first)
    if len(labels) < 2:
        return ratio - 1, None
    relative = mine / second - its / first
    half = Z95 * 0.5 * float(relative.std(ddof=1)) / math.sqrt(len(labels))
    return ratio - 1, Interval(ratio * math.exp(-half) - 1, ratio * math.exp(half) - 1)
