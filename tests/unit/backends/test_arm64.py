"""The arm64 program: static, for any 64-bit Arm CPU, the same bytes each time."""

from __future__ import annotations

import pytest
from elftools.elf.elffile import ELFFile

from edgebuild.backends.arm64 import PROGRAM, arm64_job, compile_arm64_program
from edgebuild.backends.emit import emit_library
from edgebuild.errors import ToolError
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model


def emitted(neon=True):
    graph = read_tflite(small_model(), name="small")
    return emit_library(graph, "small", CpuFeatures(neon=neon))


def test_the_program(tmp_path):
    first, second = (
        compile_arm64_program(emitted(), tmp_path / name, lambda _: None) for name in "ab"
    )
    assert first == tmp_path / "a" / PROGRAM == tmp_path / "a" / "bench-arm64"
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & 0o111
    assert first.stat().st_size < 600_000
    with first.open("rb") as file:
        elf = ELFFile(file)
        assert (elf["e_machine"], elf["e_type"], elf.elfclass) == ("EM_AARCH64", "ET_EXEC", 64)
        kinds = {segment["p_type"] for segment in elf.iter_segments()}
        # Static: no interpreter. Pages of 16 KiB, as newer phones have, are no trouble.
        assert "PT_INTERP" not in kinds and "PT_DYNAMIC" not in kinds
        assert all(s["p_align"] >= 1 << 14 for s in elf.iter_segments("PT_LOAD"))


def test_sources_are_the_library_and_the_program_alone():
    for neon in (True, False):
        sources = arm64_job(emitted(neon)).sources
        assert {path.split("/")[0] for path in sources} == {"lib", "arm64"}
        # The program names the instruction set whether a kernel asks for it or not.
        assert "lib/edgebuild/common/eb_neon_isa.c" in sources
    assert not any("matmul" in path for path in arm64_job(emitted(False)).sources)


def test_without_zig(tmp_path, monkeypatch):
    monkeypatch.setattr("edgebuild.toolchain.zig._find_zig", lambda: None)
    with pytest.raises(ToolError, match="zig compiler is not installed") as caught:
        compile_arm64_program(emitted(), tmp_path, lambda _: None)
    assert caught.value.hint == "pip install ziglang"
    assert not list(tmp_path.iterdir())
