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

    def of(source, function="run", **others):
        main = "\nint main(void) { sink = run(3); return 0; }\n"
        texts = {f"{name}.c": f"#include <stdint.h>\n{text}" for name, text in others.items()}
        job = CompileJob({"main.c": HEAD + source + main, **texts})
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


FORM = """
#define USED(a) __asm volatile("" : : "r"(a) : "memory")
typedef struct { int32_t (*f)(int32_t); } form;
int32_t called(const form *by, int32_t n);
"""
CALLED = (
    FORM
    + """
int32_t called(const form *by, int32_t n) { volatile int32_t a[10]; a[0] = n; USED(a);
                                            return by->f(a[0]) + 1; }
"""
)


def large(count):
    return f"""
static int32_t large(int32_t n) {{ volatile int32_t a[{count}]; a[0] = n; USED(a); return a[0]; }}
"""


def user(count):
    """A function that gives one of its own file to a function of another."""
    return FORM + large(count) + "\nstatic const form by = {large};\n"


@pytest.mark.parametrize("static", [True, False])
def test_a_pointer_may_be_any_function_of_a_file_that_hands_it_on(bound, static):
    """In a constant, or one that the code puts together."""
    others = "KEEP int32_t small(int32_t n) { return n + 2; }"
    source = (
        FORM
        + large(100)
        + others
        + (
            """
static const form by = {large};
KEEP int32_t run(int32_t n) { sink = small(n); return called(&by, n) + 1; }
"""
            if static
            else """
KEEP int32_t run(int32_t n) { const form by = {n > 2 ? large : small}; return called(&by, n) + 1; }
"""
        )
    )
    assert 440 <= bound(source, kernel=CALLED) <= 440 + 3 * 24


def test_pointers_of_one_kernel_are_not_those_of_another(bound):
    """Nor does a function count whose address is taken where no run comes by."""
    small = "int32_t small(int32_t n);\nint32_t small(int32_t n) { return called(&by, n) + 1; }"
    source = (
        user(20)
        + f"""
int32_t small(int32_t n);
{large(200).replace("large", "unused")}
extern const form table;
const form table = {{unused}};
KEEP int32_t own(int32_t n) {{ volatile int32_t a[90]; a[0] = n; USED(a);
                              return called(&by, a[0]) + 1; }}
KEEP int32_t run(int32_t n) {{ sink = small(n); return own(n) + 1; }}
"""
    )
    deepest = 4 * (90 + 10 + 20)
    assert deepest <= bound(source, kernel=CALLED, other=user(60) + small) <= deepest + 4 * 24


def test_a_function_that_was_called_through_a_pointer_calls_another_so(bound):
    """But not itself, nor one that does the same: kernels do not recurse."""
    body = "{ const form by = {n > 2 ? again : small}; return called(&by, n) + 1; }"
    source = f"""{FORM}
KEEP int32_t again(int32_t n);
KEEP int32_t small(int32_t n) {{ volatile int32_t a[50]; a[0] = n; USED(a); return a[0] + 2; }}
KEEP int32_t again(int32_t n) {{ int32_t (*volatile f)(int32_t) = small; return f(n) + 1; }}
KEEP int32_t run(int32_t n) {body}
"""
    assert 4 * (10 + 50) <= bound(source, kernel=CALLED) <= 4 * (10 + 50) + 5 * 24
    in_a_circle = source.replace("return f(n) + 1", "return called((const form *)&f, n)")
    assert bound(in_a_circle, kernel=CALLED) is None


def test_recursion_is_not_known(bound):
    source = f"""
KEEP int32_t again(int32_t n);
KEEP int32_t run(int32_t n) {frame(10, "if (n > 0) { sink = again(n - 1); }")}
KEEP int32_t again(int32_t n) {frame(10, "if (n > 0) { sink = run(n - 1); }")}
"""
    assert bound(source) is None


def test_a_frame_of_computed_size_is_not_known(bound):
    assert bound("KEEP int32_t run(int32_t n) { volatile int32_t a[n]; return leaf(a); }") is None
