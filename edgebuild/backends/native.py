"""The generated C compiled for the machine that edgebuild runs on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgebuild.backends.base import Combination, Emitted, Progress
from edgebuild.backends.emit import LIBRARY
from edgebuild.codegen.templates import render
from edgebuild.devices.host import HostDevice
from edgebuild.resources import resource_dir
from edgebuild.toolchain import find_toolchain
from edgebuild.toolchain.base import CompileJob


def compile_for_host(
    emitted: Emitted, toolchain: str, folder: Path, progress: Progress
) -> HostDevice:
    """Compile the library with per-layer hooks into ``folder`` and load it."""
    library = {p: t for p, t in emitted.files.items() if p.startswith(f"{LIBRARY}/")}
    if emitted.graph.input_by_rows:
        macro = emitted.name.upper()
        library["host/rows_model.c"] = render("rows_model.c.j2", name=emitted.name, macro=macro)
    return _compiled(library, emitted.name, toolchain, folder, progress)


def compile_together_for_host(
    combination: Combination, toolchain: str, folder: Path, progress: Progress
) -> HostDevice:
    """Compile several models into ``folder`` and load what runs them one after the other."""
    sources = {**combination.files, **combination.runner}
    return _compiled(sources, combination.name, toolchain, folder, progress)


def _compiled(
    sources: Mapping[str, str], name: str, toolchain: str, folder: Path, progress: Progress
) -> HostDevice:
    host = (resource_dir("firmware") / "host" / "eb_host.c").read_text()
    job = CompileJob(
        {**sources, "host/eb_host.c": host},
        (LIBRARY,),
        {"EB_PROFILE": "1"},
        optimize="-O3",
    )
    path = find_toolchain(toolchain).compile_shared(job, folder, progress=progress)
    return HostDevice(path, name)
