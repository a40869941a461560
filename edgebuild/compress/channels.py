"""Which channels of a functional Keras model live and die together.

Every tensor's last axis is a list of channel numbers. A layer that makes channels (a convolution,
a dense layer, a recurrent one) gets new numbers; one that passes them on keeps them; an
elementwise join makes the numbers of its inputs equal: ``channel_rules`` says what each kind of
layer does. What is not understood fixes the channels that it touches: they are never removed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebuild.compress.costs import nodes

Axes = tuple[np.ndarray | None, ...]
"""For each axis of a variable its channel numbers, None for an axis that has none."""

Kernels = tuple[tuple[str, int], ...]
"""(path, axis) of the variables that make a layer's channels."""


@dataclass(frozen=True)
class ChannelMap:
    """What was found. Numbers are roots: equal numbers are removed together.

    ``axes`` is by variable path; ``outputs`` holds the channels that each making layer makes, by
    its name (of attention: each head's, inside); ``kernels`` the variables that say what these are
    worth; ``reshaped`` the last axis that flatten and reshape layers make; ``tensors`` the last
    axis of every tensor, by its ``id``; ``fixed`` the channels that must stay.
    """

    axes: Mapping[str, Axes]
    outputs: Mapping[str, np.ndarray]
    kernels: Mapping[str, Kernels]
    reshaped: Mapping[str, np.ndarray]
    tensors: Mapping[int, np.ndarray]
    fixed: frozenset[int]
    notes: tuple[str, ...]

    def prunable(self, layer: str) -> np.ndarray:
        """Return the channels of a making layer that may be removed."""
        return np.array([c for c in self.outputs[layer].tolist() if c not in self.fixed], int)


def channel_map(model: Any) -> ChannelMap:
    """Return the channels of a functional ``model`` without nested models."""
    found = Tracer()
    for node in nodes(model):
        found.visit(node)
    for tensor in model.outputs:
        found.fix(found.tensors[id(tensor)])
    return found.result()


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer: ``inputs`` are the channels of its input tensors, without masks.

    ``layer`` is what does the work: in a ``TimeDistributed`` wrapper the layer inside. ``name`` is
    the outer layer's.
    """

    node: Any
    layer: Any
    name: str
    inputs: list[np.ndarray]

    @property
    def kind(self) -> str:
        """The class of the layer, or of the function of ``keras.ops``."""
        return type(self.layer).__name__

    @property
    def width(self) -> int:
        """How long the last axis of the first output is."""
        return int(self.node.output_tensors[0].shape[-1] or 1)


@dataclass
class Tracer:
    """Walks the model once, in order. Rules call its methods."""

    tensors: dict[int, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    kernels: dict[str, Kernels] = field(default_factory=dict)
    reshaped: dict[str, np.ndarray] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=list)
    _axes: dict[str, Axes] = field(default_factory=dict)
    _fixed: set[int] = field(default_factory=set)
    _notes: list[str] = field(default_factory=list)

    def visit(self, node: Any) -> None:
        """Give the outputs of one call of a layer their channels."""
        from edgebuild.compress.channel_rules import rule_for

        operation = node.operation
        wrapped = type(operation).__name__ == "TimeDistributed"
        masks = _masks(node)
        inputs = [self.tensors[id(t)] for t in node.input_tensors if id(t) not in masks]
        for mask in masks:
            self.fix(self.tensors[mask])
        call = Call(node, operation.layer if wrapped else operation, operation.name, inputs)
        rule = rule_for(call)
        made = None if rule is None else rule(self, call)
        if made is None:
            made = self._give_up(call)
        for place, tensor in enumerate(node.output_tensors):
            same = isinstance(made, list) or place == 0
            channels = (made[place] if isinstance(made, list) else made) if same else None
            if channels is None or len(channels) != (tensor.shape[-1] or 1):
                channels = self.new(tensor.shape[-1] or 1)
                self.fix(channels)
            self.tensors[id(tensor)] = channels

    def result(self) -> ChannelMap:
        """Return what was found, in roots."""
        root = np.array([self.root(i) for i in range(len(self._parents))], int)

        def roots(ids: np.ndarray | None) -> np.ndarray | None:
            return None if ids is None else root[ids]

        return ChannelMap(
            {path: tuple(roots(ids) for ids in axes) for path, axes in self._axes.items()},
            {name: root[ids] for name, ids in self.outputs.items()},
            self.kernels,
            {name: root[ids] for name, ids in self.reshaped.items()},
            {tensor: root[ids] for tensor, ids in self.tensors.items()},
            frozenset(int(root[i]) for i in self._fixed),
            tuple(dict.fromkeys(self._notes)),
        )

    def new(self, count: int) -> np.ndarray:
        """Return channels that did not exist."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def made(self, name: str, count: int) -> np.ndarray:
        """Return the channels that a layer makes, the same at each of its calls."""
        if name not in self.outputs:
            self.outputs[name] = self.new(count)
        return self.outputs[name]

    def root(self, channel: int) -> int:
        """Return the number that stands for all that are equal to ``channel``."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def union(self, a: np.ndarray, b: np.ndarray) -> None:
        """Make channels equal, position by position; ``b`` may also be shorter and repeat."""
        for x, y in zip(a.tolist(), np.resize(b, len(a)).tolist(), strict=True):
            self._parents[self.root(x)] = self.root(y)

    def fix(self, channels: np.ndarray) -> None:
        """Never remove these."""
        self._fixed.update(channels.tolist())

    def bind(self, variable: Any, *axes: np.ndarray | None) -> None:
        """Say which channels a variable's last axes hold; again for each call of a shared layer."""
        axes = (*[None] * (len(variable.shape) - len(axes)), *axes)
        known = self._axes.setdefault(variable.path, axes)
        for old, now in zip(known, axes, strict=True):
            if old is not None and now is not None:
                self.union(old, now)

    def _give_up(self, call: Call) -> np.ndarray:
        for channels in call.inputs:
            self.fix(channels)
        if getattr(call.layer, "weights", None):
            self._notes.append(f"{call.name} ({call.kind}) keeps all channels")
        channels = self.new(call.width)
        self.fix(channels)
        return channels


def _masks(node: Any) -> set[int]:
    """Return the ``id`` of each tensor that a call takes as a mask: given to it, or by an
    ``Embedding`` or ``Masking`` layer before."""
    import keras

    names = inspect.signature(node.operation.call).parameters
    given = dict(zip(names, node.arguments.args, strict=False)) | node.arguments.kwargs
    tensors = {id(tensor) for tensor in node.input_tensors}
    masks = keras.tree.flatten([given[name] for name in given if name.endswith("mask")])
    return tensors.intersection(map(id, masks))


Rule = Callable[[Tracer, Call], np.ndarray | list[np.ndarray] | None]
"""Returns the channels of a call's first output, or of all of them; None for giving up."""

Keep = Callable[[np.ndarray], np.ndarray]


def cut(array: np.ndarray, axes: Axes, keep: Keep) -> np.ndarray:
    """Return ``array`` without the channels for which ``keep`` is False."""
    for axis, ids in enumerate(axes):
        if ids is not None:
            array = np.compress(keep(ids), array, axis=axis)
    return array
