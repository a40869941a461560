"""The host as a target: for trying a model out, and for checking it without an emulator."""

from __future__ import annotations

from pathlib import Path

from edgebuild.backends.base import Combination, Compiled, Emitted, Progress
from edgebuild.backends.emit import emit_library, rows_notes, with_tflm_form
from edgebuild.backends.native import compile_for_host, compile_together_for_host
from edgebuild.devices.host import HostDevice
from edgebuild.graph import Graph
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.passes.input_rows import given
from edgebuild.schedule import usual_schedule
from edgebuild.targets import TargetProfile


class HostBackend:
    """Portable C, compiled natively; flash and RAM of a computer are not measured."""

    family = "host"

    def emit(
        self,
        graph: Graph,
        source: Graph,
        model: bytes,
        name: str,
        target: TargetProfile,
        preprocessing: Preprocessing = NONE,
    ) -> Emitted:
        """Generate the library, of the usual kernels, and the TFLite Micro form."""
        graph = given(graph, target)
        cpu = target.cpu.features
        calls = usual_schedule(graph, cpu).calls
        emitted = emit_library(graph, name, cpu, preprocessing, calls=calls)
        emitted = emitted.with_notes(*rows_notes(emitted))
        return with_tflm_form(emitted, source, model, "host")

    def check_room(self, emitted: Emitted, target: TargetProfile) -> None:
        """Return: a computer's memory is not checked."""

    def compile(
        self, emitted: Emitted, target: TargetProfile, tool: str, out: Path, progress: Progress
    ) -> Compiled:
        """Compile a shared library into ``out``."""
        device = compile_for_host(emitted, tool, out, progress)

        def open_device(_kind: str) -> HostDevice:
            return device

        return Compiled(f"{tool} (native)", None, None, {}, open_device)

    def compile_together(
        self,
        combination: Combination,
        target: TargetProfile,
        tool: str,
        out: Path,
        progress: Progress,
    ) -> Compiled:
        """Compile a shared library of several models into ``out``."""
        device = compile_together_for_host(combination, tool, out, progress)
        return Compiled(f"{tool} (native)", None, None, {}, lambda _kind: device)
