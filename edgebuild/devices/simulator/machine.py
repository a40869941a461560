"""The emulated core and its memory: load an image, call a function, explain a fault."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.errors import ToolError
from edgebuild.interrupts import signals_stop
from edgebuild.toolchain.elf import ElfContents, read_elf

_PAGE = 4096
_RETURN_PAGES = (0x6FFF_F000, 0x5FFF_F000, 0x1FFF_F000)
"""Where a called function returns to: the first of these that the target does not use. Executable
in the default memory map of every Cortex-M."""

_CORE_PAGES = (0xE000_1000, 0xE000_E000)

_MODELS = {
    "cortex-m0": "UC_CPU_ARM_CORTEX_M0",
    "cortex-m0plus": "UC_CPU_ARM_CORTEX_M0",
    "cortex-m3": "UC_CPU_ARM_CORTEX_M3",
    "cortex-m4": "UC_CPU_ARM_CORTEX_M4",
    "cortex-m7": "UC_CPU_ARM_CORTEX_M7",
    "cortex-m33": "UC_CPU_ARM_CORTEX_M33",
}


class Region(NamedTuple):
    """A memory region of the target; ``kind`` is ``flash`` (not writable) or ``ram``."""

    name: str
    origin: int
    size: int
    kind: str


class Machine:
    """One emulated core with an image loaded.

    Only the given regions exist; any other access, a write to flash, an illegal instruction or a
    call that does not end raises ToolError. Unicorn does not enforce the alignment that Cortex-M0
    asks for; the kernels' tests under sanitizers do.
    """

    def __init__(self, elf: Path, core: str, regions: Sequence[Region]) -> None:
        import unicorn
        from unicorn import arm_const

        check_core(core)
        self.contents = read_elf(elf)
        self.regions = tuple(Region(*region) for region in regions)
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(getattr(arm_const, _MODELS[core]))
        self._arm: Any = arm_const
        self._unicorn: Any = unicorn
        self._symbols = _SymbolMap(self.contents)
        self._fault: tuple[int, int, int] | None = None
        self._map()
        self._load()
        self.uc.hook_add(unicorn.UC_HOOK_MEM_INVALID, self._on_invalid)

    def symbol(self, name: str) -> int:
        """Return the address of a symbol; ToolError when the image has none of that name."""
        for symbol in self.contents.symbols:
            if symbol.name == name:
                return symbol.address
        raise ToolError(
            f"the firmware has no symbol '{name}'", hint="build it again with edgebuild"
        )

    def objects(self, name: str) -> list[tuple[int, int, int]]:
        """Return (address, bytes, number) of the objects whose names match the expression ``name``
        and end with a number, in the order of the numbers."""
        numbered = re.compile(rf"{name}([0-9]+)")
        found = ((s, numbered.fullmatch(s.name)) for s in self.contents.symbols)
        numbers = ((s.address, s.size, int(match[1])) for s, match in found if match)
        return sorted(numbers, key=lambda place: place[2])

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the target's memory."""
        self._check_range(address, size)
        return bytes(self.uc.mem_read(address, size)) if size else b""

    def write(self, address: int, content: bytes) -> None:
        """Write bytes to the target's memory."""
        self._check_range(address, len(content))
        self.uc.mem_write(address, content)

    def code(self, address: int, size: int) -> bytes:
        """Return machine code as it lies in memory, the return page included."""
        return bytes(self.uc.mem_read(address, size))

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """Return little-endian 32-bit words of the target's memory."""
        return struct.unpack(f"<{count}I", self.read(address, 4 * count))

    def register(self, name: str) -> int:
        """Return a register by its name, e.g. ``R0``."""
        return int(self.uc.reg_read(getattr(self._arm, f"UC_ARM_REG_{name}")))

    def add_block_hook(self, callback: Callable[..., None], begin: int = 1, end: int = 0) -> None:
        """Call ``callback(uc, address, size, None)`` at each basic block in [begin, end]."""
        self.uc.hook_add(self._unicorn.UC_HOOK_BLOCK, callback, begin=begin, end=end)

    def add_load_hook(self, callback: Callable[..., None], begin: int, end: int) -> None:
        """Call ``callback(uc, kind, address, size, value, None)`` at each load in [begin, end]."""
        self.uc.hook_add(self._unicorn.UC_HOOK_MEM_READ, callback, begin=begin, end=end)

    def call(
        self, function: int, arguments: Sequence[int], stack_top: int, timeout_s: float
    ) -> int:
        """Call a function of the image with up to four arguments; return its R0."""
        write, arm = self.uc.reg_write, self._arm
        for number, value in enumerate(arguments):
            write(getattr(arm, f"UC_ARM_REG_R{number}"), value)
        write(arm.UC_ARM_REG_SP, stack_top)
        write(arm.UC_ARM_REG_LR, self._return | 1)
        self._fault = None
        try:
            with signals_stop(self.uc.emu_stop):
                self.uc.emu_start(function | 1, self._return, timeout=int(timeout_s * 1e6))
        except self._unicorn.UcError as error:
            raise self._explain(error) from error
        pc = self.register("PC")
        if pc & ~1 != self._return:
            raise ToolError(
                f"the simulated model did not end in {timeout_s:.0f} s, {self.place(pc)}",
                hint="report this as a bug, with the model",
            )
        return self.register("R0")

    def place(self, address: int) -> str:
        """Return where a code address is, for messages: ``at 0x1234 in conv2d + 0x10``."""
        symbol = self._symbols.find(address)
        return f"at {address:#010x}" + (f" in {symbol}" if symbol else "")

    def _map(self) -> None:
        read, write = self._unicorn.UC_PROT_READ, self._unicorn.UC_PROT_WRITE
        protection = {"flash": read | self._unicorn.UC_PROT_EXEC, "ram": self._unicorn.UC_PROT_ALL}
        for start, end, kind in _mapped(self.regions):
            self.uc.mem_map(start, end - start, protection[kind])
        # The core's own registers (SysTick, DWT): the benchmark's layer hook reads them.
        for page in _CORE_PAGES:
            self.uc.mem_map(page, _PAGE, read | write)
        for page in _RETURN_PAGES:
            if not any(r.origin < page + _PAGE and page < r.origin + r.size for r in self.regions):
                self._return = page
                break
        self.uc.mem_map(self._return, _PAGE, protection["flash"])

    def _load(self) -> None:
        for segment in self.contents.segments:
            # The start-up code is not run: .data goes straight to where it is used.
            zeroes = bytes(segment.memory_bytes - len(segment.content))
            self.write(segment.address, segment.content + zeroes)
            if segment.load_address != segment.address:
                self.write(segment.load_address, segment.content)

    def _check_range(self, address: int, size: int) -> None:
        at = address
        for region in sorted(self.regions, key=lambda region: region.origin):
            if region.origin <= at < region.origin + region.size:
                at = region.origin + region.size  # goes on where the next one adjoins
        if at >= address + size:
            return
        raise ToolError(
            f"the firmware uses {size:,} B at {address:#010x}, outside the target's memory",
            hint="check the memory regions of the target profile",
        )

    def _on_invalid(
        self, _uc: Any, access: int, address: int, size: int, _value: int, _user: object
    ) -> bool:
        self._fault = (access, address, size)
        return False

    def _explain(self, error: Any) -> ToolError:
        where = self.place(self.register("PC"))
        hint = "report this as a bug, with the model"
        pc = self.register("PC") & ~1
        if not any(r.origin <= pc < r.origin + r.size for r in self.regions):
            return ToolError(
                f"the simulated model jumps to {pc:#010x}, outside the target's memory", hint=hint
            )
        if self._fault is None:
            return ToolError(f"the simulated core stopped {where}: {error}", hint=hint)
        access, address, size = self._fault
        u = self._unicorn
        verb = {
            u.UC_MEM_READ_UNMAPPED: "reads",
            u.UC_MEM_WRITE_UNMAPPED: "writes",
            u.UC_MEM_WRITE_PROT: "writes to flash:",
        }.get(access, "accesses")
        outside = "" if access == u.UC_MEM_WRITE_PROT else ", outside the target's memory"
        return ToolError(
            f"the simulated model {verb} {size} B at {address:#010x}{outside}, {where}", hint=hint
        )


