"""The rules that every Graph keeps; checked after reading and between passes."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.errors import ModelError
from edgebuild.graph.ir import ABSENT, Graph, Tensor

_SHOWN = 10


def verify(graph: Graph, *, where: str = "graph") -> None:
    """Check the graph's structure, and that of its further subgraphs; ModelError lists what is
    wrong.

    ``where`` names the file or the pass that made the graph.
    """
    problems = [problem for part in (graph, *graph.others) for problem in _problems(part)]
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ModelError(
            f"{where}: not a valid graph: {problems[0]}",
            details=[*problems[1:_SHOWN], *more],
            hint=_VALID if graph.inputs else _NO_INPUTS,
        )


_VALID = (
    "export the model again: a .tflite lists its operators in the order in which they run, and "
    "each tensor is an input, a constant, or written by one operator"
)
_NO_INPUTS = "the file lists no inputs: export the model again, with its inputs"


def _problems(graph: Graph) -> list[str]:
    return list(_index_problems(graph)) or [*_order_problems(graph), *_data_problems(graph)]


def _index_problems(graph: Graph) -> Iterator[str]:
    known = graph.tensors
    for role, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for i in indices:
            if i not in known:
                yield f"model {role} {i} is not a tensor"
    for op in graph.ops:
        label = f"{op.kind} (operator {op.source_index})"
        for i in op.inputs:
            if i != ABSENT and i not in known:
                yield f"{label} reads tensor {i}, which is not there"
        for i in op.outputs:
            if i not in known:
                yield f"{label} writes tensor {i}, which is not there"
        for i in op.intermediates:
            if i != ABSENT and i not in known:
                yield f"{label} has intermediate tensor {i}, which is not there"


def _order_problems(graph: Graph) -> Iterator[str]:
    ready = {i for i, t in graph.tensors.items() if t.is_constant or t.is_variable}
    for i in graph.inputs:
        if graph.tensors[i].is_constant:
            yield f"model input {tensor_label(graph.tensors[i])} is a constant"
    ready |= set(graph.inputs)
    written = set(ready)
    for op in graph.ops:
        label = f"{op.kind} (operator {op.source_index})"
        for i in op.inputs:
            if i != ABSENT and i not in ready:
                yield f"{label} reads {tensor_label(graph.tensors[i])} before anything writes it"
        for i in op.outputs:
            if i in written:
                yield f"{label} writes {tensor_label(graph.tensors[i])}, which has a value already"
            written.add(i)
            ready.add(i)
    for i in graph.outputs:
        if i not in ready:
            yield f"nothing writes the model output {tensor_label(graph.tensors[i])}"


def _data_problems(graph: Graph) -> Iterator[str]:
    for tensor in graph.tensors.values():
        if tensor.data is not None and (
            tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype.numpy
        ):
            given = f"shape {list(tensor.data.shape)} and type {tensor.data.dtype}"
            yield f"{tensor_label(tensor)} has data of {given}"


def tensor_label(tensor: Tensor) -> str:
    """Return what messages call a tensor."""
    return f"tensor {tensor.index} '{tensor.name}'"
