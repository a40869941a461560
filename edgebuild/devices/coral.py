"""A Coral board as a device: the compiled model on the Edge TPU, in this computer or behind ssh."""

from __future__ import annotations

from pathlib import Path

from edgebuild.coral.bench import RunnerOptions, RunnerResult, run_model
from edgebuild.coral.transports import LocalTransport, SshTransport, Transport
from edgebuild.devices.base import RunResult, Samples
from edgebuild.figures import Figure, How


class CoralDevice:
    """Runs ``model`` (a ``.tflite`` that was compiled for the Edge TPU) where ``transport`` leads.

    The Edge TPU rounds as it likes: its outputs may differ by one from those of the CPU.
    """

    def __init__(
        self, model: Path, transport: Transport, options: RunnerOptions | None = None
    ) -> None:
        self._model = model
        self._transport = transport
        self._options = options or RunnerOptions()

    @classmethod
    def usb(cls, model: Path, options: RunnerOptions | None = None) -> CoralDevice:
        """Return the Edge TPU of this computer."""
        return cls(model, LocalTransport(), options)

    @classmethod
    def ssh(cls, model: Path, host: str, options: RunnerOptions | None = None) -> CoralDevice:
        """Return the Edge TPU of ``host``, e.g. ``mendel@192.168.100.2``."""
        return cls(model, SshTransport(host), options)

    @property
    def name(self) -> str:
        """What messages call the device."""
        return self._transport.name

    def measure(self, samples: Samples) -> RunnerResult:
        """Run every sample and return all that the runner tells."""
        return run_model(self._model, samples, self._transport, self._options)

    def run(self, samples: Samples) -> RunResult:
        """Run every sample; the latency is that of one inference, transfers included."""
        return run_result(self.measure(samples), self.name)


def run_result(result: RunnerResult, name: str) -> RunResult:
    """Return the runner's result as every device's."""
    unit = "Edge TPU" if result.edgetpu else "CPU"
    source = f"{unit} of {name}, {result.runtime}, {len(result.times_ns)} runs"

    def time(value: int) -> Figure:
        return Figure(value / 1000, "us", How.MEASURED, source)

    return RunResult(
        device=f"{unit} of {name}",
        outputs=result.outputs,
        latency_us=time(max(result.times_ns)),
        shortest_us=time(min(result.times_ns)),
    )


def coral_figures(result: RunnerResult, name: str) -> dict[str, Figure]:
    """Return what a report shows besides: the median, and temperatures where they are told."""
    found = {"latency, median": Figure(result.median_us, "us", How.MEASURED, f"on {name}")}
    for when, value in zip(("before", "after"), result.temperatures_c, strict=True):
        if value is not None:
            found[f"Edge TPU temperature, {when}"] = Figure(value, "°C", How.MEASURED, name)
    return found
