"""The generated C as a static benchmark program for 64-bit Arm Linux and Android."""

from __future__ import annotations

from pathlib import Path

from edgebuild.backends.base import Emitted, Progress
from edgebuild.backends.emit import LIBRARY
from edgebuild.codegen.sources import RUNTIME, runtime_dir
from edgebuild.errors import ToolError
from edgebuild.resources import resource_dir
from edgebuild.toolchain import CompileJob
from edgebuild.toolchain.zig import ZigToolchain

PROGRAM = "bench-arm64"
"""File name of the benchmark program in a build folder."""

TRIPLE = "aarch64-linux-musl"


def compile_arm64_program(emitted: Emitted, folder: Path, progress: Progress) -> Path:
    """Compile ``folder/bench-arm64``, which runs on any 64-bit Arm CPU; return its path.

    Only zig brings what that takes on every machine. ToolError when it is missing or fails.
    """
    zig = ZigToolchain()
    if not zig.available():
        raise ToolError("the zig compiler is not installed", hint="pip install ziglang")
    return zig.compile_static(arm64_job(emitted), TRIPLE, folder / PROGRAM, progress=progress)


def arm64_job(emitted: Emitted) -> CompileJob:
    """Return the sources of the benchmark program: the library and ``firmware/arm64``."""
    firmware = resource_dir("firmware")
    sources = {p: t for p, t in emitted.files.items() if p.startswith(f"{LIBRARY}/")}
    for path in sorted((firmware / "arm64").glob("*.[ch]")):
        sources[f"arm64/{path.name}"] = path.read_text()
    sources["arm64/eb_mark.h"] = (firmware / "qemu" / "eb_mark.h").read_text()
    # The program names the instruction set even where no kernel of the model asks for it.
    for path in sorted((runtime_dir() / "common").glob("eb_neon_isa.[ch]")):
        sources[f"{LIBRARY}/{RUNTIME}/common/{path.name}"] = path.read_text()
    defines = {"EB_PROFILE": "1", "EB_MODEL": f"{emitted.name}_model"}
    return CompileJob(sources, (LIBRARY, "arm64"), defines, optimize="-O3")
