"""What a target family must do: turn a checked graph into files, and files into what runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgebuild.devices.base import Device
from edgebuild.figures import Figure
from edgebuild.graph import Graph
from edgebuild.memory import MemoryPlan
from edgebuild.ops import KernelCall
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import Image

Progress = Callable[[str], None]
"""Told in a few words what begins now."""


@dataclass(frozen=True)
class Emitted:
    """What code generation made of a model; ``files`` by path below the build folder."""

    graph: Graph
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan
    name: str
    files: Mapping[str, str]
    tflm_arena: Figure | None = None

    def with_files(self, files: Mapping[str, str], *, tflm_arena: Figure | None = None) -> Emitted:
        """Return a copy with more files, and TFLite Micro's arena size when it is known."""
        return dataclasses.replace(self, files={**self.files, **files}, tflm_arena=tflm_arena)


@dataclass(frozen=True)
class Compiled:
    """What a compiler made of it.

    ``flash_bytes`` is what the model costs in the user's own firmware: code, constants and the
    runtime that they pull in, without the benchmark application. ``static_ram_bytes`` likewise,
    without the arena. ``image`` is None where nothing is linked for a device.
    """

    toolchain: str
    flash_bytes: Figure | None
    static_ram_bytes: Figure | None
    flash: Mapping[str, Figure]
    open_device: Callable[[str], Device]
    image: Image | None = None


class Backend(Protocol):
    """One target family."""

    family: str

    def emit(
        self, graph: Graph, source: Graph, model: bytes, name: str, target: TargetProfile
    ) -> Emitted:
        """Generate every source file; pure.

        ``graph`` has been through the passes, ``source`` is what ``model`` (a ``.tflite``) says.
        """
        ...

    def compile(
        self, emitted: Emitted, target: TargetProfile, toolchain: str, out: Path, progress: Progress
    ) -> Compiled:
        """Compile and link below ``out``; ToolError when the compiler fails."""
        ...
