"""Compilers, and what they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Symbol:
    """A symbol of a linked image. ``object_file`` is the input file that it came from, or ""."""

    name: str
    address: int
    size: int
    section: str
    object_file: str = ""


@dataclass(frozen=True)
class Section:
    """An allocated section of a linked image. ``in_flash``/``in_ram``: where it takes room
    (``.data`` takes both)."""

    name: str
    address: int
    size: int
    in_flash: bool
    in_ram: bool


@dataclass(frozen=True)
class Image:
    """A linked firmware: its files, and its contents by section and symbol."""

    elf: Path
    binary: Path
    map_file: Path
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    toolchain: str

    def symbol(self, name: str) -> Symbol:
        """Return the symbol called ``name``; KeyError when there is none."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(name)


@dataclass(frozen=True)
class CompileJob:
    """A set of C sources to compile and link.

    ``sources`` maps a relative path to its text (headers included: all are written to one folder
    tree, and ``include_dirs`` are relative to it).
    """

    sources: Mapping[str, str]
    include_dirs: Sequence[str] = (".",)
    defines: Mapping[str, str] = field(default_factory=dict)
    optimize: str = "-O2"


class Toolchain(Protocol):
    """A cross compiler for Cortex-M."""

    name: str

    def version(self) -> str:
        """Return the compiler's version in one line; ToolError when it is missing."""
        ...
