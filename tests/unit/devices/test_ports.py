"""Every shipped board's firmware links, and its model runs under the board's memory map."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest

import edgebuild
from edgebuild.resources import resource_dir
from edgebuild.targets import list_targets
from tests.small import small_model

TARGETS = [t.name for t in list_targets() if t.firmware is not None]


@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
@pytest.mark.parametrize("target", TARGETS)
def test_firmware_of_every_board(target, toolchain, tmp_path):
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    (tmp_path / "small.tflite").write_bytes(small_model())
    run = "none" if target in ("cortex-m55", "mps3-an547") else "simulator"
    report = edgebuild.build(
        tmp_path / "small.tflite", target=target, out=tmp_path, toolchain=toolchain, run=run
    )
    assert report.passed
    folder = tmp_path / f"small-{target}"
    assert (folder / "firmware.bin").stat().st_size > 5_000
    assert (report.comparison is None) == (run == "none")


def flash_of(target, folder):
    (folder / "small.tflite").write_bytes(small_model())
    edgebuild.build(folder / "small.tflite", target=target, out=folder, run="none")
    return (folder / f"small-{target}" / "firmware.bin").read_bytes()


def boot_rom_crc(content):
    """CRC-32 as the RP2040's boot ROM computes it: most significant bit first, not inverted."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
    return crc


def test_the_boot_rom_of_the_rp2040_takes_the_loader(tmp_path):
    assert boot_rom_crc(b"123456789") == 0x0376E6E7  # the published check value (CRC-32/MPEG-2)
    flash = flash_of("rpi-pico", tmp_path)
    loader, (crc,) = flash[:252], struct.unpack("<I", flash[252:256])
    assert any(loader) and crc == boot_rom_crc(loader)
    stack, reset = struct.unpack("<2I", flash[256:264])  # the vector table that it starts
    assert 0x2000_0000 < stack <= 0x2004_2000 and stack % 8 == 0
    assert 0x1000_0100 < reset < 0x1000_0000 + len(flash) and reset & 1


@pytest.mark.gcc
def test_the_checked_in_loader_is_its_assembly(tmp_path):
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-objcopy"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    source = resource_dir("firmware") / "ports" / "rp2" / "rp2040_boot2.S"
    assemble = ["arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-c", source, "-o", "boot2.o"]
    subprocess.run(assemble, cwd=tmp_path, check=True)
    copy = ["arm-none-eabi-objcopy", "-O", "binary", "-j", ".text", "boot2.o", "boot2.bin"]
    subprocess.run(copy, cwd=tmp_path, check=True)
    loader = (tmp_path / "boot2.bin").read_bytes()
    assert flash_of("rpi-pico", tmp_path)[:252] == loader.ljust(252, b"\0")


def test_the_boot_rom_of_the_rp2350_finds_the_image(tmp_path):
    flash = flash_of("rpi-pico2", tmp_path)
    at = flash.index(struct.pack("<I", 0xFFFFDED3))
    assert at % 4 == 0 and at < 4096 - 20
    _, image_type, last, following, end = struct.unpack_from("<5I", flash, at)
    assert image_type == 0x10210142  # one word: executable, secure, Arm, RP2350
    assert (last, following, end) == (0x000001FF, 0, 0xAB123579)
    stack, reset = struct.unpack("<2I", flash[:8])
    assert 0x2000_0000 < stack <= 0x2008_2000
    assert 0x1000_0000 < reset < 0x1000_0000 + len(flash) and reset & 1
