"""Cycles of a basic block, modelled from its decoded instructions and a core's timings.

Zero wait states are assumed: what flash and caches of a real part add is not modelled. Timings are
of the cores' Technical Reference Manuals (M0+: DDI 0484, M3: DDI 0337, M4: DDI 0439), simplified as
the fields of ``Timing`` say. The manuals of M7 and M33 give no such table: their entries describe
the pipeline as Arm describes it in words, and are a rougher model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Cycles of a core.

    ``load`` and ``load_next``: a load, and a load right behind another load (pipelined).
    ``store``: a store. ``pair``: LDRD or STRD. ``multiple``: LDM, STM, PUSH, POP, plus one for each
    register. ``taken``: what a taken branch takes in all; ``call``: how much more BL and POP {PC}
    take. ``long_multiply``: SMULL and the like. ``by_name``: single mnemonics. ``dual_issue``: two
    neighbours may go together.
    """

    name: str
    load: int = 2
    load_next: int = 1
    store: int = 1
    pair: int = 3
    multiple: int = 1
    taken: int = 3
    call: int = 0
    long_multiply: int = 1
    divide: int = 7
    by_name: dict[str, int] = field(default_factory=dict)
    dual_issue: bool = False


_CORE = {"tbb": 2, "tbh": 2, "mrs": 2, "msr": 2}
_FLOAT = {"vdiv": 14, "vsqrt": 14, "vmla": 3, "vmls": 3, "vfma": 3, "vfms": 3, "vldr": 2, "vstr": 2}

TIMINGS = {
    "cortex-m0": Timing("cortex-m0 zero wait states", load_next=2, store=2, call=1),
    "cortex-m0plus": Timing(
        "cortex-m0plus zero wait states", load_next=2, store=2, taken=2, call=1
    ),
    "cortex-m3": Timing(
        "cortex-m3 zero wait states",
        long_multiply=4,
        by_name={**_CORE, "mla": 2, "mls": 2},
    ),
    "cortex-m4": Timing("cortex-m4 zero wait states", by_name={**_CORE, **_FLOAT}),
    "cortex-m33": Timing(
        "cortex-m33 single issue, zero wait states", taken=2, by_name={**_CORE, **_FLOAT}
    ),
    "cortex-m7": Timing(
        "cortex-m7 in-order dual issue, caches warm",
        load=1,
        pair=1,
        taken=1,
        by_name={"vdiv": 16, "vsqrt": 16},
        dual_issue=True,
    ),
}

_LOADS = ("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh")
_STORES = ("str", "strb", "strh")
_MULTIPLES = ("ldm", "stm", "push", "pop", "ldmdb", "stmdb", "vldmia", "vstmia", "vpush", "vpop")
_LONG = ("smull", "umull", "smlal", "umlal", "umaal")
_MULTIPLIES = ("mul", "mla", "mls", "smlad", "smlabb", "smlatt", "smmulr", "smmul", *_LONG)
_CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")
_BRANCHES = (
    *("b", "bl", "bx", "blx", "cbz", "cbnz", "tbb", "tbh"),
    *(f"b{condition}" for condition in _CONDITIONS),
)


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction: mnemonic without suffixes, registers, and whether it loads a literal
    from beside the code."""

    name: str
    registers: int
    reads: frozenset[int]
    writes: frozenset[int]
    literal: bool = False


@dataclass(frozen=True)
class BlockCost:
    """Instructions of a block, and its cycles when its last branch is taken and when not.

    ``literals`` are loads from beside the code, ``accesses`` all others and stores.
    """

    instructions: int
    taken: int
    not_taken: int
    literals: int
    accesses: int


class Decoder:
    """Decodes blocks of Thumb code once each."""

    def __init__(self, core: str) -> None:
        import capstone

        self._capstone = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        self._capstone.detail = True
        self.timing = TIMINGS[core]

    def cost(self, code: bytes) -> BlockCost:
        """Return the cost of the block with this machine code."""
        return _cost(self.timing.name, code, self)

    def cost_before(self, code: bytes, rest: bytes) -> BlockCost:
        """Return the cost of a block that goes on with ``rest``: what both take, less ``rest``
        alone, as neighbours share cycles. A branch at its end parts them."""
        own = self.cost(code)
        if not rest or self.decode(code)[-1].name in _BRANCHES:
            return own
        cycles = self.cost(code + rest).not_taken - self.cost(rest).not_taken
        return dataclasses.replace(own, taken=cycles, not_taken=cycles)

    def decode(self, code: bytes) -> list[Instruction]:
        """Return the block's instructions; a word that capstone does not know counts as one."""
        found = []
        offset = 0
        while offset < len(code):
            decoded = next(self._capstone.disasm(code[offset:], 0, 1), None)
            if decoded is None:
                wide = len(code) - offset >= 4 and code[offset + 1] & 0xF8 in (0xE8, 0xF0, 0xF8)
                found.append(Instruction("?", 0, frozenset(), frozenset()))
                offset += 4 if wide else 2
                continue
            reads, writes = decoded.regs_access()
            count = _listed_registers(decoded)
            found.append(
                Instruction(
                    _plain(decoded), count, frozenset(reads), frozenset(writes), _literal(decoded)
                )
            )
            offset += decoded.size
        return found


