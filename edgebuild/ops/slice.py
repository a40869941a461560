"""SLICE and STRIDED_SLICE: a box out of the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import movement as move
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.targets import CpuFeatures

_SLICE_RANK, _STRIDED_RANK = 5, 4


def _box_call(node: Node, starts: Sequence[int], loops: Sequence[move.Loop]) -> KernelCall:
    """Return the copy of a box; ``loops`` stride in steps along each dimension."""
    strides = move.strides(node.input(0).shape)
    offset = sum(s * stride for s, stride in zip(starts, strides, strict=True))
    walk = [
        move.Loop(loop.count, loop.stride * stride)
        for loop, stride in zip(loops, strides, strict=True)
    ]
    return move.strided_copy_call(offset, walk, node.output.dtype.itemsize)


def _slice_operands_ok(node: Node) -> bool:
    begin, size = node.optional_input(1), node.optional_input(2)
    rank = len(node.input(0).shape)
    return (
        move.is_constant(begin, DType.INT32, DType.INT64)
        and move.is_constant(size, DType.INT32, DType.INT64)
        and node.input(1).dtype == node.input(2).dtype
        and len(move.values(node, 1)) == len(move.values(node, 2)) == rank
    )


class Slice(Operator):
    """The box has a first corner and a size; size -1 goes to the end."""

    kind = "SLICE"
    most_operands = 3
    constraints = (
        move.same_dtype(max_rank=_SLICE_RANK),
        Constraint(
            "begin and size are constants of one type, int32 or int64, "
            "with a value for each dimension",
            _slice_operands_ok,
        ),
        Constraint(
            "the slice is not empty and lies inside the input",
            lambda n: all(
                begin >= 0 and size > 0 and begin + size <= length
                for begin, size, length in zip(
                    move.values(n, 1), _sizes(n), n.input(0).shape, strict=True
                )
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the box's size."""
        return (_sizes(node),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Cut the box out."""
        x = inputs[0]
        assert x is not None
        pairs = zip(move.values(node, 1), _sizes(node), strict=True)
        return (x[tuple(slice(begin, begin + size) for begin, size in pairs)],)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the strided copy, or a view of all."""
        loops = [move.Loop(size, 1) for size in _sizes(node)]
        return _box_call(node, move.values(node, 1), loops)

    def cases(self) -> Iterable[Case]:
        """Yield boxes at the ends and inside, up to rank 5, and every type."""
        for name, shape, begin, size in (
            ("vector", (9,), (2,), (4,)),
            ("rows", (5, 3), (1, 0), (3, -1)),
            ("columns", (3, 7), (0, 2), (3, 4)),
            ("one_column", (3, 7), (0, 6), (-1, 1)),
            ("image", (1, 5, 6, 3), (0, 1, 2, 0), (1, 3, 3, 3)),
            ("corner", (2, 3, 4, 5), (1, 2, 3, 4), (1, 1, 1, 1)),
            ("rank_5", (2, 3, 2, 3, 4), (0, 1, 0, 1, 1), (2, 2, 1, 2, 2)),
            ("all", (2, 3), (0, 0), (-1, -1)),
        ):
            yield self._case(name, shape, begin, size)
        yield self._case("int64", (3, 7), (1, 2), (2, 4), operands=DType.INT64)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), (3, 7), (1, 2), (2, 1), dtype)

    def _case(
        self,
        name: str,
        shape: Shape,
        begin: Sequence[int],
        size: Sequence[int],
        dtype: DType = DType.INT8,
        operands: DType = DType.INT32,
    ) -> Case:
        out = [d - b if s == -1 else s for d, b, s in zip(shape, begin, size, strict=True)]
        return one_op(
            name,
            self.kind,
            [
                move.operand(shape, dtype),
                constant(begin, dtype=operands),
                constant(size, dtype=operands),
            ],
            [move.operand(out, dtype)],
        )


