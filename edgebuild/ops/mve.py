"""What the Helium (MVE) kernels read: packed weights, channels by eight, strips of im2col."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall, Overlap, Window
from edgebuild.ops.convolution import Channels, output_stage
from edgebuild.ops.overlap import by_pixels, by_run

_SUMS_CHANNELS = 64
SUMS_BYTES = 3 * _SUMS_CHANNELS * 4
"""Scratch memory for the sums of three pixels: ``EB_SUMS_CHANNELS`` of each."""

_BLOCK = 8
_VECTOR = 16
_STRIP_BYTES = 4096
"""Rows of pixels whose strip would be longer are taken in parts."""

_MATMUL_SOURCE, _STRIP_SOURCE = "common/eb_matmul_mve.c", "common/eb_strip_mve.c"


def fits(c: Channels) -> bool:
    """Return whether no channel is shifted left."""
    return bool(np.all(c.shift <= 0))


def conv2d_call(
    node: Node, weights: np.ndarray, c: Channels, w: Window, *, pointwise: bool
) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_mve``; ``weights`` is int8 [channels, depth]."""
    batches, _, _, in_c = node.input(0).shape
    strip, strip_bytes = strip_params(node, w, planes=False)
    taps = weights.reshape(-1, w.kernel_h, w.kernel_w, in_c)
    columns = taps.transpose(0, 2, 1, 3).reshape(weights.shape)
    params = {
        "batches": batches,
        "out_h": w.out_h,
        "out_w": w.out_w,
        "pointwise": pointwise,
        "strip": strip,
        "product": _product(node, columns, c, multiple=2),
    }
    return KernelCall(
        "eb_conv2d_s8_mve",
        "conv2d/conv2d_mve.h",
        ("conv2d/conv2d_s8_mve.c", _MATMUL_SOURCE, _STRIP_SOURCE),
        "eb_conv2d_mve_params",
        params,
        scratch_bytes=SUMS_BYTES + (0 if pointwise else strip_bytes),
        overlap=_overlap(node, w, strip, pointwise),
    )


def _overlap(node: Node, w: Window, strip: Mapping[str, Any], pointwise: bool) -> Overlap | None:
    """Return the overlap of CONV_2D: it reads a strip, or three pixels, and writes their outputs; a
    1x1 kernel with channels beyond its sums goes through all pixels again."""
    if not pointwise:
        return by_pixels(node, w, strip["pixels"], buffered=True)
    if node.output.shape[3] > _SUMS_CHANNELS:
        return None
    return by_run(node, 3, buffered=True)


def fully_connected_call(node: Node, weights: np.ndarray, c: Channels, batches: int) -> KernelCall:
    """Return the call of ``eb_fully_connected_s8_mve``; ``weights`` is int8 [units, depth]."""
    return KernelCall(
        "eb_fully_connected_s8_mve",
        "fully_connected/fully_connected_mve.h",
        ("fully_connected/fully_connected_s8_mve.c", _MATMUL_SOURCE),
        "eb_fully_connected_mve_params",
        {"batches": batches, "product": _product(node, weights, c, multiple=4)},
        scratch_bytes=SUMS_BYTES,
    )


def depthwise_call(node: Node, weights: np.ndarray, c: Channels, w: Window) -> KernelCall:
    """Return the call of ``eb_depthwise_conv2d_s8_mve``; ``weights`` is int8 [channels, taps]."""
    strip, strip_bytes = strip_params(node, w, planes=True)
    channels, taps = weights.shape
    columns = weights.reshape(channels, w.kernel_h, w.kernel_w).transpose(2, 1, 0)
    columns = np.pad(columns.reshape(taps, channels), ((0, 0), (0, -channels % _BLOCK)))
    blocks = columns.reshape(taps, -1, _BLOCK).transpose(1, 0, 2)
    return KernelCall(
        "eb_depthwise_conv2d_s8_mve",
        "depthwise_conv2d/depthwise_conv2d_mve.h",
        ("depthwise_conv2d/depthwise_conv2d_s8_mve.c", _STRIP_SOURCE),
        "eb_depthwise_conv2d_mve_params",
        {
            "batches": node.input(0).shape[0],
            "out_h": w.out_h,
            "out_w": w.out_w,
            "taps": taps,
            "floors": node.output.zero_point == -128,
            "strip": strip,
            "weights": np.ascontiguousarray(blocks),
            "bias": by_lanes(c.bias),
            "scales": scales(c),
            "output": output_stage(node),
        },
        scratch_bytes=strip_bytes,
        overlap=by_pixels(node, w, strip["pixels"], buffered=True),
    )


