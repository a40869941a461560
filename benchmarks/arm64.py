"""Instructions of one inference on AArch64, NEON kernels against the portable C, under QEMU.

Both come from the same compiler at the same optimization level; every output is compared with
TFLite Micro's. Instruction counts say little of a phone's speed, but they are exact.

    python benchmarks/arm64.py [MODEL.tflite ...] [--layers]

Without models it takes those of MLPerf Tiny in the shared folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgebuild.backends.arm64 import compile_arm64_program
from edgebuild.backends.emit import emit_library
from edgebuild.codegen.names import c_identifier
from edgebuild.devices.arm64 import ISAS, QemuArm64Device
from edgebuild.devices.base import RunResult
from edgebuild.graph import Graph
from edgebuild.passes import supported_graph
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.verification import make_samples

ROOT = Path(__file__).resolve().parent.parent


def runs(path: Path, graph: Graph) -> Iterator[tuple[str, RunResult]]:
    """Yield the name of each set of kernels and one inference with it, portable first."""
    name = c_identifier(path.stem)
    samples = make_samples(graph, 4, seed=0)[3:]
    oracle = run_oracle(path.read_bytes(), samples).outputs
    for kernels, isas in (("portable", ("base",)), ("neon", ISAS)):
        emitted = emit_library(graph, name, CpuFeatures(neon=kernels == "neon"))
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
    options = parser.parse_args()
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
