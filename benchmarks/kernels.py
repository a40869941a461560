"""Cycles of 120 layers of public networks on a Cortex-M4, ours and those of CMSIS-NN's functions.

Each layer is compiled alone and simulated with zero wait states; every output byte is compared with
the NumPy reference of TFLite Micro's arithmetic, CMSIS-NN's too. Ours is what
``build --optimize speed`` makes (zig, -O2). CMSIS-NN is compiled by zig and by gcc, -O2 as well,
with its requantization in assembly; the faster one counts for each layer, and its function alone,
without what an interpreter adds. Ratios below 1 are in our favour.

With CMSIS-NN's sources (https://github.com/ARM-software/CMSIS-NN, Apache-2.0; they are read where
they are) the figures go to ``benchmarks/kernels.json``; without them our cycles are printed alone.

    python benchmarks/kernels.py [--cmsis-nn PATH] [--strict] [--only TEXT]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from cmsis_nn import DEFINES, FUNCTIONS, commit_of, peer_image
from cycle_layers import Layers, roomy, side_by_side
from kernel_shapes import SHAPES, LayerShape, sample

from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.emit import emit_library
from edgebuild.cycles.kernels import kernel_name
from edgebuild.devices.simulator import Region, Simulator
from edgebuild.graph import Graph
from edgebuild.ops import OPS
from edgebuild.profile import Optimize
from edgebuild.schedule import schedule_graph
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import parse_tool
from edgebuild.toolchain.base import silent

RESULTS = Path(__file__).resolve().with_suffix(".json")
CORE = "cortex-m4"
TOOL = "zig"
PEER_TOOLS = ("zig", "gcc")
WORST_RATIO, GEOMETRIC_MEAN = 1.0, 0.6
"""The bars."""

BATCH = 20
"""Layers in one image."""

Samples = Sequence[Sequence[bytes]]


@dataclass(frozen=True)
class Measured:
    """Outputs and cycles of each layer."""

    outputs: tuple[bytes, ...]
    cycles: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A layer's figures; without products (``macs``) its values: those under a pooling window for
    each output, else the outputs."""

    shape: str
    network: str
    kernel: str
    macs: int
    values: int
    cycles: int
    peer: str = ""
    peer_cycles: int = 0
    peer_tool: str = ""

    @property
    def each(self) -> float:
        """Cycles of ours for each product, or without any for each value."""
        return self.cycles / (self.macs or self.values)

    @property
    def ratio(self) -> float:
        """Our cycles over CMSIS-NN's."""
        return self.cycles / self.peer_cycles if self.peer_cycles else math.nan


def ours(graphs: Sequence[Graph], samples: Samples, target: TargetProfile) -> Measured:
    """Compile and simulate ``graphs`` as edgebuild builds them."""
    # The model's function and its entry are the first layer's; it is not one of those measured.
    first = Layers().unary("LOGISTIC", (1, 1))
    emitted = emit_library(
        side_by_side([first, *graphs]), "layers", target.cpu.features, optimize=target.optimize
    )
    with tempfile.TemporaryDirectory(prefix="edgebuild-kernels-") as folder:
        compiled = CortexMBackend().compile(emitted, target, TOOL, Path(folder), silent)
        device = compiled.open_device("simulator")
        assert isinstance(device, Simulator)
        return _without_first(_run(device, [[bytes(1)], *samples]))


def _without_first(measured: Measured) -> Measured:
    return Measured(measured.outputs[1:], measured.cycles[1:])


def peers(
    graphs: Sequence[Graph], samples: Samples, target: TargetProfile, sources: Path, tool: str
) -> Measured:
    """Compile and simulate CMSIS-NN's functions for ``graphs``."""
    regions = [Region(m.name, m.origin, m.size_bytes, m.kind) for m in target.memories]
    with tempfile.TemporaryDirectory(prefix="edgebuild-kernels-") as folder:
        image = peer_image(graphs, sources, target, tool, Path(folder))
        return _run(Simulator(image, target.cpu.core, regions), samples)


def _run(device: Simulator, samples: Samples) -> Measured:
    """Run all layers once; ``samples`` are the inputs of each."""
    result = device.run([[one for sample in samples for one in sample]])
    found = {trace.layer: trace.cycles for trace in device.traces}
    return Measured(result.outputs[0], tuple(found[i] for i in range(len(samples))))


def reference(graph: Graph, inputs: Sequence[bytes]) -> bytes:
    """Return the output as TFLite Micro computes it, from NumPy."""
    node, given = graph.node(0), iter(inputs)
    arrays = [
        t.data if t.is_constant else np.frombuffer(next(given), np.int8).reshape(t.shape)
        for t in node.inputs
        if t is not None
    ]
    return OPS[node.kind].reference(node, arrays)[0].tobytes()


def measure(
    shapes: Sequence[LayerShape], target: TargetProfile, sources: Path | None
) -> Iterator[Row]:
    """Yield the figures of ``shapes``, all in one image; exit where outputs differ."""
    graphs = [shape.graph(SHAPES.index(shape)) for shape in shapes]
    samples = [sample(graph, seed) for seed, graph in enumerate(graphs)]
    expected = tuple(reference(*pair) for pair in zip(graphs, samples, strict=True))
    mine = ours(graphs, samples, target)
    _check(shapes, "edgebuild", mine.outputs, expected)
    found: dict[str, Measured] = {}
    for tool in PEER_TOOLS if sources is not None else ():
        assert sources is not None
        found[tool] = peers(graphs, samples, target, sources, tool)
        _check(shapes, f"CMSIS-NN ({tool})", found[tool].outputs, expected)
    for i, (shape, graph) in enumerate(zip(shapes, graphs, strict=True)):
        row = _row(shape, graph, mine.cycles[i], target)
        if found:
            cycles, tool = min((one.cycles[i], tool) for tool, one in found.items())
            row = replace(row, peer=FUNCTIONS[shape.kind], peer_cycles=cycles, peer_tool=tool)
        yield row


