"""What the documents say of protocol and boards is what the code does."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from edgebuild.devices.protocol import Command, encode_frame
from edgebuild.devices.serial import BAUD
from edgebuild.resources import resource_dir
from edgebuild.targets import list_targets, validate_target

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def protocol():
    return (DOCS / "protocol.md").read_text()


def rows(document):
    """Cells of all rows of all tables, by their first cell."""
    found = {}
    for line in document.splitlines():
        if line.startswith("| "):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(first, []).append(others)
    return found


def test_the_frames_on_the_wire(protocol):
    text = re.search(r"```text\n(.*?)```", protocol, re.DOTALL)[1]
    request, answer = (bytes.fromhex(line) for line in text.splitlines())
    assert request == encode_frame(2, Command.RUN, struct.pack("<I", 1))
    assert answer == encode_frame(2, Command.RUN | 0x80, struct.pack("<3I", 1000, 1200, 1100))


def test_every_command_and_every_function_of_a_port(protocol):
    for command in Command:
        assert f"### {int(command)} {command.name.lower().replace('_', ' ')}\n" in protocol
    header = (resource_dir("firmware") / "app" / "eb_port.h").read_text()
    functions = re.findall(r"^(\w+ eb_port_\w+\(.*\));", header, re.MULTILINE)
    assert len(functions) == 5
    assert all(f"| `{function}` |" in protocol for function in functions)


def test_the_profile_of_a_new_board_is_valid(protocol, tmp_path):
    profile = tmp_path / "board.toml"
    profile.write_text(re.search(r"```toml\n(.*?)```", protocol, re.DOTALL)[1])
    assert not validate_target(profile)


def test_the_boards():
    table = rows((DOCS / "boards.md").read_text())
    for target in list_targets():
        if "serial" not in target.run.kinds:
            continue
        port, *_, clock, _ = table[target.name][0]
        assert port == f"`{target.firmware.port}`"
        assert clock == f"{target.cpu.clock_hz / 1e6:g} MHz"
        assert target.run.serial_baud == BAUD


def test_the_boards_of_qemu():
    table = rows((DOCS / "boards.md").read_text())
    for target in list_targets():
        if target.name == target.run.qemu_machine:
            core, uart, clock = table[target.name][0]
            assert core.lower() == target.cpu.core
            assert uart == f"`{target.firmware.defines['EB_UART_BASE']}`"
            assert clock == f"{int(target.firmware.defines['EB_CLOCK_HZ']) / 1e6:g} MHz"
