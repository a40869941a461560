"""The best candidates get the long training, and the best of them other quantizations."""

from __future__ import annotations

from typing import Any

from edgebuild.search.attempts import FINALISTS, Attempts
from edgebuild.search.problem import Outcome
from edgebuild.search.ranking import best_of, fitting, shape


def train_finalists(attempts: Attempts, wanted: float) -> None:
    """Train the best candidates long; where the best of them is below ``wanted``, the original's
    quality, quantize it in other ways."""
    finals = _trained_long(attempts)
    leader = best_of(finals, attempts.budget)
    if leader is None or (leader.quality or 0.0) >= wanted:
        return
    attempts.progress("quantizing the best in other ways")
    ways: list[dict[str, Any]] = [
        {"rounding": "adaround", "bias_correction": True},
        {"epochs": max(1, attempts.effort.epochs // 5)},
    ]
    *body, last = leader.recipe
    tasks = [attempts.long((*body, {**last, **way})) for way in ways]
    finals += attempts.run(tasks, skip_failing=True)
    attempts.keep(FINALISTS, finals)


def _trained_long(attempts: Attempts) -> list[Outcome]:
    """Return the finalists; where one of them does not fit after all, the next best is trained
    too."""
    ranked = sorted(attempts.promising(), key=lambda o: -(o.quality or 0.0))
    chosen = {shape(o.recipe): o for o in reversed(ranked)}  # the best of each shape
    waiting = sorted(chosen.values(), key=lambda o: -(o.quality or 0.0))
    waiting = waiting[: 2 * attempts.effort.finalists]
    finals: list[Outcome] = []
    while missing := attempts.effort.finalists - len(fitting(finals, attempts.budget)):
        best, waiting = waiting[:missing], waiting[missing:]
        if not best:
            break
        attempts.progress(f"training the best {len(best)} for {attempts.effort.epochs} epochs")
        finals += attempts.run([attempts.long(outcome.recipe) for outcome in best])
        attempts.keep(FINALISTS, finals)
    return finals
