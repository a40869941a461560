"""The object cache, the work of a compiler run, and native builds."""

import ctypes
import dataclasses
import errno
import os
import shutil
import subprocess
import sys

import pytest

from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.toolchain import CompileJob, find_toolchain
from edgebuild.toolchain.cache import ObjectCache, cache_dir, cache_key
from edgebuild.toolchain.process import run_tool, tool_failure
from tests.unit.toy import toy_job, toy_script

CHECK_TRIPLES = ["riscv32-freestanding", "aarch64-linux-musl"]


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(cache_dir() / "zig"))
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiled_files(job, tmp_path):
    """Build and return how many files had to be compiled."""
    steps = []
    find_toolchain("zig").compile_shared(job, tmp_path, progress=steps.append)
    words = [step.split() for step in steps if step.startswith("compiling")]
    return int(words[0][1]) if words else 0


JOB = CompileJob(
    {
        "a.c": '#include "sub/a.h"\nint a(void) { return VALUE; }\n',
        "b.c": "int b(void);\nint b(void) { return 2; }\n",
        "sub/a.h": '#include "value.h"\nint a(void);\n',
        "sub/value.h": "#define VALUE 1\n",
    }
)


def with_source(path, text):
    return dataclasses.replace(JOB, sources={**JOB.sources, path: text})


def test_only_what_changed_is_compiled(fresh_cache, tmp_path):
    assert compiled_files(JOB, tmp_path) == 2
    assert compiled_files(JOB, tmp_path) == 0
    assert compiled_files(with_source("sub/value.h", "#define VALUE 3\n"), tmp_path) == 1
    assert ctypes.CDLL(str(tmp_path / "libmodel.so")).a() == 3
    assert compiled_files(with_source("unused.h", "#define X\n"), tmp_path) == 0
    assert compiled_files(dataclasses.replace(JOB, defines={"X": ""}), tmp_path) == 2
    assert compiled_files(dataclasses.replace(JOB, optimize="-O1"), tmp_path) == 2


def test_damaged_entry_is_no_hit(tmp_path):
    cache = ObjectCache(tmp_path)
    key = cache_key(["x"])
    assert cache.get(key) is None
    cache.put(key, b"content")
    assert cache.get(key) == b"content"
    (entry,) = [p for p in tmp_path.rglob("*") if p.is_file()]
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache.get(key) is None


def test_key_tells_borders():
    assert cache_key(["ab", "c"]) != cache_key(["a", "bc"])


def test_default_cache_folder(monkeypatch):
    monkeypatch.delenv("EDGEBUILD_CACHE_DIR", raising=False)
    assert "edgebuild" in cache_dir().name


def test_full_disk_is_explained(fresh_cache, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(ToolError, match="no space left on the disk"):
        compiled_files(JOB, tmp_path)


def test_full_disk_of_the_compiler_is_explained():
    error = tool_failure(["cc"], "compiling x.c", 1, "fatal: No space left on device\n")
    assert "no space left on the disk" in error.message


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_is_explained(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir(mode=0o500)
    with pytest.raises(InputError, match="no permission"):
        compiled_files(JOB, folder)


def test_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(EdgebuildError, match="out"):
        find_toolchain("zig").build_image(toy_job(), "cortex-m4", toy_script(), tmp_path / "out")


def test_time_out_says_what_hung():
    command = [sys.executable, "-c", "import time; time.sleep(30)"]
    with pytest.raises(ToolError, match="did not end in 0 s while compiling x"):
        run_tool(command, what="compiling x", missing_hint="", timeout_s=0.2)


def test_missing_program_and_signal():
    with pytest.raises(ToolError, match="is not installed") as caught:
        run_tool(["/nonexistent/cc"], what="compiling", missing_hint="get it")
    assert caught.value.hint == "get it"
    with pytest.raises(ToolError, match=r"failed compiling \(signal 9\)"):
        run_tool(["sh", "-c", "kill -9 $$"], what="compiling", missing_hint="")


@pytest.mark.parametrize("triple", CHECK_TRIPLES)
def test_compile_check(triple):
    job = toy_job(profile=False)
    job = CompileJob({k: v for k, v in job.sources.items() if k != "main.c"})
    find_toolchain("zig").compile_check(job, triple)
    with pytest.raises(ToolError, match="failed compiling"):
        find_toolchain("zig").compile_check(CompileJob({"a.c": "int f(void) { }"}), triple)


PROGRAM = CompileJob(
    {"main.c": "int main(int n, char **v) { int a[2] = {0, 7}; (void)v; return a[n]; }"}
)
HOST_GCC = pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")


@pytest.mark.parametrize("toolchain", ["zig", pytest.param("gcc", marks=HOST_GCC)])
def test_native_program(toolchain, tmp_path):
    program = find_toolchain(toolchain).compile_program(PROGRAM, tmp_path)
    assert subprocess.run([program]).returncode == 7


@HOST_GCC
def test_sanitizers(tmp_path):
    program = find_toolchain("gcc").compile_program(PROGRAM, tmp_path, sanitize=True)
    done = subprocess.run([program, "x"], capture_output=True, text=True)
    assert done.returncode != 0 and "out of bounds" in done.stderr


def test_zig_has_no_sanitizers(tmp_path):
    with pytest.raises(ToolError, match="no address sanitizer") as caught:
        find_toolchain("zig").compile_shared(JOB, tmp_path, sanitize=True)
    assert caught.value.hint == "--toolchain gcc"


LIBC_TEST = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#define memcpy eb_memcpy
#define memmove eb_memmove
#define memset eb_memset
#define memcmp eb_memcmp
#include "libc.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
static uint8_t a[96], b[96];
static void fill(void) { for (int i = 0; i < 96; i++) a[i] = b[i] = (uint8_t)(i * 7 + 1); }
int main(void)
{
    for (size_t to = 0; to < 24; to++)
        for (size_t from = 0; from < 24; from++)
            for (size_t n = 0; n < 48; n++) {
                fill(); memmove(a + to, a + from, n); eb_memmove(b + to, b + from, n);
                if (memcmp(a, b, 96) != 0) return 1;
                fill(); memcpy(a + 48 + to % 8, a + from % 8, n % 40);
                eb_memcpy(b + 48 + to % 8, b + from % 8, n % 40);
                if (memcmp(a, b, 96) != 0) return 2;
                fill(); memset(a + to, (int)from - 3, n); eb_memset(b + to, (int)from - 3, n);
                if (memcmp(a, b, 96) != 0) return 3;
                const int x = memcmp(a + to, a + from, n), y = eb_memcmp(a + to, a + from, n);
                if ((x > 0) != (y > 0) || (x < 0) != (y < 0)) return 4;
            }
    return 0;
}
"""


@HOST_GCC
def test_memory_functions_agree_with_the_hosts(tmp_path):
    from edgebuild.toolchain.firmware import startup_sources

    libc = startup_sources()["startup/libc.c"]
    # Included by the test, not compiled by itself.
    job = CompileJob({"main.c": LIBC_TEST.replace('#include "libc.c"', libc)})
    program = find_toolchain("gcc").compile_program(job, tmp_path, sanitize=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
