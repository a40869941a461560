"""From one shape of a network to those next to it that fit as well."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgebuild.budget import Budget
from edgebuild.search.problem import Outcome, Problem

_TOGETHER = 8
"""So many pairs of groups take turns."""
_NARROWER = 2
"""By how many multiples of channels a layer may become narrower in one move."""


def moves(problem: Problem, outcome: Outcome, budget: Budget) -> list[tuple[dict[str, Any], ...]]:
    """Return recipes of networks next to ``outcome``'s, the most promising first; in a worker.

    One group of channels grows by as much as the budget leaves, alone or for another that becomes
    narrower. What that costs is estimated from what the outcome is known to cost; what it is worth
    are the prices of pruning.
    """
    from edgebuild.compress.base import State
    from edgebuild.compress.groups import layers_option, parse_layers, rule_of
    from edgebuild.compress.prune import Prune
    from edgebuild.compress.recipe import recipe_from_json, recipe_to_json
    from edgebuild.compress.selection import Selection
    from edgebuild.search.evaluate import apply_untrained, context_of

    steps = recipe_from_json(outcome.recipe)
    place = next((i for i, s in enumerate(steps) if isinstance(s, Prune)), len(steps) - 1)
    cut = steps[place]
    before, behind = steps[:place], steps[place + 1 :]
    if not isinstance(cut, Prune):
        cut, behind = Prune(ratio=0.0), steps[place:]
    context = context_of(problem)
    state = apply_untrained(before, State(context.teacher), context)
    rules = parse_layers(cut.layers, where="prune")
    selection = Selection(cut, (), state, context)
    removed = []
    for group in selection.groups:
        rule = rule_of(group, rules)
        removed.append(0 if rule is None else rule.removed(group, group.count, 1))
    found = []
    for shape in _neighbours(selection, np.array(removed, int), outcome, budget):
        layers = layers_option(selection.groups, shape.tolist())
        recipe = [*recipe_to_json(before), *recipe_to_json(behind)]
        if layers:
            row = {**recipe_to_json([cut])[0], "layers": layers}
            recipe.insert(place, row)
        found.append(tuple(recipe))
    return found


def _neighbours(
    selection: Any, removed: np.ndarray, outcome: Outcome, budget: Budget
) -> Iterator[np.ndarray]:
    """Yield vectors of how many channels of each group go, the most promising first.

    Of each pair of groups all widths that should fit are yielded, the widest first and by turns
    with those of other pairs: what does not fit after all may fit when it is a little narrower.
    """
    prices = [np.cumsum([0.0, *selection.prices(group)]) for group in selection.groups]
    numbers = [selection.numbers(group) for group in selection.groups]
    pairs: list[list[tuple[float, np.ndarray]]] = []
    every = range(len(prices))
    for grows, shrinks in itertools.product(every, (None, *every)):
        if grows == shrinks:
            continue
        for less in _narrower(numbers, removed, shrinks):
            shapes = []
            for number in (n for n in numbers[grows] if n < removed[grows]):
                shape = removed.copy()
                shape[grows] = number
                if shrinks is not None:
                    shape[shrinks] = less
                if _fits(selection.costs, removed, shape, outcome, budget):
                    worth = sum(p[a] - p[b] for p, a, b in zip(prices, removed, shape, strict=True))
                    shapes.append((float(worth), shape))
            if shapes:
                pairs.append(shapes)
    pairs.sort(key=lambda shapes: -shapes[0][0])
    for start in range(0, len(pairs), _TOGETHER):
        for row in itertools.zip_longest(*pairs[start : start + _TOGETHER]):
            yield from (shape for _, shape in filter(None, row))


def _narrower(
    numbers: Sequence[Sequence[int]], removed: np.ndarray, shrinks: int | None
) -> list[int]:
    """Return how many channels may go of the group that becomes narrower."""
    if shrinks is None:
        return [0]
    return [n for n in numbers[shrinks] if n > removed[shrinks]][:_NARROWER]


def _fits(
    costs: Any, removed: np.ndarray, shape: np.ndarray, outcome: Outcome, budget: Budget
) -> bool:
    """Return whether a shape is likely to fit, from what the one that is known costs."""

    def more(by: str) -> float:
        return float(costs.of(by, shape) - costs.of(by, removed))

    def slower() -> float:
        return float(costs.of("cycles", shape) / max(costs.of("cycles", removed), 1.0))

    flash, ram, latency = budget.flash_bytes, budget.ram_bytes, budget.latency_us
    if flash is not None and (outcome.flash_bytes or 0) + more("bytes") > flash:
        return False
    if ram is not None and (outcome.ram_bytes or 0) + more("ram") > ram:
        return False
    return latency is None or (outcome.latency_us or 0.0) * slower() <= latency
