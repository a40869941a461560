"""adb's services: shell commands and files of one phone. Every call has a time limit.

The connection to the adb server is that of ``adbutils``. Its own shell and sync calls have no limit
on the whole call and lose the device's words, so both protocols are spoken here. What a device
answers is not trusted: sizes are bounded, and anything unexpected is a ToolError.
"""

from __future__ import annotations

import math
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from edgebuild.devices.untrusted import shown
from edgebuild.errors import EdgebuildError, InputError, ToolError

ANSWER_S = 15.0
"""Limit of a call that takes a phone no time, and of opening one that takes longer."""
SETTLE_S = 2.0
_POLL_S = 0.05
_UNSETTLED = ("authorizing", "connecting")
"""States that a device is in for a moment after it was connected."""
MAX_OUTPUT_BYTES = 16 << 20
_SLOWEST_BYTES_PER_S = 250_000
_CHUNK = 64 * 1024
_MAX_PACKET = 1 << 20
_MAX_WORDS = 4096
_STDIN, _STDOUT, _STDERR, _EXIT = range(4)
_CUT = {"no": "no permissions"}
_INSTALL = "pip install 'edgebuild[android]'"


class LostError(ToolError):
    """The phone or its connection went away; a new connection may help."""


class TimeLimitError(ToolError):
    """The phone did not answer in time."""


@dataclass(frozen=True)
class ShellResult:
    """What a command printed, and how it ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; what is no UTF-8 is replaced."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line that says why, for a message."""
        lines = (self.stderr or self.stdout).decode(errors="replace").strip().splitlines()
        return shown(lines[-1]) if lines else ""


@dataclass(frozen=True)
class Listed:
    """A device as the adb server lists it."""

    serial: str
    state: str


def open_client() -> Any:
    """Return adbutils' client of the adb server that the environment names, by default 5037.

    ToolError when ``adbutils`` is not installed.
    """
    try:
        import adbutils
    except ImportError as error:
        raise ToolError("adbutils is not installed", hint=_INSTALL) from error
    try:
        return adbutils.AdbClient(socket_timeout=ANSWER_S)
    except ValueError as error:
        raise InputError(
            f"ANDROID_ADB_SERVER_PORT is not a port: {error}", hint="unset it, or set it to 5037"
        ) from error


def adb_program() -> str:
    """Return the path of the adb program that starts the server: the system's, else adbutils'."""
    from adbutils import adb_path
    from adbutils.errors import AdbError

    try:
        return str(adb_path())
    except AdbError as error:
        raise ToolError(
            f"no adb program: {error}", hint="install Android's platform-tools"
        ) from error


def server_runs(client: Any) -> bool:
    """Return whether an adb server answers, without starting one."""
    try:
        with socket.create_connection((client.host, client.port), timeout=1.0):
            return True
    except OSError:
        return False