def _product(node: Node, weights: np.ndarray, c: Channels, multiple: int) -> dict[str, object]:
    """Return the fields of ``eb_matmul_mve_params``."""
    return {
        "depth": weights.shape[1],
        "out_c": len(weights),
        "floors": node.output.zero_point == -128,
        "weights": pack_pairs(weights, multiple),
        "bias": np.pad(c.bias, (0, -len(weights) % multiple)).astype(np.int32),
        "scales": scales(c),
        "output": output_stage(node),
    }


def pack_pairs(weights: np.ndarray, multiple: int) -> np.ndarray:
    """Return int8 [pairs, vectors of depth, 2, 16]; zeros fill the depth, and the channels up to a
    ``multiple`` of 2."""
    channels, depth = weights.shape
    padded = np.pad(weights, ((0, -channels % multiple), (0, -depth % _VECTOR)))
    pairs = padded.reshape(len(padded) // 2, 2, -1, _VECTOR)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))


def by_lanes(values: np.ndarray) -> np.ndarray:
    """Return int32 [blocks, 8] of channels in the order 0, 2, 4, 6, 1, 3, 5, 7."""
    blocks = np.pad(values, (0, -len(values) % _BLOCK)).reshape(-1, _BLOCK // 2, 2)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1)).reshape(-1, _BLOCK).astype(np.int32)


def scales(c: Channels) -> np.ndarray:
    """Return the table of ``eb_scales_mve``: int32 [blocks, 2, 8] of multiplier and shift."""
    return np.stack([by_lanes(c.multiplier), by_lanes(c.shift)], axis=1)


def strip_params(node: Node, w: Window, *, planes: bool) -> tuple[Mapping[str, Any], int]:
    """Return the fields of ``eb_strip_mve``, and the bytes of the longest strip.

    ``planes``: the strip has its channels by eight.
    """
    _, in_h, in_w, in_c = node.input(0).shape
    pixel_bytes, count = (_BLOCK, -(-in_c // _BLOCK)) if planes else (in_c, 1)
    shared = w.dilation_w == 1 and w.stride_w < w.kernel_w
    column_bytes = w.kernel_h * pixel_bytes
    lanes = 1 if shared else w.kernel_w
    first, further = (w.kernel_w, w.stride_w) if shared else (1, 1)
    beside = _STRIP_BYTES // (count * lanes * column_bytes) - first
    pixels = min(w.out_w, max(3, 1 + beside // further))
    plane = (first + (pixels - 1) * further) * lanes * column_bytes
    together = 1
    if shared and count == 1:
        # Neighbours among 16 bytes, where all of them go to offsets of 8 bits.
        together = max(1, min(_VECTOR // in_c, 1 + (256 - in_c) // column_bytes))
    spread: np.ndarray | str = "NULL"
    if together > 1:
        at = np.arange(_VECTOR)
        spread = np.where(at < together * in_c, at // in_c * column_bytes + at % in_c, 0)
        spread = spread.astype(np.uint8)
    fields = {
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "kernel_h": w.kernel_h,
        "stride_h": w.stride_h,
        "stride_w": w.stride_w,
        "dilation_h": w.dilation_h,
        "dilation_w": w.dilation_w,
        "pad_top": w.pad_top,
        "pad_left": w.pad_left,
        "pad": node.input(0).zero_point,
        "shared": shared,
        "lanes": lanes,
        "pixels": pixels,
        "whole": pixels == w.out_w,
        "first": first,
        "further": further,
        "plane": plane if planes else 0,
        "pixel_bytes": pixel_bytes,
        "column_bytes": column_bytes,
        "step": (w.stride_w if shared else lanes) * column_bytes,
        "together": together,
        "spread": spread,
    }
    return fields, count * plane
