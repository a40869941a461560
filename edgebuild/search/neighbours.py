"""From the best shapes to those next to them: a layer wider, another narrower."""

from __future__ import annotations

import itertools
from typing import Any

from edgebuild.search.attempts import MOVES, Attempts
from edgebuild.search.moves import moves
from edgebuild.search.problem import Outcome
from edgebuild.search.ranking import rank, shape, way

_SHARE = 1 / 3
"""Of the trials that moves have."""
_LEADERS = 2
"""From so many shapes moves start."""
_MOST_MOVES = 32
"""So many moves from one shape are kept."""
_MOST_MISSES = 4
"""So many moves are costed for each that may be trained."""
_ROUND = 4
"""So many moves are tried before the best shape is looked for again."""


def trials_for_moves(trials: int) -> int:
    """Return how many of ``trials`` moves have."""
    return round(trials * _SHARE)


def try_neighbours(attempts: Attempts, most: int) -> None:
    """Try shapes next to the best ones, until none is left or ``most`` are trained. What turns out
    not to fit is not trained, costs little and does not count."""
    moved = attempts.trials.kept(MOVES)
    seen = {shape(outcome.recipe) for outcome in attempts.tried()}
    while not attempts.late and len(moved) < _MOST_MISSES * most:
        left = most - sum(outcome.quality is not None for outcome in moved)
        near = [r for r in _near(attempts) if shape(r) not in seen][: min(left, _ROUND)]
        if not near:
            return
        attempts.say_trial(attempts.effort.trials - left + 1)
        seen.update(map(shape, near))
        tasks = [attempts.short(recipe) for recipe in near]
        moved += attempts.run(tasks, skip_failing=True, until=attempts.trials_end)
        attempts.trials.keep(MOVES, moved)


def _near(attempts: Attempts) -> list[tuple[dict[str, Any], ...]]:
    """Return the moves from the best outcome, by turns with those from the best that came another
    way: other blocks, another rank."""
    ranked = sorted(attempts.promising(), key=rank)
    ways = {way(outcome.recipe): outcome for outcome in reversed(ranked)}
    leaders = sorted(ways.values(), key=rank)[:_LEADERS]
    turns = itertools.zip_longest(*(_moves_from(attempts, leader) for leader in leaders))
    return [recipe for row in turns for recipe in row if recipe is not None]


def _moves_from(attempts: Attempts, outcome: Outcome) -> list[tuple[dict[str, Any], ...]]:
    key = [list(outcome.recipe), attempts.budget.to_json()]
    known = attempts.study.known("moves from", key)
    if known is None:
        known = attempts.ask(moves, attempts.expected(outcome), attempts.budget)
        known = known[:_MOST_MOVES]
        attempts.study.keep("moves from", key, known)
    return [tuple(recipe) for recipe in known]
