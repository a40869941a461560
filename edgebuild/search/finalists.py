"""The best candidates get the long training, and the best of them other quantizations."""

from __future__ import annotations

from typing import Any

from edgebuild.errors import ModelError
from edgebuild.search.attempts import FINALISTS, Attempts
from edgebuild.search.problem import Outcome
from edgebuild.search.ranking import fitting, rank, shape


def train_finalists(attempts: Attempts, wanted: float, baseline: Outcome) -> None:
    """Train the best candidates long; quantize the best of them in other ways, and the original
    where it fits: those of the two that are below the quality that is ``wanted``."""
    finals = _trained_long(attempts)
    leader = min(fitting(finals, attempts.budget), key=rank, default=None)
    leaders = {shape(o.recipe): o for o in (baseline, leader) if o is not None}
    below = [o for o in fitting(leaders.values(), attempts.budget) if (o.quality or 0.0) < wanted]
    if not below or attempts.over:
        return
    attempts.say("quantizing the best in other ways")
    ways: list[dict[str, Any]] = [
        {"rounding": "adaround", "bias_correction": True},
        {"epochs": max(1, attempts.effort.epochs // 5)},
    ]
    tasks = []
    for outcome in below:
        *body, last = outcome.recipe
        tasks += [attempts.long((*body, {**last, **way})) for way in ways]
    finals += attempts.run(tasks, skip_failing=True, until=attempts.end)
    attempts.trials.keep(FINALISTS, finals)


def _trained_long(attempts: Attempts) -> list[Outcome]:
    """Return the finalists; where one of them does not fit after all or fails, another is trained
    too. What kept a longer softmax table than was expected, and does not fit for that, makes those
    come next that fit with such a table. ModelError when all fail."""
    ranked = sorted(attempts.promising(), key=lambda o: -(o.quality or 0.0))
    chosen = {shape(o.recipe): o for o in reversed(ranked)}  # the best of each shape
    waiting = sorted(chosen.values(), key=lambda o: -(o.quality or 0.0))
    waiting = _with_scaled(waiting, attempts.effort.finalists)
    left = 2 * attempts.effort.finalists
    finals: list[Outcome] = []
    failures = len(attempts.failed)
    while missing := attempts.effort.finalists - len(fitting(finals, attempts.budget)):
        waiting.sort(key=lambda o: not attempts.expected(o).fits(attempts.budget))
        count = min(missing, left)
        best, waiting, left = waiting[:count], waiting[count:], left - count
        if not best or attempts.over:
            break
        attempts.say(f"training the best {len(best)} for {attempts.effort.epochs} epochs")
        tasks = [attempts.long(outcome.recipe) for outcome in best]
        ended = attempts.run(tasks, skip_failing=True, until=attempts.end)
        attempts.expect_tables_of(ended)
        finals += ended
        attempts.trials.keep(FINALISTS, finals)
    if not finals and len(attempts.failed) > failures:
        raise ModelError(f"no finalist can be trained: {attempts.failed[-1]}")
    return finals


def _with_scaled(ranked: list[Outcome], places: int) -> list[Outcome]:
    """Return ``ranked`` with a network of another width or depth in one of several ``places``: it
    has learnt from the start, and a trial is too short to tell how well."""
    if places < 2 or any(_is_scaled(outcome) for outcome in ranked[:places]):
        return ranked
    scaled = [outcome for outcome in ranked if _is_scaled(outcome)][:1]
    others = [outcome for outcome in ranked if outcome not in scaled]
    return [*others[: places - 1], *scaled, *others[places - 1 :]]


def _is_scaled(outcome: Outcome) -> bool:
    return any(row["pass"] == "scale" for row in outcome.recipe)
