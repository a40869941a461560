"""The ladder of remedies that is tried where plain quantization loses too much: what it gave.

``edgebuild.compress.ptq.climbing`` climbs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgebuild.budget import Budget
from edgebuild.models.preprocessing import Preprocessing, preprocessing_from_json

MIN_MAX = "min-max"
"""The first rung: what a build does without a ladder, calibrated on the training split."""


INT16_ANYWHERE = "litert"
"""LiteRT runs int16 activations; else ``kernels``: where generated C has kernels for them."""


@dataclass(frozen=True)
class Terms:
    """What a climb is bound to: the samples to calibrate with, what is random, whether the target
    runs int16 activations (``litert``, ``kernels``, or a reason why not), and the user's limits of
    quality."""

    samples: int = 200
    seed: int = 0
    int16: str = "kernels"
    budget: Budget = field(default_factory=Budget)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return {**dataclasses.asdict(self), "budget": self.budget.to_json()}


def terms_from_json(value: Mapping[str, Any]) -> Terms:
    """Return the Terms whose ``to_json`` gave ``value``."""
    return Terms(**{**value, "budget": Budget(**value["budget"])})


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


@dataclass(frozen=True, eq=False)
class Climbed:
    """What a climb came to: the best ``.tflite``, by the rung of that name, all rungs, and what
    inputs go through before it. ``measure`` and ``baseline`` are those of ``Ladder``."""

    content: bytes
    chosen: str
    rungs: tuple[LadderRung, ...]
    measure: str
    baseline: float
    calibrated: int
    validated: int
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all but the ``content`` as plain JSON values."""
        return {
            "chosen": self.chosen,
            "rungs": [dataclasses.asdict(rung) for rung in self.rungs],
            "measure": self.measure,
            "baseline": self.baseline,
            "calibrated": self.calibrated,
            "validated": self.validated,
            "preprocessing": self.preprocessing.to_json(),
            "notes": list(self.notes),
        }


def climbed_from_json(value: Mapping[str, Any], content: bytes) -> Climbed:
    """Return the Climbed whose ``to_json`` gave ``value``."""
    return Climbed(
        content,
        **{
            **value,
            "rungs": tuple(LadderRung(**row) for row in value["rungs"]),
            "preprocessing": preprocessing_from_json(value["preprocessing"]),
            "notes": tuple(value["notes"]),
        },
    )


def ladder_from_json(value: Mapping[str, Any]) -> Ladder:
    """Return the Ladder that a report's JSON holds."""
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
