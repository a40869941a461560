"""The program of ``harness`` as firmware for a Cortex-M55, run by ``qemu-system-arm``.

Requests and answers are files, read and written by semihosting. Arenas end where the board's
internal SRAM does: to read one byte behind is a fault. ``direct`` programs call the kernels of one
node each: the first input ends there, the second, or else the output, where another memory does.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen.linker import render_linker_script
from edgebuild.graph import Graph
from edgebuild.ops.base import KernelCall
from edgebuild.regions import Memory, placement_of
from edgebuild.targets import CORES, CpuFeatures
from edgebuild.toolchain import CompileJob, find_toolchain
from tests.kernels import harness

MVE = CORES["cortex-m55"]
PROGRAM = "qemu-system-arm"
GCC = pytest.param("gcc", marks=pytest.mark.gcc)
TOOLCHAINS = pytest.mark.parametrize("toolchain", ["zig", GCC])

_MEMORIES = (
    Memory("flash", "flash", 0, 512 << 10),
    Memory("ram", "ram", 0x2000_0000, 512 << 10),
)
_START = """
#include <stdint.h>
#include <string.h>
#include "edgebuild/eb.h"

#define END UINT32_C(0x21400000)
{declarations}
static const eb_model *const models[] = {{ {table} }};
const void *const eb_app_model = models;
uint8_t eb_arena[1];

static int32_t host(uint32_t operation, const void *arguments)
{{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}}
#define OPENED(name, mode) opened(name, sizeof name - 1U, mode)
static uint32_t opened(const char *name, uint32_t length, uint32_t mode)
{{
    const uint32_t block[3] = {{ (uint32_t)(uintptr_t)name, mode, length }};
    return (uint32_t)host(1, block);
}}
static void leave(uint32_t status)
{{
    const uint32_t block[2] = {{ 0x20026, status }};
    for (;;) (void)host(0x20, block);
}}
/* Both return 1 when all bytes were moved. */
static int moved(uint32_t operation, uint32_t file, const void *data, size_t n)
{{
    const uint32_t block[3] = {{ file, (uint32_t)(uintptr_t)data, (uint32_t)n }};
    return n == 0 || host(operation, block) == 0;
}}
void HardFault_Handler(void);
void HardFault_Handler(void) {{ leave(9); }}

"""
_MAIN = """
int main(void)
{{
    const uint32_t requests = OPENED("requests.bin", 1), answers = OPENED("answers.bin", 5);
    uint32_t number = 0;
    while (moved(6, requests, &number, sizeof number)) {{
        const eb_model *m = models[number];
        uint8_t *arena = (uint8_t *)(uintptr_t)(END - (m->arena_bytes + 15U) / 16U * 16U);
        memset(arena, 0xA5, m->arena_bytes);
        if (m->init(arena, m->arena_bytes) != 0) leave(2);
        for (uint32_t i = 0; i < m->input_count; i++)
            if (!moved(6, requests, m->input(arena, i), m->inputs[i].bytes)) leave(3);
        if (m->run(arena) != 0) leave(4);
        for (uint32_t i = 0; i < m->output_count; i++)
            if (!moved(5, answers, m->output(arena, i), m->outputs[i].bytes)) leave(5);
    }}
    leave(0);
    return 0;
}}
"""
_DIRECT = """
#define END1 UINT32_C(0x01200000)
static uint8_t *ending(uint32_t end, size_t bytes)
{{
    return (uint8_t *)(uintptr_t)(end - bytes);
}}
int main(void)
{{
    const uint32_t requests = OPENED("requests.bin", 1), answers = OPENED("answers.bin", 5);
    uint32_t number = 0;
    while (moved(6, requests, &number, sizeof number)) {{
        const eb_model *m = models[number];
        uint8_t *const scratch = (uint8_t *)(uintptr_t)UINT32_C(0x21000000);
        uint8_t *const in0 = ending(END, m->inputs[0].bytes);
        const size_t n = m->outputs[0].bytes;
        uint8_t *const in1 = m->input_count > 1 ? ending(END1, m->inputs[1].bytes) : NULL;
        uint8_t *const out = m->input_count > 1 ? ending(END - 0x10000, n) : ending(END1, n);
        if (!moved(6, requests, in0, m->inputs[0].bytes)) leave(3);
        if (in1 != NULL && !moved(6, requests, in1, m->inputs[1].bytes)) leave(3);
        direct[number]((const void *)in0, (const void *)in1, out, scratch);
        if (!moved(5, answers, out, n)) leave(5);
    }}
    leave(0);
    return 0;
}}
"""


def build_program(
    graphs: Sequence[Graph],
    toolchain: str,
    folder: Path,
    cpu: CpuFeatures = MVE,
    calls_of: harness.Calls = harness.usual_calls,
    *,
    mve: bool = True,
    direct: bool = False,
) -> Path:
    """Compile ``graphs`` with their calls into one firmware in ``folder``; return its path.

    Without ``mve`` the compiler knows of no Helium: the kernels' twins in plain C run. With
    ``direct`` each graph's one node is called on memory of its own.
    """
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    compiler = find_toolchain(toolchain)
    if not compiler.available():
        pytest.skip(f"{toolchain} is not installed")
    placement = placement_of(_MEMORIES, {})
    assert placement is not None
    sources = harness.library_files(graphs, cpu, calls_of)
    if direct:
        names = [f"m{n}_direct" for n in range(len(graphs))]
        calls = [calls_of(graph, cpu)[0] for graph in graphs]
        for n, call in enumerate(calls):
            sources[f"m{n}.c"] += direct_call(n, call)
        sources = harness.in_one_file(sources, len(graphs))
        declared = "\n".join(SIGNATURE.format(name=f"{name}") + ";" for name in names)
        table = f"static void (*const direct[])({_ARGUMENTS}) = {{{{ {', '.join(names)} }}}};"
        main = _START + declared + table + _DIRECT
    else:
        main = _START + _MAIN
    sources["main.c"] = harness.with_models(main, len(graphs))
    image = compiler.build_image(
        CompileJob(sources), "cortex-m55", render_linker_script(placement, 1 << 14, "m0"), folder,
        mve=mve,
    )  # fmt: skip
    return image.elf


_ARGUMENTS = "const void *, const void *, void *, void *"
SIGNATURE = "void {name}(const void *in0, const void *in1, void *out, void *scratch)"


def direct_call(number: int, call: KernelCall) -> str:
    """Return a function that calls the kernel of model ``number``, which has no constant input."""
    inputs = [f"in{position}" for position in call.inputs]
    passed = [f"&m{number}_params0", *inputs, "out", *(["scratch"] if call.scratch_bytes else [])]
    signature = SIGNATURE.format(name=f"m{number}_direct")
    used = "(void)in1; (void)scratch;"
    return f"\n{signature};\n{signature}\n{{ {used} {call.function}({', '.join(passed)}); }}\n"


def run_program(
    program: Path,
    graphs: Sequence[Graph],
    requests: Sequence[harness.Request],
    options: Sequence[str] = (),
) -> list[tuple[np.ndarray, ...]]:
    """Run all requests, with more ``options`` of QEMU; return each one's outputs."""
    folder = program.parent
    (folder / "requests.bin").write_bytes(harness.request_bytes(requests))
    done = subprocess.run(
        [
            *(PROGRAM, "-M", "mps3-an547", "-kernel", str(program), "-semihosting"),
            *("-display", "none", "-monitor", "none", "-serial", "none"),
            *options,
        ],
        cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode} {done.stderr.decode()[-2000:]}"
    return harness.split_answers((folder / "answers.bin").read_bytes(), graphs, requests)
