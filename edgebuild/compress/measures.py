"""What a model costs as a function of how many channels each group has lost.

Estimates on the Keras graph, before conversion: good for choosing what to remove. What a build
needs is measured on its image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.channels import ChannelMap
from edgebuild.compress.costs import kernels, layer_macs, nodes
from edgebuild.compress.groups import Group

COSTS = ("macs", "parameters", "bytes", "ram", "cycles")
_BIAS_BYTES = 4
_WEIGHTED = {
    *("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Dense"),
    *("SeparableConv1D", "SeparableConv2D", "Conv1DTranspose", "Conv2DTranspose"),
}
_DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
_JOINS = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
_POOLS = ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")


@dataclass(frozen=True)
class _Speed:
    """Cycles of a MAC, of an output of a layer with weights, of one of a join, of a pool's input.

    Fitted to ``edgebuild.cycles`` over the layers of the MLPerf Tiny models: an estimate is 0.84 to
    1.2 of a layer's cycles on a Cortex-M3, 0.46 (small dense layers) to 1.53 on a Cortex-M4.
    """

    mac: float
    depthwise_mac: float
    output: float
    join: float
    pooled: float


_CORTEX_M3 = _Speed(5.4, 15.6, 80.0, 98.0, 6.5)
_CORTEX_M4 = _Speed(1.4, 6.8, 40.0, 88.0, 5.8)

_NO_COPY = {
    *("Flatten", "Reshape", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Identity"),
    *("GaussianNoise", "GaussianDropout", "ActivityRegularization", "ZeroPadding2D"),
}
"""Layers that are gone, or become a part of the next, in the converted model."""
_FUSED = {"BatchNormalization", "ReLU", "Activation"}
"""Layers that become a part of the one before, where nothing else reads that one."""


@dataclass(frozen=True, eq=False)
class _Term:
    """``factor`` times the product over axes of the share of it that is left."""

    factor: float
    axes: tuple[np.ndarray, ...]

    def of(self, removed: np.ndarray) -> float:
        """Return its value with ``removed`` channels of each group gone."""
        value = self.factor
        for shares in self.axes:
            value *= 1.0 - float(shares @ removed)
        return value


class Costs:
    """MACs, parameters, bytes of weights, RAM and cycles of one model.

    Args:
        model: a functional Keras model.
        channels: its channels.
        groups: those that may lose some; a vector ``removed`` has an entry for each.
        dsp: whether cycles are those of kernels for the DSP extension.
    """

    def __init__(
        self, model: Any, channels: ChannelMap, groups: Sequence[Group], *, dsp: bool = False
    ) -> None:
        self._channels = channels
        self._count = len(groups)
        self._counts = np.array([group.count for group in groups], float)
        self._group = {c: number for number, group in enumerate(groups) for c in group.channels}
        self._calls = nodes(model)
        self._terms = {
            "macs": self._macs(model),
            "parameters": [self._variable(v) for v in model.weights],
            "bytes": self._bytes(),
            "cycles": self._cycles(model, _CORTEX_M4 if dsp else _CORTEX_M3),
        }
        self._place_buffers(model)

    def of(self, by: str, removed: np.ndarray) -> float:
        """Return one of ``COSTS`` with so many channels of each group gone."""
        if by == "ram":
            return float(self._alive(removed).max(initial=0.0))
        return sum(term.of(removed) for term in self._terms[by])

    def gains(self, by: str, removed: np.ndarray) -> np.ndarray:
        """Return, for each group, by how much one channel less lowers one of ``COSTS``."""
        now = self.of(by, removed)
        return np.array([now - self.of(by, removed + one) for one in np.eye(self._count)])

    def at_peak(self, removed: np.ndarray) -> np.ndarray:
        """Return, for each group, the bytes by which one channel less lowers the peak of RAM."""
        alive = self._lives[int(self._alive(removed).argmax())]
        gain: np.ndarray = (alive * self._sizes) @ self._buffer_shares
        return gain

    def _alive(self, removed: np.ndarray) -> np.ndarray:
        """Return the bytes that are alive during each call."""
        alive: np.ndarray = self._lives @ (self._sizes * (1.0 - self._buffer_shares @ removed))
        return alive

    def _shares(self, ids: np.ndarray) -> np.ndarray:
        """Return by what share of these positions one channel of each group shortens them."""
        shares = np.zeros(self._count)
        for channel in ids.tolist():
            if channel in self._group:
                shares[self._group[channel]] += 1.0 / len(ids)
        return shares / self._counts

    def _variable(self, variable: Any, factor: float | None = None) -> _Term:
        axes = (ids for ids in self._channels.axes.get(variable.path, ()) if ids is not None)
        size = float(math.prod(variable.shape)) if factor is None else factor
        return _Term(size, tuple(self._shares(ids) for ids in axes))

    def _macs(self, model: Any, speed: _Speed | None = None) -> list[_Term]:
        """Return a term for each kernel: its MACs, or with a ``speed`` their cycles."""
        macs: dict[str, int] = {}
        for name, count in layer_macs(model):
            macs[name] = macs.get(name, 0) + count
        terms = []
        for layer in model.layers:
            total = sum(math.prod(v.shape) for v in kernels(layer))
            for v in kernels(layer):
                factor = macs.get(layer.name, 0) * math.prod(v.shape) / total
                if speed is not None:
                    slow = type(layer).__name__ in _DEPTHWISE or "depthwise" in v.path
                    factor *= speed.depthwise_mac if slow else speed.mac
                terms.append(self._variable(v, factor))
        return terms

    def _cycles(self, model: Any, speed: _Speed) -> list[_Term]:
        terms = self._macs(model, speed)
        for call in self._calls:
            kind = type(call.operation).__name__
            if kind in _WEIGHTED - _DEPTHWISE:
                terms.append(self._tensor(call.output_tensors[0], speed.output))
            elif kind in _JOINS:
                terms.append(self._tensor(call.output_tensors[0], speed.join))
            elif kind.startswith(_POOLS):
                terms.append(self._tensor(call.input_tensors[0], speed.pooled))
        return terms

    def _tensor(self, tensor: Any, factor: float) -> _Term:
        size = math.prod(n or 1 for n in tensor.shape[1:])
        return _Term(factor * size, (self._shares(self._channels.tensors[id(tensor)]),))

    def _bytes(self) -> list[_Term]:
        """Return weights of one byte and, for each output of a layer with weights, a bias of four;
        a batch normalization behind such a layer is folded into it."""
        terms: list[_Term] = []
        seen: set[str] = set()
        for call in self._calls:
            layer, kind = call.operation, type(call.operation).__name__
            if layer.name in seen or not getattr(layer, "weights", None):
                continue
            seen.add(layer.name)
            if kind == "BatchNormalization":
                if _producer_kind(call) not in _WEIGHTED:
                    terms += [self._variable(v) for v in layer.trainable_weights]
                continue
            for variable in layer.weights:
                if any(variable is kernel for kernel in kernels(layer)):
                    terms.append(self._variable(variable))
                elif kind not in _WEIGHTED:
                    size = 1 if kind.endswith("Normalization") else _BIAS_BYTES
                    terms.append(self._variable(variable, float(size * math.prod(variable.shape))))
            if kind in _WEIGHTED:
                made = self._channels.tensors[id(call.output_tensors[0])]
                terms.append(_Term(float(_BIAS_BYTES * len(made)), (self._shares(made),)))
        return terms

    def _place_buffers(self, model: Any) -> None:
        """Find the buffers of activations: their bytes, shares, and the calls (a row each) during
        which they are alive."""
        readers: dict[int, int] = {}
        for call in self._calls:
            for tensor in call.input_tensors:
                readers[id(tensor)] = readers.get(id(tensor), 0) + 1
        place: dict[int, int] = {}
        sizes: list[float] = []
        shares: list[np.ndarray] = []
        lives: list[list[int]] = []
        for now, call in enumerate(self._calls):
            for tensor in call.input_tensors:
                lives[place[id(tensor)]][1] = now
            for tensor in call.output_tensors:
                if _shares_buffer(call, readers):
                    place[id(tensor)] = place[id(call.input_tensors[0])]
                    continue
                place[id(tensor)] = len(sizes)
                sizes.append(float(math.prod(n or 1 for n in tensor.shape[1:])))
                shares.append(self._shares(self._channels.tensors[id(tensor)]))
                lives.append([now, now])
        for tensor in model.outputs:
            lives[place[id(tensor)]][1] = len(self._calls) - 1
        first, last = np.array(lives).T
        calls = np.arange(len(self._calls))[:, None]
        self._lives = ((first <= calls) & (calls <= last)).astype(float)
        self._sizes, self._buffer_shares = np.array(sizes), np.array(shares)


def _shares_buffer(call: Any, readers: Mapping[int, int]) -> bool:
    kind = type(call.operation).__name__
    if not call.input_tensors or len(call.output_tensors) != 1:
        return False
    if kind in _NO_COPY:
        return True
    softmax = getattr(getattr(call.operation, "activation", None), "__name__", "") == "softmax"
    return kind in _FUSED and not softmax and readers[id(call.input_tensors[0])] == 1


def _producer_kind(call: Any) -> str:
    return type(call.input_tensors[0]._keras_history.operation).__name__
