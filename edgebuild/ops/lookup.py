"""Functions of one int8: LOGISTIC, TANH, HARD_SWISH, RELU, RELU6, LEAKY_RELU.

All 256 results are computed at build time; one kernel looks them up.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops import gemmlowp
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.convolution import is_int8
from edgebuild.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from edgebuild.targets import CpuFeatures

_CODES = np.arange(-128, 128)
_MOST_KEPT = 1024
_KEPT: dict[Hashable, Sequence[int]] = {}
"""Tables by all that decides them."""


def lookup_call(count: int, table: np.ndarray, cpu: CpuFeatures) -> KernelCall:
    """Return the kernel for ``table``, uint8 [256], indexed by the input's bits."""
    variant = "_neon" if cpu.neon else ""
    return KernelCall(
        f"eb_lookup_8{variant}",
        f"lookup/lookup{variant}.h",
        (f"lookup/lookup_8{variant}.c",),
        "eb_lookup_params",
        {"count": count, "table": table},
        in_place=((0, 0),),
    )


def byte_table(values: Sequence[int], low: int) -> np.ndarray:
    """Return ``values`` (for inputs ``low``, ``low + 1``, ...) ordered by the input's bits."""
    ordered = np.array([values[((bits - low) % 256)] for bits in range(256)], np.int64)
    return (ordered & 0xFF).astype(np.uint8)


def requantize_one(x: int, multiplier: int, shift: int) -> int:
    """Return ``x * multiplier * 2**(shift - 31)``, rounded twice."""
    wrapped = ((x << max(shift, 0)) + 2**31) % 2**32 - 2**31
    return gemmlowp.divide_by_pot(gemmlowp.multiply(wrapped, multiplier), max(-shift, 0))


def f32(value: float) -> float:
    """Return ``value`` rounded to single precision."""
    return float(np.float32(value))


class Lookup(Operator):
    """An operator that is a function of each int8 by itself."""

    constraints: ClassVar[tuple[Constraint, ...]] = (
        Constraint(
            "input and output are int8 with one scale each",
            lambda n: is_int8(n.optional_input(0)) and is_int8(n.output),
        ),
    )

    @abstractmethod
    def values(self, node: Node) -> list[int]:
        """Return the int8 result for each input -128..127."""

    def _values(self, node: Node) -> Sequence[int]:
        """Return ``values``, which take milliseconds, kept for equal nodes."""
        attrs = sorted(node.attrs.items())
        key = (node.kind, node.input(0).quantization, node.output.quantization, *attrs)
        if key not in _KEPT:
            if len(_KEPT) >= _MOST_KEPT:
                _KEPT.clear()
            _KEPT[key] = self.values(node)
        return _KEPT[key]

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (node.input(0).shape,)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Look every value up."""
        x = inputs[0]
        assert x is not None
        table = np.array(self._values(node), np.int8)
        return (table[x.astype(np.int64) + 128],)

    def window(self, node: Node) -> Window | None:
        """Return that of single pixels."""
        return Window.of_pixels(node.output.shape)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the look-up kernel; it works in place."""
        return lookup_call(node.input(0).elements, byte_table(self._values(node), -128), cpu)

    def pairs(self) -> Iterable[tuple[float, int, float, int]]:
        """Yield (input scale, zero point, output scale, zero point) of the test cases."""
        yield (0.05, 0, 0.05, 0)
        yield (0.1, -20, 0.07, 13)
        yield (0.02, 127, 0.5, -128)
        yield (1.7, -128, 0.9, 127)
        yield (0.0004, 3, 0.0003, -4)

    def attrs(self) -> Iterable[dict[str, Any]]:
        """Yield the attributes to try."""
        yield {}

    def cases(self) -> Iterable[Case]:
        """Yield every pair of quantizations over all 256 inputs, with each set of attributes."""
        for a, attrs in enumerate(self.attrs()):
            for i, (scale, zero, out_scale, out_zero) in enumerate(self.pairs()):
                yield one_op(
                    f"{i}_{a}",
                    self.kind,
                    [activation((4, 64), scale, zero)],
                    [activation((4, 64), out_scale, out_zero)],
                    attrs,
                )
        scale, zero, out_scale, out_zero = next(iter(self.pairs()))
        yield one_op(
            "odd_count",
            self.kind,
            [activation((3, 7), scale, zero)],
            [activation((3, 7), out_scale, out_zero)],
            next(iter(self.attrs())),
        )


