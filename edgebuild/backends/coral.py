"""Coral boards: a model for the Edge TPU, compiled where Google's compiler is installed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebuild.backends.base import Cut, Delivered, DeliverySettings, Progress, Shipment
from edgebuild.coral.compiler import PROGRAM, Compiled, CompilerOptions, compile_models
from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.edgetpu import NAME, around_mapped
from edgebuild.figures import Figure, How
from edgebuild.targets import TargetProfile


class CoralBackend:
    """The quantized model, and what the Edge TPU's compiler makes of it."""

    family = "coral"
    has_library = False
    has_metadata = False

    def emit(self, _shipment: Shipment, _target: TargetProfile) -> Mapping[str, str | bytes]:
        """Return nothing: the model is all."""
        return {}

    def cuts(self, shipment: Shipment) -> Sequence[Cut]:
        """Return what maps, what must come before it on the CPU, and the rest; empty where all maps
        or nothing does."""
        taken = [verdict.delegated for verdict in shipment.compatibility.verdicts]
        if all(taken) or not any(taken):
            return ()
        groups = around_mapped(shipment.graph, taken)
        return tuple(Cut(NAME if mapped else "CPU", positions) for mapped, positions in groups)

    def deliver(
        self,
        shipment: Shipment,
        _target: TargetProfile,
        out: Path,
        progress: Progress,
        settings: DeliverySettings,
    ) -> Delivered:
        """Compile ``model_edgetpu.tflite`` where the compiler is there; else say that it is not."""
        container = settings.edgetpu_container
        if not container and shutil.which(PROGRAM) is None:
            note = (
                f"not compiled: {PROGRAM} is not installed, the mapping is predicted "
                "(docs/coral.md); --edgetpu-container names an image that has it"
            )
            return Delivered("none", notes=(note,))
        progress("compiling for the Edge TPU")
        options = CompilerOptions(container=container)
        (compiled,) = compile_models([out / "model.tflite"], out, options)
        return Delivered(
            f"{PROGRAM} {compiled.compiler}",
            figures=_figures(compiled),
            notes=_disagreement(shipment.compatibility, compiled),
        )


def _figures(compiled: Compiled) -> dict[str, Figure]:
    """Return the compiled package's parameter bytes, over what was predicted."""
    source = "package of model_edgetpu.tflite"
    return {
        "cached on chip": Figure(
            sum(p.cached_bytes for p in compiled.model.packages), "B", How.MEASURED, source
        ),
        "streamed": Figure(
            sum(p.streamed_bytes for p in compiled.model.packages), "B", How.MEASURED, source
        ),
    }


def _disagreement(predicted: Compatibility, compiled: Compiled) -> tuple[str, ...]:
    """Say where the compiler left other operators to the CPU than the table says."""
    expected: dict[str, int] = {}
    for verdict in predicted.fallbacks:
        expected[verdict.kind] = expected.get(verdict.kind, 0) + 1
    left = dict(compiled.model.cpu_operators)
    kinds = sorted(k for k in expected.keys() | left if expected.get(k, 0) != left.get(k, 0))
    return tuple(
        f"the compiler left {left.get(kind, 0)} {kind} to the CPU, predicted were "
        f"{expected.get(kind, 0)}"
        for kind in kinds
    )
