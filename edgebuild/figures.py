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

    ``source`` names what produced it: a tool, a cycle model, a board.
    """

    value: float
    unit: str
    how: How
    source: str

    def to_json(self) -> dict[str, object]:
        """Return the figure as plain JSON values."""
        return {"value": self.value, "unit": self.unit, "how": str(self.how), "source": self.source}
