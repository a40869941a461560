"""QUANTIZE (float32 to int8; int8 and uint8 to each other) and DEQUANTIZE."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import DType, Node, Tensor
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.convolution import is_int8
from edgebuild.ops.fixed_point import quantize_multiplier
from edgebuild.ops.lookup import byte_table, f32, is_byte, lookup_call, requantize_one
from edgebuild.targets import CpuFeatures


def _is_float(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.dtype == DType.FLOAT32


class Quantize(Operator):
    """From float by division and rounding, between bytes by a table."""

    kind = "QUANTIZE"
    constraints = (
        Constraint(
            "float32 to int8, or int8 or uint8 to int8 or uint8, with one scale each",
            lambda n: (
                (_is_float(n.optional_input(0)) and is_int8(n.output))
                or (is_byte(n.optional_input(0)) and is_byte(n.output))
            ),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (node.input(0).shape,)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return the ratio of the scales of two bytes."""
        is_bytes = node.input(0).dtype != DType.FLOAT32
        return (f32(node.input(0).scale) / f32(node.output.scale),) if is_bytes else ()

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's AffineQuantize and Requantize."""
        x = inputs[0]
        assert x is not None
        if x.dtype != np.float32:
            table = np.array(_requantized(node))
            return (
                table[x.astype(np.int64) - _low(node.input(0))].astype(node.output.dtype.numpy),
            )
        ratio = np.nan_to_num(x / np.float32(node.output.scale), nan=0.0, posinf=1e9, neginf=-1e9)
        ratio = np.clip(ratio.astype(np.float64), -(2.0**24), 2.0**24)
        rounded = np.trunc(ratio + np.copysign(0.5, ratio)).astype(np.int64)
        return (np.clip(rounded + node.output.zero_point, -128, 127).astype(np.int8),)

    def window(self, node: Node) -> Window | None:
        """Return that of single pixels."""
        return Window.of_pixels(node.output.shape)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the float kernel or a table."""
        if node.input(0).dtype != DType.FLOAT32:
            table = byte_table(_requantized(node), _low(node.input(0)))
            return lookup_call(node.input(0).elements, table, cpu)
        return KernelCall(
            "eb_quantize_f32_s8",
            "quantize/quantize.h",
            ("quantize/quantize_f32.c",),
            "eb_quantize_params",
            _params(node, node.output),
        )

    def cases(self) -> Iterable[Case]:
        """Yield every pair of types and scales both ways."""
        source = activation((3, 50), dtype=DType.FLOAT32)
        for i, (scale, zero) in enumerate(((0.5, 0), (0.037, -128), (3.3, 127), (0.0001, 5))):
            yield one_op(f"float_{i}", "QUANTIZE", [source], [activation((3, 50), scale, zero)])
        byte_pairs = (
            ("s8_s8", DType.INT8, -7, DType.INT8, 11),
            ("u8_s8", DType.UINT8, 128, DType.INT8, 0),
            ("s8_u8", DType.INT8, 3, DType.UINT8, 120),
        )
        for name, a, zero_a, b, zero_b in byte_pairs:
            for i, (scale_a, scale_b) in enumerate(((0.1, 0.1), (0.1, 0.03), (0.02, 0.3))):
                yield one_op(
                    f"{name}_{i}",
                    "QUANTIZE",
                    [activation((2, 128), scale_a, zero_a, a)],
                    [activation((2, 128), scale_b, zero_b, b)],
                )


class Dequantize(Operator):
    """scale * (q - zero point) in single precision."""

    kind = "DEQUANTIZE"
    constraints = (
        Constraint(
            "int8 or uint8 with one scale to float32",
            lambda n: is_byte(n.optional_input(0)) and _is_float(n.output),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (node.input(0).shape,)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Multiply in float32."""
        x = inputs[0]
        assert x is not None
        centred = (x.astype(np.int64) - node.input(0).zero_point).astype(np.float32)
        return (np.float32(node.input(0).scale) * centred,)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of the input's type."""
        short = "s8" if node.input(0).dtype == DType.INT8 else "u8"
        return KernelCall(
            f"eb_dequantize_{short}_f32",
            "quantize/quantize.h",
            ("quantize/dequantize_f32.c",),
            "eb_quantize_params",
            _params(node, node.input(0)),
        )

    def cases(self) -> Iterable[Case]:
        """Yield both types and a few scales."""
        output = activation((2, 128), dtype=DType.FLOAT32)
        for i, (scale, zero) in enumerate(((0.5, 0), (0.037, -128), (3.3, 127))):
            yield one_op(f"s8_{i}", self.kind, [activation((2, 128), scale, zero)], [output])
        unsigned = activation((2, 128), 0.02, 128, DType.UINT8)
        yield one_op("u8", self.kind, [unsigned], [output])


def _params(node: Node, quantized: Tensor) -> dict[str, object]:
    return {
        "count": node.input(0).elements,
        "zero_point": quantized.zero_point,
        "scale": f32(quantized.scale),
    }


def _low(tensor: Tensor) -> int:
    return int(np.iinfo(tensor.dtype.numpy).min)


def _requantized(node: Node) -> list[int]:
    """Return the result for each of the 256 inputs, lowest first."""
    x, y = node.input(0), node.output
    multiplier, shift = quantize_multiplier(f32(x.scale) / f32(y.scale))
    low = _low(y)
    return [
        max(low, min(low + 255, requantize_one(q - x.zero_point, multiplier, shift) + y.zero_point))
        for q in range(_low(x), _low(x) + 256)
    ]
