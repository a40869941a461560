"""The work function of each kernel, by the kernel's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgebuild.cycles import convolution, depthwise, fully_connected, others, winograd
from edgebuild.cycles.work import Work
from edgebuild.ops.base import KernelCall

WORK: Mapping[str, Callable[[Mapping[str, Any]], Work]] = {
    "add_s8": others.add,
    "add_s8_dsp": others.add_dsp,
    "sub_s8_dsp": others.sub_dsp,
    "arg_max_s8": others.arg_max,
    "average_pool2d_rows_s8": others.row_sums,
    "average_pool2d_s8": others.average_pool,
    "average_pool2d_s8_dsp": others.pool_dsp,
    "concatenation": others.concatenation,
    "conv2d_1x1_narrow_s8_dsp": convolution.conv2d_1x1_narrow_dsp,
    "conv2d_1x1_s8_dsp": convolution.conv2d_1x1_dsp,
    "conv2d_rows_s8_dsp": convolution.conv2d_rows_dsp,
    "conv2d_s8": convolution.conv2d,
    "conv2d_s8_dsp": convolution.conv2d_dsp,
    "conv2d_s8_winograd_dsp": winograd.winograd,
    "conv2d_s8_winograd_narrow_dsp": winograd.winograd_narrow,
    "conv2d_s8_winograd_stride2_dsp": winograd.winograd_stride2,
    "copy": others.copy,
    "depthwise_conv2d_3x3_s8_dsp": depthwise.depthwise_3x3_dsp,
    "depthwise_conv2d_s8": depthwise.depthwise,
    "depthwise_conv2d_s8_dsp": depthwise.depthwise_dsp,
    "dequantize_s8_f32": others.values,
    "dequantize_u8_f32": others.values,
    "fully_connected_s8": fully_connected.fully_connected,
    "fully_connected_s8_dsp": fully_connected.fully_connected_dsp,
    "lookup_8": others.values,
    "max_pool2d_s8": others.pool,
    "max_pool2d_s8_dsp": others.pool_dsp,
    "maximum_s8": others.elementwise,
    "minimum_s8": others.elementwise,
    "mul_s8": others.multiply,
    "mul_s8_dsp": others.add_dsp,
    "pad": others.pad,
    "quantize_f32_s8": others.values,
    "reduce_rows_s8": others.row_sums,
    "reduce_sum_s8": others.reduce_sum,
    "reduce_sum_s8_dsp": others.reduce_sum_dsp,
    "resize_bilinear_s8": others.resize_bilinear,
    "resize_nearest": others.resize_nearest,
    "softmax_s8": others.softmax,
    "split": others.split,
    "strided_copy": others.strided_copy,
}

VIEW = "view"
"""A layer that runs no kernel."""


def kernel_name(call: KernelCall) -> str:
    """Return the name under which a call's kernel is known here.

    That is its function's, with ``_dsp`` also where only the file's name tells the two forms apart;
    of a step in bands those of all kernels that it calls.
    """
    if call.rounds:
        return " + ".join(dict.fromkeys(map(kernel_name, call.kernels)))
    name = call.function.removeprefix("eb_")
    dsp = call.sources[0].endswith("_dsp.c") and not name.endswith("_dsp")
    return f"{name}_dsp" if dsp else name