class StridedSlice(Operator):
    """Python's ``x[begin:end:stride]``, with masks for what is left out and what is one index."""

    kind = "STRIDED_SLICE"
    most_operands = 4
    constraints = (
        move.same_dtype(max_rank=_STRIDED_RANK),
        Constraint(
            "begin, end and strides are constants of int32 with a value for each dimension",
            lambda n: all(
                move.is_constant(n.optional_input(i))
                and len(move.values(n, i)) == len(n.input(0).shape)
                for i in (1, 2, 3)
            ),
        ),
        Constraint(
            "there are no ellipsis, no new axes and no `offset`",
            lambda n: (
                not any(n.attrs.get(key) for key in ("ellipsis_mask", "new_axis_mask", "offset"))
            ),
        ),
        Constraint(
            "no stride is 0, and none is negative where an axis shrinks",
            lambda n: all(
                stride != 0 and (stride > 0 or not _bit(n, "shrink_axis_mask", i))
                for i, stride in enumerate(move.values(n, 3))
            ),
        ),
        Constraint(
            "the slice is not empty, and an axis that shrinks does so at an index inside",
            lambda n: all(
                loop.count > 0 and 0 <= start < length
                for (start, loop), length in zip(_walk(n), n.input(0).shape, strict=True)
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the steps along each axis that does not shrink."""
        return (
            tuple(
                loop.count
                for i, (_, loop) in enumerate(_walk(node))
                if not _bit(node, "shrink_axis_mask", i)
            ),
        )

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Index with the positions of each axis."""
        x = inputs[0]
        assert x is not None
        grid = np.ix_(*(start + loop.stride * np.arange(loop.count) for start, loop in _walk(node)))
        return (x[grid].reshape(node.output.shape),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the strided copy, or a view of all."""
        walk = _walk(node)
        return _box_call(node, [start for start, _ in walk], [loop for _, loop in walk])

    def cases(self) -> Iterable[Case]:
        """Yield steps both ways, every mask, indices beyond the ends, and every type."""
        for name, shape, box, masks in (
            ("steps", (9,), ((1,), (8,), (3,)), {}),
            ("backwards", (9,), ((7,), (0,), (-2,)), {}),
            ("reverse_all", (3, 4), ((0, 0), (0, 0), (-1, -1)), {"begin_mask": 3, "end_mask": 3}),
            ("columns", (3, 8), ((0, 1), (3, 7), (1, 2)), {}),
            ("rows", (7, 3), ((1, 0), (6, 3), (2, 1)), {}),
            ("negative", (5, 6), ((-4, -5), (-1, -1), (1, 1)), {}),
            ("beyond", (5, 6), ((-9, 2), (9, 99), (1, 1)), {}),
            ("begin_mask", (5, 6), ((2, 3), (4, 5), (1, 1)), {"begin_mask": 1}),
            ("end_mask", (5, 6), ((2, 3), (4, 5), (1, 1)), {"end_mask": 2}),
            ("shrink", (5, 6), ((2, 1), (3, 5), (1, 1)), {"shrink_axis_mask": 1}),
            ("shrink_last", (4, 3), ((0, -1), (4, 0), (1, 1)), {"shrink_axis_mask": 2}),
            ("shrink_all", (4, 3), ((1, 2), (2, 3), (1, 1)), {"shrink_axis_mask": 3}),
            ("image", (1, 6, 7, 3), ((0, 1, 6, 0), (1, 6, 0, 3), (1, 2, -2, 1)), {}),
            ("all", (2, 3), ((0, 0), (2, 3), (1, 1)), {}),
        ):
            yield self._case(name, shape, box, masks)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), (3, 8), ((0, 7), (3, 0), (2, -3)), {}, dtype)

    def _case(
        self,
        name: str,
        shape: Shape,
        box: Sequence[Sequence[int]],
        masks: Mapping[str, int],
        dtype: DType = DType.INT8,
    ) -> Case:
        attrs = {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0, **masks}
        operands = [constant(values, dtype=DType.INT32) for values in box]
        inputs = [move.operand(shape, dtype), *operands]
        draft = one_op(name, self.kind, inputs, [move.operand((), dtype)], attrs)
        out = self.output_shapes(draft.graph.node(0))[0]
        return one_op(name, self.kind, inputs, [move.operand(out, dtype)], attrs)


def _sizes(node: Node) -> Shape:
    triples = zip(node.input(0).shape, move.values(node, 1), move.values(node, 2), strict=True)
    return tuple(length - begin if size == -1 else size for length, begin, size in triples)


def _bit(node: Node, mask: str, axis: int) -> bool:
    return bool((node.attrs.get(mask) or 0) >> axis & 1)


def _walk(node: Node) -> list[tuple[int, move.Loop]]:
    """Return the first index along each dimension, and the steps from there."""
    walk = []
    begins, ends, steps = (move.values(node, i) for i in (1, 2, 3))
    for i, length in enumerate(node.input(0).shape):
        begin = None if _bit(node, "begin_mask", i) else begins[i]
        end = None if _bit(node, "end_mask", i) else ends[i]
        # slice.indices clamps as TFLite does: to [0, length] forwards, [-1, length - 1] backwards.
        start, stop, step = slice(begin, end, steps[i]).indices(length)
        if _bit(node, "shrink_axis_mask", i):
            stop = start + 1
        walk.append((start, move.Loop(len(range(start, stop, step)), step)))
    return walk
