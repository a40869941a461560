"""The ladder of remedies that is tried where plain quantization loses too much: what it gave.

``edgebuild.compress.ptq.climbing`` climbs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgebuild.models.preprocessing import Preprocessing

MIN_MAX = "min-max"
"""The first rung: what a build does without a ladder, calibrated on the training split."""


@dataclass(frozen=True)
class LadderRung:
    """One remedy, on the validation split.

    ``lost`` is the measure's float value minus the quantized one, ``noise`` 1 minus the similarity
    of the output channel that is least like the float model's. Both are None for a remedy that was
    not tried: ``note`` says why.
    """

    name: str
    lost: float | None = None
    noise: float | None = None
    note: str = ""

    @property
    def tried(self) -> bool:
        """Whether there are figures."""
        return self.lost is not None


@dataclass(frozen=True)
class Ladder:
    """All rungs in the order in which they were tried, and the one that is shipped.

    ``reasons`` say what plain quantization lost. ``measure`` is what ``lost`` is of, ``baseline``
    the float model's value of it. ``judged`` is how many samples took no part in the choice and
    judge the build, ``divided`` whether they are a part of ``--data``. ``preprocessing`` is what
    the user's firmware does to inputs.
    """

    reasons: tuple[str, ...]
    measure: str = ""
    baseline: float = 0.0
    calibrated: int = 0
    validated: int = 0
    judged: int = 0
    divided: bool = False
    rungs: tuple[LadderRung, ...] = ()
    chosen: str = ""
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = ()

    @property
    def shipped(self) -> LadderRung | None:
        """The rung that is shipped, None where none was tried."""
        return next((rung for rung in self.rungs if rung.name == self.chosen), None)


def ladder_from_json(value: Mapping[str, Any]) -> Ladder:
    """Return the Ladder that a report's JSON holds."""
    from edgebuild.models.preprocessing import preprocessing_from_json

    given = value["preprocessing"]
    return Ladder(
        **{
            **value,
            "reasons": tuple(value["reasons"]),
            "notes": tuple(value["notes"]),
            "rungs": tuple(LadderRung(**row) for row in value["rungs"]),
            "preprocessing": preprocessing_from_json(given) if given else None,
        }
    )
