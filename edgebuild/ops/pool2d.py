"""AVERAGE_POOL_2D and MAX_POOL_2D over NHWC images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.fixed_point import activation_range
from edgebuild.ops.overlap import by_pixels
from edgebuild.ops.row_sums import MOST_SUMMED, row_sums_call
from edgebuild.targets import CpuFeatures

_MOST_VALUES = 256
_KEYS = ("stride_h", "stride_w", "filter_height", "filter_width")


class _Pool2D(Operator):
    """What both poolings share; values outside the image do not count."""

    name: str
    most_operands = MANY
    constraints = (
        Constraint(
            "input and output are int8 with one scale each",
            lambda n: conv.is_int8(n.optional_input(0)) and conv.is_int8(n.output),
        ),
        Constraint(
            "input and output have the same quantization",
            lambda n: n.input(0).quantization == n.output.quantization,
        ),
        Constraint(
            "input and output have 4 dimensions (NHWC), none zero",
            lambda n: len(n.input(0).shape) == len(n.output.shape) == 4 and n.input(0).elements > 0,
        ),
        Constraint(
            "filter and strides are 1 to 4096",
            lambda n: all(1 <= n.attrs[k] <= 4096 for k in _KEYS),
        ),
        Constraint(
            "no dimension is above 65,535", lambda n: max(n.input(0).shape) <= conv.MAX_HALFWORD
        ),
        Constraint(
            f"the fused activation is one of {', '.join(conv.ACTIVATIONS)}",
            lambda n: n.attrs["fused_activation_function"] in conv.ACTIVATIONS,
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the one NHWC output shape."""
        w = _window(node)
        batches, _, _, channels = node.input(0).shape
        return ((batches, w.out_h, w.out_w, channels),)

    def window(self, node: Node) -> Window:
        """Return the sliding window."""
        return _window(node)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of the core's extension where it is exact, else the portable one."""
        w = _window(node)
        batches, in_h, in_w, channels = node.input(0).shape
        low, high = activation_range(node.attrs["fused_activation_function"], node.output)
        variant = self._variant(node, cpu)
        sources = [f"pool2d/{self.name}{variant}.c"]
        if variant == "_mve":  # what runs on cores without
            sources.append(f"pool2d/{self.name}.c")
        return KernelCall(
            f"eb_{self.name}{variant}",
            f"pool2d/pool2d{'' if variant == '_dsp' else variant}.h",
            tuple(sources),
            "eb_pool2d_params",
            {
                "batches": batches,
                "in_h": in_h,
                "in_w": in_w,
                "channels": channels,
                "out_h": w.out_h,
                "out_w": w.out_w,
                "filter_h": w.kernel_h,
                "filter_w": w.kernel_w,
                "stride_h": w.stride_h,
                "stride_w": w.stride_w,
                "pad_top": w.pad_top,
                "pad_left": w.pad_left,
                "min": low,
                "max": high,
            },
            overlap=None if variant == "_neon" else by_pixels(node, w, 1, buffered=False),
        )

    def _variant(self, node: Node, cpu: CpuFeatures) -> str:
        """Return what the kernel's name ends with: nothing for the portable one."""
        if not self.fits_16_bits(node):
            return ""
        if cpu.neon or cpu.mve:
            return "_neon" if cpu.neon else "_mve"
        return "_dsp" if cpu.dsp and node.input(0).shape[3] >= 4 else ""

    def steps(self, node: Node) -> int:
        """Return the values of all windows."""
        w = _window(node)
        return node.output.elements * w.kernel_h * w.kernel_w

    def fits_16_bits(self, node: Node) -> bool:
        """Return whether the kernels of extensions, which compute in 16 bits, are exact."""
        return True

    def cases(self) -> Iterable[Case]:
        """Yield geometry, padding, activations."""
        yield self._case("global", (1, 5, 4, 6), (5, 4))
        yield self._case("halving", (1, 6, 6, 3), (2, 2), stride=(2, 2))
        yield self._case("same", (1, 5, 7, 4), (3, 3), padding="SAME")
        yield self._case("same_stride", (1, 7, 5, 2), (3, 2), padding="SAME", stride=(2, 3))
        yield self._case("single", (1, 3, 3, 1), (1, 1))
        yield self._case("batch_2", (2, 4, 4, 3), (2, 2))
        yield self._case("relu", (1, 4, 4, 5), (2, 2), act="RELU", zero_point=-30)
        yield self._case("relu6", (1, 4, 4, 5), (2, 2), act="RELU6", zero_point=-90)
        yield self._case("wide_filter", (1, 2, 2, 2), (4, 4), padding="SAME")
        yield self._case("channels_19", (1, 4, 4, 19), (2, 2), act="RELU6", zero_point=-90)
        yield self._case("channels_8", (1, 5, 6, 8), (2, 3), padding="SAME", stride=(2, 1))
        yield self._case("channels_12_relu6", (2, 4, 4, 12), (3, 3), act="RELU6", zero_point=-90)
        yield self._case("channels_6", (2, 6, 5, 6), (2, 2), stride=(2, 2))
        yield self._case("channels_7", (1, 5, 5, 7), (3, 3), padding="SAME", act="RELU6")
        yield self._case("window_256", (1, 16, 16, 16), (16, 16))
        yield self._case("window_272", (1, 16, 17, 3), (16, 17))

    def _case(
        self,
        name: str,
        x: Shape,
        size: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: str = "VALID",
        act: str = "NONE",
        zero_point: int = 3,
    ) -> Case:
        out_h = conv.output_length(padding, x[1], size[0], stride[0])
        out_w = conv.output_length(padding, x[2], size[1], stride[1])
        return one_op(
            name,
            self.kind,
            [activation(x, 0.1, zero_point)],
            [activation((x[0], out_h, out_w, x[3]), 0.1, zero_point)],
            {
                "padding": padding,
                "filter_height": size[0],
                "filter_width": size[1],
                "stride_h": stride[0],
                "stride_w": stride[1],
                "fused_activation_function": act,
            },
        )


