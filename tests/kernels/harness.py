"""Compile the generated C of many one-operator models into one program and run it.

The program reads requests (model number, input bytes) and answers with output bytes, so that it can
run natively under sanitizers or as an Arm program under qemu-arm.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.codegen.c_library import generate_library
from edgebuild.graph import DType, Graph
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS, KernelCall
from edgebuild.targets import CpuFeatures
from edgebuild.toolchain.cache import cache_dir

WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
SANITIZED_GCC = ["gcc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
ARM_DSP_ZIG = [
    *(sys.executable, "-m", "ziglang", "cc", "-target", "thumb-linux-musleabihf"),
    *("-mcpu=cortex_a9", "-static", "-O2"),
]
"""Armv7-A in Thumb state has the same DSP instructions as a Cortex-M4."""

ARM64_ZIG = [
    *(sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl"),
    *("-static", "-s", "-O2", "-DEB_GUARD"),
]
"""With memory behind each arena that must not be touched."""

_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "edgebuild/eb.h"
#ifdef EB_GUARD
#include <sys/mman.h>
#endif
{declarations}
#ifdef EB_GUARD
#define PAGE ((size_t)1 << 16)
static uint8_t *allocate(size_t bytes)
{{
    const size_t room = (bytes + PAGE - 1U) / PAGE * PAGE;
    uint8_t *all = mmap(NULL, room + PAGE, PROT_NONE, MAP_PRIVATE | 0x20, -1, 0);
    if (all == MAP_FAILED || mprotect(all, room, PROT_READ | PROT_WRITE) != 0) exit(5);
    return all + room - bytes;
}}
static void release(uint8_t *arena, size_t bytes)
{{
    const size_t room = (bytes + PAGE - 1U) / PAGE * PAGE;
    munmap(arena + bytes - room, room + PAGE);
}}
#else
static uint8_t *allocate(size_t bytes) {{ return aligned_alloc(16, bytes); }}
static void release(uint8_t *arena, size_t bytes) {{ (void)bytes; free(arena); }}
#endif
static const eb_model *const models[] = {{ {table} }};

int main(void)
{{
    uint32_t number;
    while (fread(&number, sizeof number, 1, stdin) == 1) {{
        const eb_model *m = models[number];
        const size_t bytes = (m->arena_bytes + 15U) / 16U * 16U;
        uint8_t *arena = allocate(bytes);
        memset(arena, 0xA5, m->arena_bytes);
        if (m->init(arena, m->arena_bytes) != 0) return 2;
        for (uint32_t i = 0; i < m->input_count; i++)
            if (fread(m->input(arena, i), 1, m->inputs[i].bytes, stdin) != m->inputs[i].bytes)
                return 3;
        if (m->run(arena) != 0) return 4;
        for (uint32_t i = 0; i < m->output_count; i++)
            fwrite(m->output(arena, i), 1, m->outputs[i].bytes, stdout);
        release(arena, bytes);
    }}
    return 0;
}}
"""


@dataclass(frozen=True)
class Request:
    """One inference of model ``number`` (its place in the list that was built)."""

    number: int
    inputs: Sequence[np.ndarray]


def usual_calls(graph: Graph, cpu: CpuFeatures) -> list[KernelCall]:
    """Return the usual kernel of each operator: the layers here are so small that others may be
    faster."""
    return [OPS[node.kind].kernel(node, cpu) for node in graph.nodes()]


Calls = Callable[[Graph, CpuFeatures], Sequence[KernelCall]]
"""What gives the kernels of a graph."""


def library_files(
    graphs: Sequence[Graph],
    cpu: CpuFeatures,
    calls_of: Calls = usual_calls,
) -> dict[str, str]:
    """Return the generated C of all ``graphs``, models m0, m1, ..., with their calls."""
    files: dict[str, str] = {}
    for number, graph in enumerate(graphs):
        calls = calls_of(graph, cpu)
        plan = plan_memory(graph, calls)
        files.update(generate_library(graph, calls, plan, f"m{number}"))
    return files


def in_one_file(files: Mapping[str, str], count: int) -> dict[str, str]:
    """Return ``files`` of ``count`` models with what is their own in one, which compiles sooner."""
    own = [f"m{n}{end}" for n in range(count) for end in ("_weights.c", ".c")]
    rest = {path: text for path, text in files.items() if path not in own}
    return {**rest, "layers.c": "\n".join(files[path] for path in own if path in files)}


def with_models(main: str, count: int) -> str:
    """Return the C of ``main`` with declarations and the table of ``count`` models."""
    names = [f"m{i}" for i in range(count)]
    return main.format(
        declarations="\n".join(f"extern const eb_model {n}_model;" for n in names),
        table=", ".join(f"&{n}_model" for n in names),
    )


def build_program(
    graphs: Sequence[Graph],
    cpu: CpuFeatures,
    compiler: Sequence[str],
    folder: Path,
    calls_of: Calls = usual_calls,
) -> Path:
    """Generate and compile ``graphs`` with their calls into one program in ``folder``; return its
    path."""
    files = library_files(graphs, cpu, calls_of)
    files["main.c"] = with_models(_MAIN, len(graphs))
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    program = folder / "program"
    sources = [path for path in files if path.endswith(".c")]
    done = subprocess.run(
        [*compiler, *WARNINGS, *sources, "-o", str(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        # Where edgebuild's own builds keep the C library that zig compiles for each target.
        env={"ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"), **os.environ},
    )
    assert done.returncode == 0, done.stderr[:6000]
    return program


def run_program(
    program: Path, graphs: Sequence[Graph], requests: Sequence[Request], prefix: Sequence[str] = ()
) -> list[tuple[np.ndarray, ...]]:
    """Run all requests; return each one's outputs."""
    done = subprocess.run(
        [*prefix, str(program)], input=request_bytes(requests), capture_output=True, timeout=600
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:6000]
    return split_answers(done.stdout, graphs, requests)


def request_bytes(requests: Sequence[Request]) -> bytes:
    """Return what the program reads."""
    return b"".join(
        np.uint32(r.number).tobytes()
        + b"".join(np.ascontiguousarray(x).tobytes() for x in r.inputs)
        for r in requests
    )


def split_answers(
    answers: bytes, graphs: Sequence[Graph], requests: Sequence[Request]
) -> list[tuple[np.ndarray, ...]]:
    """Return each request's outputs, from all that the program wrote."""
    results = []
    offset = 0
    for request in requests:
        outputs = []
        for tensor in graphs[request.number].output_tensors:
            raw = answers[offset : offset + tensor.nbytes]
            offset += tensor.nbytes
            outputs.append(np.frombuffer(raw, tensor.dtype.numpy).reshape(tensor.shape))
        results.append(tuple(outputs))
    assert offset == len(answers)
    return results


def sample_inputs(graph: Graph, count: int, seed: int = 0) -> list[list[np.ndarray]]:
    """Return inputs for ``count`` inferences: lowest, highest and zero values, then random ones."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        sample = []
        for tensor in graph.input_tensors:
            if tensor.dtype == DType.FLOAT32:
                values = rng.normal(0, 60, tensor.shape)
                sample.append(values.astype(np.float32))
                continue
            info = np.iinfo(tensor.dtype.numpy if tensor.dtype != DType.BOOL else np.uint8)
            if number < 3:
                value = (info.min, info.max, 0)[number]
                sample.append(np.full(tensor.shape, value, tensor.dtype.numpy))
            else:
                draw = rng.integers(info.min, info.max, tensor.shape, endpoint=True, dtype=np.int64)
                sample.append(draw.astype(tensor.dtype.numpy))
        samples.append(sample)
    return samples
