"""Rebuild a Keras model without some of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.compress.base import State
from edgebuild.compress.channel_rules import whole_groups
from edgebuild.compress.channels import ChannelMap, cut
from edgebuild.compress.costs import nodes
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
        for part in ("layer", "backward_layer"):  # of a wrapper: it is built for its old inputs
            if part in config:
                config[part].pop("build_config", None)
        made = channels.outputs.get(layer.name)
        if made is not None:
            _resize(layer, config, int(keep(made).sum()))
        if layer.name in channels.reshaped:
            inner = _inner_config(config)
            key = next((key for key in ("target_shape", "newshape") if key in inner), None)
            if key is not None:
                count = int(keep(channels.reshaped[layer.name]).sum())
                inner[key] = (*inner[key][:-1], count)
        return layer.__class__.from_config(config)

    operations = {call.operation.name: call.operation for call in nodes(state.model)}
    functions = {
        name: smaller(operations[name])
        for name in channels.reshaped
        if hasattr(operations[name], "newshape")
    }
    model, pairs = rebuild(state.model, smaller, functions=functions)

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


def _resize(layer: Any, config: dict[str, Any], count: int) -> None:
    """Change a layer's configuration so that it makes ``count`` channels."""
    inner = _inner_config(config)
    kind = type(getattr(layer, "layer", layer)).__name__
    if kind == "MultiHeadAttention":
        inner["num_heads"] = count // inner["value_dim"]
    elif kind == "GroupedQueryAttention":
        repeats = inner["num_query_heads"] // inner["num_key_value_heads"]
        inner["num_key_value_heads"] = count // inner["head_dim"]
        inner["num_query_heads"] = repeats * inner["num_key_value_heads"]
    elif kind == "EinsumDense":
        shape = inner["output_shape"]
        inner["output_shape"] = count if isinstance(shape, int) else (*shape[:-1], count)
    else:
        key = next(key for key in ("units", "filters", "output_dim") if key in inner)
        if inner.get("groups", 1) > 1 and whole_groups(getattr(layer, "layer", layer)):
            inner["groups"] = count * inner["groups"] // inner[key]
        inner[key] = count
        if "backward_layer" in config:
            config["backward_layer"]["config"]["units"] = count


def _inner_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of the layer inside a wrapper, or of the layer itself."""
    inner: dict[str, Any] = config["layer"]["config"] if "layer" in config else config
    return inner


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
