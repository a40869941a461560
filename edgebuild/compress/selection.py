"""Which channels structured pruning takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.groups import Group, LayerRule, groups_of, rule_of
from edgebuild.compress.measures import Costs
from edgebuild.compress.worth import channel_worth, group_sensitivities

if TYPE_CHECKING:
    from edgebuild.compress.prune import Prune

_TINY = 1e-9
_LEAST_LOSS = 0.01
"""Of quality: less is not told apart from noise."""


@dataclass(frozen=True)
class Start:
    """What a pass began with: the outputs of each layer, ``cost`` of the model and of the
    original."""

    outputs: Mapping[str, int]
    cost: float = 0.0
    original: float = 0.0

    @classmethod
    def of(cls, options: Prune, state: State, context: Context) -> Start:
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


class Selection:
    """Which channels of one model go. A vector ``removed`` says how many of each of ``groups``."""

    def __init__(
        self, options: Prune, rules: Sequence[LayerRule], state: State, context: Context
    ) -> None:
        self._options = options
        self.channels = channel_map(state.model)
        self.groups = groups_of(self.channels)
        self._rules = [rule_of(group, rules) for group in self.groups]
        self._only_named = any(rule.silent for rule in rules)
        self._multiple = options.multiple or (4 if context.features.dsp else 1)
        self.costs = Costs(state.model, self.channels, self.groups, dsp=context.features.dsp)
        self._worth = channel_worth(state, self.channels, context, options.criterion)
        if options.sensitivity and options.by != "channels":
            self._spare(state, context)

    def removed(self, start: Start, share: float) -> np.ndarray:
        """Return what goes so that ``share`` of what the pass is to remove is gone."""
        removed = np.zeros(len(self.groups), int)
        free = []
        for i, (group, rule) in enumerate(zip(self.groups, self._rules, strict=True)):
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

    def _gone(self, group: Group, start: Start) -> int:
        """Return how many channels the group has lost since the pass began."""
        name = (group.own(self.groups) or group.layers)[0]
        positions = group.positions[group.layers.index(name)]
        gone = start.outputs[name] - len(self.channels.outputs[name])
        sharing = sum(name in other.layers for other in self.groups)
        return round(gone / positions / sharing)

    def least(self, removed: np.ndarray) -> frozenset[int]:
        """Return the channels: of each group those that are worth least."""
        chosen: list[int] = []
        for group, count in zip(self.groups, removed.tolist(), strict=True):
            chosen += self._order(group)[:count]
        return frozenset(chosen)

    def shortfall(self, start: Start, removed: np.ndarray) -> str:
        """Return what is to be said when not all can go that is asked for, else nothing."""
        by = self._options.by
        if by == "channels":
            return ""
        left = self.costs.of(by, removed)
        if left <= self._goal(start) * (1.0 + _TINY):
            return ""
        could = 100.0 * (1.0 - left / start.original)
        return f"{by}: {could:.1f} % can be removed, not {100.0 * self._options.ratio:.4g} %"

    def _goal(self, start: Start) -> float:
        return start.original * (1.0 - self._options.ratio)

    def _order(self, group: Group) -> list[int]:
        return sorted(group.channels, key=lambda c: self._worth[c])

    def prices(self, group: Group) -> list[float]:
        """Return what removing each channel costs, in the order in which they go: its worth, times
        the original number over the number left. A layer that gets thin is spared: without that,
        one with small weights would lose all but a channel and close the way for all others."""
        order = self._order(group)
        return [self._worth[c] * len(order) / (len(order) - i) for i, c in enumerate(order)]

    def _from_all(self, removed: np.ndarray, free: Sequence[int], target: float) -> np.ndarray:
        """Return ``removed`` and the fewest channels with the lowest prices that reach ``target``.

        A price is divided by the square root of what the channel's removal gains: by all of it,
        the layers where a channel is large would pay alone; by nothing, cheap ones would go in
        vain.
        """
        by = self._options.by
        gains = self.costs.gains(by, removed)
        prices = sorted(
            (price / math.sqrt(max(gains[i], _TINY)), i)
            for i in free
            for price in self.prices(self.groups[i])
        )
        order = np.array([i for _, i in prices], int)

        def first(count: int) -> np.ndarray:
            wanted = np.bincount(order[:count], minlength=len(removed))
            found = removed.copy()
            for i in free:
                found[i] = self.groups[i].removable(int(wanted[i]), self._multiple)
            return found

        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self.costs.of(by, first(middle)) <= target:
                high = middle
            else:
                low = middle + 1
        return self._given_back(first(low), order[:low], target)

    def _given_back(self, removed: np.ndarray, order: np.ndarray, target: float) -> np.ndarray:
        """Return ``removed`` less what did not have to go, the dearest first: the last channels to
        go gain more than was missing, and multiples of channels more still."""
        for i in dict.fromkeys(order[::-1].tolist()):
            for number in reversed(self.numbers(self.groups[i])):
                fewer = removed.copy()
                fewer[i] = min(number, removed[i])
                if self.costs.of(self._options.by, fewer) > target:
                    break
                removed = fewer
        return removed

    def _from_peaks(self, removed: np.ndarray, free: Sequence[int], target: float) -> np.ndarray:
        """Return ``removed`` and channels of layers around the peak, a multiple at a time, those
        first that are worth least for each byte, until the peak is at ``target``."""
        removed = removed.copy()
        prices = {i: self.prices(self.groups[i]) for i in free}
        while self.costs.of("ram", removed) > target:
            gains = self.costs.at_peak(removed)
            best = (np.inf, -1, 0)
            for i in free:
                now = int(removed[i])
                more = self._next(self.groups[i], now)
                if gains[i] > 0.0 and more > now:
                    price = sum(prices[i][now:more])
                    best = min(best, (price / (gains[i] * (more - now)), i, more))
            if best[1] < 0:
                break
            removed[best[1]] = best[2]
        return removed

    def _next(self, group: Group, removed: int) -> int:
        """Return the next larger number of channels that may go, or ``removed``."""
        return next((n for n in self.numbers(group) if n > removed), removed)

    def numbers(self, group: Group) -> list[int]:
        """Return how many channels of a group may go: a multiple of them stays, or all."""
        step = group.step(self._multiple)
        kept = range(group.count // step * step, 0, -step)
        return sorted({0, *(group.count - left for left in kept)})

    def _spare(self, state: State, context: Context) -> None:
        """Weigh each channel by how much its group matters."""
        lost = group_sensitivities(state, self.channels, self.groups, self._worth, context)
        lost = np.maximum(lost, 0.0) + _LEAST_LOSS
        for group, weight in zip(self.groups, lost / lost.mean(), strict=True):
            for channel in group.channels:
                self._worth[channel] *= float(weight) ** self._options.sensitivity
