"""Exact instruction counts of a program in QEMU's user mode, by a plug-in that counts blocks."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgebuild.errors import ToolError
from edgebuild.resources import resource_dir
from edgebuild.toolchain import CompileJob
from edgebuild.toolchain.zig import ZigToolchain


@dataclass(frozen=True)
class Counts:
    """``blocks``: instructions that ran, by address of their block. ``marks``: how many had run
    at each mark."""

    blocks: Mapping[int, int]
    marks: tuple[int, ...]

    @property
    def total(self) -> int:
        """All instructions that ran."""
        return sum(self.blocks.values())


class InstructionCounter:
    """Options for QEMU that make it count, and what it counted. The plug-in goes to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "counts"
        sources = {
            path.name: path.read_text()
            for path in sorted((resource_dir("firmware") / "qemu").glob("*.[ch]"))
        }
        plugin = ZigToolchain().compile_shared(CompileJob(sources), folder / "plugin")
        self.options: Sequence[str] = ("-plugin", f"{plugin},out={self._out}")

    def read(self) -> Counts:
        """Return what the last run counted; ToolError when it wrote nothing of use."""
        blocks: Counter[int] = Counter()
        marks = []
        try:
            for line in self._out.read_text().splitlines():
                words = line.split()
                if words[0] == "=":
                    marks.append(int(words[1]))
                else:
                    blocks[int(words[0], 16)] += int(words[1]) * int(words[2])
        except (OSError, ValueError, IndexError) as error:
            raise ToolError(f"QEMU's plug-in wrote no counts: {error}") from error
        return Counts(blocks, tuple(marks))


@cache
def can_count(qemu: str) -> bool:
    """Return whether this QEMU takes plug-ins and there is a compiler for ours."""
    if not ZigToolchain().available():
        return False
    try:
        done = subprocess.run([qemu, "-h"], capture_output=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"-plugin" in done.stdout
