"""Serial ports that are not there, and ones that go away."""

from __future__ import annotations

import os

import pytest

from edgebuild.devices.serial import BAUD, SerialDevice, SerialTransport
from edgebuild.errors import ToolError


def test_no_such_port():
    with pytest.raises(ToolError, match="/dev/no-such-port: cannot be opened") as caught:
        SerialTransport("/dev/no-such-port", BAUD)
    assert "edgebuild doctor" in caught.value.hint


def test_what_is_no_port(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot be opened"):
        SerialTransport(str(tmp_path / "file"), BAUD)


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
