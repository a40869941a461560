"""Winograd's F(4x4, 3x3) for NEON, where the CPU has no instruction for dot products; see
``conv2d_winograd_neon.h``. Weights take 72 bytes for 9."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.neon import Matrix, channel_blocks, conv2d_call, rows_params, rows_scratch
from edgebuild.ops.winograd import FOUR

MAX_WEIGHT_BYTES = 1 << 20
"""Transformed weights are eight times as large as the others, which programs hold too."""

POINTS_BYTES = 128 << 10
"""Points of tiles that share a reading of the weights: a quarter of a small core's L2 cache."""

_TILES = 4  # computed together
_CHANNELS = 16


def pack(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, 9, in_c] as ``eb_conv2d_winograd_neon_params`` has them: int16
    [channels / 16, points, in_c, 16]."""
    points = FOUR.transformed(weights, _CHANNELS, 1)
    blocks = points.reshape(-1, _CHANNELS, *points.shape[1:])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))


def takes(m: Matrix) -> bool:
    """Return whether the kernel can run a layer and its outputs are exact."""
    w, in_c = m.window, m.image[3]
    sizes = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w)
    reach = 128 * np.abs(m.weights.astype(np.int64)).sum(axis=1)
    return (
        sizes == (3, 3, 1, 1, 1, 1)
        and m.groups == 1
        and in_c % 8 == 0
        and bool(np.all(reach < FOUR.reach))
    )


def pays(m: Matrix) -> bool:
    """Return whether the tiles of a layer take clearly fewer instructions than its products."""
    w, in_c, out_c = m.window, m.image[3], len(m.weights)
    filled = math.ceil(out_c / _CHANNELS) * _CHANNELS
    tiles = _count(m.image[0], w)
    products = math.ceil(tiles / _TILES) * _TILES * FOUR.points * in_c * filled
    # Products of an instruction, loads counted; instructions for the points and sums of a channel.
    tiled = products / 3.4 + tiles * (45 * in_c + 100 * out_c)
    direct = m.image[0] * w.out_h * w.out_w * out_c * (9 * in_c / 4.2 + 13)
    return 2 * FOUR.points * in_c * filled <= MAX_WEIGHT_BYTES and 1.2 * tiled < direct


def winograd_call(node: Node, m: Matrix) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_winograd_neon``; where the CPU has dot products it runs
    ``eb_conv2d_s8_neon``."""
    direct = conv2d_call(node, m)
    product = direct.params["product"]
    assert isinstance(product, dict)
    in_c, w = m.image[3], m.window
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
    block = _block(_count(m.image[0], w), in_c)
    points = FOUR.points * (4 * _TILES * _CHANNELS + 2 * in_c * block)
    scratch = points + rows_scratch(tiled, m.image, direct=False)
    return dataclasses.replace(
        direct,
        function="eb_conv2d_s8_winograd_neon",
        header="conv2d/conv2d_winograd_neon.h",
        sources=("conv2d/conv2d_s8_winograd_neon.c", *direct.sources),
        params_type="eb_conv2d_winograd_neon_params",
        params={
            "direct": {
                **direct.params,
                "product": {**product, "channels": channel_blocks(m.channels, multiple=_CHANNELS)},
            },
            "rows": rows_params(tiled, m.image, node.input(0).zero_point, direct=False),
            "block": block,
            "weights": pack(m.weights.reshape(-1, 9, in_c)),
        },
        scratch_bytes=max(scratch, direct.scratch_bytes),
    )


def _count(batches: int, w: Window) -> int:
    """Return the tiles of a layer."""
    return batches * math.ceil(w.out_h / FOUR.tile) * math.ceil(w.out_w / FOUR.tile)


def _block(tiles: int, in_c: int) -> int:
    """Return how many tiles share a reading of the weights: about as many each time."""
    fours = math.ceil(tiles / _TILES)
    most = max(1, POINTS_BYTES // (2 * FOUR.points * in_c * _TILES))
    return _TILES * math.ceil(fours / math.ceil(fours / most))
