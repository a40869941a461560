"""Read what the Edge TPU compiler left in a model: executables, parameters, layers, versions.

The custom operator ``edgetpu-custom-op`` carries a flexbuffer map whose entry 4 is a package, a
flatbuffer "DWN1" (libedgetpu's ``executable.fbs``; the numbers of slots are those of its fields).
The file is untrusted.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from edgebuild.coral.tables import Damage, Table, flexbuffer_map, root
from edgebuild.delegates.edgetpu import COMPILED_OP
from edgebuild.errors import ModelError
from edgebuild.graph import Graph
from edgebuild.tflite.reader import clean_name

CUSTOM_OP = COMPILED_OP

TYPES = {0: "stand-alone", 1: "parameter-caching", 2: "execution-only"}
DATA_TYPES = {
    0: "uint8",
    1: "uint16",
    2: "int32",
    3: "bfloat16",
    4: "float16",
    5: "float32",
    8: "int8",
    9: "int16",
}


@dataclass(frozen=True)
class PackageLayer:
    """An input or output of an executable; ``real = scale * (q - zero_point)``.

    ``shape`` is (y, x, z), ``padded_bytes`` what is transferred in one execution of a batch of 1.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: str
    scale: float
    zero_point: int
    padded_bytes: int
    executions: int


@dataclass(frozen=True)
class Executable:
    """One program of a package. ``estimated_cycles`` is None where the compiler left it out."""

    type: str
    name: str
    chip: str
    batch_size: int
    parameter_bytes: int
    instruction_bytes: int
    scratch_bytes: int
    tile_memory_bytes: int
    caching_token: str
    estimated_cycles: int | None
    inputs: tuple[PackageLayer, ...]
    outputs: tuple[PackageLayer, ...]


@dataclass(frozen=True)
class Package:
    """One ``edgetpu-custom-op``, at ``position`` in the model.

    ``cached_bytes`` are loaded once into the chip's memory, ``streamed_bytes`` sent with every
    inference. Models whose ``caching_token`` is the same were compiled together.
    """

    position: int
    min_runtime: int
    compiler: str
    model_identifier: str
    signed: bool
    package_bytes: int
    executables: tuple[Executable, ...]

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay on the chip."""
        return sum(e.parameter_bytes for e in self.executables if e.type == TYPES[1])

    @property
    def streamed_bytes(self) -> int:
        """Parameters that every inference sends."""
        return sum(e.parameter_bytes for e in self.executables if e.type != TYPES[1])

    @property
    def caching_token(self) -> str:
        """The token of the parameter-caching executable; empty without one."""
        return next((e.caching_token for e in self.executables if e.type == TYPES[1]), "")

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "cached_bytes": self.cached_bytes,
            "streamed_bytes": self.streamed_bytes,
        }


def read_packages(graph: Graph, *, where: str = "model") -> tuple[Package, ...]:
    """Return the packages of a compiled model, in execution order; none for another model.

    Raises:
        ModelError: a package is damaged.
    """
    return tuple(
        decode_package(op.attrs.get("custom_options", b""), position=i, where=where)
        for i, op in enumerate(graph.ops)
        if op.kind == CUSTOM_OP
    )


def decode_package(options: bytes, *, position: int = 0, where: str = "model") -> Package:
    """Return the package in the ``custom_options`` of an ``edgetpu-custom-op``.

    Raises:
        ModelError: the bytes are no such package, or are damaged.
    """
    try:
        return _package(options, position)
    except Damage as error:
        raise ModelError(
            f"{where}: the Edge TPU package of operator {position} is damaged: {error}",
            hint="compile the model again, or copy it again",
        ) from error


def _package(options: bytes, position: int) -> Package:
    content = flexbuffer_map(options).get("4")
    if not isinstance(content, bytes):
        raise Damage("the custom options contain no package")
    package = root(content, b"DWN1")
    programs = root(package.content(1)).contents(0)
    if not programs:
        raise Damage("no executables")
    return Package(
        position=position,
        min_runtime=package.integer(0),
        compiler=clean_name(package.text(4)),
        model_identifier=clean_name(package.text(7)),
        signed=package.length(2) > 0,
        package_bytes=len(content),
        executables=tuple(_executable(root(program)) for program in programs),
    )


def _executable(table: Table) -> Executable:
    kind = table.integer(13, "<h")
    if kind not in TYPES:
        raise Damage(f"an executable of type {kind}")
    cycles = table.integer(16, "<q") or table.integer(11)
    return Executable(
        type=TYPES[kind],
        name=clean_name(table.text(1)),
        chip=clean_name(table.text(10)),
        batch_size=_count(table, 3, "batch size"),
        parameter_bytes=table.length(6),
        instruction_bytes=sum(stream.length(0) for stream in table.tables(5)),
        scratch_bytes=_count(table, 4, "scratch size"),
        tile_memory_bytes=_count(table, 12, "tile memory"),
        caching_token=f"{table.integer(14, '<Q'):016x}",
        estimated_cycles=cycles if cycles > 0 else None,
        inputs=tuple(_layer(layer) for layer in table.tables(8)),
        outputs=tuple(_layer(layer) for layer in table.tables(9)),
    )


def _layer(table: Table) -> PackageLayer:
    numerics = table.table(5)
    kind = table.integer(6, "<h")
    scale = numerics.number(1) if numerics else 0.0
    if not math.isfinite(scale):
        raise Damage(f"a layer with scale {scale}")
    return PackageLayer(
        name=clean_name(table.text(0)),
        shape=(_count(table, 2, "y"), _count(table, 3, "x"), _count(table, 4, "z")),
        dtype=DATA_TYPES.get(kind, f"type {kind}"),
        scale=scale,
        zero_point=numerics.integer(0) if numerics else 0,
        padded_bytes=_count(table, 1, "size"),
        executions=table.integer(9, default=1),
    )


def _count(table: Table, slot: int, what: str) -> int:
    value = table.integer(slot)
    if value < 0:
        raise Damage(f"{what} {value:,}")
    return value


@dataclass(frozen=True)
class CompiledModel:
    """A model that was compiled for the Edge TPU: its packages, and (operator, count) of what the
    CPU runs."""

    packages: tuple[Package, ...]
    cpu_operators: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "packages": [package.to_json() for package in self.packages],
            "cpu_operators": dict(self.cpu_operators),
        }


def describe_package(graph: Graph, *, where: str = "model") -> CompiledModel | None:
    """Return what is known of a compiled model, None for one that was not compiled.

    Raises:
        ModelError: a package is damaged.
    """
    packages = read_packages(graph, where=where)
    left = Counter(op.kind for op in graph.ops if op.kind != CUSTOM_OP)
    return CompiledModel(packages, tuple(left.items())) if packages else None
