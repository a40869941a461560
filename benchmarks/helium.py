"""Winograd's tiles with Helium against the direct kernel: 3x3 layers on an emulated Cortex-M55.

Instructions are QEMU's. Beside them stand cycles of a MODEL of the Cortex-M55's vector unit, which
is no measurement: one instruction is issued in a cycle, in order; a vector instruction keeps its
unit (loads and stores; multiplications; other integers) for two cycles, as the core computes two of
its four beats in each, and overlaps with a neighbour of another unit; a multiplication's result is
there a cycle later than others'; the end of a low-overhead loop costs nothing; memory never waits.
The units and latencies are those that SLOTHY has for the core, which calls them approximate:
https://github.com/slothy-optimizer/slothy, slothy/targets/arm_v81m/cortex_m55r1.py (04ac7ec).

Needs qemu-system-arm with plug-ins, and llvm-objdump. The figures go to ``benchmarks/helium.json``.

    python benchmarks/helium.py [--only 16x16x32]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cycle_layers import Layers  # noqa: E402

from edgebuild.devices.qemu_count import InstructionCounter  # noqa: E402
from edgebuild.graph import Graph  # noqa: E402
from edgebuild.ops import OPS, KernelCall, convolution, winograd_mve  # noqa: E402
from edgebuild.ops.conv2d import _matrix, _window  # noqa: E402
from tests.kernels import harness, m55  # noqa: E402

RESULTS = Path(__file__).resolve().with_suffix(".json")
LAYERS = (
    *((32, 16, 16), (16, 32, 32), (8, 64, 64)),  # resnet8
    *((32, 40, 40), (16, 80, 80), (8, 160, 160)),  # the large ResNet
    *((32, 32, 32), (24, 48, 48), (16, 64, 64), (12, 96, 96), (8, 128, 192)),
)
"""Side of the image, channels of input and output."""

SCRATCH = (128 << 10, 64 << 10, 32 << 10)
_LOOP_ENDS = ("le", "letp")
_LATE = ("vmul", "vmla", "vmls", "vqrdmulh", "vqdmulh", "vrshl", "vqmovn", "vmovl", "vqshrn")


@dataclass(frozen=True)
class Instruction:
    """``unit`` is empty for what is no vector instruction; ``late``: its result takes a cycle more;
    the vector registers that it reads or writes, the first of them written unless it stores."""

    unit: str
    late: bool
    registers: tuple[str, ...]
    stores: bool
    free: bool


def decoded(line: str) -> Instruction:
    """Return an instruction from its mnemonic and operands."""
    name, _, operands = line.partition("\t")
    name = name.split(".")[0]
    unit = ""
    if name.startswith(("vld", "vst")):
        unit = "memory"
    elif name.startswith(("vmul", "vmla", "vmls", "vqrdmulh", "vqdmulh")):
        unit = "multiply"
    elif name.startswith("v") and name not in ("vpst", "vmsr", "vmrs", "vmov", "vpush", "vpop"):
        unit = "" if name.startswith("vctp") else "integer"
    stores = name.startswith(("vst", "vmladav", "vmlav"))  # the latter two, to core registers
    registers = tuple(re.findall(r"\bq\d\b", operands)) if unit else ()
    return Instruction(unit, name.startswith(_LATE), registers, stores, name in _LOOP_ENDS)


def modelled(block: Sequence[Instruction]) -> int:
    """Return the cycles from a block's first issue to its last, one more."""
    now, busy, ready = 0, dict[str, int](), dict[str, int]()
    for one in block:
        if one.free:
            continue
        now = max([now, busy.get(one.unit, 0), *(ready.get(q, 0) for q in one.registers)])
        if one.unit:
            busy[one.unit] = now + 2
        if one.registers and not one.stores:
            ready[one.registers[0]] = now + 1 + one.late
        now += 1
    return now


def cycles(blocks: Mapping[tuple[int, int], int], elf: Path) -> int:
    """Return the model's cycles of how often each block (address, instructions) ran; each behind
    itself, as in a loop."""
    text = subprocess.run(
        ["llvm-objdump", "-d", "--no-show-raw-insn", "--mattr=+mve.fp,+lob,+v8.1m.main", elf],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = re.findall(r"^ *([0-9a-f]+):[ \t]+(\S.*)$", text, re.MULTILINE)
    places = {int(address, 16): i for i, (address, _) in enumerate(lines)}
    total = 0
    for (address, count), times in blocks.items():
        first = places[address]
        block = [decoded(line) for _, line in lines[first : first + count]]
        total += times * (modelled(block + block) - modelled(block))
    return total


def measure(graph: Graph, call: KernelCall, folder: Path) -> tuple[int, int]:
    """Return instructions and modelled cycles of one call of a kernel."""
    counter = InstructionCounter(folder)
    program = m55.build_program([graph], "zig", folder, calls_of=lambda *_: [call], direct=True)
    sample = harness.sample_inputs(graph, 4)[3]

    def run(times: int) -> Counter[tuple[int, int]]:
        requests = [harness.Request(0, sample)] * times
        m55.run_program(program, [graph], requests, counter.options)
        found = Counter[tuple[int, int]]()
        for line in (folder / "counts").read_text().splitlines():
            address, count, ran = line.split()
            found[int(address, 16), int(count)] += int(ran)
        return found

    once = run(2) - run(1)  # all else runs once
    return sum(count * times for (_, count), times in once.items()), cycles(once, program)


def tiled_call(graph: Graph, block: int) -> KernelCall:
    """Return the call of Winograd's kernel with ``block`` tiles."""
    node, weights = graph.node(0), _matrix(graph.node(0))
    c = convolution.channels(node, weights, single_precision_product=False)
    return winograd_mve.winograd_call(node, weights, c, _window(node), block)


def rows(side: int, in_c: int, out_c: int) -> list[dict[str, Any]]:
    """Return the figures of a layer: of the direct kernel, and of tiles in each scratch memory."""
    graph = Layers().conv((1, side, side, in_c), out_c)
    node, count = graph.node(0), winograd_mve.tiles(1, _window(graph.node(0)))
    calls = {0: OPS["CONV_2D"].kernel(node, m55.MVE)}
    for scratch in SCRATCH:
        if block := winograd_mve.block_in(scratch, in_c, count):
            calls[block] = tiled_call(graph, block)
    found = []
    for block, call in calls.items():
        with tempfile.TemporaryDirectory() as folder:
            instructions, model = measure(graph, call, Path(folder))
        image, w = node.input(0).shape, _window(node)
        pays = block > 0 and winograd_mve.share(image, out_c, w, block) < winograd_mve.PAYS
        row = {"layer": f"{side}x{side}x{in_c} to {out_c}", "tiles": block, "runs": pays}
        row |= {"scratch_bytes": call.scratch_bytes, "instructions": instructions}
        row |= {"per_mac": round(instructions / OPS["CONV_2D"].macs(node), 4)}
        row |= {"model_cycles": model}
        if block:
            row |= {f"{name}_ratio": round(row[name] / found[0][name], 3) for name in _RATIOS}
        found.append(row)
        print(json.dumps(row), flush=True)
    return found


_RATIOS = ("instructions", "model_cycles")


def main() -> None:
    """Measure the layers that were asked for; all of them go to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    chosen = [x for x in LAYERS if options.only in f"{x[0]}x{x[0]}x{x[1]}"]
    found = [row for layer in chosen for row in rows(*layer)]
    if not options.only:
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")


if __name__ == "__main__":
    main()
