"""What every place that runs a build has in common: bytes in, bytes and figures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgebuild.figures import Figure

Samples = Sequence[Sequence[bytes]]
"""One entry for each inference: the raw bytes of each model input, in order."""


@dataclass(frozen=True)
class LayerSample:
    """What one layer of one inference took; None where the device cannot tell.

    ``wait_cycles`` are what the core waits for its memory, at most, beside ``cycles``.
    """

    layer: int
    instructions: int | None = None
    cycles: int | None = None
    time_us: float | None = None
    wait_cycles: int | None = None


@dataclass(frozen=True)
class RunResult:
    """Outputs of each inference (raw bytes, in order) and the figures of one inference.

    Figures are None where the device cannot tell. ``latency_us`` is the longest of the inferences,
    ``shortest_us`` the shortest; ``zero_wait_us`` is what a core would take that never waits for
    its memory. ``layers`` follow the generated code's layers.
    """

    device: str
    outputs: tuple[tuple[bytes, ...], ...]
    instructions: Figure | None = None
    cycles: Figure | None = None
    latency_us: Figure | None = None
    shortest_us: Figure | None = None
    zero_wait_us: Figure | None = None
    layers: tuple[LayerSample, ...] = ()
    stack_bytes: Figure | None = None
    arena_bytes: Figure | None = None


class Device(Protocol):
    """A place that runs a build. Raises ToolError when it fails, never hangs."""

    def run(self, samples: Samples) -> RunResult:
        """Run one inference for each sample."""
        ...
