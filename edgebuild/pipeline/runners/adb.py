"""Phones over adb: the build's arm64 program, and the user's ``benchmark_model``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgebuild.backends.arm64 import PROGRAM
from edgebuild.backends.base import Progress
from edgebuild.delegates.npu import npu_model_name
from edgebuild.devices.adb import (
    AdbDevice,
    AdbOptions,
    PhoneRun,
    ToolMeasurement,
    ToolRequest,
    health_figures,
)
from edgebuild.devices.base import Samples
from edgebuild.devices.benchmark_model import ToolRun, tool_figures
from edgebuild.devices.phone.identity import choose_serial, ready_serials
from edgebuild.devices.phone.link import open_client
from edgebuild.figures import Figure, How
from edgebuild.files import explained
from edgebuild.pipeline.runners.base import MODEL_NAME, Build, Measured, Reference

ALL = "all"
DEFAULT_DELEGATE = "xnnpack"


@dataclass(frozen=True)
class ToolChoice:
    """A ``benchmark_model`` of the user, its libraries, NNAPI's accelerator and further flags."""

    program: Path
    libraries: tuple[Path, ...] = ()
    accelerator: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class AdbRunner:
    """The phone ``serial``. A build without an arm64 program is measured by ``tool`` alone."""

    serial: str
    options: AdbOptions = field(default_factory=AdbOptions)
    tool: ToolChoice | None = None

    reference = Reference.TFLITE_MICRO

    @property
    def name(self) -> str:
        """The phone's serial."""
        return self.serial

    def check(self, build: Build) -> bool:
        """Check that there is something to run; samples are for the arm64 program."""
        return _takes_samples(build, self.tool)

    def run(self, build: Build, samples: Samples, progress: Progress) -> Measured:
        """Run what the build has and what the user gave, one after the other."""
        program = build.folder / PROGRAM
        device = AdbDevice(program, build.report.name, self.serial, options=self.options)
        measured = Measured(None, None)
        if self.check(build):
            progress(f"running on {self.serial}")
            measured = program_measured(device.measure(samples))
        if self.tool is None:
            return measured
        progress(f"running benchmark_model on {self.serial}")
        file = build.folder / tool_model(build)
        with explained(file):
            model = file.read_bytes()
        return _with_tool(measured, device.benchmark(self._request(self.tool, build), model))

    def _request(self, tool: ToolChoice, build: Build) -> ToolRequest:
        delegate = build.report.target.get("delegate") or {}
        run = ToolRun(
            delegate=str(delegate.get("kind", DEFAULT_DELEGATE)),
            accelerator=tool.accelerator,
            warmup=self.options.warmup,
            runs=self.options.runs,
            extra=tool.arguments,
        )
        return ToolRequest(tool.program, run, tool.libraries)


def adb_runners(
    build: Build, devices: Sequence[str], options: AdbOptions, tool: ToolChoice | None = None
) -> list[AdbRunner]:
    """Return a runner for each of ``devices``; ``all`` stands for every phone that is ready.

    Raises InputError when ``build`` has nothing for phones, before adb is asked; ToolError when no
    phone is ready. One that is named but not there fails when it is run, so that the others are
    measured.
    """
    _takes_samples(build, tool)
    client = open_client()
    if ALL in devices:
        serials = ready_serials(client)
    elif len(set(devices)) == 1:
        serials = [choose_serial(client, devices[0])]
    else:
        serials = list(dict.fromkeys(devices))
    return [AdbRunner(serial, options, tool) for serial in serials]


def _takes_samples(build: Build, tool: ToolChoice | None) -> bool:
    """Return whether ``build`` has the arm64 program; InputError when nothing of it can run."""
    if tool is not None and PROGRAM not in build.artifacts:
        hint = "for a phone, build with --target android-cpu"
        build.needs(MODEL_NAME, f"{MODEL_NAME} to run", hint)
        return False
    build.needs(
        PROGRAM,
        f"arm64 program ({PROGRAM})",
        "for a phone, build with --target android-cpu, or pass LiteRT's tool with "
        "--benchmark-model",
    )
    return True


def tool_model(build: Build) -> str:
    """Return which file of ``build`` its delegate runs: the one compiled for its NPU, if there."""
    delegate = build.report.target.get("delegate") or {}
    compiled = npu_model_name(str(delegate.get("soc")))
    if delegate.get("kind") == "npu" and compiled in build.artifacts:
        return compiled
    return MODEL_NAME


def program_measured(run: PhoneRun) -> Measured:
    """Return what the arm64 program measured; the latency is the median."""
    figures: dict[str, Figure] = {}
    latency = None
    if run.timing is not None:
        latency = Figure(run.timing.median_us, "us", How.MEASURED, f"median, {run.source}")
        others = run.timing.figures(f"{run.timing.runs} runs on {run.phone.serial}")
        figures = {"latency, median": latency, **others}
    figures |= health_figures(run.before, run.after, run.phone.title)
    memory = {}
    if run.peak_rss_bytes is not None:
        memory["peak resident memory"] = Figure(
            run.peak_rss_bytes, "B", How.MEASURED, f"{run.phone.title}, whole process"
        )
    return Measured(run.result, latency, figures, memory, run.notes)


def _with_tool(measured: Measured, tool: ToolMeasurement) -> Measured:
    result = tool.result
    figures = tool_figures(result, tool.source)
    latency = measured.latency_us
    if measured.result is None:
        latency = figures.get("benchmark_model, median", figures["benchmark_model, average"])
    said = tuple(f"{result.tool}: {sentence}" for sentence in result.delegation)
    return Measured(
        measured.result,
        latency,
        {**measured.figures, **figures},
        measured.memory,
        # The same may be true of both runs.
        tuple(dict.fromkeys((*measured.notes, *tool.notes, *said))),
    )
