"""Generate the stand-alone C library: Graph + MemoryPlan -> {path: text}.

Files: ``<name>.h``, ``<name>.c`` (the layers), ``<name>_weights.h/.c`` (constants, kept in flash),
``<name>_preprocess.c`` where inputs are prepared in float32 and, below ``edgebuild/``, what the
model uses of the runtime. All are compiled without an include path: each includes what it needs by
the way to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgebuild.codegen.names import c_float, c_int, c_string
from edgebuild.codegen.preprocess import preprocess_functions
from edgebuild.codegen.sources import runtime_files, runtime_version
from edgebuild.codegen.templates import render
from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Node, Tensor
from edgebuild.memory import (
    HEADER_BYTES,
    ROW_COUNT_BYTES,
    MemoryPlan,
    arena_capacities,
    is_view,
    plan_memory,
)
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.ops import KernelCall
from edgebuild.ops.bands import takes_rows
from edgebuild.ops.base import Part, Place, Round
from edgebuild.regions import Placement
from edgebuild.versions import C_INTERFACE

_DTYPE_ENUM = {
    DType.INT8: "EB_INT8",
    DType.UINT8: "EB_UINT8",
    DType.INT16: "EB_INT16",
    DType.INT32: "EB_INT32",
    DType.INT64: "EB_INT64",
    DType.FLOAT32: "EB_FLOAT32",
    DType.BOOL: "EB_BOOL",
}


@dataclass(frozen=True)
class CArray:
    """A ``static const`` array of the weights file."""

    name: str
    ctype: str
    length: int
    nbytes: int
    align: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Params:
    """A structure of constant parameters: its type, name and initializer."""

    ctype: str
    name: str
    value: str


@dataclass(frozen=True)
class Layer:
    """A step of the generated run function; it has no ``statements`` where it is a view."""

    position: int
    kind: str
    statements: tuple[str, ...] = ()
    params: tuple[Params, ...] = ()


@dataclass
class Constants:
    """Collects the arrays of libraries that go into one program, by type and bytes: the next
    library refers to those that are equal, of which ``borrowed_bytes`` are not stored again."""

    arrays: dict[tuple[str, str], CArray] = field(default_factory=dict)
    borrowed_bytes: int = 0


@dataclass
class _Writer:
    """Collects the constants of one library; equal bytes are stored once. ``others`` are those of
    libraries that go into the same program, ``borrowed`` those of them that this one refers to."""

    name: str
    others: Mapping[tuple[str, str], CArray] = field(default_factory=dict)
    arrays: dict[tuple[str, str], CArray] = field(default_factory=dict)
    borrowed: dict[tuple[str, str], CArray] = field(default_factory=dict)

    def array(self, role: str, data: np.ndarray) -> str:
        ctype = DType(data.dtype.name).c
        key = (ctype, hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest())
        if key in self.others:
            return self.borrowed.setdefault(key, self.others[key]).name
        if key not in self.arrays:
            name = f"{self.name}_{role}{len(self.arrays)}"
            # Four-byte alignment lets kernels load int8 weights a word at a time.
            align = max(4, data.dtype.itemsize)
            self.arrays[key] = CArray(
                name, ctype, data.size, data.nbytes, align, tuple(_rows(data))
            )
        return self.arrays[key].name

    def initializer(self, params: Mapping[str, object], indent: str = "    ") -> str:
        lines = [
            f"{indent}.{key} = {self._value(key, value, indent)},\n"
            for key, value in params.items()
        ]
        return "{\n" + "".join(lines) + indent[4:] + "}"

    def _value(self, key: str, value: object, indent: str) -> str:
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, (int, np.integer)):
            return c_int(int(value))
        if isinstance(value, (float, np.floating)):
            return c_float(float(value))
        if isinstance(value, str):
            return value
        if isinstance(value, np.ndarray):
            return self.array(key, value)
        if isinstance(value, Mapping):
            return self.initializer(value, indent + "    ")
        if isinstance(value, Sequence):
            return "{" + ", ".join(self._value(key, v, indent) for v in value) + "}"
        raise TypeError(f"parameter {key} has type {type(value).__name__}")


def plan_for(graph: Graph, calls: Sequence[KernelCall], placement: Placement | None) -> MemoryPlan:
    """Plan the arena where ``placement`` has it: split where it gives the arena several regions and
    it does not fit the first."""
    split = placement is not None and len(placement.arena) > 1
    copied = constant_bytes(graph, calls) if split else 0
    return plan_memory(graph, calls, arena_capacities(placement, copied))


def generate_library(
    graph: Graph,
    calls: Sequence[KernelCall],
    plan: MemoryPlan,
    name: str,
    preprocessing: Preprocessing = NONE,
    constants: Constants | None = None,
) -> dict[str, str]:
    """Return the library's files by relative path.

    Args:
        graph: a supported graph.
        calls: those of its schedule.
        plan: ``plan_memory(graph, calls)``.
        name: a C identifier (``c_identifier``), the prefix of everything that is exported.
        preprocessing: what the firmware does to inputs, as functions for it to call.
        constants: of the libraries that go into the same program; those of this one are added.
    """
    _check_outputs(graph)
    writer = _Writer(name, constants.arrays if constants is not None else {})
    layers = [
        _layer(node, call, plan, writer) for node, call in zip(graph.nodes(), calls, strict=True)
    ]
    used = [c for c, layer in zip(calls, layers, strict=True) if layer.statements]
    values = {
        "name": name,
        "macro": name.upper(),
        "interface": C_INTERFACE,
        "runtime_version": runtime_version(),
        "arena_bytes": max(plan.bank_bytes[0], 1),
        "banks": further_banks(plan),
        "header_bytes": HEADER_BYTES - (ROW_COUNT_BYTES if graph.input_by_rows else 0),
        "inputs": [tensor_values(graph, plan, i) for i in graph.inputs],
        "outputs": [tensor_values(graph, plan, i) for i in graph.outputs],
        "rows": row_values(graph, calls, plan),
        "layers": layers,
        "headers": sorted({one.header for call in used for one in call.kernels}),
        "arrays": list(writer.arrays.values()),
        "borrowed": list(writer.borrowed.values()),
        "preprocess": preprocess_functions(graph, preprocessing, name),
        "from_layers": preprocessing.made_from == "layers",
        "keeps_inputs": graph.keeps_inputs,
    }
    files = {
        f"{name}.h": render("model.h.j2", **values),
        f"{name}.c": render("model.c.j2", **values),
        f"{name}_weights.h": render("model_weights.h.j2", **values),
        f"{name}_weights.c": render("model_weights.c.j2", **values),
    }
    if preprocessing:
        files[f"{name}_preprocess.c"] = render("model_preprocess.c.j2", **values)
    files.update(runtime_files(used))
    if constants is not None:
        constants.arrays.update(writer.arrays)
        constants.borrowed_bytes += sum(array.nbytes for array in writer.borrowed.values())
    return files


def further_banks(plan: MemoryPlan) -> list[dict[str, int]]:
    """Return number and size of the arena's banks behind the first, for templates."""
    return [
        {"number": number, "bytes": max(size, 1)}
        for number, size in enumerate(plan.bank_bytes)
        if number
    ]


