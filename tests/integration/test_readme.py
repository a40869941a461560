"""What the README says works: its C compiles, its commands and links are real."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest

import edgebuild
from benchmarks.mlperf_tiny_readme import read_rows, section, with_section
from edgebuild.cli.main import COMMANDS, cli
from edgebuild.toolchain import CompileJob, zig
from edgebuild.toolchain.choice import SIZE
from edgebuild.toolchain.cores import find_core
from edgebuild.toolchain.firmware import FIRMWARE_FLAGS
from edgebuild.toolchain.gcc import _CORTEX_M_FLAGS, _target_flags
from tests.conftest import ROOT
from tests.small import small_model

TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.S | re.M)


def commands():
    lines = "\n".join(blocks("sh")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("edgebuild ")]


def test_there_are_commands():
    assert len(commands()) > 3


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line):
    _, name, *arguments = shlex.split(line)
    assert name in COMMANDS
    cli.get_command(None, name).make_context(name, arguments)  # raises on an unknown flag


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)", TEXT)) - {"for"}:
        assert f"\n{target}:" in makefile, target


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_flags_are_those_of_a_build():
    """Of what edgebuild gives GCC, but for warnings and what only its firmware needs."""
    (line,) = [block for block in blocks("") if block.startswith("-")]
    ours = [*_target_flags(find_core("cortex-m4"), True), *_CORTEX_M_FLAGS, CompileJob({}).optimize]
    assert set(line.split()) <= set(ours)
    left = {flag for flag in ours if flag not in line.split()}
    assert left == {
        *("-Wall", "-Wextra", "-Werror", "-Wconversion", "-g0", "-ffreestanding", "-fbuiltin"),
        *(flag for flag in FIRMWARE_FLAGS if flag.startswith(("-fno-", "-fomit-"))),
    }
    assert SIZE == "-Os" and "`-Os` replaces `-O2`" in TEXT
    assert "-fno-unroll-loops" in zig._CORTEX_M_FLAGS and "with Clang, `-fno-unroll-loops`" in TEXT


def test_the_c_example_compiles(tmp_path):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    (code,) = blocks("c")
    model = tmp_path / "digits.tflite"
    model.write_bytes(small_model("digits"))
    edgebuild.build(model, target="host", out=tmp_path, run="none")
    library = tmp_path / "digits-host" / "lib"
    main = '#include <stdio.h>\nint main(void) { int8_t x[64] = {0}; printf("%d", classify(x)); }'
    (tmp_path / "main.c").write_text(f"{code}\n{main}\n")
    sources = [str(path) for path in library.rglob("*.c")]
    command = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror"]
    command += [
        "-I",
        str(library),
        str(tmp_path / "main.c"),
        *sources,
        "-o",
        str(tmp_path / "main"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True)
    assert 0 <= int(done.stdout) < 10


def test_the_mlperf_tiny_tables_are_those_of_the_results():
    """`python benchmarks/mlperf_tiny.py --readme` writes them."""
    assert with_section(TEXT, section(read_rows())) == TEXT
