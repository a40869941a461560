"""Budgets of flash, RAM, latency and accuracy, and what missed them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgebuild.figures import Figure
from edgebuild.toml_reader import Reader
from edgebuild.units import format_duration, format_points, format_size

MUCH_ERROR = 0.5
"""A regression's error that surely rises by more than this share is warned of without a limit."""

MEMORY_OF = "memory of "
OF_REGION = "region "
"""How the source of a limit begins that is a device's own memory."""


@dataclass(frozen=True)
class Metrics:
    """The figures that a budget is held against; None where nothing is known.

    ``flash_bytes`` and ``ram_bytes`` in B, ``latency_us`` in us for one inference,
    ``accuracy_drop`` in ratio (0.01 is one percentage point below the float baseline);
    ``class_drop`` is that of the class or slice that lost most. ``error_increase`` is the ratio by
    which the error of the worst output channel with labels rose (0.1: its RMSE is 1.1 times the
    float model's), ``similarity`` that of the output channel which is least like the float model's.
    """

    flash_bytes: Figure | None = None
    ram_bytes: Figure | None = None
    latency_us: Figure | None = None
    accuracy_drop: Figure | None = None
    class_drop: Figure | None = None
    error_increase: Figure | None = None
    similarity: Figure | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the known figures as plain JSON values."""
        return {
            name: figure.to_json() if (figure := getattr(self, name)) else None for name in _NAMES
        }


@dataclass(frozen=True)
class Violation:
    """A budget that was missed, or that could not be checked (``value`` is None).

    ``budget`` is the word of the flag without ``max-`` or ``min-``: flash, ram, latency,
    accuracy-drop, class-drop, error-increase, similarity.
    ``limit`` and ``over`` are in the unit of the metric; ``source`` says who set the limit.
    """

    budget: str
    limit: float
    value: Figure | None
    source: str = ""

    @property
    def unknown(self) -> bool:
        """True when no figure exists, so that the budget could not be checked."""
        return self.value is None

    @property
    def uncertain(self) -> bool:
        """True when the figure has bounds and the limit lies between them."""
        if self.value is None:
            return False
        if self.budget in _LEAST:
            return self.value.most >= self.limit
        return self.value.least <= self.limit

    @property
    def over(self) -> float | None:
        """By how much the limit is missed; None when the value is unknown."""
        if self.value is None:
            return None
        over = self.value.value - self.limit
        return -over if self.budget in _LEAST else over

    def sentence(self) -> str:
        """Return one sentence: which budget, by how much, needed, allowed, how that is known."""
        word = _NAMES_IN_SENTENCES.get(self.budget, self.budget)
        setter = f" from {self.source}" if self.source else ""
        limit = f"budget {_shown(self.budget, self.limit)}{setter}"
        if self.value is None:
            return f"{word} budget cannot be checked: the value is unknown ({limit})"
        if self.uncertain:
            low, high = (_shown(self.budget, v) for v in (self.value.least, self.value.most))
            return (
                f"{word} budget may be missed: between {low} and {high} ({self.value.how}: "
                f"{self.value.source}), {limit}"
            )
        over = _shown(self.budget, self.over or 0.0)
        needs = _VERBS.get(self.budget, "needs")
        return (
            f"{word} budget missed by {over}: {needs} "
            f"{_shown(self.budget, self.value.value)} ({self.value.how}: {self.value.source}), "
            f"{limit}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the violation as plain JSON values."""
        return {
            "budget": self.budget,
            "limit": self.limit,
            "value": self.value.to_json() if self.value else None,
            "over": self.over,
            "source": self.source,
        }


