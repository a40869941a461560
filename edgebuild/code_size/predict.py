"""Bytes of the code that a compiler links for a graph on a core, without compiling it.

The code of a kernel, and of what it calls, is the same in every model. ``data/<core>.json`` has it
for each compiler at each level, as ``benchmarks/measure_code.py`` read it from the linker's maps.
Shared pieces count once. The model's own code, calls and their parameters, is a weighted sum of
``features``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgebuild.code_size.features import TEXT, called, features, parameter_types, table_bytes
from edgebuild.cycles.kernels import kernel_name
from edgebuild.errors import InternalError
from edgebuild.graph import Graph
from edgebuild.memory import MemoryPlan
from edgebuild.ops import KernelCall
from edgebuild.toolchain import InputSection, parse_tool
from edgebuild.toolchain.choice import SPEED

DATA = Path(__file__).resolve().parent / "data"
SCHEMA = 1

SPREAD, LEAST_BYTES = 0.15, 64
"""By what share, and by how many bytes at least, the model's own code may be off with the compiler
that was measured; its kernels are what they were. Chosen by
``benchmarks/code_sizes.json`` and ``tests/corpus``."""

OTHER_COMPILER = 0.2
"""By what share all may be off with another version of the compiler: an assumption."""

UNKNOWN_KERNEL_BYTES = (300, 1500, 3000)
"""A kernel that was not measured: the least, the likely and the most."""

ALIGNMENT_BYTES = 64
"""By how much gaps between the firmware's parts may differ from those that were measured."""

UNKNOWN_PORT = (0.5, 2.0)
"""Between which shares of the other ports' the application's bytes lie with a port of one's own."""


@dataclass(frozen=True)
class Part:
    """Bytes: the likely number, and the bounds that it lies between."""

    value: int
    low: int
    high: int

    def __add__(self, other: Part) -> Part:
        return Part(self.value + other.value, self.low + other.low, self.high + other.high)


NOTHING = Part(0, 0, 0)


@dataclass(frozen=True)
class CodeSize:
    """What ``tool`` (see ``edgebuild.toolchain.choice``) is predicted to link.

    ``kernels`` with what they call, ``layers``: the model's own code with its tables and
    parameters; ``application`` the benchmark firmware around it, of which ``application_ram`` is
    variables.
    """

    tool: str
    compiler: str
    kernels: Part
    layers: Part
    application: Part
    application_ram: Part

    @property
    def model(self) -> Part:
        """What the model adds to firmware, but for its constants."""
        return self.kernels + self.layers


def predict_code(
    graph: Graph,
    calls: Sequence[KernelCall],
    plan: MemoryPlan,
    name: str,
    *,
    core: str,
    port: str | None,
    tool: str,
    held_bytes: int = 0,
) -> CodeSize:
    """Predict the code of a supported ``graph`` whose operators run as ``calls`` say.

    ``port`` is that of the benchmark firmware, which holds ``held_bytes`` of an input that comes by
    rows; ``tool`` is one of ``edgebuild.toolchain.choice``.
    """
    measured = load_sizes(core)[tool]
    compiler, level = parse_tool(tool)
    installed = compiler.version() if compiler.available() else measured.compiler
    same = installed == measured.compiler
    used = called(graph, calls, plan)
    pieces = set(measured.every)
    unknown = set()
    for kernel in {kernel_name(one) for _, call in used for one in call.kernels}:
        pieces.update(measured.kernels.get(kernel, ()))
        if kernel not in measured.kernels:
            unknown.add(kernel)
    types = parameter_types(graph, calls, plan)
    parameters = sum(measured.parameters.get(one, 0) for one in types)
    found = features(graph, calls, plan, name)
    own = sum(measured.model.get(key, 0.0) * count for key, count in found.items())
    least, likely, most = (size * len(unknown) for size in UNKNOWN_KERNEL_BYTES)
    kernels = _part(
        sum(measured.pieces[piece] for piece in pieces), 0.0 if same else OTHER_COMPILER
    )
    application, ram = _application(measured, port, len(graph.ops))
    # What lies between its parts depends on what is before them; names may count as its own.
    ram += Part(held_bytes, held_bytes, held_bytes)
    application += Part(0, -ALIGNMENT_BYTES, ALIGNMENT_BYTES + round(found[TEXT]))
    return CodeSize(
        tool,
        installed if level == SPEED else f"{installed} {level}",
        kernels + Part(likely, least, most),
        _part(
            round(own) + table_bytes(graph) + parameters,
            SPREAD if same else OTHER_COMPILER,
            LEAST_BYTES,
        ),
        application,
        ram,
    )


def _part(value: int, spread: float, least_bytes: int = 0) -> Part:
    off = max(round(spread * value), least_bytes)
    return Part(value, value - off, value + off)


def _application(measured: Measured, port: str | None, layers: int) -> tuple[Part, Part]:
    """Return flash and RAM of the benchmark firmware; it has a word of RAM for each layer."""
    own = measured.ports.get(port or "")
    known = [own] if own is not None else list(measured.ports.values())
    if not known:
        return NOTHING, NOTHING
    factors = (1.0, 1.0) if own is not None else UNKNOWN_PORT
    flash, ram = (
        [min(sizes[at] for sizes in known), max(sizes[at + 1] for sizes in known)] for at in (0, 2)
    )
    parts = []
    for (low, high), words in ((flash, 0), (ram, 4 * layers)):
        parts.append(
            Part(
                (low + high) // 2 + words,
                round(factors[0] * low) + words,
                round(factors[1] * high) + words,
            )
        )
    return parts[0], parts[1]


@dataclass(frozen=True)
class Measured:
    """What ``data/<core>.json`` holds of one tool.

    ``pieces``: bytes of each function and table; ``every``: those in all firmware; ``kernels``: the
    others that each kernel needs; ``parameters``: bytes by type; ``model``: weights of the
    ``features``; ``ports``: least and most flash, least and most RAM of the application.
    """

    compiler: str
    pieces: Mapping[str, int]
    every: Sequence[str]
    kernels: Mapping[str, Sequence[str]]
    parameters: Mapping[str, int]
    model: Mapping[str, float]
    ports: Mapping[str, Sequence[int]]


@cache
def load_sizes(core: str) -> Mapping[str, Measured]:
    """Return what is known of each tool on ``core``."""
    path = DATA / f"{core}.json"
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}")
        return {tool: Measured(**found) for tool, found in value["tools"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InternalError(
            f"edgebuild's own sizes of code on {core} cannot be read: {error}",
            hint="reinstall edgebuild with pip",
        ) from error


_KERNEL = re.compile(r"(?:^|/)obj/lib/edgebuild/.*?([^/]+)\.o$")
_LIBRARY = re.compile(r"(?:^|/)obj/startup/libc\.o$")
_RUNTIME = re.compile(r"compiler_rt|libgcc\.a(?:\((?P<member>[^)]+)\))?")


def piece_name(section: InputSection) -> str:
    """Return the name of a piece of a kernel or of what it calls, "" for any other section."""
    if kernel := _KERNEL.search(section.object_file):
        return f"{kernel[1]}:{section.name}"
    if _LIBRARY.search(section.object_file):
        return f"libc:{section.name}"
    if runtime := _RUNTIME.search(section.object_file):
        return f"{runtime['member'] or 'runtime'}:{section.name}"
    return ""
