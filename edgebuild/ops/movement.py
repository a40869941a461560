"""What the operators that only move bytes share: their limits, and the kernels they end in.

A copy of any rank and order is a nest of few loops over contiguous runs. The nest is simplified
here, so that the kernel stays small and copies the longest runs there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops.base import Constraint, KernelCall, Shape
from edgebuild.ops.cases import activation

DTYPES = (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)
MAX_LOOPS = 5
"""Loops of ``eb_strided_copy``, which is also the highest rank of any operator that uses it."""


@dataclass(frozen=True)
class Loop:
    """One loop of a copy: how often, and how far the input moves each time."""

    count: int
    stride: int


def operand(shape: Sequence[int], dtype: DType = DType.INT8) -> Tensor:
    """Return an activation for a case; only int8 may have a zero point."""
    return activation(shape, 0.1, 3 if dtype == DType.INT8 else 0, dtype)


def is_constant(tensor: Tensor | None, *dtypes: DType) -> bool:
    """Return whether an operand is a constant of one of ``dtypes`` (int32 when none is given)."""
    return tensor is not None and tensor.is_constant and tensor.dtype in (dtypes or (DType.INT32,))


def values(node: Node, position: int) -> list[int]:
    """Return a constant operand as a flat list of integers."""
    data = node.input(position).data
    assert data is not None
    return [int(v) for v in np.ravel(data)]


def same_dtype(
    *, position: int = 0, max_rank: int = MAX_LOOPS, dtypes: Sequence[DType] = DTYPES
) -> Constraint:
    """Return the limit on the data itself, which is input ``position`` of the operator."""

    def check(node: Node) -> bool:
        data = node.optional_input(position)
        return (
            data is not None
            and data.dtype in dtypes
            and len(data.shape) <= max_rank
            and data.elements > 0
            and all(t.dtype == data.dtype and t.elements > 0 for t in node.outputs)
        )

    names = " or ".join((", ".join(dtypes[:-1]), dtypes[-1]) if len(dtypes) > 1 else dtypes)
    return Constraint(
        f"input and output have the same type, {names}, "
        f"and at most {max_rank} dimensions, none zero",
        check,
    )


def all_alike(tensors: Sequence[Tensor | None]) -> bool:
    """Return whether all tensors are there and have one type and one shape, none empty."""
    known = [t for t in tensors if t is not None]
    return len(known) == len(tensors) and all(
        t.dtype == known[0].dtype and t.shape == known[0].shape and t.elements > 0 for t in known
    )


def axis_in_range(axis: int, rank: int) -> bool:
    """Return whether ``axis``, which may count from the end, is one of ``rank`` dimensions."""
    return -rank <= axis < rank


def product(lengths: Sequence[int]) -> int:
    """Return the product of ``lengths``; 1 when there are none."""
    return int(np.prod(lengths, dtype=np.int64)) if lengths else 1


def strides(shape: Shape) -> tuple[int, ...]:
    """Return how many elements apart neighbours along each dimension of a dense array are."""
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def view_call(nbytes: int) -> KernelCall:
    """Return a view, with a plain copy for where memory cannot be shared."""
    return KernelCall(
        "eb_copy",
        "copy/copy.h",
        ("copy/copy.c",),
        "eb_copy_params",
        {"bytes": nbytes},
        in_place=((0, 0),),
        view=True,
    )


def strided_copy_call(offset: int, loops: Sequence[Loop], itemsize: int) -> KernelCall:
    """Return the kernel that writes a dense output from a strided walk over input 0.

    ``offset`` and the loops' strides count elements. A walk over the whole input in its own order
    becomes a view.
    """
    nest, run = simplify(loops)
    if offset == 0 and not nest:
        return view_call(run * itemsize)
    padded = [Loop(1, 0)] * (MAX_LOOPS - len(nest)) + nest
    return KernelCall(
        "eb_strided_copy",
        "copy/strided_copy.h",
        ("copy/strided_copy.c",),
        "eb_strided_copy_params",
        {
            "offset": offset * itemsize,
            "count": tuple(loop.count for loop in padded),
            "stride": tuple(loop.stride * itemsize for loop in padded),
            "run": run * itemsize,
        },
    )


def simplify(loops: Sequence[Loop]) -> tuple[list[Loop], int]:
    """Return an equal nest with as few loops as can be, and the length of its contiguous run.

    Loops of one step go, and a loop that continues where the one inside it ends becomes one with
    it; the innermost becomes the run when its stride is 1.
    """
    nest: list[Loop] = []
    for loop in loops:
        if loop.count == 1:
            continue
        if nest and nest[-1].stride == loop.stride * loop.count:
            nest[-1] = Loop(nest[-1].count * loop.count, loop.stride)
        else:
            nest.append(loop)
    if nest and nest[-1].stride == 1:
        return nest[:-1], nest[-1].count
    return nest, 1


def joined_runs(shape: Shape, axis: int) -> tuple[int, int]:
    """Return (outer, run): what lies before ``axis``, and from ``axis`` on, in elements."""
    at = axis % len(shape)
    return product(shape[:at]), product(shape[at:])