def _mapped(regions: Sequence[Region]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, kind) of whole pages that cover the regions, none twice; a page that flash
    and RAM share can be written to."""
    kinds = [r for kind in ("ram", "flash") for r in regions if r.kind == kind]
    taken: list[tuple[int, int]] = []
    for region in kinds:
        start = region.origin // _PAGE * _PAGE
        end = -(-(region.origin + region.size) // _PAGE) * _PAGE
        for low, high in sorted(taken):
            if start < low < end:
                yield start, low, region.kind
            if low < end and start < high:
                start = max(start, high)
        if start < end:
            yield start, end, region.kind
        taken.append((region.origin // _PAGE * _PAGE, end))


def check_core(core: str) -> None:
    """Refuse a core that unicorn cannot run."""
    if core not in _MODELS:
        reason = "its Helium instructions" if core == "cortex-m55" else "it"
        raise ToolError(
            f"the simulator cannot run {core}: unicorn lacks {reason}", hint="--run qemu"
        )


class _SymbolMap:
    """Code symbols by address."""

    def __init__(self, contents: ElfContents) -> None:
        self._symbols = [s for s in contents.symbols if s.section]
        self._starts = [s.address for s in self._symbols]

    def find(self, address: int) -> str:
        position = bisect_right(self._starts, address & ~1) - 1
        if position < 0:
            return ""
        symbol = self._symbols[position]
        offset = (address & ~1) - symbol.address
        if offset and offset >= symbol.size:
            return ""
        return f"{symbol.name} + {offset:#x}" if offset else symbol.name
