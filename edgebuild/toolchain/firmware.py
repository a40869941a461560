"""Firmware from a job: start-up code added, compiled for a core, linked, read back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from edgebuild.errors import InternalError, OverflowedError, ToolError
from edgebuild.files import atomic_write, explained
from edgebuild.resources import resource_dir
from edgebuild.toolchain.base import CompileJob, Image, Progress
from edgebuild.toolchain.compiler import Compiler, compile_objects, work_folder
from edgebuild.toolchain.elf import read_image
from edgebuild.toolchain.references import read_references

FIRMWARE_FLAGS = (
    *("-ffunction-sections", "-fdata-sections", "-fno-common", "-fomit-frame-pointer"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-stack-protector"),
)
_STARTUP_FILES = ("libc.c", "startup_cortexm.c", "eb_startup.h", "include/string.h")
# Neither may have its loops turned into calls of the functions that they are or come before.
_STARTUP_FLAGS = {
    "startup/libc.c": ("-fno-builtin",),
    "startup/startup_cortexm.c": ("-fno-builtin",),
}
_OVERFLOW = re.compile(
    r"region [`'\"]?EB_(?P<region>\w+)['\"]?:?\s+overflowed by (?P<bytes>\d+) bytes"
)
_ABSOLUTE = re.compile(r"(?<![^\s(])/[^\s()]*/(?=[^\s()/]+\.(?:a|o)\b)")

Link = Callable[[Sequence[str], Path], None]
"""Links objects (relative paths) in a folder that holds ``linker.ld``, writing ``firmware.elf`` and
``firmware.map`` there."""


@cache
def startup_sources() -> dict[str, str]:
    """Return the start-up code by its path in the source tree."""
    folder = resource_dir("firmware") / "startup"
    try:
        return {f"startup/{name}": (folder / name).read_text() for name in _STARTUP_FILES}
    except OSError as error:
        raise InternalError("edgebuild's own start-up code cannot be read") from error


def build_firmware(
    compiler: Compiler,
    job: CompileJob,
    linker_script: str,
    out_dir: Path,
    link: Link,
    *,
    toolchain: str,
    progress: Progress,
    loop_flags: tuple[str, ...] = (),
) -> Image:
    """Compile and link ``job``; leave ``firmware.elf``, ``.bin`` and ``.map`` in ``out_dir``.

    ``loop_flags`` are the compiler's own flags that keep loops from becoming library calls.
    """
    job = dataclasses.replace(
        job,
        sources={**job.sources, **startup_sources()},
        include_dirs=(*job.include_dirs, "startup", "startup/include"),
    )
    own = {path: (*flags, *loop_flags) for path, flags in _STARTUP_FLAGS.items()}
    with work_folder() as folder:
        objects = compile_objects(compiler, job, folder, progress, own)
        with explained(folder):
            (folder / "linker.ld").write_text(linker_script)
        progress("linking")
        try:
            link(objects, folder)
        except ToolError as error:
            raise _overflow(error) or error from None
        with explained(folder):
            elf = (folder / "firmware.elf").read_bytes()
            map_text = (folder / "firmware.map").read_text(errors="replace")
            references = read_references({name: folder / name for name in objects})
    atomic_write(out_dir / "firmware.elf", elf)
    atomic_write(out_dir / "firmware.map", _ABSOLUTE.sub("", map_text))
    image = read_image(out_dir / "firmware.elf", out_dir / "firmware.map", toolchain)
    return dataclasses.replace(image, references=references)


def _overflow(error: ToolError) -> OverflowedError | None:
    """Return the linker's "region overflowed" in our words, or None."""
    missed = {
        match["region"]: int(match["bytes"])
        for line in error.details
        for match in _OVERFLOW.finditer(line)
    }
    if not missed:
        return None
    # One message for each output section; the last one counts all of them.
    words = ", ".join(f"{region} by {size:,} B" for region, size in missed.items())
    return OverflowedError(
        f"the firmware does not fit the target: it is too large for {words}",
        missed=missed,
        hint="a smaller model, or a target with more memory",
    )
