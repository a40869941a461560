"""What a library that is compiled with EB_CHECK_ARENA finds wrong with an arena."""

import subprocess
import sys

import pytest

from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve
from edgebuild.tflite.writer import write_tflite
from tests.chains import chained

COMPILER = [sys.executable, "-m", "ziglang", "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"]

CHECKS = """
#include <string.h>
#include "one.h"
#include "two.h"

static _Alignas(16) unsigned char arena[2 * (ONE_ARENA_BYTES + TWO_ARENA_BYTES)];
static _Alignas(16) unsigned char moved[ONE_ARENA_BYTES];
static int nested;

void eb_layer_done(uint32_t layer)
{
    if (layer == 0U) {
        nested = one_run(arena);
    }
}

#define MUST(condition) if (!(condition)) return __LINE__
int main(void)
{
    MUST(one_run(arena) == EB_ERROR_ARENA); /* never initialized */
    MUST(one_init(arena, ONE_ARENA_BYTES - 1) == EB_ERROR_TOO_SMALL);
    MUST(one_init(arena, sizeof arena) == EB_OK);
    MUST(one_run(arena) == EB_OK);
    MUST(nested == EB_ERROR_ARENA); /* in use, by the run that called the hook */
    MUST(one_run(arena) == EB_OK);

    memcpy(moved, arena, sizeof moved);
    MUST(one_run(moved) == EB_ERROR_ARENA);
    MUST(one_run(arena + 4) == EB_ERROR_ARENA); /* not aligned */

    MUST(two_run(arena) == EB_ERROR_ARENA); /* initialized for another model */
    MUST(two_init(arena, sizeof arena) == EB_OK);
    MUST(two_run(arena) == EB_OK);

    MUST(one_init(arena, sizeof arena) == EB_OK);
    memset(arena + ONE_ARENA_BYTES - EB_ARENA_GUARD_BYTES, 1, 1); /* overwritten */
    MUST(one_run(arena) == EB_ERROR_ARENA);
    MUST(one_run(arena) == EB_ERROR_ARENA);
    MUST(one_init(arena, sizeof arena) == EB_OK);
    MUST(one_run(arena) == EB_OK);
    return 0;
}
"""

UNCHECKED = """
#include "one.h"
_Static_assert(EB_ARENA_GUARD_BYTES == 0, "");
static _Alignas(16) unsigned char arena[ONE_ARENA_BYTES];
int main(void) { return one_run(arena); }
"""


@pytest.fixture
def library(bench, tmp_path):
    """The files of two models in one folder."""
    make = bench.Layers(3)
    layers = {
        "one": [make.conv((1, 6, 6, 8), 8, (1, 1)), make.depthwise((1, 6, 6, 8))],
        "two": [make.conv((1, 9, 9, 4), 12, (3, 3))],
    }
    for name, chain in layers.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(write_tflite(chained(chain)))
        plan = make_plan(BuildRequest(path, "cortex-m4"))
        for file, text in resolve(plan, lambda _: None).emitted.files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
    return tmp_path / "lib"


def run(library, program, *flags):
    (library / "main.c").write_text(program)
    sources = sorted(library.rglob("*.c"))
    subprocess.run([*COMPILER, *flags, *sources, "-o", library / "main"], check=True, timeout=120)
    return subprocess.run([library / "main"], timeout=60).returncode


def test_what_is_found(library):
    """The program returns the line of the first claim that does not hold."""
    sanitize = "-fsanitize=undefined", "-fno-sanitize-recover=undefined"
    assert run(library, CHECKS, "-DEB_CHECK_ARENA", "-DEB_PROFILE", *sanitize) == 0


def test_unchecked_arenas_are_no_larger(library):
    assert run(library, UNCHECKED) == 0
