"""The real benchmark firmware as a process of the host: its C, with a port on a pipe."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgebuild.backends.emit import LIBRARY, emit_library
from edgebuild.codegen.c_library import INCLUDE_DIRS
from edgebuild.codegen.templates import render
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.resources import resource_dir
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model

PORT = Path(__file__).with_name("posix_port.c")


@pytest.fixture(scope="session")
def firmware(tmp_path_factory) -> Path:
    """The firmware of ``tests.small``'s model, under address and undefined-behaviour sanitizers."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("firmware")
    graph = run_passes(read_tflite(small_model()), DEFAULT_PASSES).graph
    emitted = emit_library(graph, "small", CpuFeatures())
    sources = dict(emitted.files)
    sources["app_model.c"] = render("app_model.c.j2", name="small", macro="SMALL")
    app = resource_dir("firmware") / "app"
    sources.update({f"app/{p.name}": p.read_text() for p in app.glob("*.[ch]")})
    sources["app/port.c"] = PORT.read_text()
    startup = resource_dir("firmware") / "startup" / "eb_startup.h"
    sources["app/eb_startup.h"] = startup.read_text()
    for path, text in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    includes = [f"-I{folder / LIBRARY / d}" for d in INCLUDE_DIRS] + [f"-I{folder / 'app'}"]
    command = [compiler, "-std=gnu11", "-O1", "-g", "-DEB_PROFILE=1", *includes]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [str(folder / p) for p in sources if p.endswith(".c")]
    done = subprocess.run(
        [*command, "-o", str(folder / "firmware")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "firmware"
