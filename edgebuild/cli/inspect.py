"""``edgebuild inspect``: what is inside any ``.tflite``. Nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli.console import heading, line, print_json, prose, table
from edgebuild.cli.options import (
    input_by_option,
    json_option,
    optimize_option,
    place_option,
    target_option,
)
from edgebuild.profile import INPUT_BY, Optimize
from edgebuild.units import format_duration, format_range, format_size

if TYPE_CHECKING:
    from edgebuild.analysis import Analysis, Survey
    from edgebuild.coral.package import CompiledModel, Package
    from edgebuild.report.contents import Contents
    from edgebuild.tflite.metadata import ModelMetadata, TensorMetadata

_BAR = 28


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_option()
@click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    metavar="INPUT=1,H,W,C",
    help="Where the model leaves dimensions open. May be repeated.",
)
@place_option
@optimize_option
@input_by_option
@click.option("--schedule", is_flag=True, help="Show the kernel of each step, and others.")
@json_option
def command(
    model: Path,
    target: str | None,
    input_shapes: tuple[str, ...],
    place: tuple[str, ...],
    optimize: str | None,
    input_by: str | None,
    schedule: bool,
    as_json: bool,
) -> None:
    """Show what is inside any .tflite MODEL: operators, number formats, subgraphs, what is missing.

    Of a model that can be built for --target (cortex-m4 when none is given) it shows the predicted
    cycles and the memory over time. With a target on which LiteRT runs the model, each operator is
    shown with the reason why it stays on the CPU. A model that was compiled for the Edge TPU is
    shown with its package, one for an Arm Ethos-U with its command streams.
    """
    from edgebuild.analysis import Analysis, Survey, inspect
    from edgebuild.project import parse_input_shape
    from edgebuild.regions import parse_place
    from edgebuild.report.contents import Contents

    shapes = dict(map(parse_input_shape, input_shapes))
    placed = dict(map(parse_place, place))
    found = inspect(
        *(model, target or "cortex-m4", shapes, placed),
        Optimize(optimize or Optimize.BALANCED),
        input_by or INPUT_BY[0],
    )
    if as_json:
        print_json(found.to_json())
    elif isinstance(found, Contents):
        _show_contents(model, found)
    elif isinstance(found, Survey):
        _show_survey(model, found)
    elif isinstance(found, Analysis):
        if schedule:
            _show_schedule(found)
        else:
            _show_analysis(model, found)
    else:
        _show_compiled(model, found)


def _show_contents(model: Path, found: Contents) -> None:
    several = f" in {found.subgraphs} subgraphs" if found.subgraphs > 1 else ""
    count = len(found.operators)
    line(
        f"{model.name}: {count} operator{'' if count == 1 else 's'}{several}, computes on "
        f"{found.number_format}s, {found.parameter_bytes:,} B of parameters",
        style="bold",
    )
    if found.compiled_for:
        line(f"compiled for {found.compiled_for}")
    for role, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            line(f"{role}: {tensor}")
    heading("operators")
    table(
        ("#", "operator", "formats", "output", "parameters", "in generated C"),
        [
            (
                f"{row.subgraph}:{row.position}" if found.subgraphs > 1 else str(row.position),
                row.kind,
                row.formats,
                "x".join(map(str, row.output_shape)),
                f"{row.parameter_bytes:,}",
                row.reason,
            )
            for row in found.operators
        ],
        right=(0, 4),
        styles=["yellow" if row.reason else "" for row in found.operators],
    )
    if found.unsupported:
        heading("what keeps it from generated C")
        for text in (found.unsupported.summary(), *found.unsupported.lines()):
            line(text)
        line(f"try: {found.unsupported.hint()}")
    for note in found.notes:
        line(f"note: {note}")


def _show_analysis(model: Path, found: Analysis) -> None:
    line(
        f"{model.name}: {len(found.layers)} layers, {found.macs:,} MACs, "
        f"{found.parameter_bytes:,} B of parameters",
        style="bold",
    )
    for role, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            line(f"{role}: {tensor}")
    _show_layers(found)
    _show_memory(found)


def _show_schedule(found: Analysis) -> None:
    """Show the kernel of each step above the others that could run it, in grey; waits for a slow
    memory where there are any."""
    waits = any(step["wait_cycles"] for step in found.schedule)
    rows, styles = [], []
    for step in found.schedule:
        (_, start, end), *_more = step["outputs"] or [(0, 0, 0)]
        in_place = step["inputs"] and start == step["inputs"][0][1]
        place = f"{start:,}..{end:,}{'  in place' if in_place else ''}"
        rows.append((str(step["operator"]), *_costs(step, waits=waits), place))
        rows += [("", *_costs(other, waits=waits), "") for other in step["others"]]
        styles += ["", *("bright_black" for _ in step["others"])]
    costs = ("cycles", *(("waits",) if waits else ()), "constants", "scratch")
    table(
        ("#", "kernel", *costs, "output in the arena"),
        rows,
        right=(0, *range(2, 2 + len(costs))),
        styles=styles,
    )


def _costs(row: Mapping[str, Any], *, waits: bool) -> tuple[str, ...]:
    cycles = "unknown" if row["cycles"] is None else f"{row['cycles']:,}"
    waited = (f"{row['wait_cycles']:,}",) if waits else ()
    return row["kernel"], cycles, *waited, f"{row['constant_bytes']:,}", f"{row['scratch_bytes']:,}"


def _show_layers(found: Analysis) -> None:
    heading("layers")
    table(
        ("#", "operator", "output", "MACs", "parameters", "cycles"),
        [
            (
                str(layer.index),
                layer.kind,
                "x".join(map(str, layer.output_shape)),
                f"{layer.macs:,}",
                f"{layer.parameter_bytes:,}",
                f"{layer.cycles:,}" if layer.cycles is not None else "unknown",
            )
            for layer in found.layers
        ],
        right=(0, 3, 4, 5),
    )
    if found.cycles is not None and found.latency_us is not None:
        latency, zero_wait = found.latency_us, found.zero_wait_us
        duration = format_range(latency.least, latency.most, format_duration)
        line(f"predicted: {found.cycles:,} cycles, {duration} on {found.target}")
        if zero_wait is not None:
            line(f"with zero wait states: {format_duration(zero_wait.value)}")
        prose(f"assumed: {latency.source}")


def _show_memory(found: Analysis) -> None:
    heading(f"memory over time on {found.target}")
    peak = max((layer.live_bytes for layer in found.layers), default=1)
    table(
        ("#", "alive", ""),
        [
            (
                str(layer.index),
                f"{layer.live_bytes:,}",
                "#" * max(1, round(_BAR * layer.live_bytes / peak)),
            )
            for layer in found.layers
        ],
        right=(0, 1),
    )
    arena, bound = format_size(found.arena_bytes), format_size(found.lower_bound_bytes)
    line(f"arena {arena}, lower bound {bound}")
    if found.arena_banks:
        banks = (f"{format_size(size)} in {name}" for name, size in found.arena_banks.items())
        line(f"split: {', '.join(banks)}")


def _show_survey(model: Path, found: Survey) -> None:
    line(f"{model.name}: {len(found.operators)} operators", style="bold")
    line(found.compatibility.summary())
    for role, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            line(f"{role}: {tensor}")
    if found.metadata is not None:
        _show_metadata(found.metadata)
    heading("operators")
    table(
        ("#", "operator", "output", "parameters", "on the CPU, because"),
        [
            (
                str(row.position),
                row.kind,
                f"{row.types} {'x'.join(map(str, row.output_shape))}",
                f"{row.parameter_bytes:,}",
                row.reason,
            )
            for row in found.operators
        ],
        right=(0, 3),
        styles=["yellow" if row.reason else "" for row in found.operators],
    )


def _show_metadata(metadata: ModelMetadata) -> None:
    line(f"metadata: {metadata.name} {metadata.version}: {metadata.description}")
    for role, tensors in (("input", metadata.inputs), ("output", metadata.outputs)):
        for tensor in tensors:
            line(f"  {role} {tensor.name}: {tensor.description}{_meaning(tensor)}")


def _meaning(tensor: TensorMetadata) -> str:
    """Return what is known beside the description, one number or one for each channel."""
    parts = [""]
    if tensor.minimum and tensor.maximum:
        parts.append(f"from {_numbers(tensor.minimum)} to {_numbers(tensor.maximum)}")
    if tensor.mean:
        parts.append(f"(value - {_numbers(tensor.mean)}) / {_numbers(tensor.std)}")
    if tensor.labels:
        parts.append(f"{len(tensor.labels)} labels")
    return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _show_compiled(model: Path, compiled: CompiledModel) -> None:
    line(f"{model.name}: compiled for the Edge TPU", style="bold")
    for package in compiled.packages:
        _show_package(package)
    if compiled.cpu_operators:
        heading("on the CPU")
        table(("operator", "count"), [(k, str(n)) for k, n in compiled.cpu_operators], right=(1,))
    else:
        line("nothing stays on the CPU")


def _show_package(package: Package) -> None:
    line(
        f"operator {package.position}: runtime {package.min_runtime} or newer, "
        f"compiler {package.compiler or 'unknown'}, package {format_size(package.package_bytes)}"
    )
    line(
        f"parameters: {package.cached_bytes:,} B cached on chip, "
        f"{package.streamed_bytes:,} B streamed with every inference"
    )
    heading("executables")
    table(
        ("type", "chip", "batch", "parameters", "instructions", "scratch", "cycles"),
        [
            (
                program.type,
                program.chip,
                str(program.batch_size),
                f"{program.parameter_bytes:,}",
                f"{program.instruction_bytes:,}",
                f"{program.scratch_bytes:,}",
                "unknown" if program.estimated_cycles is None else f"{program.estimated_cycles:,}",
            )
            for program in package.executables
        ],
        right=(2, 3, 4, 5, 6),
    )
    for program in package.executables:
        for role, layers in (("input", program.inputs), ("output", program.outputs)):
            for layer in layers:
                shape = "x".join(map(str, layer.shape))
                line(
                    f"{role}: {layer.dtype} {shape} (y x z), scale {layer.scale:.6g}, "
                    f"zero point {layer.zero_point} ({layer.name})"
                )
