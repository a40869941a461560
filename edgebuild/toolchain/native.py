"""Compile a job for the machine that edgebuild runs on, or a static program for another one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgebuild.files import atomic_write
from edgebuild.toolchain.base import CompileJob, Progress
from edgebuild.toolchain.compiler import COMMON, Compiler, compile_objects, work_folder

NATIVE_FLAGS = (*COMMON, "-fPIC", "-fvisibility=default", "-fno-strict-aliasing")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")


def build_native(
    compiler: Compiler,
    job: CompileJob,
    output: Path,
    *,
    shared: bool,
    progress: Progress,
    link_flags: Sequence[str] = (),
) -> Path:
    """Compile and link ``job`` into the library or program ``output``."""
    with work_folder() as folder:
        objects = compile_objects(compiler, job, folder, progress)
        progress("linking")
        kind = ["-shared"] if shared else []
        linked = ["-o", "linked", *kind, *objects, *_link_flags(compiler), *link_flags]
        compiler.run(linked, what=f"linking {output.name}", cwd=folder)
        content = (folder / "linked").read_bytes()
    atomic_write(output, content)
    if not shared:
        output.chmod(0o755)
    return output


def library_name() -> str:
    """Return the file name of a shared library on this system."""
    return {"win32": "model.dll", "darwin": "libmodel.dylib"}.get(sys.platform, "libmodel.so")


def program_name() -> str:
    """Return the file name of a program on this system."""
    return "program.exe" if sys.platform == "win32" else "program"


def _link_flags(compiler: Compiler) -> list[str]:
    return [flag for flag in compiler.flags if flag.startswith(("-fsanitize", "-m", "--target="))]
