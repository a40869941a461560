"""Channels that no weight reads: what makes them is worth nothing, however large it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from edgebuild.compress.channels import Axes, ChannelMap
from edgebuild.compress.costs import nodes

_MIXING = ("LayerNormalization", "RMSNormalization")
"""Layers in which a channel changes the others, without weights that say so."""


def unread(model: Any, channels: ChannelMap, alive: Mapping[str, np.ndarray]) -> frozenset[int]:
    """Return the removable channels of which ``alive`` leaves no weight that reads them.

    ``alive`` is by the path of a kernel, True where its weight is not zero; a kernel that is not in
    it reads all its inputs. A channel that no kernel could read (of attention: a head) is read.
    """
    made = {place for kernels in channels.kernels.values() for place in kernels}
    lost: set[int] = set()
    read = set(channels.fixed)
    for call in nodes(model):
        if type(call.operation).__name__ in _MIXING:
            read.update(channels.tensors[id(call.input_tensors[0])].tolist())
    for path, axes in channels.axes.items():
        if sum(ids is not None for ids in axes) < 2:
            continue  # it works on each channel alone
        for axis, ids in enumerate(axes):
            if ids is None or (path, axis) in made:
                continue
            mask = alive.get(path)
            others = tuple(i for i in range(len(axes)) if i != axis)
            living = np.ones(len(ids), bool) if mask is None else mask.any(axis=others)
            read.update(ids[living].tolist())
            lost.update(ids[~living].tolist())
    return frozenset(lost - read)


def parts_of(axes: Axes, gone: Collection[int]) -> np.ndarray:
    """Return where the weights of a variable with these ``axes`` make or read a channel of
    ``gone``, in a shape that its own broadcasts with."""
    found = np.zeros([1] * len(axes), bool)
    for axis, ids in enumerate(axes):
        if ids is not None:
            shape = [-1 if i == axis else 1 for i in range(len(axes))]
            found = found | np.isin(ids, list(gone)).reshape(shape)
    return found
