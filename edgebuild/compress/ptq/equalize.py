"""Cross-layer equalization (Nagel et al. 2019): neighbouring layers share their weights' range.

A channel's output is divided by s and the next layer's weights that read it are multiplied by s:
with nothing or a ReLU between, the network computes the same. s = r1 / sqrt(r1 r2) makes the
largest weights r1 behind and r2 in front of a channel equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgebuild.compress.ptq.network import Network, Operator

_ROUNDS = 30
_STILL = 1e-3
_LIMIT = 1e3
_THROUGH = {"MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN", "RESHAPE", "PAD", "RELU"}
"""Operators that commute with a positive factor for each channel."""


@dataclass(frozen=True)
class Pair:
    """Two weighted operators, the second of which alone reads the first."""

    first: Operator
    second: Operator


def equalize(network: Network) -> tuple[Network, tuple[str, ...]]:
    """Return an equal network whose weights' ranges are balanced, and notes."""
    pairs = [p for op in network.weighted() if (p := _pair(network, op)) is not None]
    if not pairs:
        return network, ("equalization: no two layers follow each other with only a ReLU between",)
    rounds, change = 0, np.inf
    while rounds < _ROUNDS and change > _STILL:
        rounds, change = rounds + 1, 0.0
        for pair in pairs:
            network, step = _balanced(network, pair)
            change = max(change, step)
    left = len(network.weighted()) - 1 - len(pairs)
    note = f"equalization: {len(pairs)} pairs of layers balanced in {rounds} rounds"
    return network, (note + (f", {left} are not chained" if left > 0 else ""),)


def _pair(network: Network, first: Operator) -> Pair | None:
    """Return ``first`` with the weighted operator that alone reads it, None when there is none."""
    if first.activation not in ("NONE", "RELU") or _is_shared(network, first):
        return None
    if len(first.inputs) > 2 and first.inputs[2] >= 0 and network.bias(first) is None:
        return None
    tensor = first.output
    while True:
        readers = network.readers(tensor)
        if tensor in network.outputs or len(readers) != 1:
            return None
        reader = readers[0]
        if reader in network.weighted():
            break
        if reader.kind not in _THROUGH or reader.activation not in ("NONE", "RELU"):
            return None
        if reader.inputs[0] != tensor or not _keeps_channels(network, reader):
            return None
        tensor = reader.output
    outputs = network.shape(first.output)[-1]
    if reader.inputs[0] != tensor or _is_shared(network, reader):
        return None
    return Pair(first, reader) if _reads(network, reader) % outputs == 0 else None


def _keeps_channels(network: Network, op: Operator) -> bool:
    """Return whether the last dimension's channels stay in their order: RESHAPE may flatten."""
    before, after = network.shape(op.inputs[0]), network.shape(op.output)
    if not before or not after:
        return False
    if op.kind == "RESHAPE":
        return after[-1] % before[-1] == 0
    return after[-1] == before[-1]


def _is_shared(network: Network, op: Operator) -> bool:
    return any(len(network.readers(i)) > 1 for i in op.inputs[1:3] if i >= 0)


def _reads(network: Network, op: Operator) -> int:
    """Return how many input channels an operator's weights tell apart."""
    weights = network.shape(op.inputs[1])
    if op.kind == "DEPTHWISE_CONV_2D":
        return network.shape(op.inputs[0])[-1]
    if op.kind == "CONV_2D" and weights[3] != network.shape(op.inputs[0])[3]:
        return -1  # grouped
    return weights[-1]


def _balanced(network: Network, pair: Pair) -> tuple[Network, float]:
    """Return the network with one pair balanced, and the largest logarithm of a factor."""
    first, second = pair.first, pair.second
    w1, w2 = network.constant(first.inputs[1]), network.constant(second.inputs[1])
    assert w1 is not None and w2 is not None
    others = tuple(d for d in range(w1.ndim) if d != first.axis)
    count = w1.shape[first.axis]
    behind = np.abs(w1).max(axis=others).astype(np.float64)
    before = _by_input(network, second, w2, count)
    ahead = np.abs(before).max(axis=(0, 2)).astype(np.float64)
    alive = (behind > 0.0) & (ahead > 0.0)
    factors = np.ones(count)
    factors[alive] = np.sqrt(behind[alive] / ahead[alive])
    factors = np.clip(factors, 1.0 / _LIMIT, _LIMIT)
    along = [1] * w1.ndim
    along[first.axis] = -1
    changes = {
        first.inputs[1]: w1 / factors.reshape(along),
        second.inputs[1]: (before * factors[:, np.newaxis]).reshape(w2.shape),
    }
    bias = network.bias(first)
    if bias is not None:
        changes[first.inputs[2]] = (bias.reshape(-1) / factors).reshape(bias.shape)
    return network.replaced(changes), float(np.abs(np.log(factors)).max(initial=0.0))


def _by_input(network: Network, op: Operator, weights: np.ndarray, count: int) -> np.ndarray:
    """Return the weights as (A, ``count`` input channels, B), a view of the same order."""
    if op.kind == "DEPTHWISE_CONV_2D":
        multiplier = weights.shape[3] // count
        return weights.reshape(-1, count, max(1, multiplier))
    return weights.reshape(-1, count, 1)