def _int8(value: int) -> int:
    return max(-128, min(127, value))


_LEAST_SCALE = 2.0**-28
"""Below, TFLite Micro's range of the input is shifted by a negative number of bits."""


class _Sigmoid(Lookup):
    """LOGISTIC and TANH: gemmlowp's function of a Q4.27 input."""

    output_bits: int
    result = staticmethod(gemmlowp.logistic)
    output_quantization: tuple[float, int]

    def pairs(self) -> Iterable[tuple[float, int, float, int]]:
        """Yield input quantizations; the output's is fixed."""
        for scale, zero, _, _ in super().pairs():
            yield (scale, zero, *self.output_quantization)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return the input's in Q4.27."""
        return (f32(node.input(0).scale) * (1 << 27),)

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield an input scale that no multiplier holds."""
        if f32(node.input(0).scale) < _LEAST_SCALE:
            yield f"its input scale {node.input(0).scale:.3g} is too small for any multiplier"

    def values(self, node: Node) -> list[int]:
        """Saturate outside of the input range that 4 integer bits hold."""
        x = node.input(0)
        multiplier, left = quantize_multiplier(f32(x.scale) * (1 << 27))
        radius = math.floor(15 * (1 << 27) / 2.0**left)
        return [self._one(q - x.zero_point, radius, multiplier, left) for q in range(-128, 128)]

    def _one(self, centred: int, radius: int, multiplier: int, left: int) -> int:
        if centred <= -radius:
            return -128
        if centred >= radius:
            return 127
        raw = self.result(requantize_one(centred, multiplier, left), 4)
        rounded = gemmlowp.divide_by_pot(raw, 31 - self.output_bits)
        return _int8(rounded + self.output_quantization[1])


class Logistic(_Sigmoid):
    """1 / (1 + exp(-x)); output scale 1/256, zero point -128."""

    kind = "LOGISTIC"
    most_operands = MANY
    output_bits = 8
    output_quantization = (1 / 256, -128)
    constraints = (
        *Lookup.constraints,
        Constraint(
            "output scale is 1/256 and output zero point -128",
            lambda n: n.output.scale == 1 / 256 and n.output.zero_point == -128,
        ),
    )


class Tanh(_Sigmoid):
    """tanh(x); output scale 1/128, zero point 0."""

    kind = "TANH"
    output_bits = 7
    result = staticmethod(gemmlowp.tanh)
    output_quantization = (1 / 128, 0)
    constraints = (
        *Lookup.constraints,
        Constraint(
            "output scale is 1/128 and output zero point 0",
            lambda n: n.output.scale == 1 / 128 and n.output.zero_point == 0,
        ),
    )


class Relu(Lookup):
    """max(x, 0), requantized to the output's scale."""

    kind = "RELU"
    most_operands = MANY

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return the ratio of the scales."""
        return (f32(node.input(0).scale) / f32(node.output.scale),)

    def values(self, node: Node) -> list[int]:
        """Requantize, then clamp at the output's zero point."""
        x, y = node.input(0), node.output
        multiplier, shift = quantize_multiplier(f32(x.scale) / f32(y.scale))
        scaled = multiply_by_quantized_multiplier(_CODES - x.zero_point, multiplier, shift)
        found = scaled.astype(np.int64) + y.zero_point
        return np.clip(found, max(y.zero_point, -128), 127).tolist()


class Relu6(Lookup):
    """min(max(x, 0), 6) on raw integers: input and output have the same quantization."""

    kind = "RELU6"
    most_operands = MANY
    constraints = (
        *Lookup.constraints,
        Constraint(
            "input and output have the same quantization",
            lambda n: n.input(0).quantization == n.output.quantization,
        ),
    )

    def pairs(self) -> Iterable[tuple[float, int, float, int]]:
        """Yield equal quantizations."""
        for scale, zero, _, _ in super().pairs():
            yield (scale, zero, scale, zero)

    def values(self, node: Node) -> list[int]:
        """Clamp between the zero point and the integer nearest to 6."""
        x = node.input(0)
        six = x.zero_point + math.floor(float(np.float32(6.0) / np.float32(x.scale)) + 0.5)
        return [min(max(q, x.zero_point), min(six, 127)) for q in range(-128, 128)]


