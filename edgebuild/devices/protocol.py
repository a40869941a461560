"""The host's side of the benchmark protocol; ``docs/protocol.md`` describes it.

A device is not trusted: every length, count and number that it sends is checked here.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from edgebuild.errors import ToolError

VERSION = 1
HEADER_BYTES = 4
CRC_BYTES = 4
MAX_PAYLOAD = 512
MAX_FRAME = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES
_MAX_ENCODED = MAX_FRAME + MAX_FRAME // 254 + 1
_REPLY_BIT = 0x80
_MAX_COUNT = 1 << 16
_MAX_TENSOR_BYTES = 1 << 24  # no microcontroller has more; it already takes half an hour
_RESYNC_BYTES = 1 << 20
_RUN_S = 60.0


class Command(IntEnum):
    """What the host may ask."""

    IDENTIFY = 1
    TENSOR = 2
    WRITE_INPUT = 3
    RUN = 4
    READ_OUTPUT = 5
    READ_TIMINGS = 6
    READ_MARKS = 7


_STATUS = {
    1: "does not know the command",
    2: "says the request has a wrong length",
    3: "says the request is out of range",
    4: "says that the model failed",
}


class Transport(Protocol):
    """A line to a device."""

    name: str

    def read(self, timeout_s: float) -> bytes:
        """Return what has arrived, waiting up to ``timeout_s``; empty when nothing came."""
        ...

    def write(self, content: bytes) -> None:
        """Send bytes."""
        ...


def encode_frame(sequence: int, command: int, payload: bytes, status: int = 0) -> bytes:
    """Return a frame as it goes over the line, zero bytes at both ends."""
    from cobs import cobs

    body = bytes((VERSION, sequence, command, status)) + payload
    return b"\0" + cobs.encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


@dataclass(frozen=True)
class Frame:
    """A decoded frame whose CRC is right."""

    sequence: int
    command: int
    status: int
    payload: bytes


def decode_frame(encoded: bytes) -> Frame | None:
    """Return the frame between two zero bytes, or None when it is damaged or of another version."""
    from cobs import cobs

    if not encoded or len(encoded) > _MAX_ENCODED:
        return None
    try:
        raw = cobs.decode(encoded)
    except cobs.DecodeError:
        return None
    if not HEADER_BYTES + CRC_BYTES <= len(raw) <= MAX_FRAME or raw[0] != VERSION:
        return None
    body, crc = raw[:-CRC_BYTES], struct.unpack("<I", raw[-CRC_BYTES:])[0]
    if zlib.crc32(body) != crc:
        return None
    return Frame(body[1], body[2], body[3], body[HEADER_BYTES:])


class FrameReader:
    """Cuts a stream into frames; whatever is no frame (boot messages, noise) is passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, content: bytes) -> Iterator[Frame]:
        """Take what arrived and yield the frames that it completes."""
        self._buffer += content
        *parts, rest = bytes(self._buffer).split(b"\0")
        # A frame never is longer; so much without a zero is noise.
        self._buffer = bytearray(rest[-_MAX_ENCODED - 1 :])
        for part in parts:
            frame = decode_frame(part)
            if frame is not None:
                yield frame


@dataclass(frozen=True)
class DeviceTensor:
    """An input or output as the device describes it."""

    nbytes: int
    scale: float
    zero_point: int
    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """What a device says of itself."""

    model: str
    model_status: int
    arena_bytes: int
    layers: int
    inputs: tuple[DeviceTensor, ...]
    outputs: tuple[DeviceTensor, ...]
    max_payload: int
    ticks_hz: int


@dataclass(frozen=True)
class RunTicks:
    """Ticks of the shortest, the longest and the last of several runs."""

    shortest: int
    longest: int
    last: int


