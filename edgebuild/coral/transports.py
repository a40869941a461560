"""Ways to the computer that has the Edge TPU: this one, or one that ssh reaches.

A transport makes a folder there, copies files, runs Python, and removes the folder again. The
size of what comes back is limited.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.files import TemporaryFolder, explained
from edgebuild.toolchain.process import (
    MAX_OUTPUT_BYTES,
    Finished,
    OutputLimitError,
    run_limited,
)

COPY_S = 120.0
CONNECT_S = 10
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@%-]{0,252}")
_FOLDER = re.compile(r"/tmp/edgebuild-[A-Za-z0-9]{8}")
"""What was asked for: it is removed in the end, so that no other folder may be answered."""
_PYTHON = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./+-]{0,200}")
_SSH_FAILED = 255


class Transport(Protocol):
    """A folder on the computer with the Edge TPU; a context manager that makes and removes it."""

    name: str

    def __enter__(self) -> Self:
        """Make the folder."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the folder, whatever has happened."""
        ...

    def push(self, source: Path, name: str) -> None:
        """Copy a file into the folder."""
        ...

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file of the folder; ToolError where it is larger than ``max_bytes``."""
        ...

    def python(self, arguments: Sequence[str], *, timeout_s: float) -> Finished:
        """Run Python in the folder."""
        ...


class LocalTransport:
    """This computer, e.g. with a Coral USB Accelerator; ``interpreter`` is a Python with a TFLite
    package."""

    def __init__(self, interpreter: str = sys.executable) -> None:
        self.name = "this computer"
        self._interpreter = interpreter
        self._temporary: TemporaryFolder | None = None

    def __enter__(self) -> Self:
        self._temporary = TemporaryFolder("coral")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._temporary is not None:
            self._temporary.close()

    def push(self, source: Path, name: str) -> None:
        """Copy a file into the folder."""
        with explained(source):
            shutil.copyfile(source, self._place() / name)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file of the folder; ToolError where it is larger than ``max_bytes``."""
        try:
            with (self._place() / name).open("rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError as error:
            raise ToolError(f"{self.name}: the runner left no {name}") from error
        if len(content) > max_bytes:
            raise _too_large(self.name, name, max_bytes)
        return content

    def python(self, arguments: Sequence[str], *, timeout_s: float) -> Finished:
        """Run Python in the folder."""
        return run_limited(
            [self._interpreter, *arguments],
            what=f"running the model on {self.name}",
            timeout_s=timeout_s,
            missing_hint="name a Python that has tflite_runtime or ai_edge_litert",
            cwd=self._place(),
            max_output_bytes=MAX_OUTPUT_BYTES,
        )

    def _place(self) -> Path:
        if self._temporary is None:
            raise ToolError("the transport is not open")
        return self._temporary.path


def check_host(host: str) -> None:
    """Raise InputError unless ``host`` is a name as ssh takes it, and no option of ssh."""
    if not _HOST.fullmatch(host):
        raise InputError(f"'{host[:60]}' is not a host", hint="write user@board, or board")


class SshTransport:
    """A board with Linux, e.g. a Coral Dev Board, by OpenSSH's ``ssh`` and ``scp`` with keys.

    ``host`` is ``user@board`` or a name of ``~/.ssh/config``, where a port belongs too.
    """

    def __init__(self, host: str, *, interpreter: str = "python3") -> None:
        check_host(host)
        if not _PYTHON.fullmatch(interpreter):
            raise InputError(f"'{interpreter[:60]}' is not a program", hint="write python3")
        self.name = host
        self._interpreter = interpreter
        self._folder = ""

    def __enter__(self) -> Self:
        made = self._ssh("mktemp -d /tmp/edgebuild-XXXXXXXX", "making a folder", COPY_S)
        lines = made.output.split()
        folder = lines[-1] if lines else ""
        if made.returncode != 0 or not _FOLDER.fullmatch(folder):
            raise self._failure(made, "did not create a folder in /tmp")
        self._folder = folder
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder:
            with suppress(EdgebuildError):
                self._ssh(f"rm -rf {shlex.quote(self._folder)}", "removing its folder", COPY_S)

    def push(self, source: Path, name: str) -> None:
        """Copy a file into the folder."""
        finished = run_limited(
            ["scp", "-q", *_options(), str(source), f"{self.name}:{self._folder}/{name}"],
            what=f"copying to {self.name}",
            timeout_s=COPY_S,
            missing_hint="install OpenSSH's client",
        )
        if finished.returncode != 0:
            raise self._failure(finished, f"did not accept {name}")

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file of the folder; ToolError where it is larger than ``max_bytes``.

        By ``ssh``: ``scp`` writes as much as the other side sends.
        """
        command = f"cat {shlex.quote(f'{self._folder}/{name}')}"
        try:
            finished = self._ssh(command, f"reading {name}", COPY_S, max_bytes)
        except OutputLimitError as error:
            raise _too_large(self.name, name, max_bytes) from error
        if finished.returncode != 0:
            raise self._failure(finished, f"did not return {name}")
        return finished.stdout

    def python(self, arguments: Sequence[str], *, timeout_s: float) -> Finished:
        """Run Python in the folder."""
        words = shlex.join([self._interpreter, *arguments])
        command = f"cd {shlex.quote(self._folder)} && exec {words}"
        finished = self._ssh(command, "running the model", timeout_s)
        if finished.returncode == _SSH_FAILED:
            raise self._failure(finished, "closed the connection")
        return finished

    def _ssh(
        self, command: str, what: str, timeout_s: float, max_bytes: int = MAX_OUTPUT_BYTES
    ) -> Finished:
        finished = run_limited(
            ["ssh", *_options(), self.name, command],
            what=f"{what} on {self.name}",
            timeout_s=timeout_s,
            missing_hint="install OpenSSH's client",
            max_output_bytes=max_bytes,
        )
        if finished.returncode == _SSH_FAILED and not self._folder:
            raise self._failure(finished, "cannot be reached")
        return finished

    def _failure(self, finished: Finished, what: str) -> ToolError:
        lines = [line[:200] for line in finished.errors.splitlines() if line.strip()]
        return ToolError(
            f"{self.name} {what} (exit code {finished.returncode})",
            details=lines[-6:],
            hint=f"try `ssh {self.name} true`; it must log in with a key, without a prompt",
        )


def _too_large(where: str, name: str, max_bytes: int) -> ToolError:
    return ToolError(
        f"{where}: {name} is larger than the {max_bytes:,} B that the model gives",
        hint="run it again; something else may write there",
    )


def _options() -> list[str]:
    return ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"]
