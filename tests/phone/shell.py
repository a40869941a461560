"""The ``shell`` service: runs a command with sh, in the plain or the v2 protocol."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.phone.wire import GoneError, Stream

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Shell:
    """Runs one command. As on a phone, one whose client hangs up gets SIGHUP and no more input; it
    may go on."""

    def __init__(self, stream: Stream, v2: bool, cwd: Path, environment: Mapping[str, str]) -> None:
        self._stream, self._v2, self._cwd, self._environment = stream, v2, cwd, environment

    def run(self, command: str) -> None:
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self._cwd,
            env=dict(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self._v2 else subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdin and process.stdout
        threading.Thread(target=self._feed, args=(process,), daemon=True).start()
        pumps = [(STDOUT, process.stdout)]
        if process.stderr is not None:
            pumps.append((STDERR, process.stderr))
        lock = threading.Lock()
        threads = [
            threading.Thread(target=self._pump, args=(*pump, lock), daemon=True) for pump in pumps
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = process.wait()
        if self._v2:
            # A shell tells the end by a signal as 128 + its number.
            self._stream.write(struct.pack("<BIB", EXIT, 1, code if code >= 0 else 128 - code))

    def _pump(self, channel: int, source: IO[bytes], lock: threading.Lock) -> None:
        with source, suppress(GoneError):
            while chunk := os.read(source.fileno(), 16 * 1024):
                head = struct.pack("<BI", channel, len(chunk)) if self._v2 else b""
                with lock:
                    self._stream.write(head + chunk)

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        with suppress(OSError), process.stdin as target:
            try:
                while self._v2:
                    channel, length = struct.unpack("<BI", self._stream.read(5))
                    content = self._stream.read(length)
                    if channel == CLOSE_STDIN:
                        return
                    if channel == STDIN:
                        target.write(content)
                        target.flush()
                while True:
                    target.write(self._stream.read(1))
                    target.flush()
            except GoneError:
                if process.poll() is None:
                    process.send_signal(signal.SIGHUP)