def list_devices(client: Any) -> list[Listed]:
    """Return every device that the adb server knows, ready or not; one that adb is still talking to
    has up to ``SETTLE_S`` to become either."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        with _explained("adb", "listing the devices", server=True):
            # adbutils cuts "no permissions (...)" at its first space.
            found = [Listed(d.serial, _CUT.get(d.state, d.state)) for d in client.list()]
        if time.monotonic() > deadline or not any(d.state in _UNSETTLED for d in found):
            return found
        time.sleep(_POLL_S)


class Link:
    """One phone, by its serial."""

    def __init__(self, client: Any, serial: str) -> None:
        self._client, self.serial = client, serial

    def features(self) -> frozenset[str]:
        """Return what the phone's adb daemon can do, e.g. ``shell_v2``."""
        with self._explained("asking what it can do"):
            connection = self._device().open_transport("features", timeout=ANSWER_S)
            try:
                return frozenset(connection.read_string_block().split(","))
            finally:
                connection.close()

    def shell(
        self, command: str, *, limit_s: float | None = None, what: str = "running a command"
    ) -> ShellResult:
        """Run a command with the phone's shell; its exit code is not judged."""
        limit_s = ANSWER_S if limit_s is None else limit_s
        with self.conversation(command, what=what) as conversation:
            return conversation.result(limit_s, what)

    def conversation(self, command: str, *, what: str) -> Conversation:
        """Start a command that waits for input on the way; to be used in a ``with`` block."""
        with self._explained(what):
            service = _Service(self._device(), f"shell,v2,raw:{command}", ANSWER_S)
            return Conversation(self.serial, service)

    def push(self, content: bytes, path: str, mode: int) -> None:
        """Write a file on the phone and check its size; ToolError with the phone's reason."""
        name = path.rpartition("/")[2]
        with self._explained(f"pushing {name}"):
            with self._files(_limit_s(len(content))) as service:
                service.request(b"SEND", f"{path},{0o100000 | mode}".encode())
                for start in range(0, len(content), _CHUNK):
                    part = content[start : start + _CHUNK]
                    service.send(b"DATA" + struct.pack("<I", len(part)) + part)
                service.send(b"DONE" + struct.pack("<I", int(time.time())))
                answer, length = service.header()
                if answer != b"OKAY":
                    raise _Refused(_reason(service, answer, length))
            with self._files(ANSWER_S) as service:
                service.request(b"STAT", path.encode())
                answer, _mode, size, _mtime = struct.unpack("<4sIII", service.exactly(16))
            if answer != b"STAT":
                raise _Garbled(repr(answer))
            if size != len(content):
                raise _Refused(f"{size:,} of {len(content):,} B have arrived")

    def pull(self, path: str, most_bytes: int) -> bytes:
        """Return a file of the phone; ToolError when it has more than ``most_bytes``."""
        found = bytearray()
        name = path.rpartition("/")[2]
        with (
            self._explained(f"pulling {name}"),
            self._files(_limit_s(most_bytes)) as service,
        ):
            service.request(b"RECV", path.encode())
            while True:
                answer, length = service.header()
                if answer == b"DONE":
                    return bytes(found)
                if answer != b"DATA":
                    raise _Refused(_reason(service, answer, length))
                if length > _CHUNK or len(found) + length > most_bytes:
                    raise _Refused(f"the file has more than {most_bytes:,} B")
                found += service.exactly(length)

    def _device(self) -> Any:
        return self._client.device(serial=self.serial)

    def _files(self, limit_s: float) -> _Service:
        return _Service(self._device(), "sync:", limit_s, silence_s=ANSWER_S)

    def _explained(self, what: str) -> Any:
        return _explained(self.serial, what)


class _Garbled(Exception):  # noqa: N818
    """An answer that no device gives."""


class _Refused(Exception):  # noqa: N818
    """The device said no."""


class _Service:
    """One open service of the phone. Every read and write counts against one deadline, and none may
    take longer than ``silence_s``."""

    def __init__(
        self, device: Any, name: str, limit_s: float, *, silence_s: float = math.inf
    ) -> None:
        self._deadline, self._silence_s = time.monotonic() + limit_s, silence_s
        self._connection = device.open_transport(timeout=min(limit_s, ANSWER_S))
        try:
            self._connection.send_command(name)
            self._connection.check_okay()
        except BaseException:
            self._connection.close()
            raise

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
        """Hang up."""
        self._connection.close()

    def allow(self, limit_s: float) -> None:
        """Start the clock anew."""
        self._deadline = time.monotonic() + limit_s

    def send(self, content: bytes) -> None:
        """Send all of ``content``."""
        self._socket().sendall(content)

    def request(self, name: bytes, argument: bytes) -> None:
        """Send one request of the sync service."""
        self.send(name + struct.pack("<I", len(argument)) + argument)

    def header(self) -> tuple[bytes, int]:
        """Receive the head of one answer of the sync service."""
        name, length = struct.unpack("<4sI", self.exactly(8))
        return name, length

    def exactly(self, count: int) -> bytes:
        """Receive ``count`` bytes; EOFError when the other side closes before."""
        found = bytearray()
        while len(found) < count:
            chunk = self._socket().recv(min(count - len(found), _CHUNK))
            if not chunk:
                raise EOFError("the connection was closed")
            found += chunk
        return bytes(found)

    def _socket(self) -> Any:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.conn.settimeout(min(left, self._silence_s))
        return self._connection.conn


