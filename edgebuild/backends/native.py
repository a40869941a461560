"""The generated C compiled for the machine that edgebuild runs on."""

from __future__ import annotations

from pathlib import Path

from edgebuild.backends.base import Emitted, Progress
from edgebuild.backends.emit import LIBRARY
from edgebuild.devices.host import HostDevice
from edgebuild.resources import resource_dir
from edgebuild.toolchain import find_toolchain
from edgebuild.toolchain.base import CompileJob


def compile_for_host(
    emitted: Emitted, toolchain: str, folder: Path, progress: Progress
) -> HostDevice:
    """Compile the library with per-layer hooks into ``folder`` and load it."""
    host = (resource_dir("firmware") / "host" / "eb_host.c").read_text()
    library = {p: t for p, t in emitted.files.items() if p.startswith(f"{LIBRARY}/")}
    job = CompileJob(
        {**library, "host/eb_host.c": host},
        (LIBRARY,),
        {"EB_PROFILE": "1"},
        optimize="-O3",
    )
    path = find_toolchain(toolchain).compile_shared(job, folder, progress=progress)
    return HostDevice(path, emitted.name)
