"""Weights on the grid of their integers: nearest, or rounded to fit the layer's output (AdaRound).

Weights that the quantizer is to turn into chosen integers q are stored as q * scale with one
weight of each channel at the end of the range: the quantizer, which takes the scale from the
largest weight, then finds exactly q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgebuild.compress.ptq.linear import Linear

_STRETCH, _SHIFT = 1.2, -0.1
"""Of the sigmoid, so that it reaches 0 and 1 (Louizos et al. 2018)."""
_WARM = 0.2
_BETA = (20.0, 2.0)
_PULL = 0.3
_RATE = 0.02
_BATCH = 256
_TINY = 1e-12


def levels(bits: int) -> int:
    """Return the largest integer of a symmetric range: 127 for 8 bits, 7 for 4."""
    return int((1 << (bits - 1)) - 1)


def channel_scales(matrix: np.ndarray, bits: int, *, clip: bool = False) -> np.ndarray:
    """Return the scale (outputs, 1) of each row of (outputs, K): largest weight at the largest
    integer, or with ``clip`` the smaller scale of least squared error."""
    top = levels(bits)
    scales = np.abs(matrix).max(axis=1, keepdims=True, initial=0.0).astype(np.float64) / top
    scales = np.where(scales > 0.0, scales, 1.0)
    if not clip:
        return scales
    best, found = np.full(scales.shape, np.inf), scales
    for share in np.linspace(1.0, 0.3, 71):
        tried = scales * share
        q = np.clip(np.rint(matrix / tried), -top, top)
        error = np.sum((q * tried - matrix) ** 2, axis=1, keepdims=True)
        found = np.where(error < best, tried, found)
        best = np.minimum(error, best)
    return found


def nearest(matrix: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """Return the nearest integers."""
    top = levels(bits)
    q: np.ndarray = np.clip(np.rint(matrix / scales), -top, top)
    return q


@dataclass(frozen=True, eq=False)
class Fit:
    """What a layer reads and should give.

    ``rows`` come from the quantized network and are fitted to ``target`` (rows, outputs): the
    float network's output behind its activation. ``bias`` is (outputs,).
    """

    linear: Linear
    rows: np.ndarray
    target: np.ndarray
    bias: np.ndarray

    def errors(self, matrix: np.ndarray) -> np.ndarray:
        """Return each output's mean squared error."""
        low, high = self.linear.bounds
        found = np.clip(self.linear.products(self.rows, matrix) + self.bias, low, high)
        errors: np.ndarray = np.mean((found - self.target) ** 2, axis=0)
        return errors


def adaround(
    fit: Fit, matrix: np.ndarray, scales: np.ndarray, bits: int, *, steps: int, seed: int
) -> np.ndarray:
    """Return integers (outputs, K), each weight rounded down or up so that the layer's output is
    closest to the float one (Nagel et al. 2020). Zero stays zero.

    Adam for ``steps`` on a soft choice that is pulled towards 0 and 1; an output that is no better
    than with the nearest integers keeps those.
    """
    top = levels(bits)
    plain = nearest(matrix, scales, bits)
    ratio = matrix / scales
    free = (np.abs(ratio) < top - 1e-6) & (matrix != 0.0)
    floor = np.floor(ratio)
    soft = _Soft(ratio - floor, free)
    # In units of the error that rounding is expected to make, so that one pull serves all layers.
    unit = scales**2 / 12.0 * np.sum(fit.linear.squares(fit.rows), axis=1, keepdims=True) + _TINY
    rng = np.random.default_rng(seed)
    low, high = fit.linear.bounds
    for step in range(steps):
        chosen = rng.integers(0, len(fit.rows), min(_BATCH, len(fit.rows)))
        rows = fit.rows[chosen]
        weights = scales * np.where(free, np.clip(floor + soft.values, -top, top), plain)
        before = fit.linear.products(rows, weights.astype(np.float32)) + fit.bias
        error = np.clip(before, low, high) - fit.target[chosen]
        error = np.where((before > low) & (before < high), error, 0.0) * (2.0 / len(rows))
        gradient = fit.linear.gradient(rows, error.astype(np.float32)) * scales / unit
        soft.step(gradient * matrix.shape[1], step / steps)
    rounded = np.where(free, np.clip(floor + (soft.values >= 0.5), -top, top), plain)
    better = fit.errors(_real(rounded, scales)) < fit.errors(_real(plain, scales))
    return np.where(better[:, np.newaxis], rounded, plain)


def _real(q: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return (q * scales).astype(np.float32)


class _Soft:
    """The share of each weight's step that is taken, between 0 (down) and 1 (up)."""

    def __init__(self, rest: np.ndarray, free: np.ndarray) -> None:
        inside = np.clip((rest - _SHIFT) / _STRETCH, 1e-4, 1.0 - 1e-4)
        self._v = np.log(inside / (1.0 - inside))
        self._free = free
        self._mean, self._square = np.zeros_like(rest), np.zeros_like(rest)
        self._count = 0

    @property
    def values(self) -> np.ndarray:
        """The shares."""
        shares: np.ndarray = np.clip(self._sigmoid() * _STRETCH + _SHIFT, 0.0, 1.0)
        return shares

    def _sigmoid(self) -> np.ndarray:
        sigmoid: np.ndarray = 1.0 / (1.0 + np.exp(-self._v))
        return sigmoid

    def step(self, gradient: np.ndarray, progress: float) -> None:
        """Take a step of Adam along the loss's gradient by the shares and the pull to 0 and 1."""
        sigmoid, h = self._sigmoid(), self.values
        total = gradient
        if progress >= _WARM:
            late = (progress - _WARM) / (1.0 - _WARM)
            beta = _BETA[1] + 0.5 * (_BETA[0] - _BETA[1]) * (1.0 + np.cos(late * np.pi))
            away = 2.0 * h - 1.0
            pull = -2.0 * beta * np.abs(away) ** (beta - 1.0) * np.sign(away)
            total = total + _PULL * pull
        inner = (h > 0.0) & (h < 1.0) & self._free
        slope = np.where(inner, total * _STRETCH * sigmoid * (1.0 - sigmoid), 0.0)
        self._count += 1
        self._mean = 0.9 * self._mean + 0.1 * slope
        self._square = 0.999 * self._square + 0.001 * slope**2
        mean = self._mean / (1.0 - 0.9**self._count)
        square = self._square / (1.0 - 0.999**self._count)
        self._v = self._v - _RATE * mean / (np.sqrt(square) + 1e-8)