@dataclass(frozen=True)
class Budget:
    """Limits, each inclusive and optional; all but ``min_similarity`` are upper ones.

    ``max_accuracy_drop`` is a ratio: 0.01 allows one percentage point; ``max_class_drop`` likewise,
    for every class and every slice. ``max_error_increase`` 0.1 allows the error of each output
    channel with labels to become 1.1 times the float model's; ``min_similarity`` is the least that
    every output channel must have. ``sources`` says for each field that has a limit who set it,
    and does not count for equality.
    """

    flash_bytes: int | None = None
    ram_bytes: int | None = None
    latency_us: float | None = None
    max_accuracy_drop: float | None = None
    max_class_drop: float | None = None
    max_error_increase: float | None = None
    min_similarity: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def check(self, metrics: Metrics) -> tuple[Violation, ...]:
        """Return the limits that ``metrics`` misses, and those without a figure to check."""
        found = []
        for name in _NAMES:
            limit_name = _LIMITS[name]
            limit: float | None = getattr(self, limit_name)
            value: Figure | None = getattr(metrics, name)
            if limit is None or (value is not None and _kept(_WORDS[name], value, limit)):
                continue
            source = self.sources.get(limit_name, "")
            found.append(Violation(_WORDS[name], limit, value, source))
        return tuple(found)

    def named(self, source: str) -> Budget:
        """Return the same limits, all said to be set by ``source``."""
        return dataclasses.replace(
            self,
            sources={name: source for name in _LIMITS.values() if getattr(self, name) is not None},
        )

    def overridden_by(self, stronger: Budget) -> Budget:
        """Return these limits with those that ``stronger`` has in their place."""
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name in _LIMITS.values():
            winner = self if getattr(stronger, name) is None else stronger
            values[name] = getattr(winner, name)
            if name in winner.sources:
                sources[name] = winner.sources[name]
        return Budget(**values, sources=sources)

    def to_json(self) -> dict[str, Any]:
        """Return the limits as plain JSON values, None where there is no limit."""
        return {name: getattr(self, name) for name in _LIMITS.values()}


def merge(*budgets: Budget) -> Budget:
    """Return one budget from several, weakest first: profile, project file, flags."""
    result = Budget()
    for budget in budgets:
        result = result.overridden_by(budget)
    return result


def read_budget(table: Reader) -> Budget:
    """Read a ``[budget]`` table: max_flash, max_ram, max_latency, max_accuracy_drop,
    max_class_drop, max_error_increase, min_similarity."""
    budget = Budget(
        flash_bytes=table.size("max_flash", None),
        ram_bytes=table.size("max_ram", None),
        latency_us=table.duration_us("max_latency", None),
        max_accuracy_drop=table.ratio("max_accuracy_drop", None),
        max_class_drop=table.ratio("max_class_drop", None),
        max_error_increase=table.growth("max_error_increase", None),
        min_similarity=table.ratio("min_similarity", None),
    )
    table.finish()
    return budget


_LIMITS = {
    "flash_bytes": "flash_bytes",
    "ram_bytes": "ram_bytes",
    "latency_us": "latency_us",
    "accuracy_drop": "max_accuracy_drop",
    "class_drop": "max_class_drop",
    "error_increase": "max_error_increase",
    "similarity": "min_similarity",
}
"""For each metric the field of Budget that limits it."""

_NAMES = tuple(_LIMITS)
_WORDS = {
    "flash_bytes": "flash",
    "ram_bytes": "ram",
    "latency_us": "latency",
    "accuracy_drop": "accuracy-drop",
    "class_drop": "class-drop",
    "error_increase": "error-increase",
    "similarity": "similarity",
}
_DROPS = ("accuracy-drop", "class-drop")
_LEAST = ("similarity",)
"""The budgets that are lower limits."""

OF_QUALITY = (*_DROPS, "error-increase", *_LEAST)
"""The budgets of how good the model still is, by ``Violation.budget``."""

_VERBS = {
    **dict.fromkeys(_DROPS, "drops"), "error-increase": "rises by", "similarity": "has",
}  # fmt: skip
_NAMES_IN_SENTENCES = {
    "ram": "RAM",
    "accuracy-drop": "accuracy",
    "class-drop": "class accuracy",
    "error-increase": "error",
}


def _kept(budget: str, value: Figure, limit: float) -> bool:
    """Return whether a limit is surely kept; a value that is no number keeps none."""
    return value.least >= limit if budget in _LEAST else value.most <= limit


def _shown(budget: str, value: float) -> str:
    if budget == "latency":
        return format_duration(value)
    if budget in _DROPS:
        return format_points(value)
    if budget == "error-increase":
        return f"{100 * value:.4g}%"
    if budget == "similarity":
        return f"{value:.4f}"
    return f"{value:,.0f} B" if value % 1024 else f"{value:,.0f} B ({format_size(value)})"
