"""Structured pruning: filters, channels, neurons and recurrent units that are really removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import ChannelMap, channel_map
from edgebuild.compress.costs import layer_macs
from edgebuild.compress.surgery import remove_channels
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError, nearest

CRITERIA = ("l1", "l2", "bn_scale", "taylor", "random")
MEASURES = ("channels", "macs", "parameters")
_TAYLOR_SAMPLES = 1024


@dataclass(frozen=True)
class Prune:
    """Remove the channels that matter least.

    Args:
        ratio: how much of ``by`` is to go, 0 to 1.
        by: ``channels`` of each layer alike, or the ``macs`` or ``parameters`` of the model, from
            whichever layers lose least.
        criterion: what a channel is worth: ``l1`` or ``l2`` norm of its weights, ``bn_scale`` (its
            batch normalization's factor), ``taylor`` (how much the loss changes without it, first
            order, Molchanov et al. 2019) or ``random`` (a control).
        steps: remove in so many steps, with fine-tuning after each.
        epochs: of fine-tuning after the last step; the steps before have a share of it.
        multiple: keep a multiple of so many channels in each layer; 0 takes what the target's
            kernels like (4 with the DSP extension, else 1).
    """

    name: ClassVar[str] = "prune"

    ratio: float = 0.5
    by: str = "channels"
    criterion: str = "l1"
    steps: int = 1
    epochs: int = 5
    multiple: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"prune: ratio {self.ratio:g} is not at least 0 and below 1")
        if self.by not in MEASURES:
            raise InputError(f"prune: unknown measure '{self.by}'{nearest(self.by, MEASURES)}")
        if self.criterion not in CRITERIA:
            raise InputError(
                f"prune: unknown criterion '{self.criterion}'{nearest(self.criterion, CRITERIA)}"
            )
        if self.steps < 1 or self.epochs < 0 or self.multiple < 0:
            raise InputError("prune: steps is at least 1, epochs and multiple at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Remove channels, fine-tune, return the smaller model and what each layer lost."""
        first = channel_map(state.model)
        before = {name: len(ids) for name, ids in first.outputs.items()}
        now = state
        for step in range(1, self.steps + 1):
            # Cubic: much at first, little at the end (Zhu and Gupta 2017).
            share = 1.0 - (1.0 - step / self.steps) ** 3
            channels = channel_map(now.model)
            removed = self._choose(now, channels, context, before, self.ratio * share)
            now = remove_channels(now, channels, removed)
            last = step == self.steps
            epochs = self.epochs if last else self.epochs // self.steps
            now = fine_tune(now, context, epochs=epochs)
        after = {name: len(ids) for name, ids in channel_map(now.model).outputs.items()}
        lost = [f"{n}: {before[n]} to {after[n]} channels" for n in before if after[n] < before[n]]
        if not lost:
            return state, (*first.notes, "nothing could be removed")
        return now, (*first.notes, *lost)

    def _choose(
        self,
        state: State,
        channels: ChannelMap,
        context: Context,
        before: Mapping[str, int],
        ratio: float,
    ) -> frozenset[int]:
        """Return the channels to remove so that ``ratio`` of the first model is gone."""
        worth = channel_worth(state, channels, context, self.criterion)
        multiple = self.multiple or (4 if context.features.dsp else 1)
        groups = _groups(channels)
        if self.by == "channels":
            chosen: list[int] = []
            for names in groups:
                members = channels.prunable(names[0])
                total = len(channels.outputs[names[0]])
                gone = before[names[0]] - total
                count = round(before[names[0]] * ratio) - gone
                order = sorted(set(members.tolist()), key=lambda c: worth[c])
                chosen += order[: _allowed(total, count, multiple)]
            return frozenset(chosen)
        return self._by_cost(state.model, channels, worth, multiple, ratio, context)

    def _by_cost(
        self,
        model: Any,
        channels: ChannelMap,
        worth: Mapping[int, float],
        multiple: int,
        ratio: float,
        context: Context,
    ) -> frozenset[int]:
        """Return the least valuable channels of all layers whose removal saves ``ratio``."""
        cost = _CostModel(model, channels, self.by)
        original = _CostModel(context.teacher, channel_map(context.teacher), self.by)
        target = original.of(frozenset()) * (1.0 - ratio)
        order = sorted(worth, key=lambda c: worth[c])
        low, high = 0, len(order)
        while low < high:  # the fewest channels that reach the target
            middle = (low + high) // 2
            if cost.of(_rounded(channels, order[:middle], multiple)) <= target:
                high = middle
            else:
                low = middle + 1
        return _rounded(channels, order[:low], multiple)


