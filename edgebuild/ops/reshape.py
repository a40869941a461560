"""RESHAPE, SQUEEZE and EXPAND_DIMS: the same memory under another shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.ops.movement import (
    DTYPES,
    axis_in_range,
    is_constant,
    operand,
    same_dtype,
    values,
    view_call,
)
from edgebuild.targets import CpuFeatures

_MAX_RANK = 6


def _shape_ok(node: Node) -> bool:
    shape = node.optional_input(1)
    return shape is None or shape.is_constant


class Reshape(Operator):
    """The output's shape is what the model recorded; it must hold as many elements."""

    kind = "RESHAPE"
    most_operands = 2
    constraints: ClassVar[tuple[Constraint, ...]] = (
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
    most_operands = 1

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield dimensions that cannot go."""
        shape, given = node.input(0).shape, node.attrs.get("squeeze_dims") or ()
        if not all(-len(shape) <= d < len(shape) and shape[d] == 1 for d in given):
            yield f"squeeze_dims {list(given)} are not dimensions of length 1 of {list(shape)}"

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the lengths that stay."""
        shape, given = node.input(0).shape, node.attrs.get("squeeze_dims") or ()
        gone = (
            {d % len(shape) for d in given} if given else {i for i, d in enumerate(shape) if d == 1}
        )
        return (tuple(d for i, d in enumerate(shape) if i not in gone),)

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
    most_operands = 2
    constraints = (
        same_dtype(max_rank=_MAX_RANK, dtypes=(DType.INT8, DType.INT16, DType.FLOAT32)),
        Constraint(
            "the axis is a constant of int32 and one of the output's dimensions",
            lambda n: (
                is_constant(n.optional_input(1))
                and n.input(1).elements == 1
                and axis_in_range(values(n, 1)[0], len(n.input(0).shape) + 1)
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shape with a 1 put in at the axis."""
        shape = node.input(0).shape
        axis = values(node, 1)[0] % (len(shape) + 1)
        return ((*shape[:axis], 1, *shape[axis:]),)

    def cases(self) -> Iterable[Case]:
        """Yield axes counted from both ends."""
        for name, axis, b in (("first", 0, (1, 3, 2)), ("last", -1, (3, 2, 1))):
            axis_operand = constant([axis], dtype=DType.INT32)
            yield one_op(name, self.kind, [operand((3, 2)), axis_operand], [operand(b)])