class Client:
    """Asks a device and waits for its answers.

    Lost or damaged frames are asked for again with the same sequence number, so that the device
    repeats its answer rather than its work. ToolError when it stays silent or talks nonsense.
    """

    def __init__(self, transport: Transport, *, timeout_s: float = 1.0, tries: int = 4) -> None:
        self._transport = transport
        self._timeout_s, self._tries = timeout_s, tries
        self._sequence = int(time.monotonic_ns() & 0xFF)
        self._reader = FrameReader()

    def identify(self) -> Identity:
        """Ask who the device is and what its model takes and gives."""
        raw = self._ask(Command.IDENTIFY, b"")
        if len(raw) < 28:
            raise self._nonsense("its identity is too short")
        status, arena, layers, inputs, outputs, payload, hz = struct.unpack("<i6I", raw[:28])
        if layers > _MAX_COUNT or inputs > 255 or outputs > 255 or not hz:
            raise self._nonsense(f"{layers} layers, {inputs} inputs, {outputs} outputs, {hz} Hz")
        if not 16 <= payload <= MAX_PAYLOAD:
            raise self._nonsense(f"frames of {payload} bytes")
        return Identity(
            raw[28:].decode("ascii", "replace"),
            status,
            arena,
            layers,
            tuple(self._tensor(0, i) for i in range(inputs)),
            tuple(self._tensor(1, i) for i in range(outputs)),
            payload,
            hz,
        )

    def write_input(self, index: int, content: bytes, chunk: int = MAX_PAYLOAD) -> None:
        """Write a whole model input."""
        step = chunk - 5
        for offset in range(0, len(content), step):
            head = struct.pack("<BI", index, offset)
            self._ask(Command.WRITE_INPUT, head + content[offset : offset + step])

    def run(self, count: int = 1, *, timeout_s: float | None = None) -> RunTicks:
        """Run the model ``count`` times; later runs see what earlier ones left in the arena."""
        raw = self._ask(Command.RUN, struct.pack("<I", count), timeout_s or _RUN_S)
        if len(raw) != 12:
            raise self._nonsense(f"timings of {len(raw)} bytes")
        return RunTicks(*struct.unpack("<3I", raw))

    def read_output(self, index: int, nbytes: int, chunk: int = MAX_PAYLOAD) -> bytes:
        """Read a whole model output."""
        parts = []
        for offset in range(0, nbytes, chunk):
            want = min(chunk, nbytes - offset)
            raw = self._ask(Command.READ_OUTPUT, struct.pack("<BIH", index, offset, want))
            if len(raw) != want:
                raise self._nonsense(f"{len(raw)} bytes of output where {want} were asked for")
            parts.append(raw)
        return b"".join(parts)

    def read_timings(self, layers: int) -> tuple[int, ...]:
        """Read each layer's ticks of the last run."""
        ticks: list[int] = []
        while len(ticks) < layers:
            raw = self._ask(Command.READ_TIMINGS, struct.pack("<I", len(ticks)))
            if not raw or len(raw) % 4 or len(ticks) + len(raw) // 4 > layers:
                raise self._nonsense(f"{len(raw)} bytes of layer timings")
            ticks += struct.unpack(f"<{len(raw) // 4}I", raw)
        return tuple(ticks)

    def read_marks(self) -> tuple[int, int]:
        """Read the high-water marks of stack and arena, in bytes."""
        raw = self._ask(Command.READ_MARKS, b"")
        if len(raw) != 8:
            raise self._nonsense(f"marks of {len(raw)} bytes")
        stack, arena = struct.unpack("<2I", raw)
        return stack, arena

    def _tensor(self, is_output: int, index: int) -> DeviceTensor:
        raw = self._ask(Command.TENSOR, bytes((is_output, index)))
        if len(raw) < 14 or len(raw) != 14 + 4 * raw[13]:
            raise self._nonsense("a tensor's description has a wrong length")
        nbytes, scale, zero_point, dtype, rank = struct.unpack("<IfiBB", raw[:14])
        if nbytes > _MAX_TENSOR_BYTES:
            raise self._nonsense(f"a tensor of {nbytes:,} B")
        return DeviceTensor(nbytes, scale, zero_point, dtype, struct.unpack(f"<{rank}i", raw[14:]))

    def _ask(self, command: Command, payload: bytes, timeout_s: float | None = None) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFF
        request = encode_frame(self._sequence, command, payload)
        waits = self._waits(timeout_s)
        for wait_s in waits:
            self._transport.write(request)
            frame = self._await(command, wait_s)
            if frame is None:
                continue
            if frame.status:
                reason = _STATUS.get(frame.status, f"answers status {frame.status}")
                raise ToolError(f"{self._transport.name}: {reason} ({command.name.lower()})")
            return frame.payload
        raise ToolError(
            f"{self._transport.name}: no answer to {command.name.lower()} after {len(waits)} tries",
            hint="check the port and the baud rate, reset the board, flash firmware.elf again",
        )

    def _waits(self, total_s: float | None) -> list[float]:
        """Return how long to wait for an answer each time. What may take long (``total_s``) is
        asked for again ever more rarely: a request that got lost costs little, a busy device too.
        """
        if total_s is None:
            return [self._timeout_s] * self._tries
        waits = [self._timeout_s]
        while sum(waits) < total_s:
            waits.append(2 * waits[-1])
        return waits

    def _await(self, command: Command, timeout_s: float) -> Frame | None:
        deadline = time.monotonic() + timeout_s
        passed_over = 0
        while (left := deadline - time.monotonic()) > 0:
            content = self._transport.read(min(left, 0.1))
            passed_over += len(content)
            for frame in self._reader.feed(content):
                if frame.sequence == self._sequence and frame.command == command | _REPLY_BIT:
                    return frame
            if passed_over > _RESYNC_BYTES:
                raise self._nonsense("many bytes that are not frames")
        return None

    def _nonsense(self, what: str) -> ToolError:
        return ToolError(
            f"{self._transport.name}: the device sent something unexpected: {what}",
            hint="flash the firmware that edgebuild built",
        )
