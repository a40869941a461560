"""Instructions of one inference on AArch64, NEON kernels against the portable C, under QEMU.

Both come from the same compiler at the same optimization level; every output is compared with
TFLite Micro's. Instruction counts say little of a phone's speed, but they are exact.

    python benchmarks/arm64.py [MODEL.tflite ...] [--layers]
    python benchmarks/arm64.py --winograd

Without models it takes those of MLPerf Tiny in the shared folder. ``--winograd`` compares
convolutions of 3x3 on `base`, in Winograd's tiles and without.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cycle_layers import Layers

from edgebuild.backends.arm64 import compile_arm64_program
from edgebuild.backends.emit import emit_library
from edgebuild.codegen.names import c_identifier
from edgebuild.devices.arm64 import ISAS, QemuArm64Device
from edgebuild.devices.base import RunResult
from edgebuild.graph import Graph
from edgebuild.ops import OPS, KernelCall, neon, winograd_neon
from edgebuild.ops import convolution as conv
from edgebuild.ops.support import interpret
from edgebuild.passes import supported_graph
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.verification import make_samples

ROOT = Path(__file__).resolve().parent.parent


def runs(path: Path, graph: Graph) -> Iterator[tuple[str, RunResult]]:
    """Yield the name of each set of kernels and one inference with it, portable first; operators
    run in the order of the file, each as a layer."""
    name = c_identifier(path.stem)
    samples = make_samples(graph, 4, seed=0)[3:]
    oracle = run_oracle(path.read_bytes(), samples).outputs
    for kernels, isas in (("portable", ("base",)), ("neon", ISAS)):
        cpu = CpuFeatures(neon=kernels == "neon")
        calls = [OPS[node.kind].kernel(node, cpu) for node in graph.nodes()]
        emitted = emit_library(graph, name, cpu, calls=calls)
        with tempfile.TemporaryDirectory() as folder:
            program = compile_arm64_program(emitted, Path(folder), lambda _: None)
            for isa in isas:
                result = QemuArm64Device(program, name, isa=isa).run(samples)
                if result.outputs != oracle:
                    raise SystemExit(f"{path}: {kernels} {isa} differs from TFLite Micro")
                yield (kernels if kernels == "portable" else isa), result


def main() -> None:
    """Print a line for each model, and one for each of its layers on request."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--winograd", action="store_true")
    options = parser.parse_args()
    if options.winograd:
        print_convolutions()
        return
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    models = options.models or sorted((shared / "models" / "mlperf_tiny").glob("*_int8.tflite"))
    print(f"{'':32}{'portable':>12}" + "".join(f"{isa:>12}{'':>6}" for isa in ISAS))
    for path in models:
        graph = supported_graph(read_tflite_file(path), where=path.name).graph
        results = [result for _, result in runs(path, graph)]
        print_row(path.stem, [total(result) for result in results])
        for node in graph.nodes() if options.layers else ():
            counts = [result.layers[node.position].instructions or 0 for result in results]
            print_row(f"  {node.position:2} {node.kind}", counts)


CONVOLUTIONS = (
    *((32, 16, 16), (16, 32, 32), (8, 64, 64), (16, 64, 128), (56, 64, 64)),
    *((96, 8, 8), (24, 8, 16), (48, 24, 24), (20, 48, 48), (14, 32, 64), (28, 32, 32)),
    *((12, 8, 16), (10, 8, 8), (9, 16, 24), (7, 64, 64), (6, 32, 32), (5, 32, 32)),
    *((16, 12, 20), (32, 3, 16), (4, 16, 16), (3, 64, 64)),
)
"""Sides of the image, channels of the input and of the output."""


def print_convolutions() -> None:
    """Print a line for each of 3x3."""
    print(f"{'':22}{'direct':>12}{'Winograd':>12}{'':>6}  runs")
    for side, in_c, out_c in CONVOLUTIONS:
        graph = Layers().conv((1, side, side, in_c), out_c)
        node, m = graph.node(0), matrix_of(graph)
        direct, tiled = (
            counted(graph, call)
            for call in (neon.conv2d_call(node, m), winograd_neon.winograd_call(node, m))
        )
        runs = "Winograd" if winograd_neon.pays(m) else "direct"
        label = f"{side}x{side}, {in_c} to {out_c}"
        print(f"{label:22}{direct:12,}{tiled:12,}{tiled / direct:6.2f}  {runs}", flush=True)


def matrix_of(graph: Graph) -> neon.Matrix:
    """Return what the NEON kernels take of a graph's one convolution."""
    node, op = graph.node(0), OPS["CONV_2D"]
    data, window, image = node.input(1).data, op.window(node), node.input(0).shape
    assert data is not None and window is not None
    weights = data.reshape(data.shape[0], -1)
    channels = conv.channels(node, weights, single_precision_product=False)
    return neon.Matrix(weights, channels, 1, image, image[3], window)


def counted(graph: Graph, call: KernelCall) -> int:
    """Return the instructions of one inference on random values, compared with the reference."""
    x = graph.input_tensors[0]
    sample = np.random.default_rng(0).integers(-128, 128, x.shape).astype(np.int8)
    expected = interpret(graph, [sample])[graph.outputs[0]]
    emitted = emit_library(graph, "net", CpuFeatures(neon=True), calls=[call])
    with tempfile.TemporaryDirectory() as folder:
        program = compile_arm64_program(emitted, Path(folder), lambda _: None)
        result = QemuArm64Device(program, "net", isa="base").run([[sample.tobytes()]])
    if result.outputs[0][0] != expected.tobytes():
        raise SystemExit(f"{call.function} differs from the reference")
    return total(result)


def total(result: RunResult) -> int:
    """Return the instructions of the inference."""
    if result.instructions is None:
        raise SystemExit("this QEMU takes no plug-ins")
    return int(result.instructions.value)


def print_row(label: str, counts: list[int]) -> None:
    """Print instructions, and behind each NEON count its share of the portable one."""
    portable = max(counts[0], 1)
    shares = "".join(f"{n:12,}{n / portable:6.2f}" for n in counts[1:])
    print(f"{label:32}{counts[0]:12,}{shares}")


if __name__ == "__main__":
    main()
