"""Requantization in two instructions, exact for every accumulator that a channel can reach.

TFLite rounds twice: the product with the multiplier, and its right shift. Where the output's zero
point is -128, what comes out below saturates, and only 255 thresholds matter: the least accumulator
that reaches each output from -127 to 127. With one rounding alone, ``SMMLA`` and ``SSAT`` compute

    ssat8((((256 * accumulator + fraction) * multiplier >> 32) - (128 << bits)) >> bits)

A fraction and a multiplier that give the same thresholds are the solution of a linear program in
two unknowns; it has one with whole numbers for nearly every channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BITS = 10
"""The ``bits`` of the kernels, whose ``SSAT`` shifts by a constant. Scales stay below 1/8; every
living channel of the MLPerf Tiny models has a solution."""

LEVELS = np.arange(1, 256, dtype=np.int64)
"""Outputs above -128, counted from there."""

MAX_RIGHT = 22
"""Beyond this right shift the thresholds' numerators would leave 64 bits."""

MAX_REACH = 1 << 23
"""256 times an accumulator below this fits 32 bits."""

_STEPS = 48
"""Of the search for the best multiplier, each of which leaves two thirds of the interval."""


def thresholds(multiplier: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return int64 [channels, 255]: the least accumulators that TFLite scales to ``LEVELS``.

    ``multiplier`` is above 0, ``right``, the right shift, within 0 to ``MAX_RIGHT``.
    """
    shift = right.astype(np.int64)[:, None]
    scaled = (LEVELS << shift) - (np.int64(1) << shift >> 1)
    return -((-(scaled << 31) + (1 << 30)) // multiplier.astype(np.int64)[:, None])


def single_rounding(
    multiplier: np.ndarray, right: np.ndarray, ends: Sequence[np.ndarray], bits: int = BITS
) -> np.ndarray | None:
    """Return int32 [channels, 2] of (fraction, multiplier); None where a channel has none.

    ``multiplier`` and ``right`` are TFLite's, int [channels], ``ends`` the lowest and the highest
    accumulator that each channel reaches. A multiplier of 0 stands for a channel whose output is
    always -128.
    """
    arrays = (np.asarray(one, np.int64).tobytes() for one in (multiplier, right, *ends))
    return _solution(*arrays, bits)


@lru_cache(maxsize=512)  # a layer is bound again for each kernel and band that may run it
def _solution(
    multipliers: bytes, rights: bytes, lows: bytes, highs: bytes, bits: int
) -> np.ndarray | None:
    arrays = (multipliers, rights, lows, highs)
    multiplier, right, *ends = (np.frombuffer(one, np.int64) for one in arrays)
    found = np.zeros((len(multiplier), 2), np.int32)
    lives = np.flatnonzero(multiplier)
    low, high = (end[lives] for end in ends)
    shift = right[lives]
    inside = (shift >= 0) & (shift <= MAX_RIGHT) & (low > -MAX_REACH) & (high < MAX_REACH)
    if not inside.all():
        return None
    reached = thresholds(multiplier[lives], shift)
    program = _Program(reached, low, high, bits)
    exact = multiplier[lives] / 2.0 ** (shift + 7.0 - bits)
    span = exact / np.maximum(1, np.minimum(reached[:, -1], high))
    best = np.round(program.widest(exact - span, exact + span)).astype(np.int64)
    if (best < 1).any() or (best >= 2**31).any():
        return None
    least, most = program.fractions(best)
    fraction = np.clip(0, least, most)
    if (least > most).any() or not program.fits(fraction):
        return None
    found[lives] = np.stack([fraction, best], axis=1)
    found.setflags(write=False)
    return found


@dataclass(frozen=True)
class _Program:
    """What ``bits`` and the thresholds [channels, 255] demand of fraction and multiplier."""

    reached: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bits: int

    def fractions(self, multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest fraction for whole multipliers [channels]."""
        needed = -(-(LEVELS << (32 + self.bits)) // multiplier[:, None])
        limit = np.iinfo(np.int64)
        return self._window(needed, limit.min, limit.max)

    def widest(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return real multipliers [channels] between ``start`` and ``end`` that leave the fraction
        most room: it is the least of lines less the greatest of lines, so nearly concave."""
        for _ in range(_STEPS):
            third = (end - start) / 3
            left, right = start + third, end - third
            better = self._room(left) < self._room(right)
            start, end = np.where(better, left, start), np.where(better, end, right)
        return np.asarray((start + end) / 2)

    def fits(self, fraction: np.ndarray) -> bool:
        """Return whether no sum with the fraction leaves 32 bits."""
        ends = 256 * self.low + fraction, 256 * self.high + fraction
        return bool((ends[0] >= -(2**31)).all() and (ends[1] < 2**31).all())

    def _room(self, multiplier: np.ndarray) -> np.ndarray:
        needed = LEVELS * 2.0 ** (32 + self.bits) / multiplier[:, None]
        least, most = self._window(needed, -np.inf, np.inf)
        return most - least

    def _window(
        self, needed: np.ndarray, lowest: float, highest: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of all fractions for which 256 times a threshold and the fraction make
        what is ``needed`` and one accumulator less does not; only of accumulators in reach."""
        low, high = self.low[:, None], self.high[:, None]
        below, above = self.reached <= low, self.reached > high
        least = needed - 256 * np.where(below, low, self.reached)
        most = needed - 256 * np.where(above, high, self.reached - 1) - 1
        return (
            np.where(above, lowest, least).max(axis=1),
            np.where(below, highest, most).min(axis=1),
        )
