"""Mixed formats by sensitivity: the cheapest format of each operator that keeps the quality."""

from __future__ import annotations

from collections.abc import Mapping

from edgebuild.compress.base import Context
from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.network import Network


def assign(
    network: Network, found: Mapping[int, Range], tolerance: float, context: Context
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Placeholder."""
    raise NotImplementedError
