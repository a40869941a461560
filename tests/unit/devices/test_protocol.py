"""Frames, the reader that finds them in noise, and a client that trusts no device."""

from __future__ import annotations

import struct
import time
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.devices.protocol import (
    MAX_PAYLOAD,
    Client,
    Command,
    Frame,
    FrameReader,
    decode_frame,
    encode_frame,
)
from edgebuild.errors import ToolError

BYTES = st.integers(0, 255)


@given(BYTES, BYTES, st.binary(max_size=MAX_PAYLOAD), BYTES)
def test_round_trip(sequence, command, payload, status):
    encoded = encode_frame(sequence, command, payload, status)
    assert encoded[0] == encoded[-1] == 0 and 0 not in encoded[1:-1]
    assert decode_frame(encoded[1:-1]) == Frame(sequence, command, status, payload)


@given(st.binary(max_size=MAX_PAYLOAD), st.data())
def test_one_changed_bit_is_noticed(payload, data):
    encoded = bytearray(encode_frame(1, 2, payload)[1:-1])
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert decode_frame(bytes(encoded)) is None


@given(st.binary(max_size=2000))
def test_noise_is_no_frame(noise):
    assert list(FrameReader().feed(noise)) == []


@given(st.binary(max_size=700), st.binary(max_size=100), st.integers(1, 50))
def test_a_frame_is_found_behind_noise_in_any_pieces(noise, payload, step):
    stream = noise + encode_frame(3, 4, payload)
    reader = FrameReader()
    found = []
    for start in range(0, len(stream), step):
        found += reader.feed(stream[start : start + step])
    assert found == [Frame(3, 4, 0, payload)]


def test_another_version_is_no_frame():
    import zlib

    from cobs import cobs

    body = b"\2\1\1\0"
    assert decode_frame(cobs.encode(body + struct.pack("<I", zlib.crc32(body)))) is None
    assert decode_frame(b"") is None and decode_frame(b"\1" * 5000) is None


class Device:
    """Answers each request with what ``answer(command, payload)`` returns: (status, payload),
    raw bytes, or None for silence."""

    name = "fake"

    def __init__(self, answer):
        self.answer, self.waiting, self.requests = answer, b"", 0

    def write(self, content):
        self.requests += 1
        frame = decode_frame(content[1:-1])
        reply = self.answer(frame.command, frame.payload)
        if isinstance(reply, tuple):
            status, payload = reply
            reply = encode_frame(frame.sequence, frame.command | 0x80, payload, status)
        self.waiting += reply or b""

    def read(self, timeout_s):
        found, self.waiting = self.waiting, b""
        return found


def client(answer, **options):
    device = Device(answer)
    return Client(device, timeout_s=0.05, **options), device


def test_silence():
    talker, device = client(lambda *_: None)
    with pytest.raises(ToolError, match="no answer to identify after 4 tries") as caught:
        talker.identify()
    assert "baud" in caught.value.hint and device.requests == 4


def test_an_answer_to_another_request_is_not_taken():
    talker, _ = client(lambda command, _: encode_frame(0, command, b"") * 3)
    with pytest.raises(ToolError, match="no answer"):
        talker.read_marks()


def test_a_flood_of_noise():
    talker, _ = client(lambda *_: b"\x55" * (3 << 20))
    with pytest.raises(ToolError, match="many bytes"):
        talker.read_marks()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "does not know the command"),
        (2, "wrong length"),
        (3, "out of range"),
        (4, "the model failed"),
        (77, "answers status 77"),
    ],
)
def test_refusals(status, words):
    talker, _ = client(lambda *_: (status, b""))
    with pytest.raises(ToolError, match=words):
        talker.run()


