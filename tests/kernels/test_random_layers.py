"""A thousand random layers for each family of kernels, three inputs each: 3,000 cases a family.

Every layer is one call on buffers of its own, with guarded memory around each. A layer runs with
any of the kernels that may run it, drawn at random.
"""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen.c_library import generate_library
from edgebuild.graph import Graph
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS, KernelCall
from edgebuild.ops.support import interpret
from edgebuild.profile import CpuFeatures
from edgebuild.tflite.writer import write_tflite
from edgebuild.toolchain.cache import cache_dir
from tests.conftest import ROOT
from tests.kernels import harness, m55

LAYERS, PROGRAMS, SAMPLES = 1000, 4, 3
KINDS = (
    *("add_s8", "average_pool2d_s8", "conv2d_1x1_s8_dsp", "conv2d_rows_s8_dsp", "conv2d_s8"),
    *("conv2d_s8_dsp", "conv2d_s8_winograd_dsp", "conv2d_s8_winograd_stride2_dsp"),
    *("depthwise_conv2d_3x3_s8_dsp", "depthwise_conv2d_s8", "depthwise_conv2d_s8_dsp"),
    *("fully_connected_s8", "fully_connected_s8_dsp", "max_pool2d_s8", "mul_s8", "softmax_s8"),
    "sub_s8_dsp",
)
"""The sweeps of ``benchmarks/fit_cycles.py`` that layers are drawn from."""

QEMU = {"dsp": ["qemu-arm"], "neon": ["qemu-aarch64", "-cpu", "max"]}
FAMILIES = {
    "portable": (CpuFeatures(), harness.SANITIZED_GCC),
    "dsp": (CpuFeatures(dsp=True), [*harness.ARM_DSP_ZIG, "-DEB_GUARD"]),
    "neon": (CpuFeatures(neon=True), harness.ARM64_ZIG),
}

_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef EB_GUARD
#include <sys/mman.h>
#endif
{declared}
typedef void (*layer)(const void *, const void *, void *, void *);
static const layer layers[] = {{ {names} }};
static const uint32_t sizes[][4] = {{ {sizes} }};

#define ZONE 64U
#ifdef EB_GUARD
#define PAGE ((size_t)1 << 16)
/* Memory that ends, but for the alignment of 16, where memory ends. */
static uint8_t *allocate(uint32_t bytes)
{{
    const size_t used = (bytes + 15U) / 16U * 16U;
    const size_t room = (used + ZONE + PAGE - 1U) / PAGE * PAGE;
    uint8_t *all = mmap(NULL, room + PAGE, PROT_NONE, MAP_PRIVATE | 0x20, -1, 0);
    if (all == MAP_FAILED || mprotect(all, room, PROT_READ | PROT_WRITE) != 0) exit(5);
    memset(all, 0xA5, room);
    return all + room - used;
}}
/* Whether nothing before the buffer was written; gives it back. */
static int intact(uint8_t *p, uint32_t bytes)
{{
    const size_t used = (bytes + 15U) / 16U * 16U;
    const size_t room = (used + ZONE + PAGE - 1U) / PAGE * PAGE;
    int good = 1;
    for (uint32_t i = 1; i <= ZONE; i++) good &= p[-(int32_t)i] == 0xA5;
    for (size_t i = bytes; i < used; i++) good &= p[i] == 0xA5;
    munmap(p + used - room, room + PAGE);
    return good;
}}
#else
static uint8_t *allocate(uint32_t bytes)
{{
    uint8_t *p = malloc(bytes > 0U ? bytes : 1U); /* which the sanitizer guards */
    memset(p, 0xA5, bytes);
    return p;
}}
static int intact(uint8_t *p, uint32_t bytes) {{ (void)bytes; free(p); return 1; }}
#endif

int main(void)
{{
    uint32_t n;
    while (fread(&n, sizeof n, 1, stdin) == 1) {{
        uint8_t *p[4];
        for (int i = 0; i < 4; i++) p[i] = allocate(sizes[n][i]);
        for (int i = 0; i < 2; i++)
            if (fread(p[i], 1, sizes[n][i], stdin) != sizes[n][i]) return 3;
        layers[n](p[0], p[1], p[2], p[3]);
        fwrite(p[2], 1, sizes[n][2], stdout);
        for (int i = 0; i < 4; i++)
            if (!intact(p[i], sizes[n][i])) {{
                fprintf(stderr, "layer %u writes around buffer %d", (unsigned)n, i);
                return 4;
            }}
    }}
    return 0;
}}
"""


@pytest.fixture(scope="module")
def fits():
    """The module ``benchmarks/fit_cycles.py``."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import fit_cycles
    finally:
        sys.path.pop(0)
    return fit_cycles


