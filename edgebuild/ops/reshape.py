"""RESHAPE, SQUEEZE and EXPAND_DIMS: the same memory under another shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.ops.movement import DTYPES, operand, same_dtype, view_call
from edgebuild.targets import CpuFeatures

_MAX_RANK = 6


def _shape_ok(node: Node) -> bool:
    shape = node.optional_input(1)
    return shape is None or shape.is_constant


class Reshape(Operator):
    """The output's shape is what the model recorded; it must hold as many elements."""

    kind = "RESHAPE"
    constraints = (
        same_dtype(max_rank=_MAX_RANK),
        Constraint("the shape, axis or dimensions operand is constant, or absent", _shape_ok),
        Constraint(
            "input and output have equally many elements",
            lambda n: n.input(0).elements == n.output.elements,
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the recorded shape, which TFLite computed when the model was converted."""
        return (node.output.shape,)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Give the same values another shape."""
        x = inputs[0]
        assert x is not None
        return (x.reshape(node.output.shape),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return a view, with a copy for where memory cannot be shared."""
        return view_call(node.output.nbytes)

    def cases(self) -> Iterable[Case]:
        """Yield shapes given as an operand and as an option."""
        shapes: tuple[tuple[str, Shape, Shape], ...] = (
            ("flat", (1, 2, 3, 4), (1, 24)),
            ("split", (6,), (2, 3, 1)),
            ("to_scalar", (1, 1), ()),
            ("from_scalar", (), (1,)),
            ("rank_6", (2, 12), (1, 2, 1, 3, 2, 2)),
        )
        for name, a, b in shapes:
            attrs = {"new_shape": b}
            yield one_op(f"{name}_option", self.kind, [operand(a)], [operand(b)], attrs)
            if b:
                shape = constant(b, dtype=DType.INT32)
                yield one_op(name, self.kind, [operand(a), shape], [operand(b)], attrs)
        for dtype in DTYPES:
            ends = [operand((2, 3), dtype)], [operand((3, 2), dtype)]
            yield one_op(str(dtype), self.kind, *ends, {"new_shape": (3, 2)})


class Squeeze(Reshape):
    """Dimensions of length 1 go."""

    kind = "SQUEEZE"

    def cases(self) -> Iterable[Case]:
        """Yield all dimensions of length 1, and a given one."""
        for name, a, b, dims in (
            ("all", (1, 3, 1, 2), (3, 2), ()),
            ("one", (1, 3, 1), (1, 3), (2,)),
        ):
            attrs = {"squeeze_dims": dims}
            yield one_op(name, self.kind, [operand(a)], [operand(b)], attrs)


class ExpandDims(Reshape):
    """A dimension of length 1 comes."""

    kind = "EXPAND_DIMS"
    constraints = (
        same_dtype(max_rank=_MAX_RANK, dtypes=(DType.INT8, DType.INT16, DType.FLOAT32)),
        *Reshape.constraints[1:],
    )

    def cases(self) -> Iterable[Case]:
        """Yield axes counted from both ends."""
        for name, axis, b in (("first", 0, (1, 3, 2)), ("last", -1, (3, 2, 1))):
            axis_operand = constant([axis], dtype=DType.INT32)
            yield one_op(name, self.kind, [operand((3, 2)), axis_operand], [operand(b)])
