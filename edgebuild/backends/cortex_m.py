"""Arm Cortex-M: generated C with the benchmark firmware around it, linked for one board."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgebuild.backends.accounting import footprint_of_all
from edgebuild.backends.base import Combination, Compiled, Emitted, Progress
from edgebuild.backends.emit import LIBRARY, emit_library, rows_notes, with_tflm_form
from edgebuild.codegen.c_library import constant_bytes, further_banks
from edgebuild.codegen.linker import render_linker_script
from edgebuild.codegen.templates import render
from edgebuild.cycles.kernels import kernel_name
from edgebuild.cycles.traffic import layer_reads
from edgebuild.cycles.waits import memory_model
from edgebuild.devices.base import Device
from edgebuild.errors import CheckFailedError, InternalError, OverflowedError, ToolError
from edgebuild.figures import Figure, How
from edgebuild.files import atomic_write
from edgebuild.graph import Graph, Node
from edgebuild.memory import STACK_BYTES
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.passes.input_rows import given
from edgebuild.regions import (
    Memory,
    Placement,
    placement_notes,
    required_placement,
    unused_regions,
)
from edgebuild.resources import resource_dir
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import CompileJob, Image, parse_tool
from edgebuild.toolchain.choice import SPEED
from edgebuild.toolchain.stack import stack_bound
from edgebuild.units import format_size

if TYPE_CHECKING:
    from edgebuild.devices.simulator import Region


class CortexMBackend:
    """One ELF for the simulator, QEMU and the board."""

    family = "cortex-m"

    def emit(
        self,
        graph: Graph,
        source: Graph,
        model: bytes,
        name: str,
        target: TargetProfile,
        preprocessing: Preprocessing = NONE,
    ) -> Emitted:
        """Generate the library and the TFLite Micro form."""
        graph = given(graph, target)
        emitted = emit_library(
            *(graph, name, target.cpu.features, preprocessing, memory_model(target)),
            optimize=target.optimize,
            kernel_flash=target.kernel_flash,
        )
        emitted = emitted.with_notes(
            *rows_notes(emitted), *placement_notes(target.memories, target.placement)
        )
        return with_tflm_form(emitted, source, model, target.cpu.core)

    def check_room(self, emitted: Emitted, target: TargetProfile) -> None:
        """Check that arena and stack fit the target's RAM, and weights a region of their own."""
        placement = required_placement(target.placement, target.name)
        _check_weights(emitted, target, placement)
        held = emitted.held_bytes
        missing = [
            f"{region.name} has {format_size(available)}, {emitted.name} needs "
            f"{format_size(size + stack + (held if stack else 0))} "
            f"(arena {size:,} B{f', stack {stack:,} B' if stack else ''}"
            f"{f', the whole input for the benchmark {held:,} B' if stack and held else ''})"
            for size, (region, available, stack) in zip(
                emitted.plan.bank_bytes, _arena_room(placement), strict=False
            )
            if size + stack + (held if stack else 0) > available
        ]
        if missing:
            unused = unused_regions(target.memories, placement, "ram")
            raise CheckFailedError(
                f"RAM of {target.name} is too small: {'; '.join(missing)}",
                details=_largest(emitted),
                hint="; or ".join([*unused, *([_NO_RUN] if held else []), _LESS_RAM]),
            )

    def compile(
        self, emitted: Emitted, target: TargetProfile, tool: str, out: Path, progress: Progress
    ) -> Compiled:
        """Compile and link ``firmware.elf``; OverflowedError when memory does not suffice."""
        self.check_room(emitted, target)
        job = firmware_job(emitted, target)
        return _compiled(
            *((emitted,), job, target, tool, out, progress),
            lambda kind, image: _device(kind, image, target, emitted),
        )

    def compile_together(
        self,
        combination: Combination,
        target: TargetProfile,
        tool: str,
        out: Path,
        progress: Progress,
    ) -> Compiled:
        """Compile and link several models as one ``firmware.elf``."""
        _check_arenas(combination, target)
        library = {**combination.files, **combination.runner}
        job = _job(library, combination.name, (), target)
        return _compiled(
            *(combination.models, job, target, tool, out, progress),
            lambda kind, image: _device_of_all(kind, image, target, combination.name),
        )


