"""A small handwritten model that fills eb_model, and the firmware around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebuild.codegen.linker import render_linker_script
from edgebuild.codegen.sources import runtime_dir
from edgebuild.devices.simulator import Region
from edgebuild.regions import Memory, placement_of
from edgebuild.toolchain import CompileJob, Image, find_toolchain

INPUT_BYTES = 64
ARENA_BYTES = 192
FLASH_BYTES = 4 << 20
RAM_BYTES = 128 << 10
MEMORIES = (
    Memory("flash", "flash", 0, FLASH_BYTES),
    Memory("ram", "ram", 0x2000_0000, RAM_BYTES),
)
REGIONS = tuple(Region(m.name, m.origin, m.size_bytes, m.kind) for m in MEMORIES)

MODEL = r"""
#include <string.h>
#include "edgebuild/eb.h"

static const int8_t weights[64] = { 1, 2, 3, -4, 5 };
static const int32_t shape[1] = { 64 };
static const eb_tensor_info infos[1] = { { "x", shape, 64U, 0.5f, 0, 1, EB_INT8 } };

static int toy_init(void *arena, size_t n)
{
    if (arena == NULL) return EB_ERROR_NULL;
    return n < 192U ? EB_ERROR_TOO_SMALL : EB_OK;
}
static void *toy_input(void *arena, uint32_t i) { return i == 0U ? arena : NULL; }
static const void *toy_output(const void *arena, uint32_t i)
{
    return i == 0U ? (const uint8_t *)arena + 64 : NULL;
}
/* 64-bit multiplication and division need the run-time library on a Cortex-M0. */
__attribute__((noinline)) static void layer(const int8_t *x, int8_t *y)
{
    for (int i = 0; i < 64; i++) {
        int64_t s = 0;
        for (int j = 0; j < 64; j++) s += (int64_t)x[j] * weights[(i + j) & 63] * (i + 1);
        s = s / (x[i] * x[i] + 1);
        y[i] = (int8_t)(s > 127 ? 127 : (s < -128 ? -128 : s));
    }
}
#ifndef TOY_EXTRA
#define TOY_EXTRA
#endif
static int toy_run(void *arena)
{
    int8_t *a = arena;
    int8_t copy[64];
    layer(a, a + 64);
    EB_LAYER_DONE(0U);
    memcpy(copy, a + 64, 64);
    for (int i = 0; i < 64; i++) copy[i] = (int8_t)((float)copy[i] * 0.37f);
    layer(copy, a + 64);
    EB_LAYER_DONE(1U);
    TOY_EXTRA
    return EB_OK;
}
extern const eb_model toy_model;
const eb_model toy_model = { "toy", 192U, 2U, 1U, 1U, infos, infos,
                             toy_init, toy_run, toy_input, toy_output };
"""

MAIN = r"""
#include "edgebuild/eb.h"
#include "eb_startup.h"

extern const eb_model toy_model;
extern const eb_model *const eb_app_model;
const eb_model *const eb_app_model = &toy_model;
extern uint8_t eb_arena[192];
__attribute__((section(".eb_arena"), aligned(16))) uint8_t eb_arena[192];

#ifdef EB_PROFILE
static volatile uint32_t done[4];
__attribute__((noinline)) void eb_layer_done(uint32_t layer)
{
    for (uint32_t i = 0; i <= layer; i++) done[layer & 3U]++;
}
#endif

static volatile uint32_t checks[5] = { 7U };
static volatile uint32_t zeroed;

/* Semihosting: ends the emulator with status 0 when all is well. */
static void leave(uint32_t ok)
{
    const uint32_t block[2] = { 0x20026U, ok ? 0U : 1U };
    __asm volatile("mov r1, %0\n movs r0, #0x20\n bkpt 0xab" ::"r"(block) : "r0", "r1", "memory");
}

int main(void)
{
    uint32_t ok = checks[0] == 7U && zeroed == 0U;
    ok &= eb_app_model->init(eb_arena, sizeof eb_arena) == EB_OK;
    for (int i = 0; i < 64; i++) ((int8_t *)eb_app_model->input(eb_arena, 0U))[i] = (int8_t)(3 * i);
    ok &= eb_app_model->run(eb_arena) == EB_OK;
    ok &= eb_stack_high_water() > 64U && eb_stack_high_water() < 4096U;
    leave(ok);
    return 0;
}
"""


def toy_job(*, profile: bool = True, extra: str = "", optimize: str = "-O2") -> CompileJob:
    """Return the firmware's sources; ``extra`` are statements at the end of the model's run."""
    runtime = (runtime_dir() / "eb.h").read_text()
    sources = {"toy.c": MODEL, "main.c": MAIN, "edgebuild/eb.h": runtime}
    if extra:
        sources["toy.c"] = f"#define TOY_EXTRA {extra}\n{MODEL}"
    return CompileJob(sources, defines={"EB_PROFILE": "1"} if profile else {}, optimize=optimize)


def toy_script(
    memories: Sequence[Memory] = MEMORIES,
    place: Mapping[str, Sequence[str]] | None = None,
    *,
    stack_bytes: int = 4096,
) -> str:
    """Return the linker script for ``memories``."""
    placement = placement_of(memories, place or {})
    assert placement is not None
    return render_linker_script(placement, stack_bytes, ("toy",))


def toy_image(folder: Path, core: str, toolchain: str = "zig", **options: object) -> Image:
    """Build the toy's firmware."""
    job = toy_job(**options)  # type: ignore[arg-type]
    return find_toolchain(toolchain).build_image(job, core, toy_script(), folder)


def toy_reference(x: list[int]) -> list[int]:
    """Return what the model computes; ``x`` are 64 int8 values."""
    weights = [1, 2, 3, -4, 5] + [0] * 59

    def layer(values: list[int]) -> list[int]:
        out = []
        for i in range(64):
            s = sum(values[j] * weights[(i + j) & 63] * (i + 1) for j in range(64))
            divisor = values[i] ** 2 + 1
            quotient = abs(s) // divisor * (1 if s >= 0 else -1)
            out.append(max(-128, min(127, quotient)))
        return out

    import numpy as np

    scaled = np.array(layer(x), np.float32) * np.float32(0.37)
    return layer([int(v) for v in np.trunc(scaled)])
