"""Compile models for the Edge TPU with Google's ``edgetpu_compiler``, and check what it made.

The compiler is not edgebuild's: it is taken from the PATH, or from a container image that the user
names. A file is left behind only when it was compiled, its package can be read, and what it leaves
to the CPU is the source model's.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgebuild.coral.checks import compiled_differences
from edgebuild.coral.compiler_log import CompilerLog, ModelLog, read_log
from edgebuild.coral.package import CompiledModel, describe_package
from edgebuild.errors import CheckFailedError, EdgebuildError, InputError, ToolError
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.graph import Graph
from edgebuild.limits import read_model
from edgebuild.tflite.reader import read_tflite
from edgebuild.toolchain.process import Finished, TimeLimitError, run_limited
from edgebuild.units import shortened

PROGRAM = "edgetpu_compiler"
ENGINES = ("docker", "podman")
RUNTIMES = range(10, 15)
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_GRACE_S = 20.0
_SHOWN = 10
_HINT = (
    "install it (Debian x86-64: https://coral.ai/docs/edgetpu/compiler/), or name a container "
    "image that has it with --edgetpu-container IMAGE"
)
_ENGINE_HINTS = {
    125: "start the service of {engine}, see that you may use it, and that it has the image: "
    "{engine} pull {image}",
    126: "use an image in which the compiler is executable; it runs on x86-64 only",
    127: "name an image that has the compiler on its PATH",
}
"""By exit code of ``run``, as docker and podman document them."""


@dataclass(frozen=True)
class CompilerOptions:
    """How to compile.

    Attributes:
        min_runtime: the oldest runtime that must load the model; None is the compiler's default.
        multiple_subgraphs: map also what lies behind an operator of the CPU (experimental).
        timeout_s: the limit of one compilation.
        container: an image that has the compiler; empty for the one on the PATH.
        engine: docker or podman; empty for the one that is installed.
    """

    min_runtime: int | None = None
    multiple_subgraphs: bool = False
    timeout_s: int = 180
    container: str = ""
    engine: str = ""

    def __post_init__(self) -> None:
        if self.min_runtime is not None and self.min_runtime not in RUNTIMES:
            known = f"{RUNTIMES.start} to {RUNTIMES.stop - 1}"
            raise InputError(
                f"Edge TPU runtime {self.min_runtime} is not known", hint=f"use {known}"
            )
        if not 1 <= self.timeout_s <= 86_400:
            raise InputError(f"a time limit of {self.timeout_s} s", hint="use 1 to 86400 seconds")
        if self.container and not _IMAGE.fullmatch(self.container):
            raise InputError(f"'{self.container[:80]}' is not the name of a container image")
        if self.engine and self.engine not in ENGINES:
            raise InputError(
                f"'{self.engine[:40]}' is not a container engine", hint="docker or podman"
            )


@dataclass(frozen=True)
class Compiled:
    """A model that the compiler has made, at ``path``: its package, its log, and the compiler."""

    path: Path
    model: CompiledModel
    log: ModelLog
    compiler: str


def compile_models(
    models: Sequence[Path], out: Path, options: CompilerOptions | None = None
) -> tuple[Compiled, ...]:
    """Compile ``.tflite`` files, together when there are several, into ``<name>_edgetpu.tflite``.

    Models that are compiled together share the chip's memory, the first of them first. Nothing is
    written unless everything is right.

    Raises:
        InputError: a model cannot be read.
        ToolError: no compiler, or it fails, hangs, or makes something wrong.
        CheckFailedError: not one operator of a model maps.
    """
    options = options or CompilerOptions()
    sources = _sources(models)
    with TemporaryFolder("edgetpu") as scratch:
        folder = Path(scratch)
        for stem, (data, _) in sources.items():
            (folder / f"{stem}.tflite").write_bytes(data)
        finished = _run(folder, list(sources), options)
        log = _judged(finished)
        made = {
            stem: _checked(folder / f"{stem}_edgetpu.tflite", graph, log, stem)
            for stem, (_, graph) in sources.items()
        }
    compiled = []
    for stem, (data, model, model_log) in made.items():
        path = out / f"{stem}_edgetpu.tflite"
        atomic_write(path, data)
        compiled.append(Compiled(path, model, model_log, log.version))
    atomic_write(out / "edgetpu_compiler.log", finished.output + finished.errors)
    return tuple(compiled)


def _sources(models: Sequence[Path]) -> dict[str, tuple[bytes, Graph]]:
    """Return {a plain file name: bytes and graph}; the compiler sees no name of the user's."""
    if not models:
        raise InputError("no model to compile")
    found: dict[str, tuple[bytes, Graph]] = {}
    for path in models:
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem).lstrip("-.")[:100] or "model"
        if stem in found:
            raise InputError(f"two models are called {stem}", hint="rename one of them")
        data = read_model(path)
        graph = read_tflite(data, name=stem, where=str(path))
        if describe_package(graph, where=str(path)) is not None:
            raise InputError(f"{path} is already compiled", hint="use the model it was made from")
        found[stem] = (data, graph)
    return found


