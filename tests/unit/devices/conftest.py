"""The real benchmark firmware as a process of the host: its C, with a port on a pipe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgebuild.backends.emit import LIBRARY, emit_library
from edgebuild.codegen.sources import runtime_dir
from edgebuild.codegen.templates import render
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.resources import resource_dir
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model

HERE = Path(__file__).parent


def host_compiler() -> list[str]:
    """Return gcc, else the zig that edgebuild brings."""
    gcc = shutil.which("gcc")
    return [sys.executable, "-m", "ziglang", "cc"] if gcc is None else [gcc]


def compile_firmware(folder: Path, model: Mapping[str, str]) -> Path:
    """Build the application around ``model``, with sanitizers where the compiler has them."""
    firmware = resource_dir("firmware")
    sources = dict(model)
    sources.update({f"app/{p.name}": p.read_text() for p in (firmware / "app").glob("*.[ch]")})
    sources["app/port.c"] = (HERE / "posix_port.c").read_text()
    sources["app/eb_startup.h"] = (firmware / "startup" / "eb_startup.h").read_text()
    for path, text in sources.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    includes = [f"-I{folder / LIBRARY}", f"-I{folder / 'app'}"]
    command = [*host_compiler(), "-std=gnu11", "-O1", "-g", "-DEB_PROFILE=1", *includes]
    if shutil.which("gcc") is not None:
        command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command += [str(folder / p) for p in sources if p.endswith(".c")]
    done = subprocess.run(
        [*command, "-o", str(folder / "firmware")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "firmware"


@pytest.fixture(scope="session")
def firmware(tmp_path_factory) -> Path:
    """The firmware of ``tests.small``'s model."""
    graph = run_passes(read_tflite(small_model()), DEFAULT_PASSES).graph
    sources = dict(emit_library(graph, "small", CpuFeatures()).files)
    values = {"name": "small", "macro": "SMALL", "banks": [], "rows": None}
    sources["app_model.c"] = render("app_model.c.j2", **values)
    return compile_firmware(tmp_path_factory.mktemp("firmware"), sources)


@pytest.fixture(scope="session")
def stub_firmware(tmp_path_factory) -> Path:
    """The firmware of a model that fails as it is told to; see ``stub_model.c``."""
    runtime = runtime_dir() / "eb.h"
    sources = {"stub_model.c": (HERE / "stub_model.c").read_text()}
    sources["app/edgebuild/eb.h"] = runtime.read_text()
    return compile_firmware(tmp_path_factory.mktemp("stub"), sources)


@contextmanager
def on_pty(program, **environment):
    """Run ``program`` on a pseudo-terminal; yield the process and the port's name."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [program], stdin=master, stdout=master, env={**os.environ, **environment}
    )
    os.close(master)  # the program alone has it: the line breaks when it ends
    try:
        yield process, os.ttyname(slave)
    finally:
        process.kill()
        process.wait()
        os.close(slave)
