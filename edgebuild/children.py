"""Child processes that end with this one, however it ends.

Each is in a process group of its own. A guard, one small process for each of ours, knows the groups
and waits for the end of a pipe that only this process holds open: when it is killed, the guard
kills what it left.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

_GUARD = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
groups = set()
for line in sys.stdin.buffer:
    (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""

_lock = threading.Lock()
_guard: subprocess.Popen[bytes] | None = None


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start ``command`` as ``subprocess.Popen`` does, in a group that ends with this process.

    ``ended`` is to be called when it is over.
    """
    if os.name != "posix":
        return subprocess.Popen(list(command), **options)
    _tell(None)
    process = subprocess.Popen(list(command), start_new_session=True, **options)
    _tell(f"+{process.pid}\n")
    return process


def ended(process: subprocess.Popen[Any]) -> None:
    """Kill what is left of the process's group, wait for it, and forget it."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()
    _tell(f"-{process.pid}\n")


def run(
    command: Sequence[str], *, timeout: float, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` to its end without input and return how it ended, and what it wrote.

    Raises subprocess.TimeoutExpired, and OSError when it cannot be started.
    """
    process = start(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        ended(process)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return subprocess.CompletedProcess(list(command), process.returncode, output, errors)


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    """End a guard that has nothing left to watch."""
    with suppress(OSError):
        if guard.stdin is not None:
            guard.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        guard.wait(2.0)


def _tell(line: str | None) -> None:
    """Write a line to the guard, which is started when there is none."""
    global _guard
    if os.name != "posix":
        return
    with _lock:
        if _guard is None or _guard.poll() is not None:
            if line is not None and line.startswith("-"):
                return
            _guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
            atexit.register(_dismiss, _guard)
        if line is not None and _guard.stdin is not None:
            with suppress(OSError):
                _guard.stdin.write(line.encode())
                _guard.stdin.flush()
