"""Compilers for Cortex-M and the host, and what a linked image holds."""

from edgebuild.errors import InputError, nearest
from edgebuild.toolchain.base import (
    CompileJob,
    Image,
    Progress,
    Section,
    Symbol,
    Toolchain,
)
from edgebuild.toolchain.cores import CORES
from edgebuild.toolchain.gcc import GccToolchain
from edgebuild.toolchain.zig import ZigToolchain

TOOLCHAINS: dict[str, type[Toolchain]] = {"zig": ZigToolchain, "gcc": GccToolchain}


def find_toolchain(name: str) -> Toolchain:
    """Return the toolchain called ``name``; InputError when there is none."""
    if name not in TOOLCHAINS:
        raise InputError(
            f"'{name}' is not a toolchain{nearest(name, TOOLCHAINS)}",
            hint=f"one of {', '.join(TOOLCHAINS)}",
        )
    return TOOLCHAINS[name]()


__all__ = [
    "CORES",
    "TOOLCHAINS",
    "CompileJob",
    "GccToolchain",
    "Image",
    "Progress",
    "Section",
    "Symbol",
    "Toolchain",
    "ZigToolchain",
    "find_toolchain",
]
