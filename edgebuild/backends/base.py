"""What a target family must do: turn a checked graph into files, and files into what runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgebuild.delegates.base import Compatibility
from edgebuild.devices.base import Device
from edgebuild.figures import Figure
from edgebuild.graph import Graph
from edgebuild.memory import MemoryPlan
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.ops import KernelCall
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import Image

Progress = Callable[[str], None]
"""Told in a few words what begins now."""


@dataclass(frozen=True)
class Emitted:
    """What code generation made of a model; ``files`` by path below the build folder. ``notes`` say
    what was left out beside the library, and why. ``functions`` are those that the user's firmware
    calls to prepare inputs. ``runs``: the benchmark firmware is to run it."""

    graph: Graph
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan
    name: str
    files: Mapping[str, str]
    tflm_arena: Figure | None = None
    notes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    runs: bool = True

    @property
    def entry(self) -> str:
        """The function that runs the layers."""
        return f"{self.name}_{'push_row' if self.graph.input_by_rows else 'run'}"

    @property
    def held_bytes(self) -> int:
        """What the benchmark firmware holds of an input that the model takes by rows: all of it,
        beside the arena, in order to run it."""
        if not (self.runs and self.graph.input_by_rows):
            return 0
        return sum(tensor.nbytes for tensor in self.graph.input_tensors)

    def with_files(self, files: Mapping[str, str], *, tflm_arena: Figure | None = None) -> Emitted:
        """Return a copy with more files, and TFLite Micro's arena size when it is known."""
        return dataclasses.replace(self, files={**self.files, **files}, tflm_arena=tflm_arena)

    def with_notes(self, *notes: str) -> Emitted:
        """Return a copy with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Combination:
    """Several models for one program. ``files`` are their libraries, by path below the build
    folder, ``runner`` those of one more model, ``name``, which runs all of them one after the
    other: its inputs and outputs are theirs, in order. ``arena_bytes`` is the memory for all of
    their arenas, ``borrowed_bytes`` what constants would take that are equal to another model's."""

    models: tuple[Emitted, ...]
    files: Mapping[str, str]
    runner: Mapping[str, str]
    name: str
    arena_bytes: int
    borrowed_bytes: int
    shared: bool


@dataclass(frozen=True)
class Compiled:
    """What a compiler made of it.

    ``flash_bytes`` is what the model costs in the user's own firmware: code, constants and the
    runtime that they pull in, without the benchmark application. ``static_ram_bytes`` likewise,
    without the arena. ``image`` is None where nothing is linked for a device. ``regions`` are the
    bytes of both by memory region, ``stack_bound`` what a run takes of the stack at most, as far as
    that can be told.
    """

    toolchain: str
    flash_bytes: Figure | None
    static_ram_bytes: Figure | None
    flash: Mapping[str, Figure]
    open_device: Callable[[str], Device]
    image: Image | None = None
    regions: Mapping[str, int] = field(default_factory=dict)
    stack_bound: Figure | None = None


@dataclass(frozen=True)
class Shipment:
    """A model that LiteRT is to run on a target, with what is known of it.

    ``model`` is the file's bytes, ``graph`` what they say (any number format), ``labels`` the names
    of the classes, as far as the data names them. ``library`` is the generated C of the same model,
    None where it has none.
    """

    name: str
    model: bytes
    graph: Graph
    compatibility: Compatibility
    labels: tuple[str, ...] = ()
    library: Emitted | None = None


@dataclass(frozen=True)
class Cut:
    """Operators that run in one place: its name, for people, and their positions."""

    place: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class DeliverySettings:
    """What the user says of the tools that finish a shipment. ``edgetpu_container``: the image that
    has the Edge TPU's compiler; empty for the one on the PATH."""

    edgetpu_container: str = ""


@dataclass(frozen=True)
class Delivered:
    """What was made of a shipment with tools: figures for the report, notes, and what can run it.

    ``open_device`` is None where nothing runs the model but LiteRT on the host; ``compatibility``
    is what a vendor's compiler told, where it tells more than the delegate's table.
    """

    toolchain: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    open_device: Callable[[str], Device] | None = None
    compatibility: Compatibility | None = None


class DelegateBackend(Protocol):
    """One target family on which LiteRT runs the model."""

    family: str

    @property
    def has_library(self) -> bool:
        """Whether generated C goes beside the model where there are kernels for it."""
        ...

    @property
    def has_metadata(self) -> bool:
        """Whether apps there read TFLite metadata."""
        ...

    def emit(self, shipment: Shipment, target: TargetProfile) -> Mapping[str, str | bytes]:
        """Return the files beside ``model.tflite``, by path below the build folder; pure."""
        ...

    def cuts(self, shipment: Shipment) -> Sequence[Cut]:
        """Return the parts in which the model is left too, in the order in which they run; empty
        where it stays whole. Pure."""
        ...

    def deliver(
        self,
        shipment: Shipment,
        target: TargetProfile,
        out: Path,
        progress: Progress,
        settings: DeliverySettings,
    ) -> Delivered:
        """Run the tools that are there, below ``out``; ToolError when one fails."""
        ...


class Backend(Protocol):
    """One target family that runs generated C."""

    family: str

    def emit(
        self,
        graph: Graph,
        source: Graph,
        model: bytes,
        name: str,
        target: TargetProfile,
        preprocessing: Preprocessing = NONE,
    ) -> Emitted:
        """Generate every source file; pure.

        ``graph`` has been through the passes, ``source`` is what ``model`` (a ``.tflite``) says,
        ``preprocessing`` what the firmware does to inputs.
        """
        ...

    def check_room(self, emitted: Emitted, target: TargetProfile) -> None:
        """Raise the CheckFailedError of ``compile`` where the target's memory is too small whatever
        a compiler makes of the code; pure."""
        ...

    def compile(
        self, emitted: Emitted, target: TargetProfile, tool: str, out: Path, progress: Progress
    ) -> Compiled:
        """Compile and link below ``out`` with ``tool`` (see ``edgebuild.toolchain.choice``).

        OverflowedError when the target's memory is too small; ToolError when the compiler fails.
        """
        ...

    def compile_together(
        self,
        combination: Combination,
        target: TargetProfile,
        tool: str,
        out: Path,
        progress: Progress,
    ) -> Compiled:
        """Compile and link several models, as ``compile`` does one; CheckFailedError where their
        arenas do not fit."""
        ...
