"""TRANSPOSE: the dimensions in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import movement as move
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.targets import CpuFeatures

_DTYPES = (DType.INT8, DType.INT16, DType.FLOAT32)


class Transpose(Operator):
    """Dimensions that stay together are walked as one."""

    kind = "TRANSPOSE"
    most_operands = 2
    constraints = (
        move.same_dtype(dtypes=_DTYPES),
        Constraint(
            "the permutation is a constant of int32 that names each dimension once, from 0",
            lambda n: (
                move.is_constant(n.optional_input(1))
                and len(n.input(1).shape) == 1
                and sorted(move.values(n, 1)) == list(range(len(n.input(0).shape)))
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the lengths in the new order."""
        return (tuple(node.input(0).shape[i] for i in move.values(node, 1)),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Transpose raw values."""
        x = inputs[0]
        assert x is not None
        return (np.ascontiguousarray(x.transpose(move.values(node, 1))),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the strided copy, or a view where only dimensions of length 1 move."""
        shape = node.input(0).shape
        strides = move.strides(shape)
        loops = [move.Loop(shape[i], strides[i]) for i in move.values(node, 1)]
        return move.strided_copy_call(0, loops, node.output.dtype.itemsize)

    def cases(self) -> Iterable[Case]:
        """Yield permutations that merge, that do not, and that change nothing."""
        for name, shape, order in (
            ("matrix", (3, 5), (1, 0)),
            ("to_nchw", (1, 3, 4, 5), (0, 3, 1, 2)),
            ("to_nhwc", (2, 5, 3, 4), (0, 2, 3, 1)),
            ("keeps_runs", (2, 3, 4, 5), (0, 2, 1, 3)),
            ("reversed", (2, 3, 2, 3, 4), (4, 3, 2, 1, 0)),
            ("tangled", (2, 3, 2, 3, 4), (2, 0, 4, 1, 3)),
            ("ones", (1, 4, 1, 3), (0, 2, 1, 3)),
            ("nothing", (2, 3, 4), (0, 1, 2)),
            ("vector", (4,), (0,)),
        ):
            yield self._case(name, shape, order)
        for dtype in _DTYPES:
            yield self._case(str(dtype), (2, 3, 4), (2, 0, 1), dtype)

    def _case(
        self, name: str, shape: Shape, order: Sequence[int], dtype: DType = DType.INT8
    ) -> Case:
        return one_op(
            name,
            self.kind,
            [move.operand(shape, dtype), constant(order, dtype=DType.INT32)],
            [move.operand([shape[i] for i in order], dtype)],
        )
