"""ADD, SUB, MUL, MAXIMUM and MINIMUM on int8, with broadcasting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from edgebuild.graph import Node, Tensor
from edgebuild.ops import broadcast
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.convolution import (
    ACTIVATIONS,
    MAX_DSP_RIGHT,
    clamps,
    is_int8,
    output_stage,
)
from edgebuild.ops.fixed_point import (
    activation_range,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)
from edgebuild.targets import CpuFeatures

_LEFT_SHIFT = 20
_MAX_OPERAND_RIGHT = 29
"""With a larger shift the term that rounds could overflow."""
_SHAPES = (
    ("same", (2, 3, 4), (2, 3, 4)),
    ("scalar", (1, 5), (1,)),
    ("scalar_first", (1,), (1, 5)),
    ("row", (2, 3, 4), (4,)),
    ("column", (2, 3, 1), (2, 3, 4)),
    ("middle", (2, 1, 4), (2, 3, 4)),
    ("outer", (3, 1), (1, 4)),
    ("four", (2, 1, 3, 1), (1, 4, 1, 2)),
    ("long_row", (2, 3, 37), (37,)),
    ("long_column", (2, 37), (2, 1)),
)


def _broadcastable(node: Node) -> bool:
    nest = broadcast.loops(node.input(0).shape, node.input(1).shape)
    ranks = (len(node.input(0).shape), len(node.input(1).shape))
    return nest is not None and len(nest) <= broadcast.MAX_LOOPS and max(ranks) <= 4


class _Elementwise(Operator):
    """What all of them share: two int8 operands and one output."""

    most_operands = 2
    function: str
    source: str
    params_type: str
    fused = True
    constraints: ClassVar[tuple[Constraint, ...]] = (
        Constraint(
            "both inputs and the output are int8 with one scale each",
            lambda n: (
                len(n.inputs) == 2
                and all(is_int8(t) for t in (*n.inputs, n.output))
                and all(t is not None and t.elements > 0 for t in n.inputs)
            ),
        ),
        Constraint("the inputs broadcast, with at most 4 dimensions", _broadcastable),
        Constraint(
            f"the fused activation is one of {', '.join(ACTIVATIONS)}",
            lambda n: n.attrs.get("fused_activation_function", "NONE") in ACTIVATIONS,
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the broadcast shape."""
        shape = broadcast.broadcast_shape(node.input(0).shape, node.input(1).shape)
        assert shape is not None
        return (shape,)

    def window(self, node: Node) -> Window | None:
        """Return that of single pixels, where the operands are images that do not broadcast."""
        shapes = {tensor.shape for tensor in (*node.inputs, node.output) if tensor is not None}
        if len(shapes) > 1 or any(t and t.is_constant for t in node.inputs):
            return None
        return Window.of_pixels(node.output.shape)

    def params(self, node: Node) -> dict[str, object]:
        """Return the kernel's parameters but the loops."""
        return {}

    def mve_fits(self, node: Node) -> bool:
        """Return whether there is a Helium kernel that takes ``node``."""
        return False

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the NEON, Helium or portable kernel, in place over an operand not broadcast."""
        a, b = node.input(0), node.input(1)
        variant = "_neon" if cpu.neon else "_mve" if cpu.mve and self.mve_fits(node) else ""
        sources = [f"elementwise/{self.source}{variant}.c"]
        if variant == "_mve":  # what runs on cores without
            sources.append(f"elementwise/{self.source}.c")
        same = [i for i, t in enumerate((a, b)) if t.shape == node.output.shape]
        return KernelCall(
            self.function + variant,
            f"elementwise/elementwise{variant}.h",
            tuple(sources),
            self.params_type,
            {"loops": broadcast.loop_params(a.shape, b.shape), **self.params(node)},
            inputs=(0, 1),
            in_place=tuple((i, 0) for i in same),
        )

    def cases(self) -> Iterable[Case]:
        """Yield every broadcast pattern, scales far apart, activations and constants."""
        for name, a, b in _SHAPES:
            yield self._case(name, a, b)
        yield self._case("scales_apart", (1, 40), (1, 40), scales=(0.001, 2.0, 1.9))
        yield self._case("large_scales", (1, 40), (1, 40), scales=(7.0, 5.0, 60.0))
        yield self._case("saturating", (1, 40), (1, 40), scales=(0.9, 0.8, 0.1))
        yield self._case("zero_points", (1, 40), (1, 40), zeros=(-128, 127, -128))
        rng = np.random.default_rng(2)
        other = constant(rng.integers(-128, 128, (1, 8)), 0.3, -5)
        yield self._case("constant", (3, 8), (1, 8), second=other)
        if self.fused:
            for act in ACTIVATIONS[1:]:
                yield self._case(act.lower(), (1, 40), (1, 40), act=act)

    def _case(
        self,
        name: str,
        a: Shape,
        b: Shape,
        *,
        scales: tuple[float, float, float] = (0.1, 0.2, 0.25),
        zeros: tuple[int, int, int] = (3, -7, 11),
        act: str = "NONE",
        second: Tensor | None = None,
    ) -> Case:
        if not self.fused:  # MAXIMUM and MINIMUM compare raw integers
            scales, zeros = (scales[0],) * 3, (zeros[0],) * 3
            second = constant(second.data, scales[0], zeros[0]) if second else None
        out = broadcast.broadcast_shape(a, b)
        assert out is not None
        attrs = {"fused_activation_function": act} if self.fused else {}
        return one_op(
            name,
            self.kind,
            [activation(a, scales[0], zeros[0]), second or activation(b, scales[1], zeros[1])],
            [activation(out, scales[2], zeros[2])],
            attrs,
        )


class Add(_Elementwise):
    """Both operands are brought to twice the larger scale with 20 more bits, then added."""

    kind = "ADD"
    sign = 1
    function, source, params_type = "eb_add_s8", "add_s8", "eb_add_params"
    constraints = (
        *_Elementwise.constraints,
        Constraint(
            "the output scale is above 2**-19 of the larger input scale",
            lambda n: _add_scales(n)[2] < 1.0,
        ),
    )

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return those of both inputs and of the sum."""
        return _add_scales(node)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's ADD: three requantizations."""
        real = _add_scales(node)
        scaled = []
        for x, tensor, factor in zip(inputs, node.inputs, real[:2], strict=True):
            assert x is not None and tensor is not None
            centred = (x.astype(np.int64) - tensor.zero_point) << _LEFT_SHIFT
            scaled.append(multiply_by_quantized_multiplier(centred, *quantize_multiplier(factor)))
        total = scaled[0].astype(np.int64) + self.sign * scaled[1].astype(np.int64)
        result = multiply_by_quantized_multiplier(total, *quantize_multiplier(real[2]))
        return (_clip(node, result),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the DSP kernel where it is exact, else as for every operator of two operands."""
        call = super().kernel(node, cpu)
        if cpu.mve:
            return call
        # The larger scale's multiplier is a half.
        scaled, plain = sorted((0, 1), key=lambda i: _add_scales(node)[i])
        params = self._dsp_params(node, plain, scaled) if cpu.dsp else None
        if params is None:
            return call
        return dataclasses.replace(
            call,
            function="eb_add_s8_dsp" if self.sign > 0 else "eb_sub_s8_dsp",
            header="elementwise/elementwise_dsp.h",
            sources=("elementwise/add_s8_dsp.c",),
            params_type="eb_add_dsp_params",
            params=params,
            inputs=(plain, scaled),
        )

    def _dsp_params(self, node: Node, plain: int, scaled: int) -> dict[str, object] | None:
        """Return the DSP kernel's parameters; None where its rounding is not TFLite's."""
        pairs = [quantize_multiplier(factor) for factor in _add_scales(node)]
        multiplier, shift = pairs[scaled]
        if not _is_exact(pairs[2], node) or -shift > _MAX_OPERAND_RIGHT or not multiplier:
            return None
        if shift == 0:
            # Two equal scales: a half, as 1 - 2**-31 and a shift. What it lacks, 255 * 2**-11 at
            # most, is rounded off.
            multiplier, shift = 2**31 - 1, -1
        shapes = [node.input(i).shape for i in (plain, scaled)]
        return {
            "loops": broadcast.loop_params(*shapes),
            "plain_first": plain == 0,
            "base": -node.input(plain).zero_point * (1 << _LEFT_SHIFT),
            "start": -node.input(scaled).zero_point * (1 << _LEFT_SHIFT + 1),
            "multiplier": multiplier,
            "round": 1 << -shift >> 1,
            "right": -shift,
            **_dsp_output(pairs[2], node),
        }

    def mve_fits(self, node: Node) -> bool:
        """Return True: no multiplier of ADD is shifted to the left."""
        return True

    def params(self, node: Node) -> dict[str, object]:
        """Return offsets, the three multipliers with their right shifts, and the range."""
        pairs = [quantize_multiplier(factor) for factor in _add_scales(node)]
        return {
            "zero_point0": node.input(0).zero_point,
            "multiplier0": pairs[0][0],
            "right0": -pairs[0][1],
            "zero_point1": node.input(1).zero_point,
            "multiplier1": pairs[1][0],
            "right1": -pairs[1][1],
            "sign1": self.sign,
            "multiplier": pairs[2][0],
            "right": -pairs[2][1],
            **_output(node),
        }


class Sub(Add):
    """ADD with the second operand's sign turned."""

    kind = "SUB"
    sign = -1


class Mul(_Elementwise):
    """The product of both centred operands, requantized once."""

    kind = "MUL"
    function, source, params_type = "eb_mul_s8", "mul_s8", "eb_mul_params"

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return that of the product."""
        return (_mul_scale(node),)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's MUL."""
        a, b = inputs
        assert a is not None and b is not None
        product = (a.astype(np.int64) - node.input(0).zero_point) * (
            b.astype(np.int64) - node.input(1).zero_point
        )
        return (_clip(node, multiply_by_quantized_multiplier(product, *_mul_multiplier(node))),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the DSP kernel where it is exact, else as for every operator of two operands."""
        call = super().kernel(node, cpu)
        pair = _mul_multiplier(node)
        if not cpu.dsp or cpu.mve or not _is_exact(pair, node):
            return call
        return dataclasses.replace(
            call,
            function="eb_mul_s8_dsp",
            header="elementwise/elementwise_dsp.h",
            sources=("elementwise/mul_s8_dsp.c",),
            params_type="eb_mul_dsp_params",
            params={
                "loops": call.params["loops"],
                "start": -2 * node.input(0).zero_point,
                "zero_point1": node.input(1).zero_point,
                **_dsp_output(pair, node),
            },
        )

    def mve_fits(self, node: Node) -> bool:
        """Return whether the product is not shifted to the left."""
        return _mul_multiplier(node)[1] <= 0

    def params(self, node: Node) -> dict[str, object]:
        """Return offsets, the multiplier with its shift, and the range."""
        multiplier, shift = _mul_multiplier(node)
        return {
            "zero_point0": node.input(0).zero_point,
            "zero_point1": node.input(1).zero_point,
            "multiplier": multiplier,
            "shift": shift,
            **_output(node),
        }


class Maximum(_Elementwise):
    """The larger of two raw integers; the quantization of all three tensors is the same."""

    kind = "MAXIMUM"
    fused = False
    function, source = "eb_maximum_s8", "minmax_s8"
    params_type = "eb_minmax_params"
    constraints = (
        *_Elementwise.constraints,
        Constraint(
            "inputs and output have the same quantization",
            lambda n: n.input(0).quantization == n.input(1).quantization == n.output.quantization,
        ),
    )

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compare raw integers."""
        a, b = inputs
        assert a is not None and b is not None
        return (np.maximum(a, b),)


class Minimum(Maximum):
    """The smaller of two raw integers."""

    kind = "MINIMUM"
    function = "eb_minimum_s8"

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compare raw integers."""
        a, b = inputs
        assert a is not None and b is not None
        return (np.minimum(a, b),)


def _add_scales(node: Node) -> tuple[float, float, float]:
    """Return the real multipliers of both inputs and of the sum, in double as TFLite does."""
    first, second, out = (float(np.float32(t.scale)) for t in (*_operands(node), node.output))
    twice = 2.0 * max(first, second)
    return first / twice, second / twice, twice / ((1 << _LEFT_SHIFT) * out)


def _operands(node: Node) -> tuple[Tensor, Tensor]:
    return node.input(0), node.input(1)


def _mul_scale(node: Node) -> float:
    first, second, out = (float(np.float32(t.scale)) for t in (*_operands(node), node.output))
    return first * second / out


def _mul_multiplier(node: Node) -> tuple[int, int]:
    return quantize_multiplier(_mul_scale(node))


def _is_exact(pair: tuple[int, int], node: Node) -> bool:
    """Return whether ``eb_scale_dsp`` rounds as TFLite does with this multiplier and shift."""
    # Without a right shift a negative value comes out one too low, which saturation may hide.
    least = 0 if node.output.zero_point == -128 else 1
    return least <= -pair[1] <= MAX_DSP_RIGHT


def _dsp_output(pair: tuple[int, int], node: Node) -> dict[str, object]:
    """Return the fields of the DSP kernels for the last requantization and what follows it."""
    multiplier, right = pair[0], -pair[1]
    return {
        "output": {
            "bias": 0,
            "multiplier": multiplier,
            "round": (1 << right >> 1) + node.output.zero_point * (1 << right),
            "right": right,
        },
        "clamp": clamps(node),
        "range": output_stage(node),
    }


def _output(node: Node) -> dict[str, int]:
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    return {"offset": node.output.zero_point, "min": low, "max": high}


def _clip(node: Node, values: np.ndarray) -> np.ndarray:
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    shifted = values.astype(np.int64) + node.output.zero_point
    return np.clip(shifted, low, high).astype(np.int8)
