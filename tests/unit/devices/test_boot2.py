"""The RP2040's second stage in an emulated core, against a model of SSI and flash."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from edgebuild.resources import resource_dir

SSI, XIP, UNCACHED, PADS, VTOR_PAGE = (
    *(0x1800_0000, 0x1000_0000, 0x1300_0000, 0x4002_0000, 0xE000_E000),
)
SRAM = 0x2004_1F00  # where the boot ROM puts it
STACK, RESET = 0x2004_2000, 0x1000_0271
PROGRAM = bytearray((7 * i + (i >> 8)) & 0xFF for i in range(0x1000))
PROGRAM[0x100:0x108] = STACK.to_bytes(4, "little") + RESET.to_bytes(4, "little")

# RP2040 datasheet, tables of SSI: CTRLR0 has SPI_FRF at 21 (2: quad), DFS_32 at 16 (less one), TMOD
# at 8 (3: EEPROM read); SPI_CTRLR0 has XIP_CMD at 24, WAIT_CYCLES at 11, INST_L at 8 (2: 8 bits),
# ADDR_L at 2 (in nibbles), TRANS_TYPE at 0 (1: address on all lines, 2: command too).
BYTES = 7 << 16
SERIAL = (31 << 16 | 3 << 8, 0x03 << 24 | 2 << 8 | 6 << 2)
ENTER = (2 << 21 | 31 << 16 | 3 << 8, 4 << 11 | 2 << 8 | 8 << 2 | 1)
QUAD = (ENTER[0], 0xA0 << 24 | 4 << 11 | 8 << 2 | 2)
LEAVE = (ENTER[0], 0xFF << 24 | 4 << 11 | 8 << 2 | 2)


@dataclass
class Flash:
    """A flash in Winbond's ways, as far as it has them.

    ``quad_enable`` is the bit as it is kept without power; ``volatile``: knows 50h; ``status_2``:
    what 35h answers where there is no such register; ``too_fast``: answers EBh half a byte late.
    """

    quad_enable: bool = False
    volatile: bool = True
    status_2: int | None = None
    has_quad: bool = True
    too_fast: bool = False
    continuous: bool = False
    written: list[tuple[int, int]] = field(default_factory=list)
    unlocked: bool = False

    def __post_init__(self) -> None:
        self.enabled = self.quad_enable

    def command(self, sent: list[int]) -> list[int]:
        """Answer one transaction of bytes."""
        assert not self.continuous, "a command while the flash expects an address"
        answer = {0x05: 0x1C, 0x35: 0x40 | 2 * self.enabled}.get(sent[0], 0xFF)
        if sent[0] == 0x35 and self.status_2 is not None:
            answer = self.status_2
        if sent == [0x50]:
            self.unlocked = self.volatile
        elif sent[0] == 0x01 and self.unlocked:
            assert len(sent) == 3
            self.written.append((sent[1], sent[2]))
            self.enabled = bool(sent[2] & 2)
            self.unlocked = False
        return [0xFF, *[answer] * (len(sent) - 1)]

    def quad_read(self, offset: int, mode: int, *, with_command: bool) -> int:
        """Read a word by EBh, or by the address alone in continuous mode."""
        if not (self.has_quad and self.enabled) or with_command == self.continuous:
            self.continuous = False
            return 0xFFFF_FFFF
        self.continuous = mode >> 4 == 0xA
        word = int.from_bytes(PROGRAM[offset : offset + 4], "big")
        return (word << 4 | 0xF) & 0xFFFF_FFFF if self.too_fast else word

    def serial_read(self, offset: int) -> int:
        """Read a word by 03h."""
        if self.continuous:
            return 0xFFFF_FFFF
        return int.from_bytes(PROGRAM[offset : offset + 4], "big")


class Board:
    """A core that runs the loader; every write to the SSI is kept, in order."""

    def __init__(self, flash: Flash) -> None:
        import unicorn
        from unicorn import arm_const as arm

        self.flash, self.writes = flash, []
        self.registers: dict[int, int] = {0x08: 1}
        self.sent: list[int] = []
        self.received: list[int] = []
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M0)
        uc.mem_map(0x2004_0000, 0x2000)
        uc.mem_map(VTOR_PAGE, 0x1000)
        uc.mem_map(PADS, 0x1000)
        uc.mmio_map(SSI, 0x1000, self._read_ssi, None, self._write_ssi, None)
        for window in (XIP, UNCACHED):
            uc.mmio_map(window, 0x1000, self._read_flash, None, self._no_write, None)
        uc.mem_write(SRAM, loader())
        uc.emu_start(SRAM | 1, RESET & ~1, count=20_000)
        self.pc, self.sp = uc.reg_read(arm.UC_ARM_REG_PC), uc.reg_read(arm.UC_ARM_REG_SP)
        self.vtor = int.from_bytes(uc.mem_read(0xE000_ED08, 4), "little")
        self.pads = int.from_bytes(uc.mem_read(PADS + 4, 4), "little")

    @property
    def setting(self) -> tuple[int, int]:
        return self.registers.get(0x00, 0), self.registers.get(0xF4, 0)

    @property
    def divider(self) -> int:
        return self.registers[0x14]

    def _write_ssi(self, _uc, offset, _size, value, _user):
        self.writes.append((offset, value))
        if offset == 0x60:
            assert self.registers[0x08] == 1, "data for an SSI that is off"
            self.sent.append(value)
            return
        self.registers[offset] = value
        if offset == 0x08:
            assert not self.sent, "switched while something was to be sent"
            self.received.clear()
        else:
            assert self.registers[0x08] == 0, f"register {offset:#x} written while it is on"

    def _read_ssi(self, _uc, offset, _size, _user):
        if offset == 0x60:
            return self.received.pop(0) if self.received else 0
        assert offset == 0x28
        if self.sent:
            sent, self.sent = self.sent, []
            if self.setting[0] == BYTES:
                self.received += self.flash.command(sent)
            else:
                assert self.setting == ENTER and sent[0] == 0xEB and len(sent) == 2
                mode = sent[1] & 0xFF
                self.received.append(self.flash.quad_read(sent[1] >> 8, mode, with_command=True))
        return 0x06 | 8 * bool(self.received)

    def _read_flash(self, _uc, offset, size, _user):
        assert size == 4 and self.registers[0x08] == 1
        if self.setting == SERIAL:
            assert self.divider == 4
            word = self.flash.serial_read(offset)
        else:
            assert self.setting in (QUAD, LEAVE) and self.divider == 2
            mode = self.setting[1] >> 24
            word = self.flash.quad_read(offset, mode, with_command=False)
        return int.from_bytes(word.to_bytes(4, "big"), "little")

    def _no_write(self, *_):
        raise AssertionError("the flash is written to")


def loader() -> bytes:
    """Return the 256 bytes of rp2040_boot2.h."""
    text = (resource_dir("firmware") / "ports" / "rp2" / "rp2040_boot2.h").read_text()
    words = [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}", text)]
    body = b"".join(word.to_bytes(4, "little") for word in words[:-1])
    return body.ljust(252, b"\0") + words[-1].to_bytes(4, "little")


FLASHES = {
    "quad enable already set": (Flash(quad_enable=True), True),
    "quad enable to be set": (Flash(), True),
    "no volatile registers": (Flash(volatile=False), False),
    "no status register 2, answers 0": (Flash(status_2=0x00, volatile=False), False),
    "no status register 2, answers 1s": (Flash(status_2=0xFF, has_quad=False), False),
    "another meaning of the bit": (Flash(quad_enable=True, has_quad=False), False),
    "too slow for half the clock": (Flash(quad_enable=True, too_fast=True), False),
}


@pytest.mark.parametrize(("flash", "fast"), FLASHES.values(), ids=FLASHES)
def test_the_program_starts_and_the_flash_can_be_read(flash, fast):
    import copy

    board = Board(copy.deepcopy(flash))
    assert (board.pc | 1, board.sp, board.vtor) == (RESET, STACK, XIP + 0x100)
    assert (board.setting, board.divider) == ((QUAD, 2) if fast else (SERIAL, 4))
    assert board.flash.continuous == fast
    for offset in range(0, 0x1000, 4):
        word = board._read_flash(None, offset, 4, None)
        assert word.to_bytes(4, "little") == PROGRAM[offset : offset + 4]


def test_the_bit_is_set_until_power_is_lost_and_the_others_stay():
    board = Board(Flash())
    assert board.flash.written == [(0x1C, 0x42)]
    assert board.pads == 2 << 4 | 1  # 8 mA, fast slew
    assert Board(Flash(quad_enable=True)).flash.written == []


def test_registers_in_the_order_of_the_data_sheet():
    """Off, set up, on; the dummy read that enters continuous mode, then reads without a command."""
    off, on = (0x08, 0), (0x08, 1)

    def setup(setting, divider):
        return [off, (0x04, 0), (0x14, divider), (0x00, setting[0]), (0xF4, setting[1]), on]

    status_2 = [(0x60, 0x35), (0x60, 0), (0x60, 4)]
    assert Board(Flash(quad_enable=True)).writes == [
        *(off, (0xF0, 1)),
        *setup(SERIAL, 4),
        *setup((BYTES, 0), 4),
        *status_2,
        *setup(ENTER, 2),
        *((0x60, 0xEB), (0x60, 0xA0)),
        *setup(QUAD, 2),
    ]
