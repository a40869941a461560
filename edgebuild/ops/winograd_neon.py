"""Winograd's F(4x4, 3x3) for NEON, where the CPU has no instruction for dot products; see
``conv2d_winograd_neon.h``. Weights take 72 bytes for 9."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.neon import Matrix, conv2d_call, rows_params, rows_scratch
from edgebuild.ops.winograd import FOUR

MAX_WEIGHT_BYTES = 1 << 20
"""Transformed weights are eight times as large as the others, which programs hold too."""

POINTS_BYTES = 128 << 10
"""Points of tiles that share a reading of the weights: a quarter of a small core's L2 cache."""

_TILES = 4  # computed together
_CHANNELS = 16
_EIGHT = 8


def pack(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, 9, in_c] as ``eb_conv2d_winograd_neon_params`` has them:
    int16, for each 16 channels [points, depth, 16], for the last eight or fewer [points, depth,
    8]."""
    points = FOUR.transformed(weights, _EIGHT, _EIGHT)
    blocks = [points[first : first + _CHANNELS] for first in range(0, len(points), _CHANNELS)]
    return np.concatenate([block.transpose(1, 2, 0).reshape(-1) for block in blocks])


def takes(m: Matrix) -> bool:
    """Return whether the kernel can run a layer and its outputs are exact."""
    w = m.window
    sizes = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w)
    reach = 128 * np.abs(m.weights.astype(np.int64)).sum(axis=1)
    return sizes == (3, 3, 1, 1, 1, 1) and m.groups == 1 and bool(np.all(reach < FOUR.reach))


def pays(m: Matrix) -> bool:
    """Return whether the tiles of a layer take clearly fewer instructions than its products."""
    w, in_c, out_c = m.window, m.image[3], len(m.weights)
    weights, tiles = FOUR.points * _filled(in_c) * _filled(out_c), _count(m.image[0], w)
    # Products of an instruction, loads counted; instructions for the points and sums of a channel.
    rest = tiles % _TILES
    together = tiles - rest + (_TILES if rest == 3 else 1.4 * rest)  # the kernel's ways
    products = together * weights / 3.4
    tiled = products + tiles * (45 * _filled(in_c) + 100 * _filled(out_c))
    direct = m.image[0] * w.out_h * w.out_w * out_c * (9 * in_c / 4.2 + 13)
    return 2 * weights <= MAX_WEIGHT_BYTES and 1.2 * tiled < direct


def winograd_call(node: Node, m: Matrix) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_winograd_neon``; where the CPU has dot products it runs
    ``eb_conv2d_s8_neon``."""
    direct = conv2d_call(node, m)
    w, depth = m.window, _filled(m.image[3])
    side = FOUR.tile + 2
    tiled = dataclasses.replace(
        w,
        kernel_h=side,
        kernel_w=side,
        stride_h=FOUR.tile,
        stride_w=FOUR.tile,
        out_h=math.ceil(w.out_h / FOUR.tile),
        out_w=math.ceil(w.out_w / FOUR.tile),
    )
    block = _block(_count(m.image[0], w), depth)
    points = FOUR.points * (4 * _TILES * _CHANNELS + 2 * depth * block)
    scratch = points + rows_scratch(tiled, m.image, direct=False)
    return dataclasses.replace(
        direct,
        function="eb_conv2d_s8_winograd_neon",
        header="conv2d/conv2d_winograd_neon.h",
        sources=("conv2d/conv2d_s8_winograd_neon.c", *direct.sources),
        params_type="eb_conv2d_winograd_neon_params",
        params={
            "direct": direct.params,
            "rows": rows_params(tiled, m.image, node.input(0).zero_point, direct=False),
            "depth": depth,
            "block": block,
            "weights": pack(m.weights.reshape(len(m.weights), 9, -1)),
        },
        scratch_bytes=max(scratch, direct.scratch_bytes),
    )


def _count(batches: int, w: Window) -> int:
    """Return the tiles of a layer."""
    return batches * math.ceil(w.out_h / FOUR.tile) * math.ceil(w.out_w / FOUR.tile)


def _filled(channels: int) -> int:
    return channels + -channels % _EIGHT


def _block(tiles: int, depth: int) -> int:
    """Return how many tiles share a reading of the weights: about as many each time."""
    fours = math.ceil(tiles / _TILES)
    most = max(1, POINTS_BYTES // (2 * FOUR.points * depth * _TILES))
    return _TILES * math.ceil(fours / math.ceil(fours / most))
