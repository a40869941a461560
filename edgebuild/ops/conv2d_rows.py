"""CONV_2D over few input channels with the DSP extension: ``conv2d_rows_s8_dsp.c``."""

from __future__ import annotations

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import KernelCall
from edgebuild.ops.overlap import by_rows

MAX_CHANNELS = 4
"""Of more channels the widened rows would take much memory; as columns they take little."""

RESERVE = 32
"""Words behind the rows: whenever these are used up, all rows move."""


def rows_call(
    node: Node, weights: np.ndarray, c: conv.Channels, w: conv.Window
) -> KernelCall | None:
    """Return the call for ``weights`` int8 [output channels, depth] of one group; None where the
    kernel does not take the layer."""
    batches, in_h, in_w, in_c = node.input(0).shape
    run = -(-w.kernel_w * in_c // 2)
    undilated = w.dilation_h == w.dilation_w == 1
    if in_c > MAX_CHANNELS or not undilated or run * w.kernel_h < 2 or not conv.halfwords_fit(weights):
        return None
    once = conv.once_rounded(node, weights, c)
    if once is None:
        return None
    step = w.stride_w * in_c
    columns = (w.out_w - 1) * step // 2 + run
    dropped = w.stride_h if w.stride_h < w.kernel_h else 0
    reserve = min(dropped * (w.out_h - 1), max(dropped, RESERVE))
    kept = run * w.kernel_h if w.out_w % 2 and w.out_h > 1 else 0
    return KernelCall(
        "eb_conv2d_rows_s8_dsp",
        "conv2d/conv2d_rows.h",
        ("conv2d/conv2d_rows_s8_dsp.c",),
        "eb_conv2d_rows_params",
        {
            "batches": batches,
            "in_h": in_h,
            "line": in_w * in_c,
            "out_h": w.out_h,
            "out_w": w.out_w,
            "out_c": len(weights),
            "kernel_h": w.kernel_h,
            "stride_h": w.stride_h,
            "pad_top": w.pad_top,
            "lead": w.pad_left * in_c,
            "step": step,
            "run": run,
            "columns": columns,
            "reserve": reserve,
            "pad": node.input(0).zero_point,
            "clamp": conv.clamps(node),
            "weights": pack(weights.reshape(len(weights), w.kernel_h, -1), once),
            "output": conv.output_stage(node),
        },
        scratch_bytes=4 * ((1 + step % 2) * (columns * w.kernel_h + reserve) + kept),
        overlap=by_rows(node, w),
    )


def pack(weights: np.ndarray, once: np.ndarray) -> np.ndarray:
    """Return int32 words as the kernel reads them, of ``weights`` int8 [channels, rows, values]
    and ``once``, see ``once_rounded``."""
    channels, rows, values = weights.shape
    padded = np.pad(weights, ((0, -channels % 4), (0, 0), (0, values % 2)))
    runs = padded.reshape(-1, 4, rows, (values + 1) // 2, 2).transpose(0, 3, 2, 1, 4)
    halfwords = runs[..., 0::2, :] + 256 * runs[..., 1::2, :].astype(np.int32)
    words = np.ascontiguousarray(halfwords.astype("<i2")).view("<i4").reshape(len(runs), -1)
    start, multiplier = np.pad(once, ((0, -channels % 4), (0, 0))).reshape(-1, 4, 2).transpose(2, 0, 1)
    last = (start[:, 0], multiplier[:, 0], start[:, 2], multiplier[:, 2], *multiplier.T[1::2])
    return np.concatenate([start[:, 1::2], words, np.stack(last, axis=1)], axis=1)
