"""The real firmware against the real host side: over a pseudo-terminal, and over a bad line."""

from __future__ import annotations

import os
import random
import select
import subprocess
from contextlib import contextmanager

import pytest

from edgebuild.devices.protocol import Client, Command, FrameReader, encode_frame
from edgebuild.devices.serial import BAUD, SerialDevice
from edgebuild.errors import ToolError
from edgebuild.tflite.oracle import run_oracle
from edgebuild.verification import make_samples
from tests.small import small_graph, small_model

SAMPLES = make_samples(small_graph(), 5, 0)


@pytest.fixture(scope="module")
def expected():
    return run_oracle(small_model(), SAMPLES).outputs


class Pipe:
    """A transport to a firmware process; ``mangle`` is done to all bytes both ways."""

    name = "pipe"

    def __init__(self, process, mangle=lambda content: content):
        self.process, self.mangle = process, mangle
        self.written = 0

    def read(self, timeout_s):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        return self.mangle(os.read(self.process.stdout.fileno(), 4096)) if ready else b""

    def write(self, content):
        self.written += 1
        self.process.stdin.write(self.mangle(content))
        self.process.stdin.flush()


@contextmanager
def running(firmware, mangle=lambda content: content):
    process = subprocess.Popen([firmware], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Pipe(process, mangle)
        assert process.poll() is None, "the firmware ended"
    finally:
        process.kill()
        process.communicate()


def test_over_a_pseudo_terminal(firmware, expected):
    master, slave = os.openpty()
    process = subprocess.Popen([firmware], stdin=master, stdout=master)
    try:
        with SerialDevice(os.ttyname(slave), BAUD, model="small", label="pty") as device:
            result = device.run(SAMPLES)
        with (
            SerialDevice(os.ttyname(slave), BAUD, model="other", label="pty") as device,
            pytest.raises(ToolError, match="pty runs the model 'small', not 'other'"),
        ):
            device.run(SAMPLES)
        with SerialDevice(os.ttyname(slave), BAUD, model="small", label="pty") as device:
            with pytest.raises(ToolError, match="takes 1 inputs, not 2"):
                device.run([(b"", b"")])
            with pytest.raises(ToolError, match="input 0 takes 64 B"):
                device.run([(b"short",)])
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
    assert result.outputs == expected
    assert result.latency_us.value >= result.shortest_us.value > 0
    assert [layer.layer for layer in result.layers] == [0, 1, 2, 3, 4]
    assert sum(layer.time_us for layer in result.layers) <= result.latency_us.value * 5
    assert result.stack_bytes.value == 128
    assert 0 < result.arena_bytes.value <= 4096


def damaged(rng, content, share):
    """Drop, repeat and change bytes."""
    out = bytearray()
    for byte in content:
        draw = rng.random()
        if draw < share:
            continue
        if draw < 2 * share:
            out += bytes((byte, byte))
        elif draw < 3 * share:
            out.append(byte ^ (1 << rng.randrange(8)))
        else:
            out.append(byte)
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_a_bad_line_changes_nothing(firmware, expected, seed):
    rng = random.Random(seed)
    with running(firmware, lambda content: damaged(rng, content, 0.0005)) as pipe:
        client = Client(pipe, timeout_s=0.1, tries=30)
        identity = client.identify()
        for sample, outputs in zip(SAMPLES, expected, strict=True):
            client.write_input(0, sample[0])
            client.run(3)
            client.write_input(0, sample[0])
            client.run()
            assert client.read_output(0, identity.outputs[0].nbytes) == outputs[0]


def test_identity(firmware):
    with running(firmware) as pipe:
        identity = Client(pipe).identify()
    assert (identity.model, identity.model_status, identity.layers) == ("small", 0, 5)
    (taken,), (given,) = identity.inputs, identity.outputs
    assert (taken.nbytes, taken.shape, taken.zero_point) == (64, (1, 8, 8, 1), -128)
    assert taken.scale == pytest.approx(1 / 255)
    assert (given.nbytes, given.shape, given.scale) == (10, (1, 10), 1 / 256)


def test_a_repeated_request_is_answered_but_not_run_again(firmware):
    with running(firmware) as pipe:
        client = Client(pipe)
        client.write_input(0, SAMPLES[0][0])
        frame = encode_frame(7, Command.RUN, (1).to_bytes(4, "little"))
        answers = []
        reader = FrameReader()
        for _ in range(3):
            pipe.write(frame)
            while not (found := list(reader.feed(pipe.read(2.0)))):
                pass
            answers += found
        assert len({a.payload for a in answers}) == 1  # nanoseconds: three runs would differ
        frame = encode_frame(8, Command.RUN, (1).to_bytes(4, "little"))
        pipe.write(frame)
        while not (found := list(reader.feed(pipe.read(2.0)))):
            pass
        assert found[0].payload != answers[0].payload


@pytest.mark.parametrize(
    ("command", "payload", "status"),
    [
        (99, b"", 1),
        (Command.IDENTIFY, b"x", 2),
        (Command.TENSOR, b"\0", 2),
        (Command.TENSOR, b"\0\1", 3),
        (Command.TENSOR, b"\1\xff", 3),
        (Command.WRITE_INPUT, b"\0\0\0\0", 2),
        (Command.WRITE_INPUT, b"\0\0\0\0\0" + bytes(65), 3),
        (Command.WRITE_INPUT, b"\0\xff\xff\xff\xffx", 3),
        (Command.WRITE_INPUT, b"\1\0\0\0\0x", 3),
        (Command.RUN, bytes(4), 3),
        (Command.RUN, b"\xff\xff\xff\xff", 3),
        (Command.READ_OUTPUT, b"\0\0\0\0\0\x0b\0", 3),
        (Command.READ_OUTPUT, b"\0\xff\xff\xff\xff\2\0", 3),
        (Command.READ_OUTPUT, b"\0", 2),
        (Command.READ_TIMINGS, b"\6\0\0\0", 3),
        (Command.READ_MARKS, b"\0", 2),
    ],
)
def test_the_firmware_checks_every_bound(firmware, command, payload, status):
    with running(firmware) as pipe:
        pipe.write(encode_frame(1, command, payload))
        frames = []
        reader = FrameReader()
        while not frames:
            frames += reader.feed(pipe.read(2.0))
        assert (frames[0].status, frames[0].payload) == (status, b"")


def test_an_echo_is_not_answered(firmware):
    """Where a line sends our bytes back, answering an answer would never end."""
    with running(firmware) as pipe:
        pipe.write(encode_frame(1, Command.READ_MARKS, b""))
        reader = FrameReader()
        while not (found := list(reader.feed(answer := pipe.read(2.0)))):
            pass
        assert found[0].status == 0
        pipe.write(answer)
        pipe.write(encode_frame(1, Command.READ_MARKS | 0x80, found[0].payload))
        assert pipe.read(0.3) == b""
        assert Client(pipe).identify().model == "small"


def test_random_frames_do_no_harm(firmware):
    """Sanitizers end the firmware at the first byte that is read or written out of bounds."""
    rng = random.Random(0)
    with running(firmware) as pipe:
        reader = FrameReader()
        for number in range(3000):
            length = rng.choice((0, 1, 2, 4, 5, 7, 8, rng.randrange(513)))
            payload = bytes(rng.choice((0, 1, 255, rng.randrange(256))) for _ in range(length))
            command = rng.choice((*range(9), rng.randrange(256)))
            if command == Command.RUN and len(payload) == 4:
                payload = rng.randrange(3).to_bytes(4, "little")
            pipe.write(encode_frame(number & 255, command, payload))
            if rng.random() < 0.1:
                pipe.write(rng.randbytes(rng.randrange(1200)))
            while select.select([pipe.process.stdout], [], [], 0)[0]:
                list(reader.feed(pipe.read(0)))
        while pipe.read(2.0):
            pass
        assert Client(pipe).identify().model == "small"