def _row(shape: LayerShape, graph: Graph, cycles: int, target: TargetProfile) -> Row:
    node = graph.node(0)
    kernel = kernel_name(schedule_graph(graph, target.cpu.features, target.optimize).calls[0])
    macs = OPS[node.kind].macs(node)
    window = math.prod(shape.kernel) if node.kind.endswith("POOL_2D") else 1
    values = node.output.elements * window
    return Row(shape.name, shape.network, kernel, macs, values, cycles)


def _check(
    shapes: Sequence[LayerShape], who: str, outputs: Sequence[bytes], expected: Sequence[bytes]
) -> None:
    wrong = [
        shape.name
        for shape, output, right in zip(shapes, outputs, expected, strict=True)
        if output != right
    ]
    if wrong:
        sys.exit(f"{who}: outputs differ from the reference: {'; '.join(wrong)}")


def geometric_mean(rows: Sequence[Row]) -> float:
    """Return the geometric mean of the ratios."""
    return math.exp(sum(math.log(row.ratio) for row in rows) / len(rows))


def print_table(rows: Sequence[Row], compared: bool) -> None:
    """Print the rows, those with the highest ratios first; else those with the most cycles for each
    product or value."""
    print(f"{'ratio':>6} {'ours':>10} {'CMSIS-NN':>10} {'each':>7}  layer, network, kernel")
    for row in sorted(rows, key=lambda row: -row.ratio if compared else -row.each):
        unit = "MAC" if row.macs else "value"
        ratio = f"{row.ratio:6.3f}" if compared else f"{'':6}"
        theirs = f"{row.peer_cycles:10,}" if compared else f"{'':10}"
        print(
            f"{ratio} {row.cycles:10,} {theirs} {row.each:7.2f}/{unit:5} {row.shape}; "
            f"{row.network}; {row.kernel}"
        )


def save(rows: Sequence[Row], sources: Path) -> None:
    """Write ``benchmarks/kernels.json``."""
    tools = dict.fromkeys([TOOL, *PEER_TOOLS])
    ratios = [row.ratio for row in rows]
    value = {
        "core": CORE,
        "cmsis_nn_commit": commit_of(sources),
        "compilers": {name: parse_tool(name)[0].version() for name in tools},
        "tool": TOOL,
        "peer_tools": PEER_TOOLS,
        "flags": "-O2",
        "peer_defines": list(DEFINES),
        "layers": len(rows),
        "geometric_mean": round(geometric_mean(rows), 4),
        "above_1": sum(ratio > WORST_RATIO for ratio in ratios),
        "rows": [
            {**asdict(row), "each": round(row.each, 3), "ratio": round(row.ratio, 4)}
            for row in sorted(rows, key=lambda row: -row.ratio)
        ],
    }
    RESULTS.write_text(json.dumps(value, indent=1) + "\n")


def summary(rows: Sequence[Row]) -> bool:
    """Print the geometric mean and the bars; return whether both are met."""
    mean, above = geometric_mean(rows), sum(row.ratio > WORST_RATIO for row in rows)
    print(
        f"\ngeometric mean {mean:.3f} (bar {GEOMETRIC_MEAN}), {above} above {WORST_RATIO} (bar 0)"
    )
    for kernel in sorted({row.kernel for row in rows}):
        own = [row for row in rows if row.kernel == kernel]
        worst = max(row.ratio for row in own)
        print(f"  {kernel:28} {len(own):3}: {geometric_mean(own):.3f}, worst {worst:.3f}")
    return mean <= GEOMETRIC_MEAN and above == 0


def main() -> None:
    """Measure all shapes, print them, and compare where there is something to compare with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cmsis-nn", type=Path, help="CMSIS-NN's sources")
    parser.add_argument("--strict", action="store_true", help="exit 1 while a bar is missed")
    parser.add_argument("--only", default="", help="layers with this in their name or network")
    options = parser.parse_args()
    sources: Path | None = options.cmsis_nn
    rows: list[Row] = []
    if sources is not None and not (sources / "Include" / "arm_nnfunctions.h").is_file():
        parser.error(f"{sources} does not hold CMSIS-NN's sources: no Include/arm_nnfunctions.h")
    shapes = [s for s in SHAPES if options.only in f"{s.name} {s.network}"]
    for start in range(0, len(shapes), BATCH):
        batch = shapes[start : start + BATCH]
        rows += measure(batch, roomy(CORE).optimized(Optimize.SPEED), sources)
        print(f"{len(rows)} of {len(shapes)} layers", file=sys.stderr)
    print_table(rows, compared=sources is not None)
    if sources is None:
        return
    if len(rows) == len(SHAPES):
        save(rows, sources)
    if not summary(rows) and options.strict:
        sys.exit(1)


if __name__ == "__main__":
    main()
