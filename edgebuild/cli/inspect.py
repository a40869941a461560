"""``edgebuild inspect``: layers, MACs, parameters, and memory over time. Nothing is compiled."""

from __future__ import annotations

from pathlib import Path

import click

from edgebuild.cli.console import heading, line, print_json, table
from edgebuild.cli.options import json_option, target_option
from edgebuild.units import format_duration, format_size

_BAR = 28


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_option()
@json_option
def command(model: Path, target: str | None, as_json: bool) -> None:
    """Show what is inside an int8 .tflite MODEL, its predicted cycles, and its memory over time.

    Cycles and plan are those of --target (cortex-m4 when none is given).
    """
    from edgebuild.analysis import analyze

    found = analyze(model, target or "cortex-m4")
    if as_json:
        print_json(found.to_json())
        return
    line(
        f"{model.name}: {len(found.layers)} layers, {found.macs:,} MACs, "
        f"{found.parameter_bytes:,} B of parameters",
        style="bold",
    )
    for role, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            line(f"{role}: {tensor}")
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
        duration = format_duration(found.latency_us.value)
        line(f"predicted: {found.cycles:,} cycles, {duration} on {found.target}")
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
