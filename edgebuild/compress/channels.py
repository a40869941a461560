"""Which channels of a functional Keras model live and die together.

Every tensor's last axis is a list of channel numbers. A layer that makes channels (a convolution,
a dense layer, a recurrent one) gets new numbers; one that passes them on keeps them; an
elementwise join makes the numbers of its inputs equal. What is not understood fixes the channels
that it touches: they are never removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebuild.compress.costs import nodes

Axes = tuple[np.ndarray | None, ...]
"""For each axis of a variable its channel numbers, None for an axis that has none."""

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_PASS = {
    *("Activation", "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D"),
    *("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Identity"),
    *("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"),
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D"),
    *("GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D"),
    *("UpSampling1D", "UpSampling2D", "InputLayer"),
}
_ELEMENTWISE = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
_PER_CHANNEL = {"BatchNormalization", "LayerNormalization"}
_MAKERS = {
    *("Conv1D", "Conv2D", "Dense", "SeparableConv1D", "SeparableConv2D"),
    *_GATES,
}


@dataclass(frozen=True)
class ChannelMap:
    """What was found. Numbers are roots: equal numbers are removed together.

    ``axes`` is by variable path; ``outputs`` holds the channels that each making layer makes, by
    its name; ``kernels`` (path, axis) of the variables that say what these are worth; ``reshaped``
    the last axis that flatten and reshape layers make; ``tensors`` the last axis of every tensor,
    by its ``id``; ``fixed`` the channels that must stay.
    """

    axes: Mapping[str, Axes]
    outputs: Mapping[str, np.ndarray]
    kernels: Mapping[str, tuple[tuple[str, int], ...]]
    reshaped: Mapping[str, np.ndarray]
    tensors: Mapping[int, np.ndarray]
    fixed: frozenset[int]
    notes: tuple[str, ...]

    def prunable(self, layer: str) -> np.ndarray:
        """Return the channels of a making layer that may be removed."""
        return np.array([c for c in self.outputs[layer].tolist() if c not in self.fixed], int)


def channel_map(model: Any) -> ChannelMap:
    """Return the channels of a functional or sequential ``model``."""
    found = _Tracer()
    for node in nodes(model):
        found.visit(node)
    for tensor in model.outputs:
        found.fix(found.tensors[id(tensor)])
    return found.result()


@dataclass
class _Tracer:
    """Walks the model once, in order."""

    parents: list[int] = field(default_factory=list)
    tensors: dict[int, np.ndarray] = field(default_factory=dict)
    axes: dict[str, Axes] = field(default_factory=dict)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    kernels: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    reshaped: dict[str, np.ndarray] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def visit(self, node: Any) -> None:
        """Give the outputs of one call of a layer their channels."""
        layer = node.operation
        kind = type(layer).__name__
        inputs = [self.tensors[id(t)] for t in node.input_tensors]
        out = node.output_tensors[0]
        if not node.input_tensors:  # a model input
            channels = self.new(out.shape[-1] or 1)
            self.fix(channels)
        elif kind in _MAKERS and getattr(layer, "groups", 1) == 1:
            channels = self._make(layer, kind, inputs[0])
        elif kind in ("DepthwiseConv1D", "DepthwiseConv2D") and _last(layer):
            channels = self._depthwise(layer, inputs[0])
        elif kind in _PER_CHANNEL and layer.axis in (-1, [-1], len(out.shape) - 1):
            for variable in layer.weights:
                if len(variable.shape) == 1:
                    self.bind(variable, (inputs[0],))
            channels = inputs[0]
        elif kind in _PASS and _last(layer):
            channels = inputs[0]
        elif kind in _ELEMENTWISE:
            channels = self._join(inputs)
        elif kind == "Concatenate" and layer.axis in (-1, len(out.shape) - 1):
            channels = np.concatenate(inputs)
        elif kind in ("Flatten", "Reshape") and self._keeps_order(node):
            channels = self.reshaped[layer.name] = np.resize(inputs[0], out.shape[-1])
        else:
            channels = self._give_up(layer, kind, inputs, out.shape[-1] or 1)
        for tensor in node.output_tensors:
            self.tensors[id(tensor)] = channels if tensor is out else self._fixed(tensor)

    def result(self) -> ChannelMap:
        """Return what was found, in roots."""
        root = np.array([self.root(i) for i in range(len(self.parents))], int)

        def roots(ids: np.ndarray | None) -> np.ndarray | None:
            return None if ids is None else root[ids]

        return ChannelMap(
            {path: tuple(roots(ids) for ids in axes) for path, axes in self.axes.items()},
            {name: root[ids] for name, ids in self.outputs.items()},
            self.kernels,
            {name: root[ids] for name, ids in self.reshaped.items()},
            {tensor: root[ids] for tensor, ids in self.tensors.items()},
            frozenset(int(root[i]) for i in self.fixed),
            tuple(dict.fromkeys(self.notes)),
        )

    def new(self, count: int) -> np.ndarray:
        """Return channels that did not exist."""
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, channel: int) -> int:
        """Return the number that stands for all that are equal to ``channel``."""
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def union(self, a: np.ndarray, b: np.ndarray) -> None:
        """Make channels equal, position by position."""
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            self.parents[self.root(x)] = self.root(y)

    def fix(self, channels: np.ndarray) -> None:
        """Never remove these."""
        self.fixed.update(channels.tolist())

    def bind(self, variable: Any, axes: Axes) -> None:
        """Say which channels a variable's axes hold; again for each call of a shared layer."""
        known = self.axes.get(variable.path)
        if known is None:
            self.axes[variable.path] = axes
            return
        for old, now in zip(known, axes, strict=True):
            if old is not None and now is not None:
                self.union(old, now)

    def _fixed(self, tensor: Any) -> np.ndarray:
        channels = self.new(tensor.shape[-1] or 1)
        self.fix(channels)
        return channels

    def _make(self, layer: Any, kind: str, given: np.ndarray) -> np.ndarray:
        units = layer.units if hasattr(layer, "units") else layer.filters
        made = self.outputs.get(layer.name)
        if made is None:
            made = self.outputs[layer.name] = self.new(units)
        if kind in _GATES:
            self._recurrent(layer, kind, given, made)
        elif kind.startswith("Separable"):
            rank = len(layer.depthwise_kernel.shape)
            self.bind(layer.depthwise_kernel, (*[None] * (rank - 2), given, None))
            wide = np.repeat(given, layer.depth_multiplier)
            self.bind(layer.pointwise_kernel, (*[None] * (rank - 2), wide, made))
            self.kernels[layer.name] = ((layer.pointwise_kernel.path, rank - 1),)
        else:
            rank = len(layer.kernel.shape)
            self.bind(layer.kernel, (*[None] * (rank - 2), given, made))
            self.kernels[layer.name] = ((layer.kernel.path, rank - 1),)
        if kind not in _GATES and layer.use_bias:
            self.bind(layer.bias, (made,))
        if getattr(getattr(layer, "activation", None), "__name__", "") == "softmax":
            self.fix(made)  # it compares channels: without one the others change
        if kind == "Dense" and len(layer.kernel.shape) != 2:
            self.fix(made)
        return made

    def _recurrent(self, layer: Any, kind: str, given: np.ndarray, made: np.ndarray) -> None:
        cell = layer.cell
        gates = np.tile(made, _GATES[kind])
        self.bind(cell.kernel, (given, gates))
        self.bind(cell.recurrent_kernel, (made, gates))
        if cell.use_bias:
            axes: Axes = (gates,) if len(cell.bias.shape) == 1 else (None, gates)
            self.bind(cell.bias, axes)
        self.kernels[layer.name] = ((cell.kernel.path, 1),)

    def _depthwise(self, layer: Any, given: np.ndarray) -> np.ndarray:
        kernel = layer.kernel
        self.bind(kernel, (*[None] * (len(kernel.shape) - 2), given, None))
        made = np.repeat(given, layer.depth_multiplier)
        if layer.use_bias:
            self.bind(layer.bias, (made,))
        return made

    def _join(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        widest = max(inputs, key=len)
        for channels in inputs:
            if len(channels) == len(widest):
                self.union(channels, widest)
            else:  # broadcast
                self.fix(channels)
        return widest

    def _keeps_order(self, node: Any) -> bool:
        """Return whether the last axis becomes a repetition of itself."""
        before, after = node.input_tensors[0].shape, node.output_tensors[0].shape
        if None in before[1:] or None in after[1:]:
            return False
        return bool(after[-1] % before[-1] == 0)

    def _give_up(
        self, layer: Any, kind: str, inputs: Sequence[np.ndarray], count: int
    ) -> np.ndarray:
        for channels in inputs:
            self.fix(channels)
        if layer.weights:
            self.notes.append(f"{layer.name} ({kind}) keeps all channels")
        channels = self.new(count)
        self.fix(channels)
        return channels


def _last(layer: Any) -> bool:
    return getattr(layer, "data_format", None) in (None, "channels_last")


Keep = Callable[[np.ndarray], np.ndarray]


def cut(array: np.ndarray, axes: Axes, keep: Keep) -> np.ndarray:
    """Return ``array`` without the channels for which ``keep`` is False."""
    for axis, ids in enumerate(axes):
        if ids is not None:
            array = np.compress(keep(ids), array, axis=axis)
    return array
