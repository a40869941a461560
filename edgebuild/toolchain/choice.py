"""Which compilers firmware can be made with, and how they optimize.

A *tool* is a compiler's name with, where it is not ``-O2``, the level: ``zig``, ``gcc -Os``.
"""

from __future__ import annotations

from edgebuild.errors import InputError, nearest
from edgebuild.toolchain.base import Toolchain
from edgebuild.toolchain.gcc import GccToolchain
from edgebuild.toolchain.zig import ZigToolchain

TOOLCHAINS: dict[str, type[Toolchain]] = {"zig": ZigToolchain, "gcc": GccToolchain}
"""The preferred one first."""

AUTO = "auto"
"""Stands for the preferred compiler; a build whose memory is short also tries the others."""

SPEED, SIZE = "-O2", "-Os"


def find_toolchain(name: str) -> Toolchain:
    """Return the toolchain called ``name``, of ``auto`` the first that is installed; InputError
    when there is none of that name."""
    if name == AUTO:
        name = installed()[0]
    if name not in TOOLCHAINS:
        raise InputError(
            f"'{name}' is not a toolchain{nearest(name, TOOLCHAINS)}",
            hint=f"one of {', '.join(TOOLCHAINS)}",
        )
    return TOOLCHAINS[name]()


def installed() -> tuple[str, ...]:
    """Return the names of the compilers that can make firmware here; the preferred one alone, whose
    error says how to get it, where there are none."""
    found = tuple(name for name, kind in TOOLCHAINS.items() if kind().available())
    return found or tuple(TOOLCHAINS)[:1]


def tools_for(toolchain: str, *, small: bool = False) -> tuple[tuple[str, ...], ...]:
    """Return the tools that a build may use, in rounds: a further round is for what does not fit
    after all those before. ``small``: all of them optimize for size."""
    names = installed() if toolchain == AUTO else (toolchain,)
    of_size = tuple(f"{name} {SIZE}" for name in names)
    if small:
        return (of_size,)
    return (names, of_size) if toolchain == AUTO else (names,)


def parse_tool(tool: str) -> tuple[Toolchain, str]:
    """Return the compiler and the level that a tool names."""
    name, _, level = tool.partition(" ")
    return find_toolchain(name), level or SPEED
