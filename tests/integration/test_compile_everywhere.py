"""Every kernel compiled for every core, with all warnings as errors; and every operator run.

One model holds the operators' cases side by side, so that one build compiles all kernels that a
core has and one run compares all of them with TFLite Micro, on that core and by that compiler.
"""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator

import pytest

import edgebuild
from edgebuild.backends.emit import emit_library
from edgebuild.codegen.sources import runtime_dir
from edgebuild.graph import ABSENT, Graph, Op, Tensor
from edgebuild.ops import OPS
from edgebuild.ops.band_rows import sums_rows
from edgebuild.ops.base import Case
from edgebuild.resources import resource_dir
from edgebuild.schedule.schedule import FAST_SCRATCH
from edgebuild.targets import CpuFeatures, load_target
from edgebuild.tflite.writer import write_tflite
from edgebuild.toolchain import CompileJob
from edgebuild.toolchain.compiler import COMMON
from edgebuild.toolchain.zig import ZigToolchain

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
FEATURES = (
    CpuFeatures(),
    *dict.fromkeys(load_target(name).cpu.features for name in (*TARGETS, "android-cpu")),
)
TRIPLES = ("riscv32-freestanding", "aarch64-linux-musl", "x86_64-linux-musl")


def sources(graph: Graph, cpu: CpuFeatures) -> set[str]:
    """Return the kernels that may run ``graph`` on a core."""
    calls = [call for node in graph.nodes() for call in OPS[node.kind].candidates(node, cpu)]
    calls += [OPS[node.kind].fastest(node, cpu, FAST_SCRATCH[0])[0] for node in graph.nodes()]
    return {source for call in calls for source in call.sources}


def chosen_cases() -> Iterator[Case]:
    """Yield two cases of each operator, and all that take a kernel which none before them takes."""
    seen: set[str] = set()
    for kind in sorted(OPS):
        for number, case in enumerate(OPS[kind].cases()):
            taken = set().union(*(sources(case.graph, cpu) for cpu in FEATURES))
            if number < 2 or taken - seen:
                yield case
            seen |= taken


def side_by_side(graphs: Iterable[Graph]) -> Graph:
    """Return one graph that computes all of ``graphs``."""
    tensors: dict[int, Tensor] = {}
    ops: list[Op] = []
    inputs: list[int] = []
    outputs: list[int] = []
    for graph in graphs:
        first = len(tensors)
        new = {old: first + n for n, old in enumerate(sorted(graph.tensors))} | {ABSENT: ABSENT}
        for old, tensor in graph.tensors.items():
            tensors[new[old]] = dataclasses.replace(tensor, index=new[old], name=f"t{new[old]}")
        for op in graph.ops:
            places = {
                "inputs": tuple(new[i] for i in op.inputs),
                "outputs": tuple(new[i] for i in op.outputs),
            }
            ops.append(dataclasses.replace(op, **places))
        inputs += [new[i] for i in graph.inputs]
        outputs += [new[i] for i in graph.outputs]
    return Graph("many", tuple(inputs), tuple(outputs), tuple(ops), tensors)


@pytest.fixture(scope="module")
def graph():
    return side_by_side(case.graph for case in chosen_cases())


