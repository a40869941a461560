"""ARG_MAX: where the largest value along an axis lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops import movement as move
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.targets import CpuFeatures

_MAX_RANK = 5


class ArgMax(Operator):
    """The first of several equal values counts."""

    kind = "ARG_MAX"
    most_operands = MANY
    constraints = (
        Constraint(
            f"the input is int8 with 1 to {_MAX_RANK} dimensions, none zero; the output is int32",
            lambda n: (
                n.optional_input(0) is not None
                and n.input(0).dtype == DType.INT8
                and 1 <= len(n.input(0).shape) <= _MAX_RANK
                and n.input(0).elements > 0
                and n.output.dtype == DType.INT32
            ),
        ),
        Constraint(
            "the axis is a constant of int32 and one of the dimensions",
            lambda n: (
                move.is_constant(n.optional_input(1))
                and n.input(1).elements == 1
                and move.axis_in_range(_axis(n), len(n.input(0).shape))
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the input's shape without the axis."""
        shape = list(node.input(0).shape)
        del shape[_axis(node)]
        return (tuple(shape),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Find the first largest value."""
        x = inputs[0]
        assert x is not None
        return (np.asarray(x.argmax(_axis(node)), np.int32),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel."""
        shape, axis = node.input(0).shape, _axis(node)
        outer, run = move.joined_runs(shape, axis)
        return KernelCall(
            "eb_arg_max_s8",
            "arg_max/arg_max.h",
            ("arg_max/arg_max_s8.c",),
            "eb_arg_max_params",
            {"outer": outer, "axis": shape[axis], "inner": run // shape[axis]},
        )

    def cases(self) -> Iterable[Case]:
        """Yield axes at both ends and inside."""
        for name, shape, axis in (
            ("classes", (1, 10), 1),
            ("negative_axis", (3, 7), -1),
            ("first", (4, 5), 0),
            ("middle", (2, 6, 3), 1),
            ("vector", (9,), 0),
            ("single", (3, 1), 1),
            ("rank_5", (2, 2, 3, 2, 4), 2),
        ):
            out = list(shape)
            del out[axis]
            index = Tensor(0, "", tuple(out), DType.INT32)
            operands = [activation(shape, 0.1, 3), constant(axis, dtype=DType.INT32)]
            yield one_op(name, self.kind, operands, [index], {"output_type": "INT32"})


def _axis(node: Node) -> int:
    return move.values(node, 1)[0]
