"""CONCATENATION and PACK: several inputs behind each other along one axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops import movement as move
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.targets import CpuFeatures

_MAX_INPUTS = 10
_MAX_RANK = 5


def _call(node: Node, outer: int, runs: Sequence[int]) -> KernelCall:
    """Return the kernel for ``runs`` in elements, one for each input."""
    if len(runs) == 1:
        return move.view_call(node.output.nbytes)
    size = node.output.dtype.itemsize
    return KernelCall(
        "eb_concatenation",
        "concatenation/concatenation.h",
        ("concatenation/concatenation.c",),
        "eb_concatenation_params",
        {
            "outer": outer,
            "inputs": len(runs),
            "runs": np.array([run * size for run in runs], np.int32),
        },
        inputs=tuple(range(len(runs))),
        inputs_as_array=True,
    )


def _joins(node: Node) -> bool:
    shapes = [t.shape for t in node.inputs if t is not None]
    rank, axis = len(shapes[0]), node.attrs["axis"]
    if not move.axis_in_range(axis, rank) or any(len(s) != rank for s in shapes):
        return False
    others = {tuple(d for i, d in enumerate(s) if i != axis % rank) for s in shapes}
    return len(others) == 1


def _alike(tensor: Tensor, output: Tensor) -> bool:
    if output.dtype == DType.INT16:
        return tensor.zero_point == 0
    return output.dtype != DType.INT8 or tensor.quantization == output.quantization


class Concatenation(Operator):
    """The inputs may differ in length along the axis."""

    kind = "CONCATENATION"
    most_operands = MANY
    constraints = (
        Constraint(
            f"1 to {_MAX_INPUTS} inputs and the output have one type: "
            f"{', '.join(move.DTYPES)}; none is empty",
            lambda n: (
                1 <= len(n.inputs) <= _MAX_INPUTS
                and n.output.dtype in move.DTYPES
                and all(
                    t is not None and t.dtype == n.output.dtype and t.elements > 0 for t in n.inputs
                )
            ),
        ),
        Constraint(
            "the inputs have equal shapes but along the axis, "
            f"which is one of at most {_MAX_RANK} dimensions",
            lambda n: len(n.input(0).shape) <= _MAX_RANK and _joins(n),
        ),
        Constraint(
            "int8 inputs and output have the same quantization, int16 ones no zero point",
            lambda n: all(_alike(t, n.output) for t in (*n.inputs, n.output) if t is not None),
        ),
        Constraint(
            "there is no fused activation",
            lambda n: n.attrs.get("fused_activation_function", "NONE") == "NONE",
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shape with the lengths along the axis added up."""
        shape = list(node.input(0).shape)
        axis = node.attrs["axis"] % len(shape)
        shape[axis] = sum(t.shape[axis] for t in node.inputs if t is not None)
        return (tuple(shape),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Concatenate raw values."""
        return (np.concatenate([x for x in inputs if x is not None], node.attrs["axis"]),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel, or a view of a single input."""
        splits = [move.joined_runs(t.shape, node.attrs["axis"]) for t in node.inputs if t]
        return _call(node, splits[0][0], [run for _, run in splits])

    def cases(self) -> Iterable[Case]:
        """Yield axes, numbers of inputs, a constant input and every type."""
        for name, axis, shapes in (
            ("channels", 3, ((1, 2, 3, 4), (1, 2, 3, 1))),
            ("rows", 1, ((2, 1, 3), (2, 4, 3), (2, 2, 3))),
            ("negative_axis", -1, ((2, 3), (2, 1))),
            ("first", 0, ((2, 3), (1, 3))),
            ("single", 1, ((2, 3),)),
            ("ten", 0, ((1,), (2,), (3,), (1,), (1,), (1,), (4,), (1,), (1,), (2,))),
            ("rank_5", 2, ((1, 2, 1, 2, 2), (1, 2, 3, 2, 2))),
        ):
            yield self._case(name, axis, shapes)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), 1, ((2, 3), (2, 2)), dtype)
        weights = constant(np.arange(6).reshape(2, 3), 0.1, 3)
        yield one_op(
            "constant",
            self.kind,
            [activation((2, 2), 0.1, 3), weights],
            [activation((2, 5), 0.1, 3)],
            {"axis": 1},
        )

    def _case(
        self, name: str, axis: int, shapes: Sequence[Shape], dtype: DType = DType.INT8
    ) -> Case:
        inputs = [move.operand(s, dtype) for s in shapes]
        out = list(shapes[0])
        out[axis] = sum(s[axis] for s in shapes)
        return one_op(name, self.kind, inputs, [move.operand(out, dtype)], {"axis": axis})


class Pack(Operator):
    """Inputs of one shape, stacked along a new axis."""

    kind = "PACK"
    most_operands = MANY
    constraints = (
        Constraint(
            f"inputs and output have one type, {', '.join(move.DTYPES)}, and the inputs one shape",
            lambda n: (
                len(n.inputs) > 0
                and move.all_alike(n.inputs)
                and n.input(0).dtype in move.DTYPES
                and n.output.dtype == n.input(0).dtype
            ),
        ),
        Constraint(
            f"the axis is one of the output's dimensions, at most {_MAX_RANK}",
            lambda n: (
                len(n.input(0).shape) < _MAX_RANK
                and move.axis_in_range(n.attrs["axis"], len(n.input(0).shape) + 1)
            ),
        ),
        Constraint(
            "`values_count` is the number of inputs",
            lambda n: n.attrs.get("values_count") == len(n.inputs),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the inputs' shape with their number put in at the axis."""
        shape = node.input(0).shape
        axis = node.attrs["axis"] % (len(shape) + 1)
        return ((*shape[:axis], len(node.inputs), *shape[axis:]),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Stack raw values."""
        return (np.stack([x for x in inputs if x is not None], node.attrs["axis"]),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of CONCATENATION."""
        shape = node.input(0).shape
        axis = node.attrs["axis"] % (len(shape) + 1)
        run = move.product(shape[axis:])
        return _call(node, move.product(shape[:axis]), [run] * len(node.inputs))

    def cases(self) -> Iterable[Case]:
        """Yield axes, scalars, one input and every type."""
        for name, count, axis, shape in (
            ("first", 3, 0, (2, 3)),
            ("middle", 2, 1, (2, 3)),
            ("last", 3, 2, (2, 3)),
            ("negative_axis", 2, -2, (2, 3)),
            ("single", 1, 0, (4,)),
            ("rank_5", 2, 4, (1, 2, 3, 2)),
            ("scalars", 3, 0, ()),
            ("many", 12, 0, (2,)),
        ):
            yield self._case(name, count, axis, shape)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), 2, 1, (3, 2), dtype)

    def _case(
        self, name: str, count: int, axis: int, shape: Shape, dtype: DType = DType.INT8
    ) -> Case:
        at = axis % (len(shape) + 1)
        out = (*shape[:at], count, *shape[at:])
        return one_op(
            name,
            self.kind,
            [move.operand(shape, dtype) for _ in range(count)],
            [move.operand(out, dtype)],
            {"axis": axis, "values_count": count},
        )
