"""A report made by hand, for the tests of its forms."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgebuild.budget import Budget, Metrics
from edgebuild.figures import Figure, How
from edgebuild.report.model import AccuracyReport, Comparison, LayerReport, Report
from edgebuild.report.parts import Feed, ModelPart, ModelParts
from edgebuild.toolchain.base import Section, Symbol

PARTS = ModelParts(
    (
        ModelPart("parts/1_cpu.tflite", "CPU", (0, 1), (Feed("x", 0, 0),), ("a",)),
        ModelPart(
            "parts/2_edgetpu.tflite", "Edge TPU", tuple(range(2, 100)), (Feed("a", 1, 0),), ("b",)
        ),
        ModelPart("parts/3_cpu.tflite", "CPU", tuple(range(100, 157)), (Feed("b", 2, 0),), ("y",)),
    ),
    (Feed("y", 3, 0),),
    8,
)


def figure(value: float, unit: str = "B", how: How = How.LINKED, source: str = "zig 1") -> Figure:
    """Return a figure."""
    return Figure(value, unit, how, source)


def layer(index: int, kind: str = "CONV_2D", **changes: Any) -> LayerReport:
    """Return a layer; the later ones cost more."""
    given = LayerReport(
        index=index,
        kind=kind,
        name=f"layer{index}",
        output_shape=(1, 8, 8, 4 + index),
        macs=1000 * index,
        parameter_bytes=100 * index,
        live_bytes=500 + index,
        instructions=2000 + index,
        cycles=3000 + index,
        share=0.2 + index / 10,
    )
    return dataclasses.replace(given, **changes)


def report(budget: Budget | None = None, **changes: Any) -> Report:
    """Return a report with something in every field; ``budget`` decides the violations."""
    metrics = Metrics(
        flash_bytes=figure(20_000, source="zig 1: weights, code and runtime"),
        ram_bytes=figure(5_000, how=How.MEASURED, source="arena, static data, stack"),
        latency_us=figure(12_345.5, "us", How.MODELLED, "cortex-m4, 25 MHz"),
        accuracy_drop=figure(0.0125, "ratio", How.MEASURED, "float baseline minus generated C"),
    )
    limits = budget or Budget()
    made = Report(
        edgebuild="0.1.0",
        name="net",
        model={"sha256": "a" * 64, "operators": 3, "macs": 3000, "parameter_bytes": 300},
        target={"name": "cortex-m4", "memories": [{"name": "flash"}]},
        plan_sha256="b" * 64,
        toolchain="zig 1",
        budget=limits,
        metrics=metrics,
        memory={"arena": figure(4_096, how=How.PLANNED, source="memory planner")},
        flash={"weights": figure(15_000), "code": figure(5_000)},
        run={"cycles": figure(308_637, "cycles", How.MODELLED, "cortex-m4")},
        tflm_arena=figure(9_000, how=How.ESTIMATED, source="model of the allocator"),
        layers=tuple(layer(i) for i in range(3)),
        comparison=Comparison("tflite-micro 1", "simulated cortex-m4", 8, 80, 0),
        accuracy=AccuracyReport(
            1_000,
            figure(0.98, "ratio", How.MEASURED),
            figure(0.97, "ratio", How.MEASURED),
            Figure(0.9675, "ratio", How.MEASURED, "generated C on the host"),
        ),
        violations=limits.check(metrics),
        sections=(
            Section(".text", 0, 20_000, True, False),
            Section(".bss", 0x2000_0000, 5_000, False, True),
        ),
        symbols=(
            Symbol("eb_arena", 0x2000_0000, 4_096, ".bss", "obj/app/eb_app.o"),
            Symbol("net_weights0", 0x400, 3_000, ".text", "obj/lib/net_weights.o"),
            Symbol("reply", 0x500, 2_000, ".text", "obj/app/eb_app.o"),
            Symbol("eb_conv2d_s8", 0x600, 1_000, ".text", "obj/lib/edgebuild/conv2d/conv2d_s8.o"),
        ),
        notes=("quantized to int8",),
        artifacts={"firmware.elf": "c" * 64},
        out_dir="build/net-cortex-m4",
    )
    return dataclasses.replace(made, **changes)