@pytest.fixture(scope="module")
def model(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("many") / "many.tflite"
    path.write_bytes(write_tflite(graph))
    return path


def needs(toolchain: str, target: str) -> None:
    """Skip where the compiler is not installed; zig always is."""
    program = "gcc" if target == "host" else "arm-none-eabi-gcc"
    if toolchain == "gcc" and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def test_the_model_takes_every_kernel(graph):
    folder = runtime_dir()
    shipped = {path.relative_to(folder).as_posix() for path in folder.rglob("*.c")}
    # Those that add rows to sums run in bands alone, which have a test of their own.
    whole = (node for node in graph.nodes() if sums_rows(node))
    calls = (OPS[node.kind].row_sums(node, node.input(0).shape[1], True, True) for node in whole)
    of_bands = {source for call in calls for source in call.sources}
    assert of_bands | set().union(*(sources(graph, cpu) for cpu in FEATURES)) == shipped
    assert {op.kind for op in graph.ops} == set(OPS)


def test_compiled_and_run_for_phones(model, tmp_path):
    run = "qemu" if shutil.which("qemu-aarch64") else "host"
    report = edgebuild.build(model, target="android-cpu", run=run, samples=4, out=tmp_path)
    assert report.passed and report.comparison.compared_bytes > 4_000


def test_warnings_are_errors():
    assert {"-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion"} <= set(COMMON)


def builds() -> Iterator[object]:
    """Yield each target with each compiler; GCC for cores that share their kernels waits for the
    nightly run."""
    for target in ("host", *TARGETS):
        yield pytest.param(target, "zig")
        shares = target in ("cortex-m3", "cortex-m7", "cortex-m33")
        yield pytest.param(target, "gcc", marks=[pytest.mark.gcc, *[pytest.mark.slow] * shares])


@pytest.mark.parametrize(("target", "toolchain"), list(builds()))
def test_compiled_and_run(model, tmp_path, target, toolchain):
    """The M55 has no simulator: its firmware is linked here, and run in QEMU below."""
    needs(toolchain, target)
    run = "none" if target == "cortex-m55" else None
    report = edgebuild.build(
        model, target=target, toolchain=toolchain, run=run, samples=4, out=tmp_path
    )
    assert report.passed
    if run is None:
        assert report.comparison.samples == 4 and report.comparison.compared_bytes > 4_000
    else:
        assert (tmp_path / f"many-{target}" / "firmware.elf").stat().st_size > 10_000


@pytest.mark.qemu
@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_cortex_m55_in_qemu(model, tmp_path, toolchain):
    needs(toolchain, "mps3-an547")
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    report = edgebuild.build(
        model, target="mps3-an547", toolchain=toolchain, run="qemu", samples=4, out=tmp_path
    )
    assert report.passed and report.comparison.device == "qemu mps3-an547"


@pytest.mark.parametrize("triple", TRIPLES)
def test_other_architectures(graph, triple):
    files = emit_library(graph, "many", CpuFeatures()).files
    ZigToolchain().compile_check(CompileJob(files, ()), triple)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "cortex-m0plus", "cortex-m4"])
def test_all_cases_in_one_model(tmp_path, target):
    every = side_by_side(case.graph for kind in sorted(OPS) for case in OPS[kind].cases())
    (tmp_path / "every.tflite").write_bytes(write_tflite(every))
    report = edgebuild.build(tmp_path / "every.tflite", target=target, samples=4, out=tmp_path)
    assert report.passed and len(report.layers) == len(every.ops)


COMPILERS = {
    "host": ("gcc",),
    "cortex-m0plus": ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m0plus"),
    "cortex-m4": ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4"),
}


@pytest.mark.parametrize(
    "core",
    [pytest.param(core, marks=pytest.mark.gcc if core != "host" else ()) for core in COMPILERS],
)
def test_what_cannot_be_compiled_for_a_core_says_why_first(core):
    """That are the kernels for AArch64. Every other file of the runtime compiles for every core, as
    portable C where need be."""
    command = COMPILERS[core]
    if shutil.which(command[0]) is None or (core == "host" and platform.machine() != "x86_64"):
        pytest.skip(f"no {command[0]} for another machine than AArch64")
    headers = resource_dir("firmware") / "startup" / "include"
    flags = ["-std=c11", "-fsyntax-only"]
    flags += [] if core == "host" else ["-ffreestanding", f"-I{headers}"]
    said = {}
    for path in sorted(runtime_dir().rglob("*.c")):
        done = subprocess.run([*command, *flags, path], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            lines = done.stderr.splitlines()
            said[path.name] = next(line for line in lines if "error:" in line)
    neon = {path.name for path in runtime_dir().rglob("*neon*.c")} - {"eb_neon_isa.c"}
    assert len(neon) > 5 and set(said) == neon
    assert {line.partition("error: ")[2] for line in said.values()} == {
        '#error "this kernel needs AArch64"'
    }
