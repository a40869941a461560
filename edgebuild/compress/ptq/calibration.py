"""Ranges of activations: what part of a tensor's values the integers are to cover.

Two passes over the samples: extremes, then a histogram between them. A range always holds zero,
which padding needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgebuild.compress.ptq.artifact import Runner
from edgebuild.compress.ptq.network import Network

Range = tuple[float, float]

_BINS = 2048
_STEPS = 100
_LEVELS = 256
_SMALLEST_SHARE = 0.2
_SMOOTH = _BINS // _LEVELS
_KERNEL = np.full(2 * _SMOOTH + 1, 1.0 / (2 * _SMOOTH + 1))
_TINY = 1e-12


class Histogram:
    """Counts of a tensor's values in equal bins from ``low`` to ``high``, which hold zero."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(_BINS)

    def add(self, values: np.ndarray) -> None:
        """Count values, all of which lie in the range."""
        if self.high > self.low:
            self.counts += np.histogram(values, _BINS, (self.low, self.high))[0]

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin."""
        width = (self.high - self.low) / _BINS
        centers: np.ndarray = self.low + width * (np.arange(_BINS) + 0.5)
        return centers


def histograms(network: Network, samples: Sequence[Sequence[np.ndarray]]) -> dict[int, Histogram]:
    """Return the histogram of every float tensor that is computed, over ``samples``, each an array
    for each input."""
    runner = Runner(network.content(), keep_all=True)
    tensors = network.computed()
    extremes = {i: [np.inf, -np.inf] for i in tensors}
    for sample in samples:
        runner.run(sample)
        for i in tensors:
            value = runner.tensor(i)
            low, high = float(value.min(initial=np.inf)), float(value.max(initial=-np.inf))
            extremes[i] = [min(extremes[i][0], low), max(extremes[i][1], high)]
    found = {i: Histogram(*extremes[i]) for i in tensors if np.all(np.isfinite(extremes[i]))}
    for sample in samples:
        runner.run(sample)
        for i, histogram in found.items():
            histogram.add(runner.tensor(i))
    return found


def ranges(
    found: Mapping[int, Histogram], method: str, *, percentile: float, symmetric: bool = False
) -> dict[int, Range]:
    """Return the range of each tensor by one of ``METHODS``.

    Args:
        found: histograms by tensor.
        method: a key of ``METHODS``.
        percentile: for that method, the percent of values below the upper end.
        symmetric: whether the numbers are symmetric about zero (int16), so that both ends agree.
    """
    chosen = {i: METHODS[method](histogram, percentile) for i, histogram in found.items()}
    if symmetric:
        ends = {i: max(-low, high) for i, (low, high) in chosen.items()}
        return {i: (-end, end) for i, end in ends.items()}
    return chosen


def min_max(histogram: Histogram, _percentile: float) -> Range:
    """Return the extremes."""
    return histogram.low, histogram.high


def percentile_range(histogram: Histogram, percentile: float) -> Range:
    """Return the range that leaves out ``100 - percentile`` percent of the values at each end.

    An end at zero, as behind a ReLU, stays.
    """
    total = histogram.counts.sum()
    if not total:
        return histogram.low, histogram.high
    share = np.cumsum(histogram.counts) / total
    width = (histogram.high - histogram.low) / _BINS
    cut = 1.0 - percentile / 100.0
    first = int(np.searchsorted(share, cut + _TINY))
    last = int(np.searchsorted(share, 1.0 - cut - _TINY))
    low = histogram.low + width * first
    high = histogram.low + width * (last + 1)
    return min(low, 0.0), max(min(high, histogram.high), 0.0)


def mse_range(histogram: Histogram, _percentile: float) -> Range:
    """Return the range of least mean squared error: of rounding inside and clipping outside.

    Both ends are drawn in together, then each by itself.
    """
    if histogram.high <= histogram.low:
        return histogram.low, histogram.high
    shares = np.linspace(1.0, _SMALLEST_SHARE, _STEPS)

    def best(candidates: list[Range]) -> Range:
        return min(candidates, key=lambda found: _squared_error(histogram, found))

    low, high = best([(histogram.low * s, histogram.high * s) for s in shares])
    low, high = best([(low, histogram.high * s) for s in shares])
    return best([(histogram.low * s, high) for s in shares])


def _squared_error(histogram: Histogram, found: Range) -> float:
    low, high = found
    scale = (high - low) / (_LEVELS - 1)
    if scale <= 0.0:
        return float(np.inf)
    zero_point = np.rint(-low / scale)
    q = np.clip(np.rint(histogram.centers / scale) + zero_point, 0, _LEVELS - 1)
    error = (q - zero_point) * scale - histogram.centers
    return float(np.dot(histogram.counts, error**2))


def entropy_range(histogram: Histogram, _percentile: float) -> Range:
    """Return the range whose quantized distribution is closest to the whole, by the divergence of
    Kullback and Leibler (Migacz 2017).

    The magnitude is cut; of values on both sides of zero each has half of the levels.
    """
    end = max(-histogram.low, histogram.high)
    if end <= 0.0:
        return histogram.low, histogram.high
    levels = _LEVELS if histogram.low == 0.0 or histogram.high == 0.0 else _LEVELS // 2
    places = np.minimum((np.abs(histogram.centers) / end * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(places, histogram.counts, _BINS)
    counts[0] = counts[1]  # exact zeros are represented whatever the range is
    # A spike, such as a background of one value, costs nothing where it shares its level with
    # emptiness; unsmoothed it would weigh more than a clipped tail.
    counts = np.convolve(np.pad(counts, _SMOOTH, mode="edge"), _KERNEL, mode="valid")
    best, cut = np.inf, _BINS
    for bins in range(levels, _BINS + 1, levels // 16):
        divergence = _divergence(counts, bins, levels)
        if divergence < best - _TINY:
            best, cut = divergence, bins
    limit = end * cut / _BINS
    return max(histogram.low, -limit), min(histogram.high, limit)


def _divergence(counts: np.ndarray, bins: int, levels: int) -> float:
    """Return KL(P, Q): P has the outliers in its last bin, Q shares each level's count evenly among
    the bins of it that are not empty."""
    p = counts[:bins].copy()
    inside = p.copy()
    p[-1] += counts[bins:].sum()
    level = np.arange(bins) * levels // bins
    alive = (inside > 0).astype(float)
    mass = np.bincount(level, inside, levels)
    members = np.bincount(level, alive, levels)
    q = alive * (mass / np.maximum(members, 1.0))[level]
    if p.sum() <= 0.0 or q.sum() <= 0.0:
        return float(np.inf)
    p, q = p / p.sum(), q / q.sum()
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-9))))


METHODS: dict[str, Callable[[Histogram, float], Range]] = {
    "min-max": min_max,
    "percentile": percentile_range,
    "mse": mse_range,
    "entropy": entropy_range,
}
"""How a range is chosen, by name."""
