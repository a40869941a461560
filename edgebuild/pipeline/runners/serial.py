"""A board on a serial port, with the build's firmware on it."""

from __future__ import annotations

from dataclasses import dataclass

from edgebuild.backends.base import Progress
from edgebuild.devices.base import Samples
from edgebuild.devices.serial import SerialDevice
from edgebuild.pipeline.runners.base import FIRMWARE, Build, Measured, Reference
from edgebuild.units import check_within

_MAX_BAUD = (1 << 31) - 1


@dataclass(frozen=True)
class SerialRunner:
    """The board at ``port``. ``baud`` goes over the profile's."""

    port: str
    baud: int | None = None

    reference = Reference.TFLITE_MICRO

    def __post_init__(self) -> None:
        if self.baud is not None:
            check_within("baud", self.baud, 1, _MAX_BAUD)

    @property
    def name(self) -> str:
        """The port."""
        return self.port

    def check(self, build: Build) -> bool:
        """Check that the build has firmware, which takes samples."""
        build.needs(FIRMWARE, "firmware", "build for a board; see edgebuild targets list")
        return True

    def run(self, build: Build, samples: Samples, progress: Progress) -> Measured:
        """Run every sample on the board; the latency is the longest."""
        progress(f"running on {self.port}")
        baud = self.baud or build.report.target["run"]["serial_baud"]
        with SerialDevice(self.port, baud, model=build.report.name) as device:
            result = device.run(samples)
        times = {"latency, shortest": result.shortest_us, "latency, longest": result.latency_us}
        figures = {label: figure for label, figure in times.items() if figure is not None}
        return Measured(result, result.latency_us, figures)
