"""Which outcomes are better than others, and what tells two candidates apart. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from edgebuild.budget import Budget
from edgebuild.search.problem import Outcome
from edgebuild.units import duration_option, format_duration, size_option


def best_of(outcomes: Iterable[Outcome], budget: Budget) -> Outcome | None:
    """Return the most accurate that fits and keeps the limits of quality; of equals the smallest
    and fastest."""
    kept = (o for o in fitting(outcomes, budget) if not o.lost(budget))
    return min(kept, key=rank, default=None)


def fitting(outcomes: Iterable[Outcome], budget: Budget) -> list[Outcome]:
    """Return those that were trained and whose costs keep the budget."""
    return [o for o in outcomes if o.quality is not None and o.fits(budget)]


def pareto(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Return those that no other equals or beats in all of quality, flash, RAM and latency."""
    given = sorted((o for o in outcomes if o.quality is not None), key=rank)
    kept: list[tuple[float, ...]] = []
    front = []
    for outcome in given:
        mine = rank(outcome)
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) for other in kept):
            kept.append(mine)
            front.append(outcome)
    return tuple(front)


def rank(outcome: Outcome) -> tuple[float, ...]:
    """Return what outcomes are sorted by, the best first: quality, then flash, RAM, latency."""
    costs = (outcome.flash_bytes, outcome.ram_bytes, outcome.latency_us)
    return (-(outcome.quality or 0.0), *(0.0 if cost is None else float(cost) for cost in costs))


def shape(recipe: Sequence[dict[str, Any]]) -> str:
    """Return what tells networks of one shape and choice of channels."""
    body = [{**row, "epochs": 0, "steps": 1} for row in recipe[:-1]]
    return json.dumps(body, sort_keys=True)


def way(recipe: Sequence[dict[str, Any]]) -> str:
    """Return what a recipe does besides pruning."""
    return shape([row for row in recipe if row["pass"] != "prune"])


def closest(outcomes: Iterable[Outcome], budget: Budget) -> Outcome | None:
    """Return what misses the limits by the least; of equals the largest."""

    def missing(outcome: Outcome) -> tuple[float, int]:
        shares = outcome.excess(budget).values()
        return sum(max(0.0, share) for share in shares), -outcome.macs

    return min(outcomes, key=missing, default=None)


def over(outcome: Outcome, budget: Budget, limit: str) -> float:
    """Return by what share an outcome misses one limit; one that does not link misses all."""
    excess = outcome.excess(budget)
    return excess.get("link", excess.get(limit, -1.0))


def enough(outcome: Outcome, budget: Budget) -> list[str]:
    """Return the options, rounded up, that an outcome keeps where it misses the budget's."""
    options = []
    for name in ("flash", "ram"):
        limit, need = (getattr(one, f"{name}_bytes") for one in (budget, outcome))
        if limit is not None and (need or 0) > limit:
            options.append(f"--max-{name} {size_option(need)}")
    time = outcome.latency_us
    if budget.latency_us is not None and time is not None and time > budget.latency_us:
        options.append(f"--max-latency {duration_option(time)}")
    return options


def missed(outcome: Outcome, budget: Budget) -> str:
    """Return which limits an outcome misses and by how much."""
    if outcome.too_large:
        return outcome.too_large
    needs = []
    if budget.flash_bytes is not None and (outcome.flash_bytes or 0) > budget.flash_bytes:
        needs.append(f"{outcome.flash_bytes:,} B of flash (limit {budget.flash_bytes:,} B)")
    if budget.ram_bytes is not None and (outcome.ram_bytes or 0) > budget.ram_bytes:
        needs.append(f"{outcome.ram_bytes:,} B of RAM (limit {budget.ram_bytes:,} B)")
    if budget.latency_us is not None and (outcome.latency_us or 0) > budget.latency_us:
        shown = (format_duration(v) for v in (outcome.latency_us or 0, budget.latency_us))
        needs.append("{} (limit {})".format(*shown))
    if needs:
        return "it needs " + ", ".join(needs)
    if budget.latency_us is not None and outcome.latency_us is None:
        return "the latency on this target is not known without a board"
    lost = outcome.lost(budget) if outcome.quality is not None else []
    return "it has " + ", ".join(lost) if lost else "it meets every limit"
