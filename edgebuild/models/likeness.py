"""How much a model's outputs are like the original's, where there are no classes to be right on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgebuild.models.statistics import Z95, Interval, wilson

AGREEMENT = "agreement with the original"
SIMILARITY = "similarity to the original"
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Likeness:
    """One output compared with the original's, sample by sample.

    ``values`` (samples,) are 1 for a perfect sample, and ``measure`` is their mean: the share of
    equal classes (AGREEMENT), or 1 minus the noise-to-signal ratio (SIMILARITY), whose signal is
    the original's variance over the whole data set. So parts of the set compare with each other.
    """

    measure: str
    values: np.ndarray

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.values.mean())

    def interval(self) -> Interval | None:
        """Return the mean's 95 % interval: Wilson's of a share, else the normal one of a mean; None
        where one sample says nothing of the others."""
        count = len(self.values)
        if self.measure == AGREEMENT:
            return wilson(float(self.values.sum()), count)
        if count < 2:
            return None
        half = Z95 * float(self.values.std(ddof=1)) / math.sqrt(count)
        return Interval(self.value - half, min(1.0, self.value + half))

    def of(self, chosen: np.ndarray) -> Likeness:
        """Return the likeness of the samples where ``chosen``, bool (samples,), is True."""
        return Likeness(self.measure, self.values[chosen])


def likeness(outputs: np.ndarray, original: np.ndarray) -> Likeness:
    """Compare real outputs (samples, ...) with the original's of the same shape."""
    if is_classifier(original):
        return Likeness(AGREEMENT, (outputs.argmax(-1) == original.argmax(-1)).astype(np.float64))
    given, wanted = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (outputs, original))
    noise = np.sum((given - wanted) ** 2, axis=1)
    signal = float(np.sum((wanted - wanted.mean()) ** 2)) / max(1, len(wanted))
    return Likeness(SIMILARITY, 1.0 - noise / (signal + _TINY))


def is_classifier(outputs: np.ndarray) -> bool:
    """Return whether rows of two or more outputs are probabilities."""
    if outputs.ndim != 2 or outputs.shape[1] < 2 or not len(outputs):
        return False
    return bool(np.all(outputs >= -1e-6) and np.allclose(outputs.sum(1), 1.0, atol=1e-3))
