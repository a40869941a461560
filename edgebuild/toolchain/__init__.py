"""Compilers for Cortex-M and the host, and what a linked image holds."""

from edgebuild.toolchain.base import (
    CompileJob,
    Image,
    Progress,
    Section,
    Symbol,
    Toolchain,
)
from edgebuild.toolchain.choice import TOOLCHAINS, find_toolchain, parse_tool
from edgebuild.toolchain.cores import CORES
from edgebuild.toolchain.elf import InputSection, input_sections
from edgebuild.toolchain.gcc import GccToolchain
from edgebuild.toolchain.zig import ZigToolchain

__all__ = [
    "CORES",
    "TOOLCHAINS",
    "CompileJob",
    "GccToolchain",
    "Image",
    "InputSection",
    "Progress",
    "Section",
    "Symbol",
    "Toolchain",
    "ZigToolchain",
    "find_toolchain",
    "input_sections",
    "parse_tool",
]