def _run(folder: Path, stems: Sequence[str], options: CompilerOptions) -> Finished:
    arguments = ["-s", "-t", str(options.timeout_s), "-o", "."]
    if options.multiple_subgraphs:
        arguments.append("-a")
    if options.min_runtime is not None:
        arguments += ["-m", str(options.min_runtime)]
    arguments += [f"{stem}.tflite" for stem in stems]
    limit = options.timeout_s + _GRACE_S
    if not options.container:
        return run_limited(
            [PROGRAM, *arguments],
            what="compiling for the Edge TPU",
            timeout_s=limit,
            missing_hint=_HINT,
            cwd=folder,
        )
    return _run_in_container(folder, arguments, options, limit)


def _run_in_container(
    folder: Path, arguments: Sequence[str], options: CompilerOptions, limit: float
) -> Finished:
    engine = options.engine or next((e for e in ENGINES if shutil.which(e)), ENGINES[0])
    name = f"edgebuild-{secrets.token_hex(6)}"
    command = [engine, "run", "--rm", "--name", name, "--network", "none"]
    command += ["--volume", f"{folder}:/work", "--workdir", "/work"]
    command += ["--entrypoint", PROGRAM, options.container, *arguments]
    hint = "install docker or podman, or install the compiler itself"
    folder.chmod(0o777)  # the image's user is not known
    try:
        finished = run_limited(
            command, what="compiling for the Edge TPU", timeout_s=limit, missing_hint=hint
        )
    except TimeLimitError:
        # The engine's client is dead, the container is not.
        with suppress(EdgebuildError):
            run_limited(
                [engine, "kill", name], what="ending it", timeout_s=_GRACE_S, missing_hint=hint
            )
        raise
    _check_engine(engine, options.container, finished)
    return finished


def _check_engine(engine: str, image: str, finished: Finished) -> None:
    """Raise ToolError where the engine says, by its exit code, that the compiler did not run."""
    hint = _ENGINE_HINTS.get(finished.returncode)
    if hint is None or read_log(finished.output).version:
        return
    lines = [line[:200] for line in finished.errors.splitlines() if line.strip()]
    raise ToolError(
        f"{engine} could not run {PROGRAM} in the image {image} (exit code {finished.returncode})",
        details=lines[-_SHOWN:],
        hint=hint.format(engine=engine, image=image),
    )


def _judged(finished: Finished) -> CompilerLog:
    """Return the log; ToolError where it tells of a failure. Exit codes alone tell too little."""
    log = read_log(finished.output + "\n" + finished.errors)
    if finished.returncode == 0 and log.succeeded:
        return log
    lines = [s for s in (finished.output + "\n" + finished.errors).splitlines() if s.strip()]
    details = log.complaints or tuple(line[:200] for line in lines[-_SHOWN:])
    if finished.returncode != 0:
        what = f"{PROGRAM} failed (exit code {finished.returncode})"
    else:
        what = f"{PROGRAM} did not report that it compiled the model"
    text = " ".join(details)
    hint = "`edgebuild check` shows which of the model's operators map"
    if "large activation" in text:
        hint = "use a model with a smaller input, or fewer channels in its first layers"
    elif "builtin opcode" in text or "Invalid model" in text:
        hint = (
            "convert the model with an older TensorFlow: its operators are newer than the compiler"
        )
    raise ToolError(what, details=details, hint=hint)


def _checked(
    path: Path, source: Graph, log: CompilerLog, stem: str
) -> tuple[bytes, CompiledModel, ModelLog]:
    """Return a compiled file's bytes, package and log; ToolError unless they fit the source."""
    if not path.is_file():
        raise ToolError(
            f"{PROGRAM} reported that it compiled {stem}.tflite, but did not write {path.name}",
            hint="run it by hand and look at its log",
        )
    data = read_model(path)
    compiled = read_tflite(data, name=stem, where=path.name)
    model = describe_package(compiled, where=path.name)
    own = next((m for m in log.models if Path(m.input_name).name == f"{stem}.tflite"), None)
    if own is None:
        raise ToolError(f"the log of {PROGRAM} does not mention {stem}.tflite")
    if model is None:
        rows = [f"{kind} {count}: {status}" for kind, count, status in own.table]
        raise CheckFailedError(
            f"not one operator of {stem}.tflite maps to the Edge TPU",
            details=shortened(rows, _SHOWN),
            hint="quantize the model to int8, inputs and outputs too",
        )
    differences = compiled_differences(source, compiled, model, own)
    if differences:
        raise ToolError(
            f"the file {PROGRAM} wrote for {stem}.tflite is a different model",
            details=shortened(differences, _SHOWN),
            hint="compile again in an empty folder; use another version of the compiler",
        )
    return data, model, own
