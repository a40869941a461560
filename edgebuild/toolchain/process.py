"""Run a program: time-outs, missing programs and refusals become errors that explain."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgebuild import children
from edgebuild.errors import EdgebuildError, ToolError
from edgebuild.files import atomic_write, explain_os_error
from edgebuild.toolchain.cache import cache_dir, cache_key

TIMEOUT_S = 300.0
MAX_OUTPUT_BYTES = 16 << 20
_POLL_S = 0.1
_SHOWN_LINES = 12
_SHOWN_COLUMNS = 160
_FAILED = "another compiler (--toolchain); if that fails too, report it with the full log"
_PROBLEM = re.compile(r"error|undefined|overflow|will not fit", re.IGNORECASE)


@dataclass(frozen=True)
class Finished:
    """How a program ended, and what it wrote, as far as that was kept."""

    returncode: int
    stdout: bytes
    errors: str

    @property
    def output(self) -> str:
        """Standard output as text; what is no UTF-8 is replaced."""
        return self.stdout.decode(errors="replace")


class TimeLimitError(ToolError):
    """A program did not end in time; it and its children were killed."""


class OutputLimitError(ToolError):
    """A program wrote more than it may; it and its children were killed."""


def run_limited(
    command: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    missing_hint: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    max_output_bytes: int | None = None,
) -> Finished:
    """Run ``command`` in a process group of its own and return how it ended.

    ``what`` completes "x did not end in 60 s while ..." for the message. Without
    ``max_output_bytes`` a program may write on, and ``MAX_OUTPUT_BYTES`` are kept.

    Raises:
        ToolError: the program is not there or cannot be started; TimeLimitError when it does not
            end in time; OutputLimitError when it writes more than ``max_output_bytes``, or more
            errors than ``MAX_OUTPUT_BYTES``.
    """
    # Files instead of pipes: a grandchild that keeps a pipe open would hold its reader up.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = children.start(
                command,
                cwd=cwd,
                env={**os.environ, "LC_ALL": "C", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        except FileNotFoundError as error:
            raise ToolError(f"{command[0]} is not installed", hint=missing_hint) from error
        except OSError as error:
            explanation = explain_os_error(error, command[0])
            if isinstance(explanation, ToolError):  # the machine's fault, not the program's
                raise explanation from error
            raise ToolError(
                f"{command[0]} cannot be started: {(error.strerror or str(error)).lower()}",
                hint=missing_hint,
            ) from error
        limits: list[tuple[IO[bytes], int]] = []
        if max_output_bytes is not None:
            limits = [(out, max_output_bytes), (err, MAX_OUTPUT_BYTES)]
        try:
            returncode = _wait(process, Path(command[0]).name, what, timeout_s, limits)
        finally:
            children.ended(process)
        out.seek(0)
        err.seek(0)
        kept = MAX_OUTPUT_BYTES if max_output_bytes is None else max_output_bytes
        errors = err.read(MAX_OUTPUT_BYTES).decode(errors="replace")
        return Finished(returncode, out.read(kept), errors)


def _wait(
    process: subprocess.Popen[bytes],
    name: str,
    what: str,
    timeout_s: float,
    limits: Sequence[tuple[IO[bytes], int]],
) -> int:
    """Return the exit code; TimeLimitError, or OutputLimitError when a file exceeds its limit."""
    end = time.monotonic() + timeout_s
    returncode = None
    while returncode is None:
        left = max(0.0, end - time.monotonic())
        with suppress(subprocess.TimeoutExpired):
            returncode = process.wait(min(left, _POLL_S))
        for file, most in limits:
            if os.fstat(file.fileno()).st_size > most:
                raise OutputLimitError(f"{name} wrote more than {most:,} B while {what}")
        if returncode is None and not left:
            raise TimeLimitError(f"{name} did not end in {timeout_s:.0f} s while {what}")
    return returncode


def run_tool(
    command: Sequence[str],
    *,
    what: str,
    missing_hint: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """Run a compiler and return its output, then its errors.

    ``what`` completes "the compiler failed ..." for the message. Raises ToolError.
    """
    try:
        done = run_limited(
            command, what=what, timeout_s=timeout_s, missing_hint=missing_hint, cwd=cwd, env=env
        )
    except TimeLimitError as error:
        error.hint = "try again; the first compile for a new core is the slowest"
        raise
    output = done.output + done.errors
    if done.returncode != 0:
        raise tool_failure(command, what, done.returncode, output)
    return output


def tool_failure(command: Sequence[str], what: str, returncode: int, output: str) -> EdgebuildError:
    """Return the explanation of a failed tool; its whole output goes to a log in the cache."""
    if os.strerror(errno.ENOSPC).lower() in output.lower() or "NoSpaceLeft" in output:
        return explain_os_error(OSError(errno.ENOSPC, ""), "the compiler's output") or ToolError(
            "no space left on the disk"
        )
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    # What the driver says of a linker that said it better.
    lines = [line for line in lines if not line.startswith("collect2:")]
    shown = [line[:_SHOWN_COLUMNS] for line in _from_first_error(lines)[:_SHOWN_LINES]]
    log = _write_log(command, output)
    if log is not None:
        shown.append(f"full log: {log}")
    tool = Path(command[0]).name
    ended = f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"
    return ToolError(f"{tool} failed {what} ({ended})", details=shown, hint=_FAILED)


def _from_first_error(lines: list[str]) -> list[str]:
    for position, line in enumerate(lines):
        if _PROBLEM.search(line):
            return lines[position:]
    return lines


def _write_log(command: Sequence[str], output: str) -> Path | None:
    """Keep the output outside the build folder, which a failed build removes."""
    path = cache_dir() / "logs" / f"{cache_key([*command, output])[:16]}.log"
    try:
        atomic_write(path, " ".join(command) + "\n\n" + output)
    except (EdgebuildError, OSError):
        return None
    return path
