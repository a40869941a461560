"""What kernels of sums end with: scaling and clamping of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgebuild.cycles.work import Work

Params = Mapping[str, Any]
"""The parameters of a kernel's call."""


def rounding(p: Params) -> str:
    """Return in which form a part scales sums to outputs."""
    return "one rounding" if p["once"] else "two roundings"


def left_shifts(p: Params, fill: int = 0) -> int:
    """Return how many channels are not shifted right; ``fill`` rows of the table are none."""
    if p["once"]:
        return 0
    return int((p["channels"][..., 2] >= 0).sum()) - fill


def clamp(work: Work, p: Params, outputs: int) -> None:
    """``eb_clamp_all``, or its form for the DSP extension."""
    if p["clamp"]:
        with work.phase("clamp", 1):
            work.loop("clamp", outputs)
