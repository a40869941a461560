"""MEAN and SUM of int8 over any axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops import movement as move
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.convolution import is_int8
from edgebuild.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from edgebuild.ops.row_sums import MOST_SUMMED, row_sums_call
from edgebuild.targets import CpuFeatures

_MAX_RANK = 5
_MAX_LOOPS = 3  # five dimensions, kept and reduced in turns
_MAX_RANGE = float(1 << 28)


def _axes_ok(node: Node) -> bool:
    if not move.is_constant(node.optional_input(1)):
        return False
    rank = len(node.input(0).shape)
    return all(move.axis_in_range(a, rank) for a in move.values(node, 1))


class _Reduce(Operator):
    """The sum over the axes, less the zero point of each value, requantized once."""

    most_operands = 2
    is_mean: bool
    constraints = (
        Constraint(
            "input and output are int8 with one scale each",
            lambda n: is_int8(n.optional_input(0)) and is_int8(n.output),
        ),
        Constraint(
            f"the input has 1 to {_MAX_RANK} dimensions, none zero",
            lambda n: 1 <= len(n.input(0).shape) <= _MAX_RANK and n.input(0).elements > 0,
        ),
        Constraint("the axes are a constant of int32, each within the dimensions", _axes_ok),
        Constraint(
            "at most 2**23 values become one, and their sum fits the output's scale in 28 bits",
            lambda n: (
                _values(n) <= MOST_SUMMED
                and 255 * (1 if n.kind == "MEAN" else _values(n)) * _scale(n) < _MAX_RANGE
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return what is left, or 1 for each axis when dimensions are kept."""
        axes, shape = _axes(node), node.input(0).shape
        if node.attrs["keep_dims"]:
            return (tuple(1 if i in axes else d for i, d in enumerate(shape)),)
        return (tuple(d for i, d in enumerate(shape) if i not in axes),)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return the ratio of the scales."""
        return (_scale(node),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's quantized reduction."""
        x = inputs[0]
        assert x is not None
        keep = bool(node.attrs["keep_dims"])
        total = x.astype(np.int64).sum(axis=_axes(node), keepdims=keep)
        centred = total - node.input(0).zero_point * _values(node)
        result = multiply_by_quantized_multiplier(centred, *_multiplier(node))
        shifted = result.astype(np.int64) + node.output.zero_point
        return (np.clip(shifted, -128, 127).astype(np.int8),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable, the DSP or the NEON kernel."""
        shape, axes = node.input(0).shape, _axes(node)
        loops = [move.Loop(d, s) for d, s in zip(shape, move.strides(shape), strict=True)]
        kept = _nest([loop for i, loop in enumerate(loops) if i not in axes])
        reduced = _nest([loop for i, loop in enumerate(loops) if i in axes])
        variant = "_neon" if cpu.neon else "_dsp" if cpu.dsp else ""
        return KernelCall(
            f"eb_reduce_sum_s8{'_neon' if cpu.neon else ''}",
            f"reduce/reduce{'_neon' if cpu.neon else ''}.h",
            (f"reduce/reduce_sum_s8{variant}.c",),
            "eb_reduce_params",
            {
                "kept": tuple(loop.count for loop in kept),
                "kept_stride": tuple(loop.stride for loop in kept),
                "reduced": tuple(loop.count for loop in reduced),
                "reduced_stride": tuple(loop.stride for loop in reduced),
                **_output(node),
            },
        )

    def row_sums(self, node: Node, rows: int, first: bool, last: bool) -> KernelCall | None:
        """Return the kernel where the height and the width of one image are reduced."""
        shape = node.input(0).shape
        if len(shape) != 4 or shape[0] != 1 or _axes(node) != (1, 2):
            return None
        band = rows, first, last
        return row_sums_call("reduce/reduce_rows_s8", node.input(0), band, _output(node))

    def cases(self) -> Iterable[Case]:
        """Yield every pattern of axes, ranks 1 to 5, and scales that shift and saturate."""
        for name, shape, axes, keep in (
            ("global_pool", (1, 5, 4, 7), (1, 2), False),
            ("global_pool_keep", (2, 5, 4, 8), (1, 2), True),
            ("axes_turned", (2, 3, 4, 5), (2, 1), True),
            ("last", (3, 6), (1,), True),
            ("last_negative", (3, 6), (-1,), False),
            ("first", (4, 3, 6), (0,), False),
            ("channels", (1, 3, 4, 6), (3,), True),
            ("ends", (2, 3, 4), (0, 2), False),
            ("turns_from_kept", (2, 3, 2, 3, 4), (1, 3), False),
            ("turns_from_reduced", (3, 2, 3, 2, 4), (0, 2, 4), False),
            ("all", (2, 3, 4), (0, 1, 2), False),
            ("all_keep", (2, 3, 4), (0, 1, 2), True),
            ("twice", (2, 3, 4), (1, -2), False),
            ("vector", (9,), (0,), False),
            ("single", (1, 1, 1, 6), (1, 2), False),
            ("three", (1, 3, 1, 6), (1, 2), False),
            ("power_of_two", (1, 8, 8, 4), (1, 2), False),
            ("more_than_a_block", (1, 19, 28, 9), (1, 2), False),
            ("more_than_a_vector", (1, 3, 5, 35), (1, 2), False),
            ("long_last", (3, 2, 35), (2,), False),
        ):
            yield self._case(name, shape, axes, keep)
        for i, (scale, zero, out_scale, out_zero) in enumerate(
            ((0.1, 3, 0.1, 3), (0.02, -128, 0.9, 127), (0.9, 127, 0.02, -128), (1.0, 5, 7.9, -6))
        ):
            yield self._case(
                f"scales_{i}", (1, 6, 7, 5), (1, 2), False, scale, zero, out_scale, out_zero
            )

    def _case(
        self,
        name: str,
        shape: Shape,
        axes: Sequence[int],
        keep: bool,
        scale: float = 0.1,
        zero_point: int = 3,
        out_scale: float = 0.08,
        out_zero_point: int = -7,
    ) -> Case:
        gone = {a % len(shape) for a in axes}
        kept = [1 if i in gone else d for i, d in enumerate(shape) if keep or i not in gone]
        growth = 1.0 if self.is_mean else 4.0
        return one_op(
            name,
            self.kind,
            [activation(shape, scale, zero_point), constant(axes, dtype=DType.INT32)],
            [activation(kept, out_scale * growth, out_zero_point)],
            {"keep_dims": keep},
        )


class Mean(_Reduce):
    """The requantization divides by the number of values."""

    kind = "MEAN"
    is_mean = True


class Sum(_Reduce):
    """The requantization only changes the scale."""

    kind = "SUM"
    is_mean = False


def _axes(node: Node) -> tuple[int, ...]:
    rank = len(node.input(0).shape)
    return tuple(sorted({a % rank for a in move.values(node, 1)}))


def _values(node: Node) -> int:
    """Return how many values become one."""
    return move.product([node.input(0).shape[a] for a in _axes(node)])


def _scale(node: Node) -> float:
    def exact(tensor: Tensor) -> float:
        return float(np.float32(tensor.scale))

    return exact(node.input(0)) / exact(node.output)


def _multiplier(node: Node) -> tuple[int, int]:
    """Return multiplier and shift; a mean's multiplier is divided as TFLite's QuantizedMeanOrSum.

    The division keeps as many bits as the shift, which ends at -31, allows.
    """
    multiplier, shift = quantize_multiplier(_scale(node))
    if node.kind == "MEAN":
        count = _values(node)
        extra = min(count.bit_length() - 1, 31 + shift)
        multiplier, shift = (multiplier << extra) // count, shift - extra
    return multiplier, shift


def _output(node: Node) -> dict[str, int]:
    """Return the parameters of what becomes of sums."""
    multiplier, shift = _multiplier(node)
    return {
        "zero_sum": node.input(0).zero_point * _values(node),
        "multiplier": multiplier,
        "shift": shift,
        "offset": node.output.zero_point,
    }


def _nest(loops: Sequence[move.Loop]) -> list[move.Loop]:
    nest, run = move.simplify(loops)
    if run > 1:
        nest.append(move.Loop(run, 1))
    return [move.Loop(1, 0)] * (_MAX_LOOPS - len(nest)) + nest
