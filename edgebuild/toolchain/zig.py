"""Clang and lld as the PyPI package ``ziglang`` brings them; the default toolchain."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgebuild.errors import ToolError
from edgebuild.toolchain.base import CompileJob, Image, Progress, silent
from edgebuild.toolchain.cache import ObjectCache, cache_dir, cache_key, read_only_note
from edgebuild.toolchain.compiler import COMMON, Compiler, compile_objects, work_folder
from edgebuild.toolchain.cores import Core, find_core
from edgebuild.toolchain.firmware import FIRMWARE_FLAGS, build_firmware
from edgebuild.toolchain.native import (
    NATIVE_FLAGS,
    build_native,
    library_name,
    program_name,
)
from edgebuild.toolchain.process import run_tool

_MISSING = "pip install ziglang, or --toolchain gcc"
_HINT = "pip install --force-reinstall ziglang, or --toolchain gcc"
# Zig compiles freestanding targets with -ffreestanding, which turns each memcpy of four bytes into
# a call; startup/ supplies what a hosted compiler may call.
# Unrolled loops make code a third larger than GCC's, no faster on the M4 and M7, and a sixth slower
# on the M3, whose registers they exhaust.
_CORTEX_M_FLAGS = (*COMMON, *FIRMWARE_FLAGS, "-fhosted", "-fno-unroll-loops")


class ZigToolchain:
    """``zig cc`` for objects, ``zig ld.lld`` for images, compiler-rt for missing arithmetic."""

    name = "zig"

    def available(self) -> bool:
        """Return whether the package ``ziglang`` is installed."""
        return _find_zig() is not None

    def version(self) -> str:
        """Return e.g. ``zig 0.17.1``."""
        return f"zig {_version(_zig())}"

    def build_image(
        self,
        job: CompileJob,
        core: str,
        linker_script: str,
        out_dir: Path,
        *,
        mve: bool = True,
        progress: Progress = silent,
    ) -> Image:
        """Compile and link firmware; see ``Toolchain``."""
        target = _target_flags(find_core(core), mve)
        compiler = self._compiler((*target, *_CORTEX_M_FLAGS))

        def link(objects: Sequence[str], folder: Path) -> None:
            runtime = self._runtime(target, folder, progress)
            arguments = ["-m", "armelf", "-Bstatic", "--gc-sections", "--build-id=none"]
            arguments += ["-T", "linker.ld", "-Map=firmware.map", "-o", "firmware.elf"]
            linker = Compiler((_zig(), "ld.lld"), compiler.version, (), _HINT, _environment())
            linker.run([*arguments, *objects, runtime], what="linking", cwd=folder)

        return build_firmware(
            *(compiler, job, linker_script, out_dir, link),
            toolchain=self.version(),
            progress=progress,
        )

    def compile_shared(
        self,
        job: CompileJob,
        out_dir: Path,
        *,
        sanitize: bool = False,
        progress: Progress = silent,
    ) -> Path:
        """Compile a shared library; see ``Toolchain``."""
        compiler = self._native(sanitize)
        return build_native(compiler, job, out_dir / library_name(), shared=True, progress=progress)

    def compile_program(
        self,
        job: CompileJob,
        out_dir: Path,
        *,
        sanitize: bool = False,
        progress: Progress = silent,
    ) -> Path:
        """Compile a program; see ``Toolchain``."""
        compiler = self._native(sanitize)
        output = out_dir / program_name()
        return build_native(compiler, job, output, shared=False, progress=progress)

    def compile_static(
        self,
        job: CompileJob,
        triple: str,
        output: Path,
        *,
        progress: Progress = silent,
    ) -> Path:
        """Compile ``job`` into the static program ``output`` for another machine; return it.

        ``triple`` is Zig's and names a system with a C library: ``aarch64-linux-musl``.
        """
        compiler = self._compiler((f"--target={triple}", *COMMON, "-fno-strict-aliasing"))
        link = ("-static", "-s")
        return build_native(compiler, job, output, shared=False, progress=progress, link_flags=link)

    def compile_check(
        self, job: CompileJob, triple: str, *, cpu: str = "", progress: Progress = silent
    ) -> None:
        """Compile ``job`` for another architecture and throw the objects away.

        ``triple`` is Zig's, e.g. ``riscv32-freestanding`` or ``aarch64-linux-musl``.
        """
        flags = ["-target", triple, *([f"-mcpu={cpu}"] if cpu else []), *COMMON]
        if "freestanding" in triple:
            from edgebuild.toolchain.firmware import startup_sources

            header = "startup/include/string.h"
            job = CompileJob(
                {**job.sources, header: startup_sources()[header]},
                (*job.include_dirs, "startup/include"),
                job.defines,
                job.optimize,
            )
        with work_folder() as folder:
            compile_objects(self._compiler(tuple(flags)), job, folder, progress)

    def _compiler(self, flags: tuple[str, ...]) -> Compiler:
        return Compiler((_zig(), "cc"), self.version(), flags, _HINT, _environment())

    def _native(self, sanitize: bool) -> Compiler:
        if sanitize:
            raise ToolError(
                "zig brings no address sanitizer for this machine",
                hint="--toolchain gcc",
            )
        # Not the native CPU: the object cache may be shared between machines.
        return self._compiler(("-mcpu=baseline", *NATIVE_FLAGS))

    def _runtime(self, target: tuple[str, ...], folder: Path, progress: Progress) -> str:
        """Put compiler-rt for ``target`` into ``folder``; return its file name."""
        name = "libcompiler_rt.a"
        cache_ = ObjectCache.default()
        key = cache_key(["compiler-rt", self.version(), *target])
        content = cache_.get(key)
        if content is None:
            progress("compiling the compiler's run-time library (once per core)")
            (folder / "empty.c").write_text("typedef int eb_empty;\n")
            command = [_zig(), "build-lib", "-static", "-fcompiler-rt", "-O", "ReleaseSmall"]
            command += [*target, "--name", "compiler_rt", "empty.c"]
            run_tool(
                command,
                what="compiling its run-time library",
                missing_hint=_HINT,
                cwd=folder,
                # The library itself is one of Zig's own files: it is made anew.
                env={**_environment(), "ZIG_GLOBAL_CACHE_DIR": ".zig-cache"},
            )
            content = (folder / name).read_bytes()
            cache_.put(key, content)
        (folder / name).write_bytes(content)
        return name


def _target_flags(core: Core, mve: bool) -> tuple[str, ...]:
    cpu = core.zig if mve or not core.zig_no_mve else core.zig_no_mve
    return ("-target", core.target, f"-mcpu={cpu}")


def _find_zig() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / ("zig.exe" if sys.platform == "win32" else "zig")
    return str(program) if program.is_file() else None


def _zig() -> str:
    program = _find_zig()
    if program is None:
        raise ToolError("the zig compiler is not installed", hint=_MISSING)
    return program


@cache
def _version(program: str) -> str:
    return run_tool([program, "version"], what="asked for its version", missing_hint=_HINT).strip()


def _environment() -> dict[str, str]:
    """Keep Zig's own cache beside ours, so that one variable moves both.

    What it compiles for us stays in the folder that it works in, which goes when that is done: ours
    is checked when it is read, Zig's is not.
    """
    own = ".zig-cache" if read_only_note() else str(cache_dir() / "zig")
    folder = os.environ.get("ZIG_GLOBAL_CACHE_DIR", own)
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": ".zig-cache"}
