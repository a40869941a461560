"""Winograd's F(2x2, 3x3) for int8 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016): 16 products for 2x2 outputs of a 3x3 kernel in place of 36.

The transform of the weights has halves; times 2 in each direction it is in integers, and the sums
are exactly 4 times too large. Weights take 32 bytes for 9.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall
from edgebuild.ops.neon import Matrix, channel_blocks, conv2d_call, rows_params, rows_scratch

MAX_WEIGHT_BYTES = 256 << 10
"""Transformed weights are read again for each four tiles: more would not stay in a small core's L2
cache."""

_TILES = 4  # in a row, computed together
_CHANNELS = 16
_KERNEL_TRANSFORM = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], np.int16)


def transform(weights: np.ndarray) -> np.ndarray:
    """Return weights int8 [channels, 3, 3, in_c] as ``eb_conv2d_winograd_neon_params`` has them.

    int16 [channels / 16, 16 points, in_c, 16], 4 times the transform; zeros fill channels.
    """
    g = _KERNEL_TRANSFORM
    points = np.einsum("iy,oyxc,jx->oijc", g, weights.astype(np.int16), g)
    points = np.pad(points, ((0, -len(points) % _CHANNELS), (0, 0), (0, 0), (0, 0)))
    blocks = points.reshape(-1, _CHANNELS, 16, weights.shape[3])
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))


def pays(m: Matrix) -> bool:
    """Return whether the tiles of a layer take clearly fewer instructions than its products."""
    w, in_c, out_c = m.window, m.image[3], len(m.weights)
    sizes = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w)
    if sizes != (3, 3, 1, 1, 1, 1) or m.groups != 1 or in_c % 8:
        return False
    filled = math.ceil(out_c / _CHANNELS) * _CHANNELS
    quads = math.ceil(w.out_h / 2) * math.ceil(w.out_w / (2 * _TILES))
    tiled = quads * _TILES * 16 * in_c * filled / 3.6  # products of an instruction, loads counted
    return 32 * in_c * filled <= MAX_WEIGHT_BYTES and (
        1.2 * tiled < w.out_h * w.out_w * 9 * in_c * out_c / 4
    )


def winograd_call(node: Node, m: Matrix) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_winograd_neon``; where the CPU has dot products it runs
    ``eb_conv2d_s8_neon``."""
    direct = conv2d_call(node, m)
    product = direct.params["product"]
    assert isinstance(product, dict)
    in_c, w = m.image[3], m.window
    tiled = dataclasses.replace(
        w,
        kernel_h=4,
        kernel_w=4,
        stride_h=2,
        stride_w=2,
        out_h=math.ceil(w.out_h / 2),
        out_w=math.ceil(w.out_w / (2 * _TILES)) * _TILES,
    )
    kernel = m.weights.reshape(-1, 3, 3, in_c)
    scratch = _TILES * 16 * (2 * in_c + 4 * _CHANNELS) + rows_scratch(tiled, m.image, direct=False)
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
            "weights": transform(kernel),
        },
        scratch_bytes=max(scratch, direct.scratch_bytes),
    )