class Conversation:
    """A command that runs on the phone. Leaving the ``with`` block hangs up on it."""

    def __init__(self, serial: str, service: _Service) -> None:
        self._serial, self._service = serial, service
        self._streams = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._service.close()

    def until(self, words: bytes, limit_s: float, what: str) -> bool:
        """Wait until the command prints ``words``; False when it ends without them."""
        with _explained(self._serial, what):
            self._service.allow(limit_s)
            while words not in self._streams[_STDOUT] and self._code is None:
                self._receive()
        return words in self._streams[_STDOUT]

    def enter(self, words: bytes, what: str) -> None:
        """Send ``words`` to the command's standard input."""
        with _explained(self._serial, what):
            self._service.allow(ANSWER_S)
            self._service.send(struct.pack("<BI", _STDIN, len(words)) + words)

    def result(self, limit_s: float, what: str) -> ShellResult:
        """Wait for the command's end."""
        with _explained(self._serial, what):
            self._service.allow(limit_s)
            while self._code is None:
                self._receive()
        return ShellResult(self._code, *map(bytes, self._streams.values()))

    def _receive(self) -> None:
        channel, length = struct.unpack("<BI", self._service.exactly(5))
        if channel not in (_STDOUT, _STDERR, _EXIT) or length > _MAX_PACKET:
            raise _Garbled(f"a packet of kind {channel} with {length:,} B")
        content = self._service.exactly(length)
        if channel == _EXIT:
            if not content:
                raise _Garbled("an exit code of no bytes")
            self._code = content[0]
            return
        self._streams[channel] += content
        if len(self._streams[channel]) > MAX_OUTPUT_BYTES:
            raise _Garbled(f"more than {MAX_OUTPUT_BYTES:,} B of output")


def _reason(service: _Service, answer: bytes, length: int) -> str:
    if answer != b"FAIL" or length > _MAX_WORDS:
        raise _Garbled(f"{answer!r} instead of OKAY")
    return shown(service.exactly(length).decode(errors="replace"))


def _limit_s(count: int) -> float:
    return ANSWER_S + count / _SLOWEST_BYTES_PER_S


@contextmanager
def _explained(who: str, what: str, *, server: bool = False) -> Iterator[None]:
    """Turn the failures of adbutils, sockets and devices into ToolErrors that say what to try."""
    from adbutils.errors import AdbConnectionError, AdbError, AdbTimeout

    server_hint = "`adb devices`; `adb kill-server` ends a server that hangs"
    try:
        yield
    except EdgebuildError:
        raise
    except _Refused as error:
        raise _refusal(who, what, str(error)) from error
    except _Garbled as error:
        raise ToolError(
            f"{who}: garbage while {what}: {error}", hint="pull the cable and connect again"
        ) from error
    except (AdbTimeout, TimeoutError, subprocess.TimeoutExpired) as error:
        raise TimeLimitError(
            f"{who}: no answer in time while {what}",
            hint=server_hint
            if server
            else "check the screen lock and the cable, then `adb devices`",
        ) from error
    except (AdbConnectionError, ConnectionRefusedError, FileNotFoundError) as error:
        raise ToolError(f"the adb server cannot be reached: {error}", hint=server_hint) from error
    except (AdbError, OSError, EOFError, ValueError) as error:
        words = shown(str(error)) or type(error).__name__
        if server:
            raise ToolError(f"adb failed while {what}: {words}", hint=server_hint) from error
        raise LostError(
            f"{who}: the connection broke while {what}: {words}",
            hint="check that it is still connected: `adb devices`",
        ) from error


def _refusal(who: str, what: str, words: str) -> ToolError:
    hint = "`adb shell` to look at /data/local/tmp"
    with suppress(StopIteration):
        hint = next(h for sign, h in _HINTS.items() if sign in words)
    return ToolError(f"{who}: {what} failed: {words}", hint=hint)


_HINTS = {
    "No space left": "free some space on the phone; `adb shell df /data/local/tmp`",
    "Permission denied": "check that the shell user may write to /data/local/tmp; a work profile "
    "or a policy can forbid it",
    "Read-only": "the phone's data partition is read-only: start it again",
}
