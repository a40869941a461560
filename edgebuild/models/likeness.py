"""How much a model's outputs are like the original's, whole and channel by channel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.models.statistics import Z95, Interval, wilson

LEAST_SHARE = 0.01
"""A channel is judged when it varies by more than this share of its output's variance."""

AGREEMENT = "agreement with the original"
SIMILARITY = "similarity to the original"
_SAME = 1e-4
"""Of the mean square of an output that does not vary: less noise is none."""

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
        same = outputs.argmax(-1) == original.argmax(-1)
        return Likeness(AGREEMENT, same.reshape(len(same), -1).mean(axis=1))
    if np.issubdtype(original.dtype, np.integer) or original.dtype == np.bool_:
        return Likeness(AGREEMENT, (outputs == original).reshape(len(original), -1).mean(axis=1))
    given, wanted = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (outputs, original))
    noise = np.sum((given - wanted) ** 2, axis=1)
    signal = float(np.sum((wanted - wanted.mean()) ** 2)) / max(1, len(wanted))
    each, size = max(1, wanted.shape[1]), float(np.mean(wanted**2)) if wanted.size else 0.0
    if signal <= _TINY * each * max(1.0, size):
        return Likeness(SIMILARITY, np.where(noise <= each * _none(size), 1.0, 0.0))
    return Likeness(SIMILARITY, 1.0 - noise / signal)


def _none(size: np.ndarray | float) -> np.ndarray:
    """Return how much noise is none where the original does not vary; ``size`` is its square."""
    return np.maximum(_TINY, _SAME * np.asarray(size))


@dataclass(frozen=True, eq=False)
class ChannelLikeness:
    """An output compared with the original's, channel by channel of its last axis: all (channels,).

    ``similarity`` is 1 minus the noise-to-signal ratio, whose signal is the original's variance in
    that channel; where that is constant, 1 for what is within a hundredth of it, else 0. ``share``
    is that variance in relation to the mean one of the channels of the same part. ``values`` and
    ``original_values`` count distinct values.
    """

    similarity: np.ndarray
    share: np.ndarray
    values: np.ndarray
    original_values: np.ndarray


def channel_likeness(
    outputs: np.ndarray, original: np.ndarray, cuts: Sequence[int] = ()
) -> ChannelLikeness:
    """Compare real outputs (samples, ..., channels) with the original's of the same shape.

    ``cuts`` are channels at which a part of the output begins that was computed by itself, the
    first part excepted: boxes and scores that were joined are measured each by their own variance.
    """
    given, wanted = (
        np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (outputs, original)
    )
    signal = wanted.var(axis=0)
    noise = np.mean((given - wanted) ** 2, axis=0)
    size = np.mean(wanted**2, axis=0)
    varies = signal > _TINY * np.maximum(1.0, size)
    flat = np.where(noise <= _none(size), 1.0, 0.0)
    similarity = np.where(varies, 1.0 - noise / np.where(varies, signal, 1.0), flat)
    share = np.zeros_like(signal)
    ends = [0, *sorted(cuts), len(signal)]
    for start, stop in itertools.pairwise(ends):
        part = signal[start:stop]
        share[start:stop] = part / max(float(part.mean()), _TINY * _TINY) if len(part) else part
    return ChannelLikeness(
        similarity, np.where(varies, share, 0.0), _distinct(given), _distinct(wanted)
    )


def least_similarity(outputs: np.ndarray, original: np.ndarray, cuts: Sequence[int] = ()) -> float:
    """Return the likeness of an output, or of the worst of its channels that are judged."""
    whole = likeness(outputs, original)
    if whole.measure == AGREEMENT:
        return whole.value
    found = channel_likeness(outputs, original, cuts)
    judged = found.similarity[found.share > LEAST_SHARE]
    return min(whole.value, float(judged.min(initial=1.0)))


def middle_similarity(outputs: np.ndarray, original: np.ndarray, least: float) -> float:
    """Return the similarity of one channel over the nine tenths in the middle of the original's
    values; 1 where these deviate by no more than ``least``."""
    given, wanted = (np.asarray(a, np.float64).reshape(-1) for a in (outputs, original))
    low, high = np.quantile(wanted, (0.05, 0.95))
    inside = (wanted >= low) & (wanted <= high)
    signal = float(wanted[inside].var())
    if signal <= max(least**2, _TINY * max(1.0, float(np.mean(wanted[inside] ** 2)))):
        return 1.0
    return 1.0 - float(np.mean((given - wanted)[inside] ** 2)) / signal


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Return how many different values each column has."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.int64)
    ordered = np.sort(rows, axis=0)
    return 1 + np.count_nonzero(np.diff(ordered, axis=0), axis=0)


def is_classifier(outputs: np.ndarray) -> bool:
    """Return whether the last axis of outputs (samples, ..., channels) holds probabilities that
    sum to 1."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2 or not outputs.size:
        return False
    if not np.issubdtype(outputs.dtype, np.floating):
        return False
    return bool(np.all(outputs >= -1e-6) and np.allclose(outputs.sum(-1), 1.0, atol=1e-3))