class AveragePool2D(_Pool2D):
    """The mean of a window, halves rounded away from zero."""

    kind = "AVERAGE_POOL_2D"
    name = "average_pool2d_s8"

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Divide the sum of what lies inside by its count."""
        x = inputs[0]
        assert x is not None
        w = _window(node)
        total = conv.patches(x, w, 0).sum(axis=(3, 4))
        count = conv.patches(np.ones_like(x), w, 0).sum(axis=(3, 4))
        magnitude = (np.abs(total) + count // 2) // count
        return (_clip(node, np.sign(total) * magnitude),)

    def row_sums(self, node: Node, rows: int, first: bool, last: bool) -> KernelCall | None:
        """Return the kernel where the one window is the whole image."""
        w, (batches, in_h, in_w, _) = _window(node), node.input(0).shape
        whole = w.kernel_h - w.pad_top >= in_h and w.kernel_w - w.pad_left >= in_w
        if not whole or not batches == w.out_h == w.out_w == 1 or in_h * in_w > MOST_SUMMED:
            return None
        low, high = activation_range(node.attrs["fused_activation_function"], node.output)
        output = {"count": in_h * in_w, "min": low, "max": high}
        band = rows, first, last
        return row_sums_call("pool2d/average_pool2d_rows_s8", node.input(0), band, output)

    def fits_16_bits(self, node: Node) -> bool:
        """Return whether the sum of a window does."""
        _, in_h, in_w, _ = node.input(0).shape
        rows, columns = node.attrs["filter_height"], node.attrs["filter_width"]
        return bool(min(rows, in_h) * min(columns, in_w) <= _MOST_VALUES)


class MaxPool2D(_Pool2D):
    """The largest value of a window."""

    kind = "MAX_POOL_2D"
    name = "max_pool2d_s8"

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Take the largest value of what lies inside."""
        x = inputs[0]
        assert x is not None
        return (_clip(node, conv.patches(x, _window(node), -128).max(axis=(3, 4))),)


def _clip(node: Node, values: np.ndarray) -> np.ndarray:
    low, high = activation_range(node.attrs["fused_activation_function"], node.output)
    return np.clip(values, low, high).astype(np.int8)


def _window(node: Node) -> Window:
    return conv.window(node, node.attrs["filter_height"], node.attrs["filter_width"])
