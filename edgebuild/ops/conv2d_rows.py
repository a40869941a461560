"""CONV_2D over few input channels with the DSP extension: ``conv2d_rows_s8_dsp.c``."""

from __future__ import annotations

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.overlap import by_rows

MAX_CHANNELS = 4
"""Of more channels the widened rows would take much memory; as columns they take little."""

DROPPED = 64
"""About so many halfwords at the start of the memory are no longer needed when all rows move
there: after an even number of steps, so that they move by whole words."""

SMALL, SHARE = 2048, 8
"""More than so many bytes of scratch memory must be within this share of inputs and outputs."""


def rows_call(node: Node, weights: np.ndarray, c: conv.Channels, w: Window) -> KernelCall | None:
    """Return the call for ``weights`` int8 [output channels, depth] of one group; None where the
    kernel does not take the layer."""
    batches, in_h, in_w, in_c = node.input(0).shape
    words = -(-w.kernel_h * w.kernel_w * in_c // 2)
    several = (w.kernel_h, w.kernel_w) != (1, 1) and words >= 2
    undilated = w.dilation_h == w.dilation_w == 1
    if in_c > MAX_CHANNELS or not several or not undilated or not node.output.elements:
        return None
    step = w.stride_w * in_c
    values = (w.out_w - 1) * step + w.kernel_w * in_c
    dropped = w.stride_h if w.stride_h < w.kernel_h else 0
    steps = _even(-(-DROPPED // max(1, dropped)))
    reserve = dropped * min(steps - 1, w.out_h - 1)
    # A word may reach one halfword beyond a run, and the second copy begins one before its start.
    copy = _even(values * w.kernel_h + reserve + 1)
    second = copy if step * w.kernel_h % 2 or dropped % 2 else 0
    keeps = w.out_w % 2 and w.out_h > 1
    scratch = 2 * (second + copy) + 4 * words * keeps
    if scratch > max(SMALL, (node.input(0).nbytes + node.output.nbytes) // SHARE):
        return None
    once = conv.once_rounded(node, weights, c) if conv.halfwords_fit(weights) else None
    if once is None:
        return None
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
            "values": values,
            "words": words,
            "reserve": reserve,
            "second": second,
            "kept": second + copy,
            "pad": node.input(0).zero_point,
            "clamp": conv.clamps(node),
            "weights": pack(weights.reshape(len(weights), w.kernel_h, -1), once),
            "output": conv.output_stage(node),
        },
        scratch_bytes=scratch,
        overlap=by_rows(node, w),
    )


def pack(weights: np.ndarray, once: np.ndarray) -> np.ndarray:
    """Return int32 words as the kernel reads them, of ``weights`` int8 [channels, rows, values]
    and ``once``, see ``once_rounded``."""
    channels = len(weights)
    runs = weights.transpose(0, 2, 1).reshape(channels, -1)
    runs = np.pad(runs, ((0, -channels % 4), (0, runs.shape[1] % 2)))
    quads = runs.reshape(-1, 4, runs.shape[1] // 2, 2).astype(np.int32)
    halfwords = (quads[:, 0::2] + 256 * quads[:, 1::2]).swapaxes(1, 2)
    words = np.ascontiguousarray(halfwords, "<i2").view("<i4").reshape(len(quads), -1)
    once = np.pad(once, ((0, -channels % 4), (0, 0))).reshape(-1, 4, 2)
    firsts, seconds = once[:, 0::2].reshape(-1, 4), once[:, 1::2, 1]
    return np.concatenate([once[:, 1::2, 0], words, firsts, seconds], axis=1)


def _even(n: int) -> int:
    return n + n % 2