def _compiled(
    models: Sequence[Emitted],
    job: CompileJob,
    target: TargetProfile,
    tool: str,
    out: Path,
    progress: Progress,
    open_image: Callable[[str, Image], Device],
) -> Compiled:
    """Link ``job``, firmware with ``models``, and count what they take of it."""
    placement = required_placement(target.placement, target.name)
    names = [model.name for model in models]
    kept = [function for model in models for function in model.functions]
    script = render_linker_script(placement, STACK_BYTES, names, kept)
    atomic_write(out / "firmware.ld", script)
    compiler, level = parse_tool(tool)
    job = dataclasses.replace(job, optimize=level)
    try:
        image = compiler.build_image(job, target.cpu.core, script, out, progress=progress)
    except OverflowedError as error:
        raise _overflowed(models, target, placement, error) from None
    parts = footprint_of_all(image, names, LIBRARY, placement)
    by = compiler.version() if level == SPEED else f"{compiler.version()} {level}"
    whose = "the model" if len(models) == 1 else "the models"
    linked = {
        "weights": Figure(parts.weights, "B", How.LINKED, f"{by}: constants of {whose}"),
        "code": Figure(parts.code, "B", How.LINKED, f"{by}: {_code(kept)}"),
        "runtime": Figure(parts.runtime, "B", How.LINKED, f"{by}: compiler's helper functions"),
    }
    total = Figure(parts.model_flash, "B", How.LINKED, f"{by}: weights, code and runtime")
    static = Figure(parts.static_ram, "B", How.LINKED, f"{by}: excluding the arena")
    return Compiled(
        *(by, total, static, linked, lambda kind: open_image(kind, image), image, parts.regions),
        stack_bound=_stack_bound(image, models),
    )


def _overflowed(
    models: Sequence[Emitted], target: TargetProfile, placement: Placement, error: OverflowedError
) -> OverflowedError:
    """Return the linker's refusal with what takes the memory that is short, and other memory."""
    flash = {region.name for region in target.memories if region.kind == "flash"}
    short = sorted({"flash" if name in flash else "ram" for name in error.missed})
    taking = {"flash": _heaviest, "ram": _largest}
    unused = [way for kind in short for way in unused_regions(target.memories, placement, kind)]
    return OverflowedError(
        f"{' + '.join(model.name for model in models)} for {target.name}: {error.message}",
        missed=error.missed,
        details=[line for kind in short for model in models for line in taking[kind](model)],
        hint="; ".join([*unused, *filter(None, [error.hint])]),
    )


def _stack_bound(image: Image, models: Sequence[Emitted]) -> Figure | None:
    # A run that gives a model its rows has a frame of its own, which a measured stack has in it.
    entries = [ROWS_RUN if model.graph.input_by_rows else model.entry for model in models]
    bounds = [stack_bound(image, entry) for entry in entries]
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds):
        return None
    return Figure(
        max(known),
        "B",
        How.LINKED,
        "at most: frames along the call graph of a run, without its caller's",
    )


def _code(kept: Sequence[str]) -> str:
    """Return what the code's figure counts."""
    calls = [f"{function}()" for function in kept]
    return "layers and kernels" + (f", {', '.join(calls)}" if calls else "")


def firmware_job(emitted: Emitted, target: TargetProfile) -> CompileJob:
    """Return the sources of the benchmark firmware: library, application and port."""
    library = {p: t for p, t in emitted.files.items() if p.startswith(f"{LIBRARY}/")}
    rows = {"held_bytes": emitted.held_bytes} if emitted.graph.input_by_rows else None
    return _job(library, emitted.name, further_banks(emitted.plan), target, rows)


def _job(
    library: Mapping[str, str],
    name: str,
    banks: Sequence[object],
    target: TargetProfile,
    rows: Mapping[str, int] | None = None,
) -> CompileJob:
    if target.firmware is None:
        raise InternalError(f"target {target.name} has no firmware port")
    firmware = resource_dir("firmware")
    sources = dict(library)
    sources["app_model.c"] = render(
        "app_model.c.j2", name=name, macro=name.upper(), banks=list(banks), rows=rows
    )
    for folder in ("app", f"ports/{target.firmware.port}"):
        for path in sorted((firmware / folder).glob("*.[ch]")):
            sources[f"{folder}/{path.name}"] = path.read_text()
    return CompileJob(sources, (LIBRARY, "app"), {"EB_PROFILE": "1", **target.firmware.defines})