def channel_worth(
    state: State, channels: ChannelMap, context: Context, criterion: str
) -> dict[int, float]:
    """Return what each removable channel is worth; the mean of each layer is 1.

    A channel that several layers make (a residual sum) is worth the sum over them.
    """
    arrays = {v.path: np.asarray(v) for v in state.model.weights}
    if criterion == "random":
        rng = np.random.default_rng(context.seed)
        arrays = {path: rng.random(a.shape) for path, a in arrays.items()}
    elif criterion == "taylor":
        gradients = _gradients(state, context)
        arrays = {path: a * gradients.get(path, 0.0) for path, a in arrays.items()}
    worth: dict[int, float] = {}
    for name, ids in channels.outputs.items():
        values = _layer_worth(arrays, channels, name, ids, criterion)
        mean = float(values.mean()) or 1.0
        for channel, value in zip(ids.tolist(), values.tolist(), strict=True):
            if channel not in channels.fixed:
                worth[channel] = worth.get(channel, 0.0) + value / mean
    return worth


def _layer_worth(
    arrays: Mapping[str, np.ndarray],
    channels: ChannelMap,
    name: str,
    ids: np.ndarray,
    criterion: str,
) -> np.ndarray:
    if criterion == "bn_scale":
        for path, axes in channels.axes.items():
            same = len(axes) == 1 and axes[0] is not None and np.array_equal(axes[0], ids)
            if same and path.endswith("/gamma"):
                return np.abs(arrays[path])
    path = channels.kernels[name]
    kernel = arrays[path]
    rows = kernel.reshape(-1, kernel.shape[-1])
    if rows.shape[1] != len(ids):  # gates of a recurrent layer side by side
        rows = rows.reshape(rows.shape[0], -1, len(ids)).reshape(-1, len(ids))
    if criterion == "taylor":
        return np.abs(rows.sum(axis=0))
    power = np.abs(rows) if criterion != "l2" else rows**2
    total = power.sum(axis=0)
    return np.sqrt(total) if criterion == "l2" else np.asarray(total)


def _gradients(state: State, context: Context) -> dict[str, np.ndarray]:
    """Return the loss's gradient by each variable, over some of the training samples."""
    import tensorflow as tf

    from edgebuild.compress.quality import as_list, inputs_of
    from edgebuild.compress.training import batch_loss

    model = state.model
    split = context.train.first(_TAYLOR_SAMPLES)
    with tf.GradientTape() as tape:
        inputs = [tf.constant(np.asarray(a, np.float32)) for a in split.x]
        outputs = as_list(model(inputs_of(model, inputs), training=False))
        loss = batch_loss(context, split, inputs, outputs)
    values = [v.value for v in model.trainable_variables]
    found = tape.gradient(loss, values)
    return {
        v.path: np.asarray(g)
        for v, g in zip(model.trainable_variables, found, strict=True)
        if g is not None
    }


def _groups(channels: ChannelMap) -> list[list[str]]:
    """Return the making layers, those that make the same channels together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, ids in channels.outputs.items():
        groups.setdefault(tuple(ids.tolist()), []).append(name)
    return list(groups.values())


def _allowed(total: int, count: int, multiple: int) -> int:
    """Return how many of ``total`` channels may go so that a multiple, and at least one, stays."""
    left = max(total - max(count, 0), 1)
    left = min(total, -(-left // multiple) * multiple)
    return total - left


def _rounded(channels: ChannelMap, wanted: list[int], multiple: int) -> frozenset[int]:
    """Return those of ``wanted``, the least valuable first, that leave every layer a multiple."""
    rank = {channel: position for position, channel in enumerate(wanted)}
    removed = set(wanted)
    for names in _groups(channels):
        ids = channels.outputs[names[0]].tolist()
        mine = sorted((c for c in set(ids) if c in rank), key=lambda c: rank[c])
        allowed = _allowed(len(ids), len(mine), multiple)
        removed -= set(mine[allowed:])
    return frozenset(removed)


class _CostModel:
    """MACs or parameters of a model as a function of the channels that are removed."""

    def __init__(self, model: Any, channels: ChannelMap, by: str) -> None:
        macs: dict[str, int] = {}
        for name, count in layer_macs(model):
            macs[name] = macs.get(name, 0) + count
        self._terms: list[tuple[float, list[np.ndarray]]] = []
        self._constant = 0.0
        for layer in model.layers:
            for variable in layer.weights:
                self._add(layer, variable, channels, macs if by == "macs" else None)

    def _add(
        self, layer: Any, variable: Any, channels: ChannelMap, macs: Mapping[str, int] | None
    ) -> None:
        size = float(np.prod(variable.shape))
        if macs is not None:
            if len(variable.shape) < 2:
                return
            kernels = sum(float(np.prod(v.shape)) for v in layer.weights if len(v.shape) >= 2)
            size *= macs.get(layer.name, 0) / kernels
        axes = [ids for ids in channels.axes.get(variable.path, ()) if ids is not None]
        if axes:
            self._terms.append((size, axes))
        else:
            self._constant += size

    def of(self, removed: frozenset[int]) -> float:
        """Return the cost without ``removed``."""
        gone = np.array(sorted(removed), int)
        total = self._constant
        for size, axes in self._terms:
            share = 1.0
            for ids in axes:
                share *= 1.0 - np.isin(ids, gone).mean()
            total += size * share
        return float(total)
