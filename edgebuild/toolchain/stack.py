"""The most stack that a function of a linked image can take, from its instructions and its calls.

A frame counts all that a function ever takes from the stack pointer, so code that gives some back
in between takes no more. A call through a pointer may be one of any function whose address is taken
by a function that runs in the same call of a run, or by an object that such a function refers to:
kernels leave no pointers to functions in memory for each other. A function that was itself called
so calls, in this way, only functions that do not: kernels do not recurse. What cannot be followed
(recursion in other ways, a frame whose size is computed) makes the bound unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebuild.toolchain.base import Image, Symbol
from edgebuild.toolchain.elf import Segment, read_elf
from edgebuild.toolchain.references import References


def stack_bound(image: Image, function: str) -> int | None:
    """Return the bytes of stack that a call of ``function`` takes at most, its own frame included.

    None where that cannot be told, or where there is no such function.
    """
    sized = {symbol.address: symbol for symbol in image.symbols if symbol.size}
    start = next((a for a, symbol in sized.items() if symbol.name == function), None)
    segments = read_elf(image.elf).segments
    program = _Program(segments, sorted(sized), sized, image.references)
    return None if start is None else program.bound(start)


@dataclass
class _Frame:
    """What a function takes, and whom it calls; ``pointers``: by a pointer, too. ``local``: it
    takes addresses of its own code. ``known`` is False where it cannot be followed."""

    size: int = 0
    calls: set[int] = field(default_factory=set)
    pointers: bool = False
    local: bool = False
    known: bool = True


@dataclass
class _Program:
    segments: Sequence[Segment]
    starts: list[int]
    symbols: dict[int, Symbol]
    references: References
    depths: dict[tuple[int, frozenset[int], bool], int | None] = field(default_factory=dict)
    frames: dict[int, _Frame] = field(default_factory=dict)

    def bound(self, start: int) -> int | None:
        """Return the bound of the function at ``start``, each of whose calls has its own pointers
        and those of ``start``."""
        frame, own = self.frame(start), self._pointed(start, alone=True)
        if frame.pointers:
            return self.depth(start, self._pointed(start))
        inner = frozenset({start})
        return _sum(frame, [self.depth(c, own | self._pointed(c), inner) for c in frame.calls])

    def depth(
        self,
        address: int,
        pointed: frozenset[int],
        callers: frozenset[int] = frozenset(),
        *,
        by_pointer: bool = False,
    ) -> int | None:
        """Return the bound of the function that holds ``address``, where pointers may be to the
        functions at ``pointed``."""
        start = self._function(address)
        if start is None or start in callers:
            return None
        key = (start, pointed, by_pointer)
        if key not in self.depths:
            frame, inner = self.frame(start), callers | {start}
            below = [self.depth(call, pointed, inner) for call in frame.calls]
            if frame.pointers:  # where there are none, it goes to code of its own
                others = [a for a in pointed if not (by_pointer and self.frame(a).pointers)]
                below += [self.depth(a, pointed, inner, by_pointer=True) for a in others]
            self.depths[key] = _sum(frame, below)
        return self.depths[key]

    def _pointed(self, address: int, *, alone: bool = False) -> frozenset[int]:
        """Return the functions to which what a function refers to has pointers; ``alone``: which it
        has itself, and not those that it calls."""
        start = self._function(address)
        if start is None:
            return frozenset()
        symbol = self.symbols[start]
        found = self.references.pointed(symbol.object_file, symbol.name, alone=alone)
        return frozenset(
            a for a, one in self.symbols.items() if (one.object_file, one.name) in found
        )

    def frame(self, start: int) -> _Frame:
        """Return the frame of the function at ``start``."""
        if start not in self.frames:
            self.frames[start] = self._frame(start)
        return self.frames[start]

    def _function(self, address: int) -> int | None:
        at = bisect_right(self.starts, address) - 1
        start = self.starts[at] if at >= 0 else None
        inside = start is not None and address < start + self.symbols[start].size
        return start if inside else None

    def _code(self, start: int) -> bytes:
        size = self.symbols[start].size
        for segment in self.segments:
            offset = start - segment.address
            if 0 <= offset < len(segment.content):
                return segment.content[offset : offset + size]
        return b""

    def _frame(self, start: int) -> _Frame:
        """Follow every path through a function, so that constants between its code do not count."""
        code, frame = self._code(start), _Frame()
        end, todo, seen = start + len(code), [start], set[int]()
        while todo:
            address, conditional = todo.pop(), 0
            while start <= address < end and address not in seen:
                seen.add(address)
                instruction = _decode(code[address - start : address - start + 4], address)
                if instruction is None:
                    address += _length(code, address - start)
                    continue
                frame.size += _taken(instruction, frame)
                goes_on = _follow(instruction, frame, (start, end), todo)
                if not (goes_on or conditional):
                    break
                block = re.fullmatch("i(t[te]*)", instruction.mnemonic)
                conditional = len(block[1]) if block else max(0, conditional - 1)
                address += instruction.size
        return frame


def _sum(frame: _Frame, below: Sequence[int | None]) -> int | None:
    """Return what a frame takes with the deepest of the calls below it."""
    known = [one for one in below if one is not None]
    whole = frame.known and len(known) == len(below)
    return frame.size + max(known, default=0) if whole else None


def _length(code: bytes, offset: int) -> int:
    """Return the bytes of an instruction that is not known: bits 11 to 15 of its first halfword."""
    first = int.from_bytes(code[offset : offset + 2], "little")
    return 4 if first >> 11 in (0b11101, 0b11110, 0b11111) else 2


_engine: list[Any] = []


def _decode(code: bytes, address: int) -> Any:
    import capstone

    if not _engine:
        _engine.append(
            capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
        )
    found = next(_engine[0].disasm(code, address, 1), None)
    # Capstone takes some of Helium's instructions for others; of these only VPUSH matters.
    vector = int.from_bytes(code[:2], "little") & 0xEC00 == 0xEC00
    return None if vector and (found is None or found.mnemonic != "vpush") else found


def _taken(instruction: Any, frame: _Frame) -> int:
    """Return the bytes that an instruction takes from the stack."""
    name, operands = instruction.mnemonic.split(".")[0], instruction.op_str.replace(" ", "")
    if name == "push" or (name in ("stmdb", "vstmdb") and operands.startswith("sp!")):
        return sum(4 for _ in _registers(operands))
    if name == "vpush":
        return sum({"s": 4, "d": 8, "q": 16}[register[0]] for register in _registers(operands))
    if operands.startswith("sp,") and not name.startswith(("cmp", "ldm", "stm", "str")):
        # To or by a register: how far, nobody knows.
        amount = operands.rpartition("#")[2] if "#" in operands else ""
        frame.known &= name in ("add", "addw", "sub", "subw") and bool(amount)
        return int(amount, 0) if name in ("sub", "subw") and amount else 0
    if "[sp,#-" in operands and operands.endswith("]!"):
        return int(operands.partition("[sp,#-")[2][:-2], 0)
    return 0


def _registers(operands: str) -> Iterator[str]:
    """Yield the registers of ``{r4,r5,lr}``."""
    yield from operands.partition("{")[2].rstrip("}").split(",")


def _follow(instruction: Any, frame: _Frame, inside: tuple[int, int], todo: list[int]) -> bool:
    """Note whom an instruction calls and where else it goes; return whether the next one runs."""
    name, operands = instruction.mnemonic, instruction.op_str.replace(" ", "")
    base = name.split(".")[0]
    target = operands.rpartition("#")[2]
    if base == "bl":
        frame.calls.add(int(target, 0))
        return True
    if base in ("tbb", "tbh"):
        frame.known = False
        return False
    if base == "adr":  # of code that it jumps to, in the middle perhaps
        frame.local = True
        todo.append((instruction.address + 4 & ~3) + int(target, 0))
        return True
    if base in ("blx", "bx") and operands != "lr":
        frame.pointers |= base == "blx" or not frame.local
        return base == "blx"
    if base.startswith("b") and "#" in operands and base not in ("bfc", "bfi", "bic", "bics"):
        address = int(target, 0)
        if inside[0] <= address < inside[1]:
            todo.append(address)
        else:
            frame.calls.add(address)
        return base != "b"
    if base in ("cbz", "cbnz", "le", "wls"):
        todo.append(int(target, 0))
        return True
    loads = base in ("pop", "ldm", "ldmia") and "pc" in operands
    return not (base == "bx" or loads or (base in ("mov", "ldr") and operands.startswith("pc,")))