def identity(status=0, arena=100, layers=2, inputs=1, outputs=1, payload=512, hz=1000):
    return struct.pack("<i6I", status, arena, layers, inputs, outputs, payload, hz) + b"net"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        identity()[:27],
        identity(layers=1 << 30),
        identity(inputs=256),
        identity(outputs=1 << 31),
        identity(hz=0),
        identity(payload=4),
        identity(payload=100_000),
    ],
)
def test_a_lying_identity(raw):
    talker, _ = client(lambda *_: (0, raw))
    with pytest.raises(ToolError, match="the device sent something unexpected"):
        talker.identify()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        struct.pack("<IfiBB", 4, 1.0, 0, 1, 9),
        struct.pack("<IfiBBi", 1 << 31, 1.0, 0, 1, 1, 4),
        struct.pack("<IfiBBii", 4, 1.0, 0, 1, 1, 4, 4),
    ],
)
def test_a_lying_tensor(raw):
    talker, _ = client(lambda command, _: (0, identity() if command == Command.IDENTIFY else raw))
    with pytest.raises(ToolError, match="something unexpected"):
        talker.identify()


def test_lying_lengths():
    talker, _ = client(lambda *_: (0, b"12345"))
    for ask in (
        talker.run,
        talker.read_marks,
        lambda: talker.read_timings(9),
        lambda: talker.read_output(0, 9),
    ):
        with pytest.raises(ToolError, match="something unexpected"):
            ask()
    talker, _ = client(lambda *_: (0, b""))
    with pytest.raises(ToolError, match="something unexpected"):
        talker.read_timings(1)
    talker, _ = client(lambda *_: (0, bytes(16)))
    with pytest.raises(ToolError, match="something unexpected"):
        talker.read_timings(3)


def test_inputs_and_outputs_go_in_pieces():
    memory = bytearray(1500)

    def answer(command, payload):
        if command == Command.WRITE_INPUT:
            start = int.from_bytes(payload[1:5], "little")
            memory[start : start + len(payload) - 5] = payload[5:]
            return 0, b""
        _, start, length = struct.unpack("<BIH", payload)
        return 0, bytes(memory[start : start + length])

    talker, device = client(answer)
    content = bytes(i & 255 for i in range(1500))
    talker.write_input(0, content, chunk=100)
    assert bytes(memory) == content and device.requests == 16
    assert talker.read_output(0, 1500, chunk=100) == content


class Board:
    """A device that keeps to the protocol; ``runs`` counts what its model did."""

    def __init__(self):
        self.reader, self.last, self.reply = FrameReader(), None, b""
        self.memory, self.runs = bytearray(8), 0

    def take(self, content):
        """Return the answers to what arrived; a repeated request gets its answer again."""
        answers = []
        for frame in self.reader.feed(content):
            if frame != self.last:
                self.last = frame
                payload = self.act(frame)
                self.reply = encode_frame(frame.sequence, frame.command | 0x80, payload)
            answers.append(self.reply)
        return answers

    def act(self, frame):
        if frame.command == Command.WRITE_INPUT:
            start = int.from_bytes(frame.payload[1:5], "little")
            self.memory[start : start + len(frame.payload) - 5] = frame.payload[5:]
            return b""
        if frame.command == Command.RUN:
            self.runs += 1
            self.memory.reverse()
            return struct.pack("<3I", self.runs, self.runs, self.runs)
        _, start, length = struct.unpack("<BIH", frame.payload)
        return bytes(self.memory[start : start + length])


MISHAPS = ("none", "none", "lose", "twice", "flip", "cut", "noise", "delay", "late")


class BadLine:
    """Does one mishap after the other to what passes, requests and answers alike."""

    name = "bad line"

    def __init__(self, board, mishaps):
        self.board, self.mishaps = board, deque(mishaps)
        self.waiting, self.delayed = deque(), deque()

    def through(self, content):
        mishap = self.mishaps.popleft() if self.mishaps else "none"
        middle = len(content) // 2
        if mishap == "flip":
            content = content[:middle] + bytes((content[middle] ^ 4,)) + content[middle + 1 :]
        changed = {
            "lose": b"",
            "twice": content + content,
            "cut": content[:middle],
            "noise": b"boot 1.0\r\n\0\0\xff" + content + b"\x07",
        }
        return mishap, changed.get(mishap, content)

    def write(self, content):
        _, content = self.through(content)
        for answer in self.board.take(content):
            mishap, answer = self.through(answer)
            if mishap == "delay":  # until the next answer has passed it
                self.delayed.append(answer)
                continue
            self.waiting += [b""] * 30 if mishap == "late" else []
            self.waiting += [answer, *self.delayed]
            self.delayed.clear()

    def read(self, timeout_s):
        time.sleep(0.0001)
        return self.waiting.popleft() if self.waiting else b""


