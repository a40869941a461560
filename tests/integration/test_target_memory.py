"""The memory maps of the profiles against QEMU's machines: both ends of each region answer."""

import shutil
import subprocess

import pytest

from edgebuild.targets import list_targets

PROGRAM = """
#include <stdint.h>
void reset(void);
__attribute__((section(".vectors"), used)) void *const vectors[16] = {
    (void *)(RAM + RAM_SIZE), (void *)reset};
__attribute__((section(".last"), used)) const uint32_t last = 0x12345678;
static void semihost(int op, const void *argument) {
  register int r0 __asm__("r0") = op;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
void reset(void) {
  volatile uint32_t *ram = (volatile uint32_t *)REGION;
  uint32_t words = REGION_SIZE / 4 - 256; /* the stack may be above */
  int good = *(volatile const uint32_t *)(FLASH + FLASH_SIZE - 4) == 0x12345678;
  for (uint32_t i = 0; i < words; i += 1024) ram[i] = i ^ 0xa5a5a5a5u;
  for (uint32_t i = 0; i < words; i += 1024) good &= ram[i] == (i ^ 0xa5a5a5a5u);
  semihost(4, good ? "good\\n" : "bad\\n");
  semihost(0x18, (void *)0x20026);
}
"""
LINKER = """
MEMORY {{ FLASH (rx) : ORIGIN = {flash:#x}, LENGTH = {size:#x} }}
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) }} > FLASH
  .last {last:#x} : {{ KEEP(*(.last)) }} > FLASH
}}
"""


@pytest.mark.qemu
@pytest.mark.gcc
@pytest.mark.parametrize(
    ("target", "region"),
    [
        pytest.param(target, region, id=f"{target.name}-{region.name}")
        for target in list_targets()
        for region in target.memories
        if target.run.qemu_machine and region.kind == "ram"
    ],
)
def test_the_memory_map_is_the_machines(target, region, tmp_path):
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    flash, ram = target.flash, target.ram
    (tmp_path / "t.c").write_text(PROGRAM)
    layout = LINKER.format(flash=flash.origin, size=flash.size_bytes, last=flash.end - 4)
    (tmp_path / "t.ld").write_text(layout)
    defines = {
        "RAM": ram.origin,
        "RAM_SIZE": ram.size_bytes,
        "REGION": region.origin,
        "REGION_SIZE": region.size_bytes,
        "FLASH": flash.origin,
        "FLASH_SIZE": flash.size_bytes,
    }
    compile_command = [
        *("arm-none-eabi-gcc", f"-mcpu={target.cpu.core}", "-mthumb", "-mfloat-abi=soft", "-Os"),
        *("-nostdlib", "-ffreestanding", "-w", "-T", "t.ld", "-e", "reset"),
        *(f"-D{name}={value}u" for name, value in defines.items()),
        *("t.c", "-o", "t.elf"),
    ]
    subprocess.run(compile_command, cwd=tmp_path, check=True)
    qemu_command = [
        *("qemu-system-arm", "-M", target.run.qemu_machine, "-kernel", "t.elf"),
        *("-display", "none", "-serial", "null", "-monitor", "none"),
        *("-semihosting-config", "enable=on,target=native"),
    ]
    done = subprocess.run(qemu_command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert "good" in done.stdout + done.stderr
