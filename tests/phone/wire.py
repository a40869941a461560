"""adb's packets and streams, seen from the device: CNXN, AUTH, OPEN, OKAY, WRTE and CLSE."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from contextlib import suppress

VERSION = 0x01000000
"""The version whose packets carry checksums."""
MAX_PAYLOAD = 256 * 1024
ACKNOWLEDGE_S = 30.0
CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
_HEADER = struct.Struct("<6I")


class GoneError(Exception):
    """The other side has closed the stream or the connection."""


class Link:
    """One TCP connection to the adb server. Packets are checked and written whole."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = _HEADER.pack(
            command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF
        )
        with self._lock:
            try:
                self._connection.sendall(header + data)
            except OSError as error:
                raise GoneError from error

    def receive(self) -> tuple[int, int, int, bytes]:
        command, first, second, length, check, magic = _HEADER.unpack(self._exactly(24))
        assert magic == command ^ 0xFFFFFFFF, "bad magic"
        assert length <= MAX_PAYLOAD, f"{length} B in one packet"
        data = self._exactly(length)
        assert sum(data) & 0xFFFFFFFF == check, "bad checksum"
        return command, first, second, data

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                chunk = self._connection.recv(count - len(data))
            except OSError as error:
                raise GoneError from error
            if not chunk:
                raise GoneError
            data += chunk
        return bytes(data)


class Stream:
    """One open service. At most one WRTE is on its way; the next waits for its OKAY."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self._link, self.local, self.remote = link, local, remote
        self._inbox: queue.Queue[bytes | None] = queue.Queue()
        self._rest = b""
        self._acknowledged = threading.Semaphore(1)
        self._closed = False

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_PAYLOAD):
            self._wait()
            self._link.send(WRTE, self.local, self.remote, data[start : start + MAX_PAYLOAD])

    def read(self, count: int) -> bytes:
        while len(self._rest) < count:
            chunk = self._inbox.get()
            if chunk is None:
                self._inbox.put(None)
                raise GoneError
            self._rest += chunk
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def unread(self, data: bytes) -> None:
        self._rest = data + self._rest

    def close(self) -> None:
        """Tell the other side, after it has the last of what was written."""
        with suppress(GoneError):
            if not self._closed:
                self._wait()
                self._link.send(CLSE, self.local, self.remote)

    def arrived(self, data: bytes) -> None:
        self._inbox.put(data)
        self._link.send(OKAY, self.local, self.remote)

    def acknowledged(self) -> None:
        self._acknowledged.release()

    def hang_up(self) -> None:
        """The other side has gone: wake whoever waits."""
        self._closed = True
        self._inbox.put(None)
        self._acknowledged.release()

    def _wait(self) -> None:
        if not self._acknowledged.acquire(timeout=ACKNOWLEDGE_S) or self._closed:
            raise GoneError
