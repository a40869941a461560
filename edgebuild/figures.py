"""Numbers that say how they were obtained."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class How(StrEnum):
    """How a number was obtained, from the strongest evidence to the weakest."""

    MEASURED = "measured"
    LINKED = "linked"
    MODELLED = "modelled"
    PREDICTED = "predicted"
    PLANNED = "planned"
    ESTIMATED = "estimated"


@dataclass(frozen=True)
class Figure:
    """A value in ``unit`` (``B``, ``us``, ``cycles``, ``instructions``, ``ratio``, ...).

    ``source`` names what produced it: a tool, a cycle model, a board. Where only bounds are known,
    the true value lies between ``low`` and ``high``, and budgets are checked against ``high``.
    """

    value: float
    unit: str
    how: How
    source: str
    low: float | None = None
    high: float | None = None

    @property
    def least(self) -> float:
        """The lower bound; the value itself where it is exact."""
        return self.value if self.low is None else self.low

    @property
    def most(self) -> float:
        """The upper bound; the value itself where it is exact."""
        return self.value if self.high is None else self.high

    def to_json(self) -> dict[str, object]:
        """Return the figure as plain JSON values; bounds only where there are some."""
        bounds = {"low": self.low, "high": self.high}
        return {
            "value": self.value,
            "unit": self.unit,
            "how": str(self.how),
            "source": self.source,
            **{name: bound for name, bound in bounds.items() if bound is not None},
        }
