"""What a kernel costs: cycles, constants, code and scratch memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgebuild.code_size.predict import UNKNOWN_KERNEL_BYTES, load_sizes
from edgebuild.cycles import predict_step
from edgebuild.cycles.kernels import kernel_name
from edgebuild.cycles.waits import MemoryModel
from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall
from edgebuild.profile import CpuFeatures, Optimize
from edgebuild.toolchain.choice import tools_for

COMPILER = "zig"
"""The one whose code is counted; the others' is in proportion."""


@dataclass(frozen=True)
class Option:
    """One way to run an operator.

    ``cycles`` are predicted with zero wait states, NaN where the kernel was never fitted, ``waits``
    are the middle of the bounds of those for the memory; ``constant_bytes`` are its weights and
    tables.
    """

    call: KernelCall
    cycles: float
    constant_bytes: int
    waits: float = 0.0

    @property
    def time(self) -> float:
        """The cycles with waits."""
        return self.cycles + self.waits

    @cached_property
    def kernel(self) -> str:
        """The kernel's name, or those of the kernels of a step in bands."""
        return kernel_name(self.call)

    @cached_property
    def kernels(self) -> frozenset[str]:
        """The name of each kernel."""
        return frozenset(map(kernel_name, self.call.kernels))


@dataclass(frozen=True)
class Step:
    """What runs the operator at ``position``, and those behind it that its calls run, too: option
    number ``taken``."""

    position: int
    options: tuple[Option, ...]
    taken: int = 0

    @property
    def option(self) -> Option:
        """The option that is taken."""
        return self.options[self.taken]

    @property
    def others(self) -> tuple[Option, ...]:
        """The options that are not."""
        return (*self.options[: self.taken], *self.options[self.taken + 1 :])


@dataclass(frozen=True)
class Costs:
    """The costs on ``core``, which stands for all cores with the same features, with ``memory``
    (None: as fast as the core), of code that ``tool`` (see ``edgebuild.toolchain.choice``)
    compiles."""

    core: str
    tool: str
    memory: MemoryModel | None = None

    def option(self, node: Node, call: KernelCall) -> Option:
        """Return a call that runs ``node``, or an operator and those behind it, with its costs."""
        found = predict_step(node, call, self.core, self.memory)
        # Equal arrays are stored once.
        arrays = {key: size for one in call.kernels for key, size in _arrays(one.params).items()}
        constants = sum(arrays.values())
        if found is None or not found.known:
            return Option(call, math.nan, constants)
        return Option(call, found.cycles, constants, (found.waits.low + found.waits.high) / 2)

    def code_bytes(self, kernels: Iterable[str]) -> int:
        """Return the bytes of code of all ``kernels``, what they share counted once."""
        measured = load_sizes(self.core)[self.tool]
        pieces: set[str] = set()
        unknown = 0
        for kernel in kernels:
            pieces.update(measured.kernels.get(kernel, ()))
            unknown += kernel not in measured.kernels
        return sum(measured.pieces[piece] for piece in pieces) + unknown * UNKNOWN_KERNEL_BYTES[1]


def costs_for(
    cpu: CpuFeatures,
    optimize: Optimize = Optimize.BALANCED,
    memory: MemoryModel | None = None,
) -> Costs | None:
    """Return the costs on cores with these features and ``memory`` of what is compiled to
    ``optimize``; None where nothing is known of their cycles, as with Helium and on AArch64."""
    if cpu.mve or cpu.neon:
        return None
    ((tool,),) = tools_for(COMPILER, small=optimize == Optimize.SIZE)
    return Costs("cortex-m4" if cpu.dsp else "cortex-m3", tool, memory)


def _arrays(params: Mapping[str, object]) -> dict[bytes, int]:
    """Return the sizes of arrays by their bytes."""
    found: dict[bytes, int] = {}
    for value in params.values():
        if isinstance(value, np.ndarray):
            found[value.tobytes()] = value.nbytes
        elif isinstance(value, Mapping):
            found.update(_arrays(value))
    return found
