"""Structured pruning: filters, channels, neurons and recurrent units that are really removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.groups import (
    Group,
    LayerRule,
    check_names,
    groups_of,
    layer_ratios,
    parse_layers,
    prunable_groups,
    rule_of,
)
from edgebuild.compress.measures import COSTS, Costs
from edgebuild.compress.surgery import remove_channels
from edgebuild.compress.training import fine_tune
from edgebuild.compress.worth import (
    CRITERIA,
    channel_worth,
    group_sensitivities,
    layer_sensitivities,
)
from edgebuild.errors import InputError, nearest

__all__ = ["Prune", "layer_ratios", "layer_sensitivities", "prunable_groups"]

MEASURES = ("channels", *COSTS)
_TINY = 1e-9
_LEAST_LOSS = 0.01
"""Of quality: less is not told apart from noise."""


@dataclass(frozen=True)
class Prune:
    """Remove the channels that matter least.

    Args:
        ratio: how much of ``by`` is to go, 0 to 1. Near 1 it leaves the least there can be.
        by: ``channels`` of each layer alike; or, from whichever layers lose least, the original's
            ``macs``, ``parameters``, ``bytes`` of int8 weights, ``cycles``, or ``ram`` (the most
            bytes of int8 activations alive at once: taken from the layers where that is).
        criterion: what a channel is worth: ``l1`` or ``l2`` norm of its weights, ``bn_scale`` (its
            batch normalization's factor), ``taylor`` (how much the loss changes without it, or the
            outputs where there are no labels: first order, Molchanov et al. 2019) or ``random`` (a
            control).
        steps: remove in so many steps, with fine-tuning after each.
        epochs: of fine-tuning after the last step; the steps before have a share of it.
        multiple: keep a multiple of so many channels in each layer; 0 takes what the target's
            kernels like (4 with the DSP extension, else 1).
        layers: ``conv1:0.5+conv2:12`` removes half of conv1's channels and leaves 12 of conv2's,
            ``conv3:0`` keeps conv3; the others follow ``ratio``. Names alone (``conv*+fc``) leave
            all other layers as they are.
        sensitivity: how strongly layers are spared whose half removal costs much quality (measured
            on the validation split): 0 not at all, 1 in proportion. For all but ``channels``.
    """

    name: ClassVar[str] = "prune"

    ratio: float = 0.5
    by: str = "channels"
    criterion: str = "taylor"
    steps: int = 1
    epochs: int = 5
    multiple: int = 0
    layers: str = ""
    sensitivity: float = 0.0

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
        if self.steps < 1 or self.epochs < 0 or self.multiple < 0 or self.sensitivity < 0:
            raise InputError(
                "prune: steps is at least 1; epochs, multiple and sensitivity at least 0"
            )
        parse_layers(self.layers, where="prune")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Remove channels, fine-tune, return the smaller model and what each layer lost."""
        rules = parse_layers(self.layers, where="prune")
        check_names(rules, [layer.name for layer in state.model.layers], where="prune")
        first = channel_map(state.model)
        start = _Start.of(self, state, context)
        now, short = state, ""
        for step in range(1, self.steps + 1):
            # Cubic: much at first, little at the end (Zhu and Gupta 2017).
            share = 1.0 - (1.0 - step / self.steps) ** 3
            choice = _Choice(self, rules, now, context)
            removed = choice.removed(start, share)
            short = choice.shortfall(start, removed)
            now = remove_channels(now, choice.channels, choice.least(removed))
            last = step == self.steps
            now = fine_tune(now, context, epochs=self.epochs if last else self.epochs // self.steps)
        sizes = {name: len(ids) for name, ids in channel_map(now.model).outputs.items()}
        lost = [
            f"{name}: {len(ids)} to {sizes[name]} channels"
            for name, ids in first.outputs.items()
            if sizes[name] < len(ids)
        ]
        notes = (*first.notes, *filter(None, [short]))
        if not lost:
            return state, (*notes, "nothing could be removed")
        return now, (*notes, *lost)


@dataclass(frozen=True)
class _Start:
    """What a pass began with: the outputs of each layer, ``cost`` of the model and of the
    original."""

    outputs: Mapping[str, int]
    cost: float = 0.0
    original: float = 0.0

    @classmethod
    def of(cls, options: Prune, state: State, context: Context) -> _Start:
        """Return the start of a pass over ``state``."""
        channels = channel_map(state.model)
        outputs = {name: len(ids) for name, ids in channels.outputs.items()}
        if options.by == "channels":
            return cls(outputs)
        cost, original = (
            Costs(model, channel_map(model), (), dsp=context.features.dsp).of(
                options.by, np.zeros(0)
            )
            for model in (state.model, context.teacher)
        )
        return cls(outputs, cost, original)


class _Choice:
    """Which channels of one model go. A vector ``removed`` says how many of each group."""

    def __init__(
        self, options: Prune, rules: Sequence[LayerRule], state: State, context: Context
    ) -> None:
        self._options = options
        self.channels = channel_map(state.model)
        self._groups = groups_of(self.channels)
        self._rules = [rule_of(group, rules) for group in self._groups]
        self._only_named = any(rule.silent for rule in rules)
        self._multiple = options.multiple or (4 if context.features.dsp else 1)
        self._costs = Costs(state.model, self.channels, self._groups, dsp=context.features.dsp)
        self._worth = channel_worth(state, self.channels, context, options.criterion)
        if options.sensitivity and options.by != "channels":
            self._spare(state, context)

    def removed(self, start: _Start, share: float) -> np.ndarray:
        """Return what goes so that ``share`` of what the pass is to remove is gone."""
        removed = np.zeros(len(self._groups), int)
        free = []
        for i, (group, rule) in enumerate(zip(self._groups, self._rules, strict=True)):
            count = group.count + self._gone(group, start)
            if rule is not None and not rule.silent:
                total = rule.removed(group, count, self._multiple)
            elif rule is None and self._only_named:
                continue
            elif self._options.by == "channels":
                total = group.removable(round(count * self._options.ratio), self._multiple, count)
            else:
                free.append(i)
                continue
            wanted = round(total * share) - (count - group.count)
            removed[i] = min(max(wanted, 0), group.count - 1)
        if not free:
            return removed
        target = start.cost - share * max(0.0, start.cost - self._goal(start))
        if self._options.by == "ram":
            return self._from_peaks(removed, free, target)
        return self._from_all(removed, free, target)

    def _gone(self, group: Group, start: _Start) -> int:
        """Return how many channels the group has lost since the pass began."""
        name = (group.own(self._groups) or group.layers)[0]
        positions = group.positions[group.layers.index(name)]
        gone = start.outputs[name] - len(self.channels.outputs[name])
        sharing = sum(name in other.layers for other in self._groups)
        return round(gone / positions / sharing)

    def least(self, removed: np.ndarray) -> frozenset[int]:
        """Return the channels: of each group those that are worth least."""
        chosen: list[int] = []
        for group, count in zip(self._groups, removed.tolist(), strict=True):
            chosen += self._order(group)[:count]
        return frozenset(chosen)

    def shortfall(self, start: _Start, removed: np.ndarray) -> str:
        """Return what is to be said when not all can go that is asked for, else nothing."""
        by = self._options.by
        if by == "channels":
            return ""
        left = self._costs.of(by, removed)
        if left <= self._goal(start) * (1.0 + _TINY):
            return ""
        could = 100.0 * (1.0 - left / start.original)
        return f"{by}: {could:.1f} % could go, not {100.0 * self._options.ratio:.4g} %"

    def _goal(self, start: _Start) -> float:
        return start.original * (1.0 - self._options.ratio)

    def _order(self, group: Group) -> list[int]:
        return sorted(group.channels, key=lambda c: self._worth[c])

    def _prices(self, group: Group) -> list[float]:
        """Return what removing each channel costs, in the order in which they go: its worth, times
        the original number over the number left. A layer that gets thin is spared: without that,
        one with small weights would lose all but a channel and close the way for all others."""
        order = self._order(group)
        return [self._worth[c] * len(order) / (len(order) - i) for i, c in enumerate(order)]

    def _from_all(self, removed: np.ndarray, free: Sequence[int], target: float) -> np.ndarray:
        """Return ``removed`` and the fewest least valuable channels that reach ``target``."""
        prices = [(price, i) for i in free for price in self._prices(self._groups[i])]
        order = np.array([i for _, i in sorted(prices)], int)

        def first(count: int) -> np.ndarray:
            wanted = np.bincount(order[:count], minlength=len(removed))
            found = removed.copy()
            for i in free:
                found[i] = self._groups[i].removable(int(wanted[i]), self._multiple)
            return found

        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._costs.of(self._options.by, first(middle)) <= target:
                high = middle
            else:
                low = middle + 1
        return first(low)

    def _from_peaks(self, removed: np.ndarray, free: Sequence[int], target: float) -> np.ndarray:
        """Return ``removed`` and channels of layers around the peak, a multiple at a time, those
        first that are worth least for each byte, until the peak is at ``target``."""
        removed = removed.copy()
        prices = {i: self._prices(self._groups[i]) for i in free}
        while self._costs.of("ram", removed) > target:
            gains = self._costs.at_peak(removed)
            best = (np.inf, -1, 0)
            for i in free:
                now = int(removed[i])
                more = self._next(self._groups[i], now)
                if gains[i] > 0.0 and more > now:
                    price = sum(prices[i][now:more])
                    best = min(best, (price / (gains[i] * (more - now)), i, more))
            if best[1] < 0:
                break
            removed[best[1]] = best[2]
        return removed

    def _next(self, group: Group, removed: int) -> int:
        """Return the next larger number of channels that may go, or ``removed``."""
        step = group.step(self._multiple)
        left = (group.count - removed - 1) // step * step
        return group.count - left if left else removed

    def _spare(self, state: State, context: Context) -> None:
        """Weigh each channel by how much its group matters."""
        lost = group_sensitivities(state, self.channels, self._groups, self._worth, context)
        lost = np.maximum(lost, 0.0) + _LEAST_LOSS
        for group, weight in zip(self._groups, lost / lost.mean(), strict=True):
            for channel in group.channels:
                self._worth[channel] *= float(weight) ** self._options.sensitivity
