"""The ``sync:`` service: stat, list, send and receive files of the phone's folder."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.phone.wire import Stream

_CHUNK = 64 * 1024
AARCH64_ELF = b"\x7fELF\x02\x01"


class RefusedError(Exception):
    """What the device answers instead of OKAY."""


def _long_stat(s: os.stat_result) -> bytes:
    """Return the body of the second version's answers."""
    numbers = struct.pack(
        "<IQQIIIIQ", 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, 0, 0, s.st_size
    )
    return numbers + struct.pack("<qqq", *(int(t) for t in (s.st_atime, s.st_mtime, s.st_ctime)))


class FileService:
    """Answers one sync stream. ``place`` maps a device's path to a real one.

    ``on_receive`` gets the bytes received so far, and may raise RefusedError; ``adopt`` takes
    each whole file instead of writing it when it returns True.
    """

    def __init__(
        self,
        stream: Stream,
        place: Callable[[str], Path],
        on_receive: Callable[[str, int], None],
        adopt: Callable[[Path, bytes, int], bool],
        content: Callable[[Path], Path],
    ) -> None:
        self._stream, self._place = stream, place
        self._on_receive, self._adopt, self._content = on_receive, adopt, content

    def serve(self) -> None:
        while True:
            name, length = struct.unpack("<4sI", self._stream.read(8))
            if name == b"QUIT":
                return
            path = self._stream.read(length).decode()
            handler = {
                b"STAT": self._stat,
                b"STA2": lambda p: self._stat2(b"STA2", p, follow=True),
                b"LST2": lambda p: self._stat2(b"LST2", p, follow=False),
                b"LIST": self._list,
                b"LIS2": self._list2,
                b"SEND": self._send,
                b"RECV": self._receive,
            }.get(name)
            if handler is None:
                self._fail(f"unknown command {name!r}")
                return
            handler(path)

    def _stat(self, path: str) -> None:
        try:
            found = self._content(self._place(path)).lstat()
            reply = (found.st_mode, found.st_size, int(found.st_mtime))
        except OSError:
            reply = (0, 0, 0)
        self._stream.write(b"STAT" + struct.pack("<III", *reply))

    def _stat2(self, name: bytes, path: str, *, follow: bool) -> None:
        try:
            place = self._content(self._place(path))
            s = place.stat() if follow else place.lstat()
        except OSError as error:
            self._stream.write(name + struct.pack("<I", error.errno or 5) + bytes(64))
            return
        self._stream.write(name + _long_stat(s))

    def _list(self, path: str) -> None:
        for entry, found in self._entries(path):
            name = entry.name.encode()
            numbers = (found.st_mode, found.st_size, int(found.st_mtime), len(name))
            self._stream.write(b"DENT" + struct.pack("<IIII", *numbers) + name)
        self._stream.write(b"DONE" + bytes(16))

    def _list2(self, path: str) -> None:
        for entry, found in self._entries(path):
            name = entry.name.encode()
            self._stream.write(b"DNT2" + _long_stat(found) + struct.pack("<I", len(name)) + name)
        self._stream.write(b"DONE" + bytes(72))

    def _entries(self, path: str) -> Iterator[tuple[Path, os.stat_result]]:
        place = self._place(path)
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if not entry.name.endswith(".aarch64"):
                yield entry, self._content(entry).lstat()

    def _send(self, argument: str) -> None:
        path, _, mode = argument.rpartition(",")
        place, data = self._place(path), bytearray()
        refusal: str | None = None
        while True:
            name, length = struct.unpack("<4sI", self._stream.read(8))
            if name == b"DONE":
                break
            assert name == b"DATA" and length <= _CHUNK, (name, length)
            data += self._stream.read(length)
            try:  # after a refusal the rest is read and thrown away, as adbd does
                self._on_receive(path, len(data))
            except RefusedError as error:
                refusal = refusal or str(error)
        if refusal is None:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                if not self._adopt(place, bytes(data), int(mode) & 0o777):
                    place.write_bytes(data)
                    place.chmod(int(mode) & 0o777)
            except OSError as error:
                refusal = f"couldn't create file: {os.strerror(error.errno or 5)}"
        if refusal is None:
            self._stream.write(b"OKAY" + struct.pack("<I", 0))
        else:
            self._fail(refusal)

    def _receive(self, path: str) -> None:
        try:
            data = self._content(self._place(path)).read_bytes()
        except OSError as error:
            self._fail(f"open failed: {os.strerror(error.errno or 5)}")
            return
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            self._stream.write(b"DATA" + struct.pack("<I", len(part)) + part)
        self._stream.write(b"DONE" + struct.pack("<I", 0))

    def _fail(self, words: str) -> None:
        self._stream.write(b"FAIL" + struct.pack("<I", len(words.encode())) + words.encode())
