"""Compilers, and what they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgebuild.toolchain.references import References


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
    """A linked firmware: its files, its contents by section and symbol, and what its object files
    refer to, where these are known."""

    elf: Path
    binary: Path
    map_file: Path
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    toolchain: str
    references: References = field(default_factory=References)

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


Progress = Callable[[str], None]
"""Told in a few words what is being done; called from one thread."""


def silent(_step: str) -> None:
    """Ignore progress."""


class Toolchain(Protocol):
    """A C compiler and linker for Cortex-M and for the host.

    Every method raises ToolError: with a hint how to get the compiler when it is missing, with the
    first lines of its output and the path of the full log when it refuses the code.
    """

    name: str

    def available(self) -> bool:
        """Return whether the compiler is there."""
        ...

    def version(self) -> str:
        """Return the compiler's version in one line; ToolError when it is missing."""
        ...

    def build_image(
        self,
        job: CompileJob,
        core: str,
        linker_script: str,
        out_dir: Path,
        *,
        mve: bool = True,
        progress: Progress = silent,
    ) -> Image:
        """Compile ``job`` with the start-up code for ``core`` and link ``out_dir/firmware.elf``.

        ``core`` is a name of ``CORES``; ``mve=False`` leaves Helium unused. The job supplies
        ``main``. CheckFailedError when a memory region overflows.
        """
        ...

    def compile_shared(
        self,
        job: CompileJob,
        out_dir: Path,
        *,
        sanitize: bool = False,
        progress: Progress = silent,
    ) -> Path:
        """Compile ``job`` natively into a shared library in ``out_dir``; return its path."""
        ...

    def compile_program(
        self,
        job: CompileJob,
        out_dir: Path,
        *,
        sanitize: bool = False,
        progress: Progress = silent,
    ) -> Path:
        """Compile ``job`` natively into a program in ``out_dir``; return its path."""
        ...
