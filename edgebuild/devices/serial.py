"""A board on a serial port, over the benchmark protocol."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from edgebuild.devices.base import LayerSample, RunResult, Samples
from edgebuild.devices.protocol import Client, Identity
from edgebuild.errors import ToolError
from edgebuild.figures import Figure, How

BAUD = 115_200
"""What the firmware's ports set; 8 data bits, no parity, one stop bit."""


_DENIED = (errno.EACCES, errno.EPERM)
_NOT_ALLOWED = "join the group that may use serial ports: sudo usermod -aG dialout $USER"


def _reason(error: Exception) -> str:
    """Return what the system says of a port; pyserial's own words repeat the port."""
    code = getattr(error, "errno", None)
    return os.strerror(code).lower() if code in (errno.ENOENT, *_DENIED) else str(error)


class SerialTransport:
    """A serial port, opened for us alone."""

    def __init__(self, port: str, baud: int) -> None:
        import serial

        self.name = port
        # SerialException is an OSError; a baud rate beyond 31 bits an OverflowError.
        failures: tuple[type[Exception], ...] = (OSError, ValueError, OverflowError)
        failures += _terminal_errors()
        try:
            self._serial: Any = serial.Serial(
                port, baud, timeout=0.05, write_timeout=5.0, exclusive=True
            )
        except failures as error:
            raise ToolError(
                f"cannot open {port}: {_reason(error)}",
                hint=_NOT_ALLOWED
                if getattr(error, "errno", None) in _DENIED
                else "check that the board is connected; `edgebuild doctor` lists the serial ports",
            ) from error

    def read(self, timeout_s: float) -> bytes:
        """Return what has arrived, waiting up to ``timeout_s`` for the first byte."""
        try:
            self._serial.timeout = timeout_s
            first = self._serial.read(1)
            return bytes(first + self._serial.read(self._serial.in_waiting)) if first else b""
        except OSError as error:
            raise self._gone(error) from error

    def write(self, content: bytes) -> None:
        """Hand bytes to the system. Not flushed: that could wait for a dead line without end."""
        try:
            self._serial.write(content)
        except OSError as error:
            raise self._gone(error) from error

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def _gone(self, error: OSError) -> ToolError:
        return ToolError(
            f"{self.name}: the port failed: {error}", hint="check that the board is connected"
        )


def _terminal_errors() -> tuple[type[Exception], ...]:
    """Return what a port that goes away while it is opened raises besides; none on Windows."""
    try:
        import termios
    except ImportError:
        return ()
    return (termios.error,)


class SerialDevice:
    """Runs a build that has been flashed to a board.

    Args:
        port: e.g. ``/dev/ttyACM0``.
        baud: of the serial line.
        model: the name of the model that must be on it.
        label: what figures and messages call the device; by default the port.
        instructions_per_s: set for QEMU's ``-icount``, where time counts instructions and tells
            nothing of speed.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        *,
        model: str,
        label: str = "",
        instructions_per_s: float | None = None,
    ) -> None:
        self._transport = SerialTransport(port, baud)
        self._client = Client(self._transport)
        self._model, self._label = model, label or port
        self._instructions_per_s = instructions_per_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._transport.close()

    def run(self, samples: Samples) -> RunResult:
        """Run every sample; the layers' times are of the first one."""
        identity = self._identify()
        outputs, ticks, layers = [], [], tuple[int, ...]()
        for number, sample in enumerate(samples):
            self._write(identity, sample)
            ticks.append(self._client.run().last)
            outputs.append(
                tuple(
                    self._client.read_output(i, t.nbytes, identity.max_payload)
                    for i, t in enumerate(identity.outputs)
                )
            )
            if number == 0:
                layers = self._client.read_timings(identity.layers)
        stack, arena = self._client.read_marks()
        return self._result(identity, tuple(outputs), ticks, layers, stack, arena)

    def _identify(self) -> Identity:
        identity = self._client.identify()
        if identity.model != self._model:
            raise ToolError(
                f"{self._label} runs the model '{identity.model[:64]}', not '{self._model}'",
                hint="flash this build's firmware.elf",
            )
        if identity.model_status != 0:
            raise ToolError(
                f"{self._label}: the model's init returned {identity.model_status}",
                hint="build again and flash its firmware.elf",
            )
        return identity

    def _write(self, identity: Identity, sample: Sequence[bytes]) -> None:
        if len(sample) != len(identity.inputs):
            raise ToolError(f"{self._label} takes {len(identity.inputs)} inputs, not {len(sample)}")
        for i, (tensor, content) in enumerate(zip(identity.inputs, sample, strict=True)):
            if tensor.nbytes != len(content):
                raise ToolError(f"{self._label}: input {i} takes {tensor.nbytes:,} B")
            self._client.write_input(i, content, identity.max_payload)

    def _result(
        self,
        identity: Identity,
        outputs: tuple[tuple[bytes, ...], ...],
        ticks: Sequence[int],
        layers: Sequence[int],
        stack: int,
        arena: int,
    ) -> RunResult:
        hz = identity.ticks_hz
        marks = {
            "stack_bytes": Figure(stack, "B", How.MEASURED, f"{self._label} (painted stack)"),
            "arena_bytes": Figure(arena, "B", How.MEASURED, f"{self._label} (painted arena)"),
        }
        if self._instructions_per_s is not None:
            scale = self._instructions_per_s / hz
            source = f"{self._label} -icount, layer hooks included"
            return RunResult(
                self._label,
                outputs,
                instructions=Figure(ticks[0] * scale, "instructions", How.MEASURED, source),
                layers=tuple(
                    LayerSample(i, instructions=round(t * scale)) for i, t in enumerate(layers)
                ),
                **marks,
            )
        source = f"{self._label}, tick counter at {hz / 1e6:g} MHz"
        return RunResult(
            self._label,
            outputs,
            latency_us=Figure(max(ticks) * 1e6 / hz, "us", How.MEASURED, source),
            shortest_us=Figure(min(ticks) * 1e6 / hz, "us", How.MEASURED, source),
            layers=tuple(LayerSample(i, time_us=t * 1e6 / hz) for i, t in enumerate(layers)),
            **marks,
        )
