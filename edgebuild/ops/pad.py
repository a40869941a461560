"""PAD and PADV2: a frame of one value around the input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops import movement as move
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.targets import CpuFeatures

_MAX_RANK = 5
_DATA = move.same_dtype(max_rank=_MAX_RANK)
_PADDINGS = Constraint(
    "the paddings are a constant of int32, two for each dimension, none negative",
    lambda n: (
        move.is_constant(n.optional_input(1))
        and len(move.values(n, 1)) == 2 * len(n.input(0).shape) > 0
        and all(p >= 0 for p in move.values(n, 1))
    ),
)


def _has_value(node: Node) -> bool:
    value = node.optional_input(2)
    output = node.output
    return (
        value is not None
        and move.is_constant(value, output.dtype)
        and value.elements == 1
        and (
            output.dtype != DType.INT8
            or (value.scale, value.zero_point) == (output.scale, output.zero_point)
        )
    )


class Pad(Operator):
    """The frame is the output's zero point where it is int8, else 0."""

    kind = "PAD"
    most_operands = 3
    constraints = (
        _DATA,
        _PADDINGS,
        Constraint("there is no third operand", lambda n: n.optional_input(2) is None),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return each length with both of its paddings."""
        pairs = _pairs(node)
        return (tuple(d + a + b for d, (a, b) in zip(node.input(0).shape, pairs, strict=True)),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Pad with a constant."""
        x = inputs[0]
        assert x is not None
        return (np.pad(x, _pairs(node), constant_values=self.value(node)),)

    def value(self, node: Node) -> np.ndarray:
        """Return the frame's value, of the output's type."""
        zero = node.output.zero_point if node.output.dtype == DType.INT8 else 0
        return np.array(zero, node.output.dtype.numpy)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel, or a view where nothing is padded."""
        frames = _frames(node.input(0).shape, _pairs(node))
        if not any(before or after for _, before, after in frames):
            return move.view_call(node.output.nbytes)
        size = node.output.dtype.itemsize
        frames = [(1, 0, 0)] * (_MAX_RANK - len(frames)) + frames
        raw = self.value(node).tobytes()
        return KernelCall(
            "eb_pad",
            "pad/pad.h",
            ("pad/pad.c",),
            "eb_pad_params",
            {
                "count": tuple(count for count, _, _ in frames[:-1]),
                "before": tuple(before * size for _, before, _ in frames),
                "after": tuple(after * size for _, _, after in frames),
                "run": frames[-1][0] * size,
                "element": 1 if len(set(raw)) == 1 else size,
                "value": tuple(raw.ljust(4, b"\0")),
            },
        )

    def cases(self) -> Iterable[Case]:
        """Yield frames of every rank, inside and outside, and every type."""
        for name, shape, pairs in (
            ("image", (1, 3, 4, 2), ((0, 0), (1, 2), (3, 1), (0, 0))),
            ("channels", (1, 3, 2, 3), ((0, 0), (0, 0), (0, 0), (0, 5))),
            ("batch", (2, 3), ((1, 0), (0, 0))),
            ("vector", (5,), ((2, 3),)),
            ("all_five", (2, 1, 3, 2, 2), ((1, 1), (0, 2), (2, 0), (1, 0), (3, 1))),
            ("inner_three", (2, 2, 2, 3), ((0, 0), (1, 0), (0, 1), (1, 1))),
            ("nothing", (2, 3), ((0, 0), (0, 0))),
        ):
            yield self._case(name, shape, pairs)
        for dtype in move.DTYPES:
            yield self._case(str(dtype), (2, 3), ((1, 0), (2, 1)), dtype=dtype)
        for zero in (-128, 127, 0):
            yield self._case(f"zero_point_{zero}", (2, 3), ((0, 1), (1, 0)), zero_point=zero)

    def value_operand(self, dtype: DType, zero_point: int) -> list[Tensor | None]:
        """Return the third operand of a case, if there is one."""
        return []

    def _case(
        self,
        name: str,
        shape: Shape,
        pairs: Sequence[tuple[int, int]],
        *,
        dtype: DType = DType.INT8,
        zero_point: int = 3,
    ) -> Case:
        out = tuple(d + a + b for d, (a, b) in zip(shape, pairs, strict=True))
        zero = zero_point if dtype == DType.INT8 else 0
        return one_op(
            name,
            self.kind,
            [
                activation(shape, 0.1, zero, dtype),
                constant(pairs, dtype=DType.INT32),
                *self.value_operand(dtype, zero),
            ],
            [activation(out, 0.1, zero, dtype)],
        )


class PadV2(Pad):
    """The frame is a given constant."""

    kind = "PADV2"
    most_operands = 3
    constraints = (
        _DATA,
        _PADDINGS,
        Constraint(
            "the value is one constant of the output's type, quantized like the output when int8",
            _has_value,
        ),
    )

    def value(self, node: Node) -> np.ndarray:
        """Return the third operand."""
        data = node.input(2).data
        assert data is not None
        return np.ravel(data)[0]

    def value_operand(self, dtype: DType, zero_point: int) -> list[Tensor | None]:
        """Return a value whose bytes differ, where it has several."""
        value = {DType.INT8: -77, DType.INT16: -3000, DType.INT32: 10**9, DType.FLOAT32: -1.7}
        scale = None if dtype == DType.FLOAT32 else 0.1
        return [constant([value[dtype]], scale, zero_point, dtype=dtype)]


def frame(node: Node) -> tuple[list[tuple[int, int]], int | float]:
    """Return how many elements ``node`` adds before and behind each dimension, and their value."""
    operator = PadV2() if node.kind == PadV2.kind else Pad()
    return _pairs(node), operator.value(node).item()


def _pairs(node: Node) -> list[tuple[int, int]]:
    flat = move.values(node, 1)
    return list(zip(flat[::2], flat[1::2], strict=True))


def _frames(shape: Shape, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return (count, before, after), outermost first, in elements; unpadded dimensions merge."""
    frames = [(1, 0, 0)]
    for length, (before, after) in zip(shape, pairs, strict=True):
        count, outer_before, outer_after = frames[-1]
        if not (before or after):
            frames[-1] = (count * length, outer_before * length, outer_after * length)
        elif (count, outer_before, outer_after) == (1, 0, 0):
            frames[-1] = (length, before, after)
        else:
            frames.append((length, before, after))
    inside = 1  # output elements of one step of the frame
    scaled = []
    for count, before, after in reversed(frames):
        scaled.append((count, before * inside, after * inside))
        inside *= count + before + after
    return scaled[::-1]
