"""Quad reads on the RP2350: the port's function in an emulated core, against QMI and flash."""

from __future__ import annotations

import copy

import pytest

import edgebuild
from edgebuild.toolchain.elf import read_elf
from tests.small import small_model
from tests.unit.devices.test_boot2 import FLASHES, PROGRAM, Flash

QMI, PADS, UNCACHED, RETURN = 0x400D_0000, 0x4004_0000, 0x1400_0000, 0x2008_1F00
CSR, TX, RX, TIMING, RFMT, RCMD = (4 * n for n in range(6))
# RP2350 datasheet, QMI: RFMT has widths of prefix, address, suffix, dummy and data from bit 0 on
# (2: quad), a prefix of 8 bits at 12, a suffix of 8 bits at 14 (2), and dummy nibbles at 16.
ROM = {TIMING: 0x4000_0004, RFMT: 1 << 12, RCMD: 0x03}
QUAD_FORMAT = 4 << 16 | 2 << 14 | 2 << 8 | 2 << 6 | 2 << 4 | 2 << 2
FAST = {TIMING: 1 << 30 | 2 << 8 | 2, RFMT: QUAD_FORMAT, RCMD: 0xA0 << 8 | 0xEB}


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pico2")
    (folder / "small.tflite").write_bytes(small_model())
    edgebuild.build(folder / "small.tflite", target="rpi-pico2", out=folder, run="none")
    return read_elf(folder / "small-rpi-pico2" / "firmware.elf")


class Board:
    """A core that runs the function from RAM; flash can be read through QMI alone."""

    def __init__(self, firmware, flash: Flash) -> None:
        import unicorn
        from unicorn import arm_const as arm

        self.flash, self.registers = flash, {CSR: 0, **ROM}
        self.sent: list[int] = []
        self.received: list[int] = []
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M33)
        uc.mem_map(0x2000_0000, 0x8_2000)
        uc.mem_map(PADS, 0x1000)
        uc.mmio_map(QMI, 0x1000, self._read, None, self._write, None)
        uc.mmio_map(UNCACHED, 0x1000, self._read_flash, None, self._no_write, None)
        for segment in firmware.segments:
            if segment.address >> 28 == 2 and segment.content:
                uc.mem_write(segment.address, segment.content)
        function = next(s for s in firmware.symbols if s.name == "eb_rp2350_fast_flash")
        assert function.address >> 28 == 2, "it does not run from RAM"
        uc.reg_write(arm.UC_ARM_REG_SP, 0x2008_0000)
        uc.reg_write(arm.UC_ARM_REG_LR, RETURN | 1)
        uc.emu_start(function.address | 1, RETURN, count=20_000)
        assert uc.reg_read(arm.UC_ARM_REG_PC) == RETURN

    @property
    def setting(self):
        return {register: self.registers[register] for register in ROM}

    def _write(self, _uc, offset, _size, value, _user):
        if offset == TX:
            assert self.registers[CSR] & 0x41 == 0x41, "direct mode is off"
            self.sent.append(value)
            return
        assert not self.sent, "something is still to be sent"
        if offset != CSR:
            assert self.registers[CSR] & 1 == 0, "read settings change in direct mode"
        self.registers[offset] = value

    def _read(self, _uc, offset, _size, _user):
        if offset == RX:
            return self.received.pop(0)
        if offset == CSR and self.sent:
            sent, self.sent = self.sent, []
            self.received += self.flash.command(sent)
        return self.registers[offset]

    def _read_flash(self, _uc, offset, size, _user):
        assert size == 4 and self.registers[CSR] & 1 == 0
        if self.setting == ROM:
            word = self.flash.serial_read(offset)
        else:
            assert self.registers[TIMING] == FAST[TIMING]
            form, mode = self.registers[RFMT], self.registers[RCMD] >> 8
            assert form & ~(1 << 12) == QUAD_FORMAT and self.registers[RCMD] & 0xFF == 0xEB
            word = self.flash.quad_read(offset, mode, with_command=bool(form & 1 << 12))
        return int.from_bytes(word.to_bytes(4, "big"), "little")

    def _no_write(self, *_):
        raise AssertionError("the flash is written to")


@pytest.mark.parametrize(("flash", "fast"), FLASHES.values(), ids=FLASHES)
def test_the_flash_can_be_read_afterwards(firmware, flash, fast):
    board = Board(firmware, copy.deepcopy(flash))
    assert board.setting == (FAST if fast else ROM)
    assert board.flash.continuous == fast
    for offset in range(0, 0x1000, 4):
        word = board._read_flash(None, offset, 4, None)
        assert word.to_bytes(4, "little") == PROGRAM[offset : offset + 4]


def test_the_bit_is_set_until_power_is_lost_and_the_others_stay(firmware):
    assert Board(firmware, Flash()).flash.written == [(0x1C, 0x42)]
    assert Board(firmware, Flash(quad_enable=True)).flash.written == []
