"""Coral boards: the compiled model on the Edge TPU, in this computer or behind ssh."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgebuild.backends.base import Progress
from edgebuild.coral.bench import RunnerOptions
from edgebuild.coral.checks import model_differences
from edgebuild.coral.compiler import PROGRAM
from edgebuild.coral.package import describe_package
from edgebuild.coral.transports import check_host
from edgebuild.devices.base import Samples
from edgebuild.devices.coral import CoralDevice, coral_figures, run_result
from edgebuild.errors import InputError
from edgebuild.figures import Figure, How
from edgebuild.pipeline.runners.base import COMPILED, MODEL_NAME, Build, Measured, Reference
from edgebuild.tflite.reader import read_tflite_file

_ELSEWHERE = (
    f"{COMPILED} was compiled elsewhere: its inputs, outputs and what it leaves to the CPU are "
    f"those of {MODEL_NAME}"
)
_SHOWN = 10


@dataclass(frozen=True)
class CoralRunner:
    """The Edge TPU of ``host`` (as ssh takes it), or of this computer where that is empty.

    With ``options.edgetpu`` False the CPU there runs the model that was not compiled.
    """

    host: str = ""
    options: RunnerOptions = field(default_factory=RunnerOptions)
    reference = Reference.LITERT

    def __post_init__(self) -> None:
        if self.host:
            check_host(self.host)

    @property
    def name(self) -> str:
        """The host, or this computer."""
        return self.host or "this computer"

    def check(self, build: Build) -> bool:
        """Check that the build has the model that is to run, which takes samples."""
        if not self.options.edgetpu:
            return True
        if _compiled_elsewhere(build):
            _check_compiled(build)
        else:
            build.needs(
                COMPILED,
                f"compiled model ({COMPILED})",
                f"build for a Coral board where {PROGRAM} is installed; put {COMPILED}, which it "
                f"makes of the build's {MODEL_NAME} elsewhere, into the build's folder; or measure "
                "the CPU with --no-edgetpu",
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
        edgetpu = self.options.edgetpu
        notes = (_ELSEWHERE,) if edgetpu and _compiled_elsewhere(build) else ()
        return Measured(result, latency, {**health, **figures}, notes=notes, on_delegate=edgetpu)

    def _device(self, model: Path) -> CoralDevice:
        if self.host:
            return CoralDevice.ssh(model, self.host, self.options)
        return CoralDevice.usb(model, self.options)


def _compiled_elsewhere(build: Build) -> bool:
    """Return whether the user has put a compiled model into the folder of a Coral build."""
    is_coral = build.report.target.get("family") == "coral"
    return is_coral and COMPILED not in build.artifacts and (build.folder / COMPILED).is_file()


def _check_compiled(build: Build) -> None:
    """Raise InputError unless the user's compiled model was made of the build's."""
    path = build.folder / COMPILED
    compiled = read_tflite_file(path)
    hint = f"{PROGRAM} {build.model} makes it"
    if describe_package(compiled, where=str(path)) is None:
        raise InputError(f"{path} is not compiled for the Edge TPU", hint=hint)
    differences = model_differences(read_tflite_file(build.model), compiled)
    if differences:
        raise InputError(
            f"{path} is not this build's {MODEL_NAME}, compiled",
            details=differences[:_SHOWN],
            hint=hint,
        )
