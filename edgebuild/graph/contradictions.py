"""What a model file says of its tensors that cannot be true: scales, zero points, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgebuild.errors import ModelError
from edgebuild.graph.ir import ABSENT, DType, Graph, Tensor
from edgebuild.graph.verify import tensor_label

MAX_TENSOR_BYTES = 1 << 30
_SHOWN = 10
_SCALED = frozenset(
    (
        *(DType.INT2, DType.INT4, DType.INT8, DType.INT16, DType.INT32, DType.INT64),
        *(DType.UINT4, DType.UINT8, DType.UINT16),
    )
)
_WIDE = frozenset((DType.INT32, DType.INT64))


def contradictions(graph: Graph) -> dict[int, tuple[str, ...]]:
    """Return {tensor index: sentences} for the tensors in use whose quantization or size cannot be
    right.

    A constant may have channels of scale 0: they are zero, whatever their integers are. The scales
    of a bias follow from those of input and weights, so that nothing reads their axis.
    """
    used = {*graph.inputs, *graph.outputs, *(i for op in graph.ops for i in op.outputs)}
    used |= {i for op in graph.ops for i in op.inputs if i != ABSENT}
    found = ((i, tuple(_tensor_problems(graph.tensors[i]))) for i in sorted(used))
    return {i: problems for i, problems in found if problems}


def refuse_contradictions(graph: Graph, *, where: str) -> None:
    """Raise ModelError where ``contradictions`` finds any."""
    problems = [problem for found in contradictions(graph).values() for problem in found]
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ModelError(
            f"{where}: the file contradicts itself: {problems[0]}",
            details=[*problems[1:_SHOWN], *more],
            hint="export the model again; the converter writes these values",
        )


def _tensor_problems(tensor: Tensor) -> Iterator[str]:
    label = tensor_label(tensor)
    if tensor.nbytes > MAX_TENSOR_BYTES:
        yield f"{label} with shape {list(tensor.shape)} is larger than 1 GiB"
    q = tensor.quantization
    if q is None or tensor.dtype not in _SCALED:
        return
    if not all(math.isfinite(s) and s >= 0 for s in q.scales):
        yield f"{label} has a scale that is not a positive number"
    elif not tensor.is_constant and not all(q.scales):
        yield f"{label} has a scale of 0, which no value but 0 can have"
    low, high = _zero_point_range(tensor.dtype)
    if not all(low <= z <= high for z in q.zero_points):
        yield f"{label} has a zero point outside {low}..{high}"
    if (
        q.per_channel
        and tensor.dtype not in _WIDE
        and not (0 <= q.axis < len(tensor.shape) and tensor.shape[q.axis] == len(q.scales))
    ):
        shape = list(tensor.shape)
        yield f"{label} has {len(q.scales)} scales along axis {q.axis} of shape {shape}"


def _zero_point_range(dtype: DType) -> tuple[int, int]:
    if dtype in _WIDE:
        return -(2**31), 2**31 - 1
    if dtype.name.startswith("U"):
        return 0, 2**dtype.bits - 1
    return -(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1
