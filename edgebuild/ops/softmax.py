"""SOFTMAX over the last dimension of int8."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import gemmlowp
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.convolution import is_int8
from edgebuild.ops.fixed_point import quantize_multiplier
from edgebuild.targets import CpuFeatures

_DIFF_INTEGER_BITS = 5
_SUM_INTEGER_BITS = 12


class Softmax(Operator):
    """Exponentials of all 256 differences to a row's maximum are a table made at build time."""

    kind = "SOFTMAX"
    constraints = (
        Constraint(
            "input and output are int8 with one scale each",
            lambda n: is_int8(n.optional_input(0)) and is_int8(n.output),
        ),
        Constraint(
            "the input has 1 to 4 dimensions, none zero",
            lambda n: 1 <= len(n.input(0).shape) <= 4 and n.input(0).elements > 0,
        ),
        Constraint(
            "output scale is 1/256 and output zero point -128",
            lambda n: n.output.scale == 1 / 256 and n.output.zero_point == -128,
        ),
        Constraint("a row has at most 4095 values", lambda n: n.input(0).shape[-1] <= 4095),
        Constraint(
            "beta times the input scale is above 2**-26 and beta is not negative",
            lambda n: math.isfinite(n.attrs["beta"]) and _real_multiplier(n) > 1.0,
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (node.input(0).shape,)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's integer softmax row by row."""
        x = inputs[0]
        assert x is not None
        table = _exp_table(node)
        rows = [_row(row.tolist(), table) for row in x.reshape(-1, x.shape[-1])]
        return (np.array(rows, np.int8).reshape(x.shape),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel; it works in place."""
        depth = node.input(0).shape[-1]
        table = [exp for exp in _exp_table(node) if exp >= _LEAST_EXP]
        return KernelCall(
            "eb_softmax_s8",
            "softmax/softmax.h",
            ("softmax/softmax_s8.c",),
            "eb_softmax_params",
            {
                "rows": node.input(0).elements // depth,
                "depth": depth,
                "table_length": len(table),
                "exp_table": np.array(table, np.int32),
            },
            in_place=((0, 0),),
        )

    def cases(self) -> Iterable[Case]:
        """Yield row lengths and scales from flat to steep."""
        shapes = (("row", (1, 10)), ("rows", (4, 7)), ("four", (1, 2, 3, 5)), ("one", (2, 1)))
        for name, shape in shapes:
            yield _case(name, shape, 0.1)
        yield _case("vector", (9,), 0.15)
        yield _case("long", (1, 500), 0.02)  # TFLite Micro aborts on longer rows of equal values
        for i, scale in enumerate((1e-6, 0.003, 0.05, 0.4, 3.0, 60.0)):
            yield _case(f"scale_{i}", (3, 12), scale)
        yield _case("beta", (2, 12), 0.1, beta=0.7)


_LEAST_EXP = 1 << 11
"""Below, an exponential rounds to 0 in the sum (Q12.19) and, shifted right by 23 bits or more, in
the quotient: the kernel needs none of them."""


def _case(name: str, shape: Shape, scale: float, beta: float = 1.0) -> Case:
    return one_op(
        name,
        "SOFTMAX",
        [activation(shape, scale, 4)],
        [activation(shape, 1 / 256, -128)],
        {"beta": beta},
    )


def _real_multiplier(node: Node) -> float:
    beta, scale = float(np.float32(node.attrs["beta"])), float(np.float32(node.input(0).scale))
    return min(beta * scale * (1 << (31 - _DIFF_INTEGER_BITS)), (1 << 31) - 1.0)


def _exp_table(node: Node) -> list[int]:
    """Return exp(-d * beta * scale) in Q0.31 for each difference d that counts."""
    multiplier, left = quantize_multiplier(_real_multiplier(node))
    largest = ((1 << _DIFF_INTEGER_BITS) - 1) * (1 << (31 - _DIFF_INTEGER_BITS)) / (1 << left)
    differences = range(min(255, math.floor(largest)) + 1)
    return [
        gemmlowp.exp_on_negative_values(
            gemmlowp.multiply(-d << left, multiplier), _DIFF_INTEGER_BITS
        )
        for d in differences
    ]


def _row(row: list[int], table: list[int]) -> list[int]:
    top = max(row)
    exps = [table[top - v] if top - v < len(table) else None for v in row]
    total = sum(gemmlowp.divide_by_pot(e, _SUM_INTEGER_BITS) for e in exps if e is not None)
    zeros = 32 - total.bit_length()
    scale = gemmlowp.one_over_one_plus((total << zeros) - (1 << 31))
    right = _SUM_INTEGER_BITS - zeros + 31 - 8
    return [
        -128
        if e is None
        else min(127, gemmlowp.divide_by_pot(gemmlowp.multiply(scale, e), right) - 128)
        for e in exps
    ]
