"""The weights of the cycle prediction: what each part of a kernel costs, fitted on each core."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgebuild.cycles.code import PARAMETERS, CodePiece, Stretch
from edgebuild.cycles.work import loop_rounds
from edgebuild.errors import InternalError

DATA = Path(__file__).resolve().parent / "data"
SCHEMA = 7

ALLOWED = 0.10
"""What a prediction may be off by without being called rough."""

KNOWN_ROUNDS = 3.0
"""A loop that ran at least so many rounds of four in the fit is known at any length."""

BEYOND = 0.15
"""A layer is rough when its counts leave the fitted ones by more than this share of its cycles."""


@dataclass(frozen=True)
class Weights:
    """What ``data/<core>.json`` holds of each kernel.

    ``timing`` is the simulator's cycle model, ``toolchain`` the compiler that they were fitted for.
    """

    timing: str
    toolchain: str
    kernels: Mapping[str, KernelWeights]


@dataclass(frozen=True)
class KernelWeights:
    """What was fitted for a kernel.

    ``cycles`` of each part; ``share``: the largest share of a layer's cycles that a part took in
    the fit; ``loops``: the most rounds of four in an entry of a loop; ``worst_error``: over the
    fit's layers that are no mere calls; ``pieces`` and ``moved``: see ``code_runs``.
    """

    cycles: Mapping[str, float]
    share: Mapping[str, float]
    loops: Mapping[str, float]
    worst_error: float
    pieces: Sequence[CodePiece]
    moved: Mapping[str, Mapping[str, float]]
    sources: Sequence[str]
    sha256: str

    def total(self, counts: Mapping[str, float]) -> int:
        """Return the cycles of parts that run ``counts`` times."""
        return round(sum(self.cycles.get(part, 0.0) * count for part, count in counts.items()))

    def parameters(self, counts: Mapping[str, float]) -> float:
        """Return the loads of the kernel's parameters."""
        loads = self.moved[PARAMETERS]
        return sum(loads.get(part, 0.0) * count for part, count in counts.items())

    def rough(self, counts: Mapping[str, float]) -> str:
        """Return why the cycles of these counts may be off by more than 10 %, "" where not."""
        if self.worst_error > ALLOWED:
            return "its cycles depend on the data"
        if any(count and part not in self.share for part, count in counts.items()):
            return "a part of it never ran in the fit"
        for loop, rounds in loop_rounds(counts).items():
            # So few rounds do not tell what one costs from what an entry costs.
            if self.loops.get(loop, KNOWN_ROUNDS) < KNOWN_ROUNDS and rounds > self.loops[loop]:
                return f"the loop '{loop}' is longer than in the fit"
        return "a shape unlike those it was fitted to" if self.beyond(counts) > BEYOND else ""

    def beyond(self, counts: Mapping[str, float]) -> float:
        """Return the share of the cycles by which these counts leave what was fitted.

        Of a part that weighs more in them than in any fitted layer, the fit knows less than of
        others.
        """
        total = max(1, self.total(counts))
        shares = ((p, self.cycles.get(p, 0.0) * count / total) for p, count in counts.items())
        return sum(max(0.0, share - self.share.get(part, 0.0)) for part, share in shares)


@cache
def load_weights(core: str) -> Weights | None:
    """Return the weights for ``core``; None when there are none."""
    path = DATA / f"{core}.json"
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}")
        kernels = {
            name: KernelWeights(
                fit["cycles"],
                fit["share"],
                fit["loops"],
                fit["worst_error"],
                tuple(tuple(Stretch(*one) for one in piece) for piece in fit["pieces"]),
                fit["moved"],
                fit["sources"],
                fit["sha256"],
            )
            for name, fit in value["kernels"].items()
        }
        return Weights(value["timing"], value["toolchain"], kernels)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InternalError(
            f"edgebuild's own cycle weights of {core} cannot be read: {error}",
            hint="reinstall edgebuild with pip",
        ) from error
