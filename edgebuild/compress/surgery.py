"""Rebuild a Keras model without some of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.compress.base import State
from edgebuild.compress.channels import ChannelMap, cut
from edgebuild.compress.rebuild import copy_weights, finish, rebuild


def remove_channels(state: State, channels: ChannelMap, removed: frozenset[int]) -> State:
    """Return a smaller model that computes what ``state`` does without the ``removed`` channels.

    Masks and clusters are cut with their weights. ``channels`` is of ``state.model``.
    """
    if not removed:
        return state
    gone = np.array(sorted(removed), int)

    def keep(ids: np.ndarray) -> np.ndarray:
        return ~np.isin(ids, gone)

    def smaller(layer: Any) -> Any:
        config = layer.get_config()
        made = channels.outputs.get(layer.name)
        if made is not None:
            config["units" if "units" in config else "filters"] = int(keep(made).sum())
        if layer.name in channels.reshaped and "target_shape" in config:
            count = int(keep(channels.reshaped[layer.name]).sum())
            config["target_shape"] = (*config["target_shape"][:-1], count)
        return layer.__class__.from_config(config)

    model, pairs = rebuild(state.model, smaller)

    def shortened(path: str, array: np.ndarray) -> np.ndarray:
        axes = channels.axes.get(path)
        return array if axes is None else cut(array, axes, keep)

    for old, new in pairs:
        for before, after in zip(old.weights, new.weights, strict=True):
            after.assign(shortened(before.path, np.asarray(before)))
        finish(new)
    return State(
        model,
        {path: shortened(path, mask) for path, mask in state.masks.items()},
        {path: shortened(path, numbers) for path, numbers in state.clusters.items()},
    )


def bypass(state: State, end: Any, begin: Any) -> State:
    """Return a model in which all that reads the tensor ``end`` reads ``begin``, of the same shape;
    layers that nothing reads any more are gone, and their masks and clusters."""
    model, pairs = rebuild(state.model, instead={id(end): begin})
    copy_weights(pairs)
    left = {variable.path for variable in model.weights}
    return State(
        model,
        {path: mask for path, mask in state.masks.items() if path in left},
        {path: numbers for path, numbers in state.clusters.items() if path in left},
    )