@settings(max_examples=60)
@given(st.lists(st.sampled_from(MISHAPS), max_size=40))
def test_a_bad_line_gives_the_right_bytes_or_an_error(mishaps):
    board = Board()
    talker = Client(BadLine(board, mishaps), timeout_s=0.002, tries=6)
    content, done = bytes(range(8)), 0
    start = time.monotonic()
    try:
        for number in range(1, 4):
            talker.write_input(0, content, chunk=9)
            ticks = talker.run(timeout_s=0.01)
            done += 1
            assert ticks.last == number  # each was run once, however often it was asked for
            assert talker.read_output(0, 8, chunk=5) == content[::-1]
    except ToolError as error:
        assert "bad line: no answer to" in str(error)
    assert done <= board.runs <= done + 1
    assert time.monotonic() - start < 10


def test_a_line_with_few_mishaps_is_always_recovered():
    for mishap in MISHAPS:
        board = Board()
        talker = Client(BadLine(board, [mishap] * 3), timeout_s=0.02, tries=6)
        talker.write_input(0, b"abcdefgh")
        assert talker.run(timeout_s=0.2).last == board.runs == 1
        assert talker.read_output(0, 8) == b"hgfedcba"


PLAUSIBLE = st.one_of(
    st.binary(max_size=64),
    st.just(identity()),
    st.builds(
        lambda fields: struct.pack("<i6I", *fields) + b"net",
        st.tuples(st.integers(-9, 9), *[st.integers(0, 300)] * 6),
    ),
    st.just(struct.pack("<IfiBBi", 4, 1.0, 0, 1, 1, 4)),
    st.builds(struct.pack, st.just("<3I"), *[st.integers(0, 2**32 - 1)] * 3),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from((0, 0, 0, 0, 1, 4, 200)), PLAUSIBLE), min_size=1))
def test_whatever_a_device_answers_is_an_error_or_taken(answers):
    """Never another exception, never a wait without end, never more than was asked for."""
    following = deque(answers)

    def answer(*_):
        following.rotate(-1)
        return following[-1]

    talker, device = client(answer)
    for ask in (
        talker.identify,
        lambda: talker.write_input(0, bytes(20), chunk=16),
        talker.run,
        lambda: len(talker.read_output(0, 20)) == 20,
        lambda: len(talker.read_timings(5)) == 5,
        lambda: len(talker.read_marks()) == 2,
    ):
        try:
            assert ask() is not False
        except ToolError as error:
            assert str(error).startswith("fake: ")
    assert device.requests < 1000


def test_a_tensor_that_no_board_could_hold():
    tensor = struct.pack("<IfiBBi", (1 << 24) + 1, 1.0, 0, 1, 1, 4)
    talker, _ = client(lambda c, _: (0, identity() if c == Command.IDENTIFY else tensor))
    with pytest.raises(ToolError, match=r"something unexpected: a tensor of 16,777,217 B"):
        talker.identify()


def test_what_may_take_long_is_asked_again_ever_more_rarely():
    talker, device = client(lambda *_: None)
    start = time.monotonic()
    with pytest.raises(ToolError, match="no answer to run after 4 tries"):
        talker.run(timeout_s=0.7)
    assert device.requests == 4  # 0.05 + 0.1 + 0.2 + 0.4
    assert 0.7 < time.monotonic() - start < 3


def test_frames_that_answer_nothing_do_not_keep_it_waiting():
    """Valid frames without end, none of them the answer."""

    class Chatter(Device):
        def read(self, timeout_s):
            return encode_frame(1, 0x99, b"chat")

    start = time.monotonic()
    with pytest.raises(ToolError, match=r"no answer|many bytes"):
        Client(Chatter(lambda *_: None), timeout_s=0.1, tries=3).read_marks()
    assert time.monotonic() - start < 3