def constant_bytes(graph: Graph, calls: Sequence[KernelCall]) -> int:
    """Return the flash that the library's constant arrays take, equal ones counted once."""
    writer = _Writer("x")
    for node, call in zip(graph.nodes(), calls, strict=True):
        for one in call.kernels:
            writer.initializer(one.params)
        for position in call.inputs:
            tensor = node.input(position)
            if tensor.data is not None:
                writer.array("constant", tensor.data)
    return sum(array.nbytes for array in writer.arrays.values())


def _check_outputs(graph: Graph) -> None:
    for tensor in graph.output_tensors:
        if tensor.is_constant:
            raise InputError(
                f"{graph.name}: output '{tensor.name}' is a constant, the same for every input",
                hint="export the model without this output",
            )


def _layer(node: Node, call: KernelCall, plan: MemoryPlan, writer: _Writer) -> Layer:
    if is_view(node, call, plan):
        return Layer(node.position, node.kind)
    params: dict[int, Params] = {}
    if not call.rounds:
        inputs = [_input(node.input(i), plan, writer) for i in call.inputs]
        outputs = [_pointer(t, plan, const=False) for t in node.outputs]
        scratch = _at(*_scratch(node, plan)) if call.scratch_bytes else ""
        statements = [_statement(node, call, inputs, outputs, scratch, params, writer)]
    else:
        statements = list(_rounds(node, call, plan, params, writer))
    return Layer(node.position, node.kind, tuple(statements), tuple(params.values()))


