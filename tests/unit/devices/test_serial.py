"""Serial ports that are not there, and ones that go away."""

from __future__ import annotations

import os
import random
import termios
import threading
import time

import pytest
import serial

from edgebuild.devices import protocol
from edgebuild.devices.serial import BAUD, SerialDevice, SerialTransport
from edgebuild.errors import ToolError
from tests.unit.devices.conftest import on_pty


def test_no_such_port():
    with pytest.raises(ToolError, match="cannot open /dev/no-such-port: no such file") as caught:
        SerialTransport("/dev/no-such-port", BAUD)
    assert "edgebuild doctor" in caught.value.hint


def test_what_is_no_port(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot open"):
        SerialTransport(str(tmp_path / "file"), BAUD)


@pytest.mark.parametrize("baud", [-1, 1 << 31, 10**30])
def test_impossible_baud_rates(pty, baud):
    with pytest.raises(ToolError, match="cannot open"):
        SerialTransport(pty[1], baud)


@pytest.fixture
def pty():
    master, slave = os.openpty()
    open_ends = [master]
    yield master, os.ttyname(slave), open_ends
    for end in (*open_ends, slave):
        os.close(end)


def test_bytes_both_ways(pty):
    master, name, _ = pty
    transport = SerialTransport(name, BAUD)
    transport.write(b"\0\xffask")
    assert os.read(master, 10) == b"\0\xffask"
    os.write(master, b"answer")
    found = b""
    while len(found) < 6:
        found += transport.read(1.0)
    assert found == b"answer"
    assert transport.read(0.01) == b""
    transport.close()


def test_the_port_goes_away(pty):
    master, name, open_ends = pty
    with SerialDevice(name, BAUD, model="net") as device:
        os.close(master)
        open_ends.clear()
        with pytest.raises(ToolError, match=r"the port failed|no answer") as caught:
            device.run([(b"",)])
    assert caught.value.hint


@pytest.mark.parametrize(
    "failure",
    [
        PermissionError(13, "Permission denied"),
        serial.SerialException("could not open port"),
        ValueError("Invalid baud rate"),
        termios.error(5, "Input/output error"),
    ],
)
def test_whatever_opening_raises_is_explained(failure, monkeypatch):
    def refuse(*_, **__):
        raise failure

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(ToolError, match="cannot open /dev/ttyACM0") as caught:
        SerialTransport("/dev/ttyACM0", BAUD)
    assert ("dialout" if isinstance(failure, PermissionError) else "doctor") in caught.value.hint


def test_a_port_that_may_not_be_opened(monkeypatch):
    def refuse(*_, **__):
        raise serial.SerialException(13, "could not open port /dev/ttyACM0: [Errno 13] denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(ToolError, match="cannot open /dev/ttyACM0: permission denied") as caught:
        SerialTransport("/dev/ttyACM0", BAUD)
    assert "dialout" in caught.value.hint


def test_a_port_that_another_uses(pty):
    _, name, _ = pty
    first = SerialTransport(name, BAUD)
    with pytest.raises(ToolError, match="exclusively lock"):
        SerialTransport(name, BAUD)
    first.close()
    SerialTransport(name, BAUD).close()


def test_a_line_that_nobody_reads_ends(pty, monkeypatch):
    _, name, _ = pty
    transport = SerialTransport(name, BAUD)
    transport._serial.write_timeout = 0.2
    with pytest.raises(ToolError, match="the port failed: Write timeout"):
        for _ in range(1000):
            transport.write(bytes(1000))
    transport.close()


def test_a_write_to_a_line_that_broke(pty):
    master, name, open_ends = pty
    transport = SerialTransport(name, BAUD)
    os.close(master)
    open_ends.clear()
    with pytest.raises(ToolError, match="the port failed") as caught:
        transport.write(b"ask")
    assert "check that the board is connected" in caught.value.hint


STUB_SAMPLE = [(bytes(1500),)]


def stub(name):
    return SerialDevice(name, BAUD, model="stub", label="board")


def test_tensors_and_timings_of_several_frames(stub_firmware):
    """Runs of bytes around 254, where COBS starts a new block."""
    rng = random.Random(0)
    samples = [(bytes((fill,)) * 1500,) for fill in (0, 1, 255)]
    for run in (252, 253, 254, 255, 256, 507, 511):
        samples.append(((b"\x41" * run + b"\0").ljust(1500, b"\x42"),))
    samples += [(rng.randbytes(1500),) for _ in range(5)]
    with on_pty(stub_firmware) as (_, name), stub(name) as device:
        result = device.run(samples)
    assert result.outputs == tuple(samples)
    assert [layer.layer for layer in result.layers] == list(range(300))
    assert all(layer.time_us is not None and layer.time_us >= 0 for layer in result.layers)
    assert 1490 < result.arena_bytes.value <= 1500


def test_the_models_init_fails(stub_firmware):
    with (
        on_pty(stub_firmware, INIT="-2") as (_, name),
        stub(name) as device,
        pytest.raises(ToolError, match="board: the model's init returned -2") as caught,
    ):
        device.run(STUB_SAMPLE)
    assert "firmware.elf" in caught.value.hint


def test_the_models_run_fails(stub_firmware):
    with (
        on_pty(stub_firmware, RUN="-1") as (_, name),
        stub(name) as device,
        pytest.raises(ToolError, match=r"the model failed \(run\)"),
    ):
        device.run(STUB_SAMPLE)


def test_the_model_never_ends(stub_firmware, monkeypatch):
    monkeypatch.setattr(protocol, "_RUN_S", 1.0)
    start = time.monotonic()
    with (
        on_pty(stub_firmware, RUN="hang") as (_, name),
        stub(name) as device,
        pytest.raises(ToolError, match="no answer to run"),
    ):
        device.run(STUB_SAMPLE)
    assert time.monotonic() - start < 5


def test_the_board_is_unplugged_while_it_runs(stub_firmware):
    with on_pty(stub_firmware, RUN="hang") as (process, name), stub(name) as device:
        threading.Timer(0.5, process.kill).start()
        start = time.monotonic()
        with pytest.raises(ToolError, match="the port failed") as caught:
            device.run(STUB_SAMPLE)
        assert time.monotonic() - start < 5
    assert caught.value.hint == "check that the board is connected"
