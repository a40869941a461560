"""Coral boards: the compiled model on the Edge TPU, in this computer or behind ssh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgebuild.backends.base import Progress
from edgebuild.coral.bench import RunnerOptions
from edgebuild.devices.base import Samples
from edgebuild.devices.coral import CoralDevice, coral_figures, run_result
from edgebuild.figures import Figure, How
from edgebuild.pipeline.runners.base import COMPILED, MODEL_NAME, Build, Measured, Reference


@dataclass(frozen=True)
class CoralRunner:
    """The Edge TPU of ``host`` (as ssh takes it), or of this computer where that is empty.

    With ``options.edgetpu`` False the CPU there runs the model that was not compiled.
    """

    host: str = ""
    options: RunnerOptions = field(default_factory=RunnerOptions)
    reference = Reference.LITERT

    @property
    def name(self) -> str:
        """The host, or this computer."""
        return self.host or "this computer"

    def check(self, build: Build) -> bool:
        """Check that the build has the model that is to run, which takes samples."""
        if self.options.edgetpu:
            build.needs(
                COMPILED,
                f"compiled model ({COMPILED})",
                "build for a Coral board where edgetpu_compiler is installed, or measure the CPU "
                "with --no-edgetpu",
            )
        return True

    def run(self, build: Build, samples: Samples, progress: Progress) -> Measured:
        """Run every sample there; the latency is the median."""
        progress(f"running on {self.name}")
        model = build.folder / (COMPILED if self.options.edgetpu else MODEL_NAME)
        device = self._device(model)
        measured = device.measure(samples)
        result = run_result(measured, device.name)
        source = result.latency_us.source if result.latency_us else device.name
        latency = Figure(measured.median_us, "us", How.MEASURED, f"median, {source}")
        times = {
            "latency, median": latency,
            "latency, shortest": result.shortest_us,
            "latency, longest": result.latency_us,
        }
        figures = {label: figure for label, figure in times.items() if figure is not None}
        health = coral_figures(measured, device.name)
        return Measured(result, latency, {**health, **figures}, on_delegate=self.options.edgetpu)

    def _device(self, model: Path) -> CoralDevice:
        if self.host:
            return CoralDevice.ssh(model, self.host, self.options)
        return CoralDevice.usb(model, self.options)
