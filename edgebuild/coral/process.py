"""Run a program that may leave children behind, with a time limit that holds for all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgebuild.errors import ToolError
from edgebuild.files import explain_os_error

MAX_OUTPUT_BYTES = 16 << 20


@dataclass(frozen=True)
class Finished:
    """How a program ended; ``output`` and ``errors`` are at most ``MAX_OUTPUT_BYTES`` each."""

    returncode: int
    output: str
    errors: str


class TimeLimitError(ToolError):
    """A program did not end in time; it and its children were killed."""


def run_limited(
    command: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    missing_hint: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run ``command`` in a process group of its own and return how it ended.

    ``what`` completes "x did not end in 60 s while ..." for the message.

    Raises:
        ToolError: the program is not there or cannot be started; TimeLimitError when it does not
            end in time.
    """
    # Files instead of pipes: a grandchild that keeps a pipe open would hold its reader up.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ToolError(f"{command[0]} is not installed", hint=missing_hint) from error
        except OSError as error:
            explanation = explain_os_error(error, command[0])
            raise (explanation or ToolError(f"{command[0]} cannot be started: {error}")) from error
        try:
            returncode = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            name = Path(command[0]).name
            raise TimeLimitError(f"{name} did not end in {timeout_s:.0f} s while {what}") from error
        finally:
            _end_group(process)
        out.seek(0)
        err.seek(0)
        texts = [f.read(MAX_OUTPUT_BYTES).decode(errors="replace") for f in (out, err)]
        return Finished(returncode, *texts)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
