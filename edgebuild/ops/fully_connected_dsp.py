"""FULLY_CONNECTED with the DSP extension: the constants of ``fully_connected_s8_dsp.c``."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import convolution as conv

LEAST_CHUNK = 256
"""Sums of so many products always fit, beside a bias of 22 bits."""

LEAST_DEPTH = 4
"""The kernel reads four values of the input at a time."""


def dsp_constants(node: Node, weights: np.ndarray, c: conv.Channels) -> dict[str, Any] | None:
    """Return the parameters of the kernel's constants for weights int8 [units, depth]; None where
    the kernel would not be exact, or would read beyond the input."""
    units, depth = weights.shape
    if depth < LEAST_DEPTH or not conv.halfwords_fit(weights):
        return None
    alike = bool((c.multiplier == c.multiplier[0]).all() and (c.shift == c.shift[0]).all())
    once = conv.once_rounded(node, weights, c, alike=alike)
    d = conv.dsp_channels(node, weights, c)
    chunk = 0
    if once is None and not conv.pairs_fit(weights, d):
        chunk = _chunk(weights, d) if d.exact else 0
        if not chunk:
            return None
    scale = 256 if once is not None else 2
    starts = once[:, 0].astype(np.int64) if once is not None else d.table[:, 0].astype(np.int64)
    scales = once[:, 1:] if once is not None else d.table[:, 1:]
    columns = _whole_fours(weights)
    groups = groups_of(units, chunk)
    own = neighbours(columns)[::2]
    own[4 * groups[0] :] = 0
    rows = conv.even(starts[:, None], 1)[:, 0]
    firsts = (rows[::2] if once is not None else 2 * rows[::2]) - scale * own
    seconds = (rows[1::2] if once is not None else 256 * rows[1::2]) + own
    shared = bool((scales == scales[0]).all())
    return {
        "weights": _stream(columns, firsts, seconds, groups),
        "channels": scales[: 1 if shared else None].ravel(),
        "scale_step": 0 if shared else scales.shape[1],
        "chunk": chunk,
        "once": once is not None,
    }


def groups_of(units: int, chunk: int) -> tuple[int, int, int]:
    """Return how many groups of eight, four and two units (of which one may be missing) there are,
    in this order; none of eight where pairs start anew after a ``chunk``."""
    eights = 0 if chunk else units // 8
    fours, left = divmod(units - 8 * eights, 4)
    return eights, fours, -(-left // 2)


def neighbours(rows: np.ndarray) -> np.ndarray:
    """Return int64 [n]: of each row int8 [n, even] the sum of products of neighbouring values."""
    wide = rows.astype(np.int64)
    return np.asarray((wide[:, 0::2] * wide[:, 1::2]).sum(axis=1))


def _chunk(weights: np.ndarray, d: conv.DspChannels) -> int:
    """Return how many values of depth (a multiple of 8) may be summed until a second unit's sum,
    the first time with its bias, could leave 24 bits; 0 where that is too few."""
    largest = 128 * np.abs(weights[1::2].astype(np.int64))
    bias = np.abs(d.table[1::2, 0].astype(np.int64))
    depth = weights.shape[1]
    for count in range(2, depth // LEAST_CHUNK + 2):
        chunk = -(-depth // (8 * count)) * 8
        # What is left of the last four goes with the last whole ones.
        sums = np.add.reduceat(largest, np.arange(0, depth // 4 * 4, chunk), axis=1)
        sums[:, 0] += bias
        if chunk <= conv.MAX_HALFWORD and (sums < 2**23).all():
            return chunk
    return 0


def _whole_fours(weights: np.ndarray) -> np.ndarray:
    """Return weights [units, depth] with zeros for the values that the last four of a depth that is
    no multiple of four repeat."""
    depth = weights.shape[1]
    whole, rest = depth // 4 * 4, depth % 4
    return np.insert(weights, [whole] * (-rest % 4), 0, axis=1)


def _stream(
    columns: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, groups: tuple[int, int, int]
) -> np.ndarray:
    """Return the kernel's stream, int8 in memory order, for weights int8 [units, multiple of 4] and
    the starts of each pair's units; ``groups``: see ``groups_of``."""
    steps = columns.shape[1] // 4
    words = conv.pack_pairs(columns, 4).view("<i4").reshape(-1, steps, 2)
    parts: list[np.ndarray] = []
    start = 0
    for pairs, count in zip((4, 2, 1), groups, strict=True):
        taken = slice(start, start := start + pairs * count)
        own = words[taken].reshape(count, pairs, steps, 2).swapaxes(1, 2)
        starts = [one[taken].reshape(count, pairs) for one in (seconds, firsts)]
        block = [starts[0], own.reshape(count, 2 * pairs * steps), starts[1]]
        parts.append(np.hstack(block).ravel())
    return np.concatenate(parts).astype("<i4").view(np.int8)
