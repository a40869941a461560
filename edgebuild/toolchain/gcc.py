"""GCC: ``arm-none-eabi-gcc`` for firmware, ``gcc`` or ``cc`` for the host."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from edgebuild.errors import ToolError
from edgebuild.toolchain.base import CompileJob, Image, Progress, silent
from edgebuild.toolchain.compiler import COMMON, Compiler
from edgebuild.toolchain.cores import Core, find_core
from edgebuild.toolchain.firmware import FIRMWARE_FLAGS, build_firmware
from edgebuild.toolchain.native import (
    NATIVE_FLAGS,
    SANITIZERS,
    build_native,
    library_name,
    program_name,
)
from edgebuild.toolchain.process import run_tool

PROGRAM = "arm-none-eabi-gcc"
_HINT = (
    "apt install gcc-arm-none-eabi, or install the Arm GNU Toolchain from developer.arm.com and "
    "add it to PATH; or --toolchain zig"
)
_HOST_HINT = "apt install gcc, or --toolchain zig"
# Freestanding needs no newlib headers; with -fbuiltin small memcpy calls still become loads.
_CORTEX_M_FLAGS = (*COMMON, *FIRMWARE_FLAGS, "-ffreestanding", "-fbuiltin")
_LOOP_FLAGS = ("-fno-tree-loop-distribute-patterns",)


class GccToolchain:
    """GNU compiler and linker, libgcc for missing arithmetic."""

    name = "gcc"

    def available(self) -> bool:
        """Return whether ``arm-none-eabi-gcc`` is on the PATH."""
        return shutil.which(PROGRAM) is not None

    def version(self) -> str:
        """Return the first line of ``--version``."""
        return _version(_find(PROGRAM, _HINT), _HINT)

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
        program = _find(PROGRAM, _HINT)
        version = self.version()
        compiler = Compiler((program,), version, (*target, *_CORTEX_M_FLAGS), _HINT)

        def link(objects: Sequence[str], folder: Path) -> None:
            arguments = [*target, "-nostdlib", "-static", "-T", "linker.ld", "-Wl,--gc-sections"]
            arguments += ["-Wl,--build-id=none", "-Wl,-Map=firmware.map", "-o", "firmware.elf"]
            compiler.run([*arguments, *objects, "-lgcc"], what="linking", cwd=folder)

        return build_firmware(
            *(compiler, job, linker_script, out_dir, link),
            toolchain=version,
            progress=progress,
            loop_flags=_LOOP_FLAGS,
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
        output = out_dir / library_name()
        return build_native(_native(sanitize), job, output, shared=True, progress=progress)

    def compile_program(
        self,
        job: CompileJob,
        out_dir: Path,
        *,
        sanitize: bool = False,
        progress: Progress = silent,
    ) -> Path:
        """Compile a program; see ``Toolchain``."""
        output = out_dir / program_name()
        return build_native(_native(sanitize), job, output, shared=False, progress=progress)


def _native(sanitize: bool) -> Compiler:
    name = "gcc" if shutil.which("gcc") else "cc"
    program = _find(name, _HOST_HINT)
    flags = (*NATIVE_FLAGS, *(SANITIZERS if sanitize else ()))
    return Compiler((program,), _version(program, _HOST_HINT), flags, _HOST_HINT)


def _target_flags(core: Core, mve: bool) -> tuple[str, ...]:
    cpu = core.gcc if mve or not core.gcc_no_mve else core.gcc_no_mve
    fpu = ("-mfloat-abi=hard", f"-mfpu={core.gcc_fpu}") if core.hard_float else ()
    return ("-mthumb", f"-mcpu={cpu}", *(fpu or ("-mfloat-abi=soft",)))


def _find(program: str, hint: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ToolError(f"{program} is not installed", hint=hint)
    return path


@cache
def _version(program: str, hint: str) -> str:
    output = run_tool([program, "--version"], what="asked for its version", missing_hint=hint)
    name, line = Path(program).name, output.splitlines()[0].strip()
    return line if line.startswith(name) else f"{name}: {line}"