def drawn(fits, cpu: CpuFeatures, seed: int) -> Iterator[tuple[Graph, KernelCall]]:
    """Yield random layers of one output, each with one of the calls that may run it."""
    rng = np.random.default_rng(seed)
    shapes = fits.Random(seed)
    while True:
        graph = fits.SWEEPS[KINDS[rng.integers(len(KINDS))]][1](shapes)
        node = graph.node(0)
        calls = OPS[node.kind].candidates(node, cpu)
        call = calls[rng.integers(len(calls))]
        given = [node.input(position).is_constant for position in call.inputs]
        if not any(given) and node.output.elements and call.params_type:
            yield graph, call


def sources(layers: Sequence[tuple[Graph, KernelCall]]) -> dict[str, str]:
    """Return the C of all layers: kernels, and one file with their constants and calls."""
    files: dict[str, str] = {}
    names, sizes = [], []
    for number, (graph, call) in enumerate(layers):
        files |= generate_library(graph, [call], plan_memory(graph, [call]), f"m{number}")
        files[f"m{number}.c"] += m55.direct_call(number, call)
        names.append(f"m{number}_direct")
        inputs = [t.nbytes for t in graph.input_tensors] + [0]
        buffers = [*inputs[:2], graph.node(0).output.nbytes, call.scratch_bytes]
        sizes.append(f"{{ {', '.join(f'{size}U' for size in buffers)} }}")
    declared = "\n".join(m55.SIGNATURE.format(name=name) + ";" for name in names)
    main = _MAIN.format(declared=declared, names=", ".join(names), sizes=", ".join(sizes))
    return {**harness.in_one_file(files, len(layers)), "main.c": main}


def requests(graphs: Sequence[Graph]) -> list[harness.Request]:
    """Return three inferences of each: two of extreme values in turn, one of random ones."""
    found = []
    for number, graph in enumerate(graphs):
        samples = harness.sample_inputs(graph, 5, seed=number)
        for sample in (samples[number % 2], *samples[3:]):
            found.append(harness.Request(number, sample))
    return found


@pytest.mark.parametrize("program", range(PROGRAMS))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_layers(fits, family, program, tmp_path):
    cpu, compiler = FAMILIES[family]
    prefix = QEMU.get(family, [])
    if prefix and shutil.which(prefix[0]) is None:
        pytest.skip(f"{prefix[0]} is not installed (Debian: qemu-user)")
    if compiler[0] == "gcc" and shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    layers = list(itertools.islice(drawn(fits, cpu, 100 + program), LAYERS // PROGRAMS))
    graphs = [graph for graph, _ in layers]
    files = sources(layers)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    done = subprocess.run(
        [*compiler, "-std=c11", *(p for p in files if p.endswith(".c")), "-o", "program"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={"ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"), **os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:4000]
    asked = requests(graphs)
    answers = harness.run_program(tmp_path / "program", graphs, asked, prefix)
    check(layers, asked, answers)


def check(layers, asked, answers) -> None:
    for request, (found,) in zip(asked, answers, strict=True):
        graph, call = layers[request.number]
        (right,) = (interpret(graph, request.inputs)[i] for i in graph.outputs)
        assert np.array_equal(found, right), (request.number, call.function, call.params)


def test_random_layers_on_tflite_micro(fits):
    """The reference that all others are compared with, on a quarter of the portable layers."""
    layers = list(itertools.islice(drawn(fits, CpuFeatures(), 100), LAYERS // PROGRAMS))
    graphs = [graph for graph, _ in layers]
    asked = requests(graphs)
    jobs = [
        (write_tflite(graph), [r.inputs for r in asked if r.number == number])
        for number, graph in enumerate(graphs)
    ]
    child = Path(__file__).with_name("oracle_child.py")
    done = subprocess.run(
        [sys.executable, str(child)], input=pickle.dumps(jobs), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    flat = [sample for answer in pickle.loads(done.stdout) for sample in answer]
    check(layers, asked, flat)


@pytest.mark.parametrize("program", range(PROGRAMS))
def test_random_layers_with_helium(fits, program, tmp_path):
    layers = drawn(fits, m55.MVE, 100 + program)
    graphs = [graph for graph, _ in itertools.islice(layers, LAYERS // PROGRAMS)]
    built = m55.build_program(graphs, "zig", tmp_path, direct=True)
    asked = requests(graphs)
    calls = [(graph, OPS[graph.node(0).kind].kernel(graph.node(0), m55.MVE)) for graph in graphs]
    check(calls, asked, m55.run_program(built, graphs, asked))