@lru_cache(maxsize=65536)
def _cost(_timing: str, code: bytes, decoder: Decoder) -> BlockCost:
    instructions = decoder.decode(code)
    cycles = block_cycles(decoder.timing, instructions)
    # A block that only ends because the next one is entered from elsewhere has no branch at its
    # end, and then is never counted as taken.
    branch = decoder.timing.taken - 1
    if instructions and instructions[-1].name in ("bl", "blx", "pop"):
        branch += decoder.timing.call
    literals = sum(instruction.literal for instruction in instructions)
    accesses = sum(_accesses(instruction) for instruction in instructions) - literals
    return BlockCost(len(instructions), cycles + branch, cycles, literals, accesses)


def block_cycles(timing: Timing, instructions: Sequence[Instruction]) -> int:
    """Return the cycles of a block whose last branch is not taken."""
    cycles = 0
    previous: Instruction | None = None
    free_slot = False
    for instruction in instructions:
        if (
            timing.dual_issue
            and free_slot
            and previous is not None
            and _pairs(previous, instruction)
        ):
            free_slot = False
        else:
            own = _cycles(timing, instruction, previous)
            cycles += own
            free_slot = own == 1
        previous = instruction
    return cycles


def _pairs(first: Instruction, second: Instruction) -> bool:
    """Return whether two neighbours may be issued together: one memory access, one multiplication,
    and no result of the first used by the second."""
    memory = (_is_memory(first), _is_memory(second))
    multiply = (first.name in _MULTIPLIES, second.name in _MULTIPLIES)
    if all(memory) or all(multiply) or second.name in _MULTIPLES:
        return False
    return not first.writes & (second.reads | second.writes)


def _is_memory(instruction: Instruction) -> bool:
    return instruction.name.startswith(("ldr", "str", "ldm", "stm", "push", "pop", "vld", "vst"))


def _accesses(instruction: Instruction) -> int:
    if instruction.name in _MULTIPLES:
        return instruction.registers
    if not _is_memory(instruction):
        return 0
    return 2 if instruction.name in ("ldrd", "strd") else 1


def _literal(decoded: Any) -> bool:
    """Return whether an instruction loads from an address that follows the program counter."""
    from capstone.arm import ARM_OP_MEM, ARM_REG_PC

    memory = [operand for operand in decoded.operands if operand.type == ARM_OP_MEM]
    return any(operand.mem.base == ARM_REG_PC for operand in memory)


def _cycles(timing: Timing, instruction: Instruction, previous: Instruction | None) -> int:
    name = instruction.name
    if name in timing.by_name:
        return timing.by_name[name]
    if name in _LOADS:
        behind = previous is not None and previous.name in _LOADS
        return timing.load_next if behind else timing.load
    if name in _STORES:
        return timing.store
    if name in ("ldrd", "strd"):
        return timing.pair
    if name in _MULTIPLES:
        return timing.multiple + instruction.registers
    if name in _LONG:
        return timing.long_multiply
    if name in ("sdiv", "udiv"):
        return timing.divide
    return 1


def _plain(decoded: Any) -> str:
    """Return the mnemonic without width and, where it leaves a known name, condition."""
    name = decoded.mnemonic.partition(".")[0]
    if len(name) > 3 and name[-2:] in _CONDITIONS:
        stem = name[:-2]
        known = (*_LOADS, *_STORES, *_MULTIPLES, *_MULTIPLIES, "ldrd", "strd", "sdiv", "udiv")
        if stem in known:
            return str(stem)
    return str(name)


def _listed_registers(decoded: Any) -> int:
    """Return the registers that a load or store of several moves; its base does not count."""
    operands = len(decoded.operands)
    return (
        operands if decoded.mnemonic.startswith(("push", "pop", "vpush", "vpop")) else operands - 1
    )
