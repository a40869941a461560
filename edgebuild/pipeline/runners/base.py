"""What every runner is given and gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from edgebuild.backends.arm64 import PROGRAM
from edgebuild.backends.base import Progress
from edgebuild.devices.base import RunResult, Samples
from edgebuild.errors import InputError
from edgebuild.figures import Figure
from edgebuild.report.model import Report

COMPILED = "model_edgetpu.tflite"
FIRMWARE = "firmware.elf"
MODEL_NAME = "model.tflite"
_FLAGS = {
    FIRMWARE: "connect its board and pass --port PORT",
    PROGRAM: "pass --device SERIAL",
    COMPILED: "pass --host USER@HOST or --usb",
}
"""By what a build has, the flag of ``edgebuild bench`` that measures it, as an
imperative."""


@dataclass(frozen=True)
class Build:
    """A whole build: its folder, its report and the names of the files in it."""

    folder: Path
    report: Report
    artifacts: frozenset[str]

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.folder / MODEL_NAME

    def needs(self, artifact: str, what: str, hint: str) -> Path:
        """Return the path of a file of the build; InputError that says ``what`` is not there."""
        if artifact not in self.artifacts:
            name = self.report.target["name"]
            ways = [
                f"to measure this build, {flag}"
                for file, flag in _FLAGS.items()
                if file in self.artifacts
            ]
            raise InputError(
                f"{self.folder} has no {what}: it was built for {name}",
                hint="; ".join([*ways, hint]),
            )
        return self.folder / artifact


@dataclass(frozen=True)
class Measured:
    """What a device measured.

    ``result`` is None where nothing ran whose outputs can be compared. ``latency_us`` is what a
    budget is held against; ``figures`` go into the report's run, ``memory`` into its memory.
    ``on_delegate`` is False where the CPU did a delegate's work, of which the report then tells
    nothing.
    """

    result: RunResult | None
    latency_us: Figure | None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    memory: Mapping[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    on_delegate: bool = True


class Reference(StrEnum):
    """What a device's outputs are compared with, on this computer."""

    TFLITE_MICRO = "tflite-micro"
    LITERT = "litert"


class Runner(Protocol):
    """A device and the way to it. ``name`` is what messages call it."""

    @property
    def reference(self) -> Reference:
        """What runs the same model here: TFLite Micro where generated C ran, to the byte."""
        ...

    @property
    def name(self) -> str:
        """The device's name."""
        ...

    def check(self, build: Build) -> bool:
        """Return whether ``run`` takes samples; InputError when the build has not what it takes."""
        ...

    def run(self, build: Build, samples: Samples, progress: Progress) -> Measured:
        """Measure; ToolError when the device fails, never hangs."""
        ...