def _rounds(
    node: Node, call: KernelCall, plan: MemoryPlan, params: dict[int, Params], writer: _Writer
) -> Iterator[str]:
    """Yield the lines of a step in bands of rows: a loop where a round runs several times."""
    bands = _Bands(node, plan, params, writer)
    taking = [one for one in call.rounds if one.parts_of_input] if takes_rows(node) else []
    if taking:
        yield from _branches(taking, bands)
    for one in call.rounds[len(taking) :]:
        indent = "    " if one.times > 1 else ""
        if indent:
            yield f"for (uint32_t round = 0U; round < {one.times}U; round++) {{"
        for part in one.parts:
            yield indent + bands.statement(part)
        if indent:
            yield "}"


@dataclass(frozen=True)
class _Bands:
    """Makes the statements of a step in bands of rows."""

    node: Node
    plan: MemoryPlan
    params: dict[int, Params]
    writer: _Writer

    def statement(self, part: Part, more: str = "") -> str:
        """Return the call of a part, whose output begins ``more`` further on."""
        read = zip(part.call.inputs, part.inputs, strict=True)
        inputs = [self._pointer(place, part.node.input(i), "const ") for i, place in read]
        outputs = [self._pointer(part.output, part.node.output, "", more)]
        scratch = self._bytes("scratch", part.scratch) if part.call.scratch_bytes else ""
        return _statement(self.node, part.call, inputs, outputs, scratch, self.params, self.writer)

    def _pointer(self, place: Place, tensor: Tensor, const: str, more: str = "") -> str:
        if place.memory == "input" and takes_rows(self.node):
            return f"({const}{tensor.dtype.c} *)row"
        step = f" + {place.step}U * round" if place.step else ""
        return f"({const}{tensor.dtype.c} *)({self._bytes(place.memory, place.offset)}{more}{step})"

    def _bytes(self, memory: str, offset: int) -> str:
        if memory == "scratch":
            bank, start = _scratch(self.node, self.plan)
        else:
            tensor = self.node.input(0) if memory == "input" else self.node.output
            bank, start = _address(tensor, self.plan)
        return _at(bank, start + offset)


def _branches(taking: Sequence[Round], bands: _Bands) -> Iterator[str]:
    """Yield what takes row number ``taken`` from the caller, a branch for each round, and returns
    unless it is the last one."""
    start = 0
    for number, one in enumerate(taking):
        rows = len(one.parts_of_input)
        end = start + one.times * rows
        if one is taking[-1]:
            yield "} else {" if number else "{"
        else:
            yield f"{'} else ' if number else ''}if (taken < {end}U) {{"
        yield from (f"    {line}" for line in _branch(one, start, bands))
        start = end
    yield "}"
    if start > 1:
        yield f"if (taken < {start - 1}U) {{"
        yield "    return EB_OK;"
        yield "}"


def _branch(one: Round, start: int, bands: _Bands) -> Iterator[str]:
    """Yield what rows from number ``start`` on do in the rounds that take them."""
    taken = one.parts_of_input
    first = next(at for at, part in enumerate(one.parts) if part is taken[0])
    before, after = one.parts[:first], one.parts[first + len(taken) :]
    at = f"taken - {start}U" if start else "taken"
    inside = f"({at})" if start else at
    if any(part.output.step or any(p.step for p in part.inputs) for part in (*before, *after)) or (
        taken[0].output.step
    ):
        yield f"const uint32_t round = {f'{inside} / {len(taken)}U' if len(taken) > 1 else at};"
    more = ""
    if len(taken) > 1:
        yield f"const uint32_t of_round = {f'{inside} % {len(taken)}U' if one.times > 1 else at};"
        more = f" + {taken[0].node.output.nbytes}U * of_round"
        if before:
            yield "if (of_round == 0U) {"
            yield from (f"    {bands.statement(part)}" for part in before)
            yield "}"
    else:
        yield from map(bands.statement, before)
    yield bands.statement(taken[0], more)
    if len(taken) > 1 and after:
        yield f"if (of_round < {len(taken) - 1}U) {{"
        yield "    return EB_OK;"
        yield "}"
    yield from map(bands.statement, after)