class LeakyRelu(Lookup):
    """x for x >= 0, alpha * x below."""

    kind = "LEAKY_RELU"

    def attrs(self) -> Iterable[dict[str, Any]]:
        """Yield slopes below and above 1."""
        yield {"alpha": 0.1}
        yield {"alpha": 1.5}

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return those of positive and of negative values."""
        x, y = np.float32(node.input(0).scale), np.float32(node.output.scale)
        with np.errstate(all="ignore"):
            return float(x / y), float(x * np.float32(node.attrs["alpha"]) / y)

    def values(self, node: Node) -> list[int]:
        """Requantize with one of two multipliers."""
        x, y = node.input(0), node.output
        positive, negative = (quantize_multiplier(scale) for scale in self.effective_scales(node))
        centred = _CODES - x.zero_point
        scaled = np.where(
            centred >= 0,
            multiply_by_quantized_multiplier(centred, *positive),
            multiply_by_quantized_multiplier(centred, *negative),
        )
        return np.clip(scaled.astype(np.int64) + y.zero_point, -128, 127).tolist()


class HardSwish(Lookup):
    """x * relu6(x + 3) / 6 in TFLite's 16-bit arithmetic."""

    kind = "HARD_SWISH"

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return those of the output and of the ReLU, from 7 more bits of the input."""
        hires = np.float32(1.0 / 128.0) * np.float32(node.input(0).scale)
        with np.errstate(all="ignore"):
            output = float(hires / np.float32(node.output.scale))
            return output, float(hires / (np.float32(3.0) / np.float32(32768.0)))

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield an output scale to which the 16-bit products would have to be shifted left."""
        output, _ = self.effective_scales(node)
        if _multiplier16(output)[1] > 0:
            yield (
                f"its output scale {node.output.scale:.3g} is below 1/128 of the input's "
                f"{node.input(0).scale:.3g}"
            )

    def values(self, node: Node) -> list[int]:
        """Follow TFLite's integer hard-swish."""
        x, y = node.input(0), node.output
        (output, output_exponent), (relu, relu_exponent) = (
            _multiplier16(scale) for scale in self.effective_scales(node)
        )
        return [
            _int8(
                _hard_swish((q - x.zero_point) << 7, output, output_exponent, relu, relu_exponent)
                + y.zero_point
            )
            for q in range(-128, 128)
        ]


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, exponent = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), exponent


def _multiply16(a: int, b: int) -> int:
    """Saturating rounding doubling high product of int16."""
    if a == b == -32768:
        return 32767
    product = a * b
    nudged = product + ((1 << 14) if product >= 0 else 1 - (1 << 14))
    return int(nudged / (1 << 15))  # towards zero


def _double_high16(a: int, b: int) -> int:
    """Saturating doubling high product of int16, not rounded."""
    if a == b == -32768:
        return 32767
    return int(a * b / (1 << 15))


def _saturate16(x: int) -> int:
    return max(-32768, min(32767, x))


def _hard_swish(
    hires: int, output: int, output_exponent: int, relu: int, relu_exponent: int
) -> int:
    preshift = _multiply16(hires, output)
    value = hires
    if relu_exponent > 0:
        value = _saturate16(value << (relu_exponent - 1))
    value = _multiply16(value, relu)
    if relu_exponent > 0:
        value = _saturate16(value << 1)
    if relu_exponent < 0:
        value = gemmlowp.divide_by_pot(value, -relu_exponent)
    value = (value + (1 << 15)) >> 1
    result = _double_high16(value, preshift)
    return gemmlowp.divide_by_pot(result, -output_exponent)


def is_byte(tensor: Tensor | None) -> bool:
    """Return whether the tensor is int8 or uint8 with one scale."""
    return (
        tensor is not None
        and tensor.dtype in (DType.INT8, DType.UINT8)
        and tensor.quantization is not None
        and not tensor.quantization.per_channel
    )
