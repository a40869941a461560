"""A whole board in QEMU; the firmware talks over a UART that QEMU puts on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from edgebuild import children
from edgebuild.devices.base import RunResult, Samples
from edgebuild.devices.serial import BAUD, SerialDevice
from edgebuild.errors import ToolError
from edgebuild.toolchain.base import Image

PROGRAM = "qemu-system-arm"
_START_S = 15.0
_PTY = re.compile(rb"redirected to (/dev/\S+)\s")
INSTRUCTIONS_PER_S = 1e9
"""With ``-icount shift=0`` an instruction takes a nanosecond of virtual time."""


class QemuDevice:
    """Runs firmware in ``qemu-system-arm``; instructions are exact, time is not known."""

    def __init__(self, image: Image, machine: str, model: str) -> None:
        self._image, self._machine, self._model = image, machine, model

    def run(self, samples: Samples) -> RunResult:
        """Boot the firmware, run every sample over the serial line, end QEMU."""
        with (
            self.emulator() as pty,
            SerialDevice(
                pty,
                BAUD,
                model=self._model,
                label=f"qemu {self._machine}",
                instructions_per_s=INSTRUCTIONS_PER_S,
            ) as device,
        ):
            return device.run(samples)

    @contextmanager
    def emulator(self) -> Iterator[str]:
        """Boot the firmware; yield the serial port that it talks on; end QEMU."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise ToolError(
                f"{PROGRAM} is not installed", hint="apt-get install qemu-system-arm, or "
                "--run simulator"
            )  # fmt: skip
        command = [program, "-M", self._machine, "-kernel", str(self._image.elf)]
        command += ["-display", "none", "-monitor", "none", "-serial", "pty"]
        command += ["-icount", "shift=0,sleep=off"]
        with tempfile.TemporaryFile() as log:
            process = children.start(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
            assert process.stdout is not None
            try:
                pty = _pty_name(process, process.stdout, log)
                with _explained(process, log):
                    yield pty
            finally:
                children.ended(process)
                process.stdout.close()


@contextmanager
def _explained(process: subprocess.Popen[bytes], log: IO[bytes]) -> Iterator[None]:
    """Explain a line that went silent by QEMU's end, where that is why."""
    try:
        yield
    except ToolError as error:
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            raise _ended("ended while it ran", log) from error
        raise


def _pty_name(process: subprocess.Popen[bytes], stdout: IO[bytes], log: IO[bytes]) -> str:
    """Wait for the line that names the pseudo-terminal."""
    deadline = time.monotonic() + _START_S
    seen = b""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([stdout], [], [], 0.1)
        if ready:
            chunk = os.read(stdout.fileno(), 4096)
            seen += chunk
            if (found := _PTY.search(seen)) is not None:
                return found[1].decode()
            if not chunk:
                break
        if process.poll() is not None:
            break
    raise _ended("did not start", log, seen)


def _ended(what: str, log: IO[bytes], seen: bytes = b"") -> ToolError:
    log.seek(0)
    words = (seen + log.read(4000)).decode(errors="replace").strip().splitlines()
    return ToolError(f"{PROGRAM} {what}", details=words[-6:], hint="edgebuild doctor")