def _statement(
    node: Node,
    call: KernelCall,
    inputs: list[str],
    outputs: list[str],
    scratch: str,
    params: dict[int, Params],
    writer: _Writer,
) -> str:
    """Return the call of a kernel, whose parameters are added to those of the step's ``params``."""
    arguments = []
    if call.params_type is not None:
        number = f"_{len(params)}" if params else ""
        name = f"{writer.name}_params{node.position}{number}"
        if id(call) not in params:
            params[id(call)] = Params(call.params_type, name, writer.initializer(call.params))
        arguments.append(f"&{params[id(call)].name}")
    arguments += _grouped(inputs, call.inputs_as_array, "const ")
    arguments += _grouped(outputs, call.outputs_as_array, "")
    arguments += [scratch] if scratch else []
    return f"{call.function}({', '.join(arguments)});"


def _grouped(pointers: list[str], as_array: bool, const: str) -> list[str]:
    if not as_array:
        return pointers
    return [f"({const}void *const[]){{{', '.join(pointers)}}}"]


def _input(tensor: Tensor, plan: MemoryPlan, writer: _Writer) -> str:
    if tensor.data is not None:
        return writer.array("constant", tensor.data)
    return _pointer(tensor, plan, const=True)


def _pointer(tensor: Tensor, plan: MemoryPlan, *, const: bool) -> str:
    qualifier = "const " if const else ""
    return f"({qualifier}{tensor.dtype.c} *)({_at(*_address(tensor, plan))})"


def _address(tensor: Tensor, plan: MemoryPlan) -> tuple[int, int]:
    """Return bank and offset of a tensor."""
    return plan.banks.get(tensor.index, 0), plan.offsets[tensor.index]


def _scratch(node: Node, plan: MemoryPlan) -> tuple[int, int]:
    """Return bank and offset of the scratch memory of a step."""
    return plan.scratch_banks.get(node.position, 0), plan.scratch_offsets[node.position]


def _at(bank: int, offset: int) -> str:
    """Return the pointer to a byte of the arena."""
    return f"{f'bank{bank}' if bank else 'base'} + {offset}"


def row_values(
    graph: Graph, calls: Sequence[KernelCall], plan: MemoryPlan
) -> dict[str, int] | None:
    """Return what templates print of an input that comes by rows; None for one that does not. The
    rows behind those that are ``read`` are under no window."""
    if not graph.input_by_rows:
        return None
    (given,) = graph.input_tensors
    count = given.shape[1]
    read = sum(one.times * len(one.parts_of_input) for one in calls[0].rounds)
    offset = plan.rows_offset or 0
    return {"count": count, "bytes": given.nbytes // count, "read": read, "offset": offset}


def tensor_values(graph: Graph, plan: MemoryPlan, index: int) -> dict[str, object]:
    """Return what templates print of an input or output."""
    tensor = graph.tensors[index]
    return {
        "offset": plan.offsets.get(index, 0),
        "bank": plan.banks.get(index, 0),
        "label": c_string(tensor.name),
        "shape": ", ".join(str(d) for d in tensor.shape) or "1",
        "rank": len(tensor.shape),
        "bytes": tensor.nbytes,
        "scale": c_float(tensor.scale),
        "scale_text": f"{tensor.scale:.9g}",
        "zero_point": tensor.zero_point,
        "dtype": _DTYPE_ENUM[tensor.dtype],
        "dtype_text": str(tensor.dtype),
        "shape_text": " x ".join(str(d) for d in tensor.shape) or "scalar",
    }


def _rows(data: np.ndarray) -> Iterator[str]:
    flat = np.ravel(data)
    if flat.dtype.kind == "f":
        words = [c_float(float(v)) for v in flat]
    else:
        words = [c_int(v) for v in flat.tolist()]
    row = 24 if flat.dtype.itemsize == 1 else 8
    for start in range(0, len(words), row):
        yield ", ".join(words[start : start + row]) + ","
