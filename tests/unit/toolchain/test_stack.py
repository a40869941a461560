"""What a run takes of the stack at most, read from the linked image."""

import pytest

from edgebuild.toolchain import CompileJob, find_toolchain
from edgebuild.toolchain.stack import stack_bound
from tests.unit.toy import toy_script

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55")

HEAD = """
#include <stdint.h>
#define KEEP __attribute__((noinline, used))
volatile int32_t sink;
KEEP int32_t leaf(volatile int32_t *x) { return *x + 1; }
"""


@pytest.fixture(params=CORES)
def bound(request, tmp_path, zig_or_gcc):
    """Compile C and return the bound of its function ``run``."""

    def of(source, function="run"):
        main = "\nint main(void) { sink = run(3); return 0; }\n"
        job = CompileJob({"main.c": HEAD + source + main})
        image = zig_or_gcc.build_image(job, request.param, toy_script(), tmp_path / "out")
        return stack_bound(image, function)

    return of


@pytest.fixture(params=["zig", "gcc"])
def zig_or_gcc(request):
    found = find_toolchain(request.param)
    if not found.available():
        pytest.skip(f"{request.param} is not installed")
    return found


def frame(count, calls=""):
    return f"{{ volatile int32_t a[{count}]; a[0] = n; {calls} return leaf(a); }}"


def test_the_deepest_path_counts(bound):
    source = f"""
KEEP int32_t small(int32_t n) {frame(10)}
KEEP int32_t large(int32_t n) {frame(100)}
KEEP int32_t middle(int32_t n) {frame(20, "if (n > 4) { sink = small(n); } sink = large(n);")}
KEEP int32_t run(int32_t n) {frame(5, "if (n < 7) { return 0; } sink = middle(n);")}
"""
    arrays = 4 * (5 + 20 + 100)
    assert arrays <= bound(source) <= arrays + 3 * 48
    assert 400 <= bound(source, "large") <= 448
    assert bound(source, "nobody") is None


def test_what_follows_a_conditional_return_counts(bound):
    source = f"KEEP int32_t run(int32_t n) {{ if (n < 1) {{ return n; }} {frame(50)} }}"
    assert 200 <= bound(source) <= 248


def test_a_pointer_may_be_any_function_beside_it(bound):
    source = f"""
KEEP int32_t small(int32_t n) {frame(10)}
KEEP int32_t large(int32_t n) {frame(100)}
KEEP int32_t run(int32_t n) {{ int32_t (*volatile f)(int32_t) = n > 2 ? small : large;
                              sink = f(n); return 1; }}
"""
    assert 400 <= bound(source) <= 480


def test_recursion_is_not_known(bound):
    source = f"""
KEEP int32_t again(int32_t n);
KEEP int32_t run(int32_t n) {frame(10, "if (n > 0) { sink = again(n - 1); }")}
KEEP int32_t again(int32_t n) {frame(10, "if (n > 0) { sink = run(n - 1); }")}
"""
    assert bound(source) is None


def test_a_frame_of_computed_size_is_not_known(bound):
    assert bound("KEEP int32_t run(int32_t n) { volatile int32_t a[n]; return leaf(a); }") is None
