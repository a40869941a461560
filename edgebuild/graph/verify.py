"""The rules that every Graph keeps; checked after reading and between passes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgebuild.errors import ModelError
from edgebuild.graph.ir import ABSENT, DType, Graph, Tensor

MAX_TENSOR_BYTES = 1 << 30
_SHOWN = 10


def verify(graph: Graph, *, where: str = "graph") -> None:
    """Check the graph's structure; ModelError lists what is wrong.

    ``where`` names the file or the pass that made the graph.
    """
    problems = list(_index_problems(graph))
    if not problems:
        problems = [*_order_problems(graph), *_tensor_problems(graph)]
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ModelError(
            f"{where}: not a valid graph: {problems[0]}", details=[*problems[1:_SHOWN], *more]
        )


def _index_problems(graph: Graph) -> Iterator[str]:
    known = graph.tensors
    for role, indices in (("input", graph.inputs), ("output", graph.outputs)):
        if not indices:
            yield f"the model has no {role}s"
        if len(set(indices)) != len(indices):
            yield f"a model {role} is listed twice"
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
        if not op.outputs:
            yield f"{label} has no output"


def _order_problems(graph: Graph) -> Iterator[str]:
    ready = {i for i, t in graph.tensors.items() if t.is_constant or t.is_variable}
    for i in graph.inputs:
        if i in ready:
            yield f"model input {_label(graph.tensors[i])} is a constant or a variable"
    ready |= set(graph.inputs)
    written = set(ready)
    for op in graph.ops:
        label = f"{op.kind} (operator {op.source_index})"
        for i in op.inputs:
            if i != ABSENT and i not in ready:
                yield f"{label} reads {_label(graph.tensors[i])} before anything writes it"
        for i in op.outputs:
            if i in written:
                yield f"{label} writes {_label(graph.tensors[i])}, which has a value already"
            written.add(i)
            ready.add(i)
    for i in graph.outputs:
        if i not in ready:
            yield f"nothing writes the model output {_label(graph.tensors[i])}"


def _tensor_problems(graph: Graph) -> Iterator[str]:
    for tensor in graph.tensors.values():
        label = _label(tensor)
        if tensor.nbytes > MAX_TENSOR_BYTES:
            yield f"{label} with shape {list(tensor.shape)} is larger than 1 GiB"
        if tensor.data is not None and (
            tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype.numpy
        ):
            given = f"shape {list(tensor.data.shape)} and type {tensor.data.dtype}"
            yield f"{label} has data of {given}"
        yield from _quantization_problems(tensor, label)


def _quantization_problems(tensor: Tensor, label: str) -> Iterator[str]:
    q = tensor.quantization
    if q is None:
        return
    if not all(math.isfinite(s) and s > 0 for s in q.scales):
        yield f"{label} has a scale that is not a positive number"
    if len(q.zero_points) != len(q.scales):
        yield f"{label} has {len(q.scales)} scales and {len(q.zero_points)} zero points"
    low, high = _zero_point_range(tensor.dtype)
    if not all(low <= z <= high for z in q.zero_points):
        yield f"{label} has a zero point outside {low}..{high}"
    if q.per_channel and not (
        0 <= q.axis < len(tensor.shape) and tensor.shape[q.axis] == len(q.scales)
    ):
        shape = list(tensor.shape)
        yield f"{label} has {len(q.scales)} scales along axis {q.axis} of shape {shape}"


def _zero_point_range(dtype: DType) -> tuple[int, int]:
    if dtype == DType.INT8:
        return -128, 127
    if dtype == DType.UINT8:
        return 0, 255
    if dtype == DType.INT16:
        return -32768, 32767
    return -(2**31), 2**31 - 1


def _label(tensor: Tensor) -> str:
    return f"tensor {tensor.index} '{tensor.name}'"
