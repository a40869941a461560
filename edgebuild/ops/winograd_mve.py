"""Winograd's F(4x4, 3x3) for Helium; see ``conv2d_winograd_mve.h``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops import mve
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.convolution import Channels, output_stage
from edgebuild.ops.overlap import by_tiles
from edgebuild.ops.winograd import FOUR

_EIGHT = 8  # channels, and values of depth
_TOGETHER = 3  # tiles
_LANES = (0, 2, 4, 6, 1, 3, 5, 7)
PAYS = 0.95
"""A layer takes the kernel where that needs less than this share of the instructions."""

_SUMS_BYTES = 4 * FOUR.points * _TOGETHER * _EIGHT


def instructions(image: Sequence[int], out_c: int, w: Window, block: int) -> tuple[float, float]:
    """Return about how many a 3x3 layer over ``image`` takes with ``block`` tiles, and in
    ``eb_conv2d_s8_mve``: how often each part runs, by what QEMU counts of it."""
    batches, *_, in_c = image
    rows, vectors, eights = batches * w.out_h, _up(in_c, _EIGHT), _up(out_c, _EIGHT)
    count = tiles(batches, w)
    threes = count // block * (block // _TOGETHER) + _up(count % block, _TOGETHER)
    tiled = (
        4 * eights * threes * (FOUR.points * (12 * vectors + 5) + 9)
        + count * (345 + 525 * vectors + 1090 * eights)
        + 8 * eights * vectors * _up(count, block) * 267
    )
    direct = (
        rows * _up(w.out_w, 3) * (_up(out_c, 2) * (12 * _up(9 * in_c, 16) + 14) + 40)
        + rows * w.out_w * out_c * 2.5
        + rows * 3 * (120 + 6 * (w.out_w + 2) * _up(in_c, 16))
    )
    return tiled, direct


def share(image: Sequence[int], out_c: int, w: Window, block: int) -> float:
    """Return which share of the direct kernel's instructions a layer takes."""
    tiled, direct = instructions(image, out_c, w, block)
    return tiled / direct


def takes(weights: np.ndarray, c: Channels, w: Window) -> bool:
    """Return whether the kernel can run a layer and its outputs are exact; ``weights`` is int8
    [channels, depth]."""
    sizes = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w)
    sums = 128 * np.abs(weights.astype(np.int64)).sum(axis=1) + np.abs(c.bias.astype(np.int64))
    return sizes == (3, 3, 1, 1, 1, 1) and mve.fits(c) and bool(np.all(sums < FOUR.reach))


def winograd_call(
    node: Node, weights: np.ndarray, c: Channels, w: Window, block: int
) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_winograd_mve`` with ``block`` tiles, a multiple of 3."""
    batches, in_h, in_w, in_c = node.input(0).shape
    bias = mve.by_lanes(c.bias).astype(np.int64) * FOUR.factor & 0xFFFFFFFF  # modulo 2**32
    params = {
        "batches": batches,
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "out_h": w.out_h,
        "out_w": w.out_w,
        "out_c": len(weights),
        "pad_top": w.pad_top,
        "pad_left": w.pad_left,
        "pad": node.input(0).zero_point,
        "floors": node.output.zero_point == -128,
        "block": block,
        "weights": pack(weights.reshape(-1, 9, in_c)),
        "bias": bias.astype(np.uint32).view(np.int32),
        "scales": mve.scales(c),
        "output": output_stage(node),
    }
    return KernelCall(
        "eb_conv2d_s8_winograd_mve",
        "conv2d/conv2d_winograd_mve.h",
        ("conv2d/conv2d_s8_winograd_mve.c",),
        "eb_conv2d_winograd_mve_params",
        params,
        scratch_bytes=scratch_bytes(in_c, block),
        overlap=by_tiles(node, w, FOUR.tile, FOUR.tile, block),
    )


def pack(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, 9, in_c] as [channels / 8, 4, depth / 8, 2, 9, 8], channels of
    eight in the order of lanes; zeros fill."""
    channels, taps, in_c = weights.shape
    padded = np.pad(weights, ((0, -channels % _EIGHT), (0, 0), (0, -in_c % _EIGHT)))
    eights = padded.reshape(-1, _EIGHT, taps, padded.shape[2])[:, _LANES]
    pairs = eights.reshape(len(eights), 4, 2, taps, -1, _EIGHT)
    return np.ascontiguousarray(pairs.transpose(0, 1, 4, 2, 3, 5))


def scratch_bytes(in_c: int, block: int) -> int:
    """Return the bytes for the sums, the points of eight channels and of ``block`` tiles, and a
    pixel."""
    depth = _EIGHT * _up(in_c, _EIGHT)
    return _SUMS_BYTES + depth * (2 * FOUR.points * (_EIGHT + block) + 1)


def block_in(scratch: int, in_c: int, count: int) -> int:
    """Return how many of ``count`` tiles share an expansion of the weights in so many bytes of
    ``scratch``, about as many each time; 0 where not even three fit."""
    each = scratch_bytes(in_c, _TOGETHER) - scratch_bytes(in_c, 0)
    most = (scratch - scratch_bytes(in_c, 0)) // each
    if most < 1:
        return 0
    threes = _up(count, _TOGETHER)
    return _TOGETHER * _up(threes, _up(threes, most))


def tiles(batches: int, w: Window) -> int:
    """Return the tiles of a layer."""
    return batches * _up(w.out_h, FOUR.tile) * _up(w.out_w, FOUR.tile)


def _up(count: int, of: int) -> int:
    return -(-count // of)
