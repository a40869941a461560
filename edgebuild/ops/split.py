"""SPLIT and UNPACK: one input cut into equal parts along one axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import movement as move
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.targets import CpuFeatures

_MAX_RANK = 5


def _call(node: Node, position: int, outer: int, run: int) -> KernelCall:
    """Return the kernel that cuts input ``position`` into runs of ``run`` elements."""
    data = node.input(position)
    if len(node.outputs) == 1 and position == 0:
        return move.view_call(data.nbytes)
    return KernelCall(
        "eb_split",
        "split/split.h",
        ("split/split.c",),
        "eb_split_params",
        {"outer": outer, "outputs": len(node.outputs), "run": run * data.dtype.itemsize},
        inputs=(position,),
        outputs_as_array=True,
    )


class Split(Operator):
    """The parts keep the axis."""

    kind = "SPLIT"
    most_operands = MANY
    constraints = (
        move.same_dtype(position=1, max_rank=_MAX_RANK),
        Constraint(
            "the axis is a constant of int32 and one of the dimensions",
            lambda n: (
                move.is_constant(n.optional_input(0))
                and n.input(0).elements == 1
                and move.axis_in_range(move.values(n, 0)[0], len(n.input(1).shape))
            ),
        ),
        Constraint(
            "the outputs are `num_splits` equal parts",
            lambda n: (
                n.attrs.get("num_splits") == len(n.outputs)
                and n.input(1).shape[move.values(n, 0)[0]] % len(n.outputs) == 0
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return one shape for each part."""
        shape = list(node.input(1).shape)
        shape[move.values(node, 0)[0]] //= len(node.outputs)
        return (tuple(shape),) * len(node.outputs)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Cut raw values."""
        x = inputs[1]
        assert x is not None
        return tuple(np.split(x, len(node.outputs), move.values(node, 0)[0]))

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel."""
        outer, run = move.joined_runs(node.output.shape, move.values(node, 0)[0])
        return _call(node, 1, outer, run)

    def cases(self) -> Iterable[Case]:
        """Yield axes, numbers of parts and every type."""
        for name, axis, parts, shape in (
            ("channels", 3, 2, (1, 2, 3, 4)),
            ("rows", 1, 3, (2, 6, 2)),
            ("negative_axis", -1, 3, (2, 3)),
            ("first", 0, 2, (4, 3)),
            ("single", 1, 1, (2, 3)),
            ("rank_5", 3, 2, (1, 2, 2, 4, 3)),
        ):
            yield self._case(name, axis, parts, shape)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), 1, 2, (2, 4), dtype)

    def _case(
        self, name: str, axis: int, parts: int, shape: Shape, dtype: DType = DType.INT8
    ) -> Case:
        out = list(shape)
        out[axis] //= parts
        return one_op(
            name,
            self.kind,
            [constant([axis], dtype=DType.INT32), move.operand(shape, dtype)],
            [move.operand(out, dtype) for _ in range(parts)],
            {"num_splits": parts},
        )


class Unpack(Operator):
    """Each part is one step along the axis, which goes."""

    kind = "UNPACK"
    most_operands = MANY
    constraints = (
        move.same_dtype(max_rank=_MAX_RANK),
        Constraint(
            "the axis is one of the dimensions",
            lambda n: move.axis_in_range(n.attrs["axis"], len(n.input(0).shape)),
        ),
        Constraint(
            "there are `num` outputs, one for each step along the axis",
            lambda n: n.attrs.get("num") == len(n.outputs) == n.input(0).shape[n.attrs["axis"]],
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shape without the axis, once for each part."""
        shape = list(node.input(0).shape)
        del shape[node.attrs["axis"]]
        return (tuple(shape),) * len(node.outputs)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Take raw values step by step."""
        x = inputs[0]
        assert x is not None
        return tuple(np.moveaxis(x, node.attrs["axis"], 0))

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of SPLIT."""
        shape = node.input(0).shape
        outer, run = move.joined_runs(shape, node.attrs["axis"])
        return _call(node, 0, outer, run // shape[node.attrs["axis"]])

    def cases(self) -> Iterable[Case]:
        """Yield axes, scalar parts, one part and every type."""
        for name, axis, shape in (
            ("first", 0, (3, 2)),
            ("middle", 1, (2, 3, 2)),
            ("negative_axis", -1, (2, 3)),
            ("scalars", 0, (3,)),
            ("single", 1, (2, 1, 3)),
            ("rank_5", 2, (1, 2, 3, 2, 2)),
        ):
            yield self._case(name, axis, shape)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), 1, (2, 3), dtype)

    def _case(self, name: str, axis: int, shape: Shape, dtype: DType = DType.INT8) -> Case:
        out = list(shape)
        parts = out.pop(axis)
        return one_op(
            name,
            self.kind,
            [move.operand(shape, dtype)],
            [move.operand(out, dtype) for _ in range(parts)],
            {"num": parts, "axis": axis},
        )