def _check_arenas(combination: Combination, target: TargetProfile) -> None:
    """Check that the arenas of several models and the stack fit where the arena is placed."""
    region, room, stack = _arena_room(required_placement(target.placement, target.name))[0]
    size = combination.arena_bytes
    if size + stack > room:
        one_for_all = "--arenas shared, where no model runs while another does; or "
        raise CheckFailedError(
            f"RAM of {target.name} is too small for all of the models: {region.name} has "
            f"{format_size(room)}, they need {format_size(size + stack)} "
            f"(arenas {size:,} B{f', stack {stack:,} B' if stack else ''})",
            details=[f"{m.name}: arena {m.plan.bank_bytes[0]:,} B" for m in combination.models],
            hint=("" if combination.shared else one_for_all)
            + "a target with more RAM (`edgebuild targets list`)",
        )


def _check_weights(emitted: Emitted, target: TargetProfile, placement: Placement) -> None:
    """Check the weights' region where they do not lie with the code."""
    region = placement.weights
    if region == placement.code:
        return
    size = constant_bytes(emitted.graph, emitted.calls)
    arena = sum(
        size
        for bank, size in zip(placement.arena, emitted.plan.bank_bytes, strict=False)
        if bank == region
    )
    if size + arena > region.usable_bytes:
        beside = f" beside {arena:,} B of the arena" if arena else ""
        raise CheckFailedError(
            f"region {region.name} of {target.name} is too small: weights {size:,} B{beside}, "
            f"available {format_size(region.usable_bytes)}",
            details=_heaviest(emitted),
            hint="; ".join([*_unused_flash(target), "a smaller model, or --place weights=REGION"]),
        )


ROWS_RUN = "eb_app_run"
"""What runs a model whose input comes by rows, in ``app_model.c``."""

_NO_RUN = "--run none, which builds firmware without the whole input"
_LESS_RAM = (
    "a target with more RAM (`edgebuild targets list`); or change the model and train it again: a "
    "smaller input, a stride earlier on, fewer channels in the operators above"
)


def _unused_flash(target: TargetProfile) -> tuple[str, ...]:
    placement = required_placement(target.placement, target.name)
    return unused_regions(target.memories, placement, "flash")


def _arena_room(placement: Placement) -> list[tuple[Memory, int, int]]:
    """Return for each bank its region, the bytes of it, and those that the stack takes there."""
    return [
        (region, region.usable_bytes, STACK_BYTES if region == placement.data else 0)
        for region in placement.arena
    ]


def _largest(emitted: Emitted) -> list[str]:
    live = emitted.plan.live_bytes
    worst = sorted(range(len(live)), key=lambda i: -live[i])[:3]
    return [
        f"{emitted.graph.node(i).where}: {live[i]:,} B of the arena while it runs"
        for i in sorted(worst)
    ]


def _heaviest(emitted: Emitted) -> list[str]:
    nodes = sorted(emitted.graph.nodes(), key=lambda node: -_weights(node))[:3]
    return [f"{node.where}: {_weights(node):,} B of weights" for node in nodes if _weights(node)]


def _weights(node: Node) -> int:
    return sum(t.nbytes for t in node.inputs if t is not None and t.is_constant)


def _device(kind: str, image: Image, target: TargetProfile, emitted: Emitted) -> Device:
    if kind == "simulator":
        from edgebuild.devices.simulator import Simulator

        nodes = zip(emitted.graph.nodes(), emitted.calls, strict=True)
        plan = emitted.plan
        reads = [(kernel_name(call), layer_reads(node, call, plan)) for node, call in nodes]
        model = memory_model(target)
        regions, clock_hz = _regions(target), target.cpu.clock_hz
        return Simulator(image, target.cpu.core, regions, clock_hz, model, reads)
    if kind == "qemu" and target.run.qemu_machine is not None:
        from edgebuild.devices.qemu import QemuDevice

        return QemuDevice(image, target.run.qemu_machine, emitted.name)
    raise _no_device(kind)


def _device_of_all(kind: str, image: Image, target: TargetProfile, name: str) -> Device:
    """Return what runs several models; their layers are timed in each one's own firmware."""
    if kind == "simulator":
        from edgebuild.devices.simulator import Simulator

        return Simulator(image, target.cpu.core, _regions(target))
    if kind == "qemu" and target.run.qemu_machine is not None:
        from edgebuild.devices.qemu import QemuDevice

        return QemuDevice(image, target.run.qemu_machine, name)
    raise _no_device(kind)


def _regions(target: TargetProfile) -> list[Region]:
    from edgebuild.devices.simulator import Region

    return [Region(m.name, m.origin, m.size_bytes, m.kind) for m in target.memories]


def _no_device(kind: str) -> ToolError:
    return ToolError(f"this firmware cannot run on {kind}", hint="--run simulator")
