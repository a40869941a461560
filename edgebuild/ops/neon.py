"""What the NEON kernels of AArch64 read: packed weights, channels by eight, padded rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import KernelCall, Window
from edgebuild.ops.convolution import Channels, output_stage

ISA_SOURCE = "common/eb_neon_isa.c"
"""The run-time choice of the instruction set."""

VECTOR = 16
"""Bytes of a vector register."""

_BLOCK = 8
_TILE_PIXELS = 8
_SLACK = 16


@dataclass(frozen=True)
class Matrix:
    """Weights int8 [groups * channels, depth], of an image [batches, in_h, in_w, in_c]."""

    weights: np.ndarray
    channels: Channels
    groups: int
    image: tuple[int, int, int, int]
    kernel_c: int
    window: Window


def pixels(weights: np.ndarray, c: Channels, rows: int, row: int) -> Matrix:
    """Return a product without a window: ``rows`` rows of pixels, each with all of the depth."""
    depth = weights.shape[1]
    if depth % _BLOCK == 0:  # read where they are: one long row leaves fewer pixels over
        rows, row = 1, rows * row
    window = Window(1, 1, 1, 1, 1, 1, rows, row, 0, 0)
    return Matrix(weights, c, 1, (1, rows, row, depth), depth, window)


def pack_blocks(weights: np.ndarray, runs: int, groups: int = 1) -> np.ndarray:
    """Return weights int8 [groups * channels, depth] as ``eb_matmul_params`` has them.

    The depth is ``runs`` runs of equal length. For each group and each 8 channels, each run and
    each 8 values of it come the 8 bytes of each channel in turn; zeros fill channels and runs.
    """
    count = len(weights) // groups
    blocks = weights.reshape(groups, count, runs, -1)
    fill = ((0, 0), (0, -count % _BLOCK), (0, 0), (0, -blocks.shape[3] % _BLOCK))
    blocks = np.pad(blocks, fill)
    _, channels, _, run = blocks.shape
    split = (groups, channels // _BLOCK, _BLOCK, runs, run // _BLOCK, _BLOCK)
    return np.ascontiguousarray(blocks.reshape(split).transpose(0, 1, 3, 4, 2, 5)).reshape(-1)


def channel_blocks(c: Channels, groups: int = 1, multiple: int = _BLOCK) -> np.ndarray:
    """Return the table of ``eb_channels_neon``: int32 [blocks, 4, 8] of bias, multiplier, left
    shift and negative right shift; zeros fill each group up to a ``multiple`` of channels."""
    left, right = np.maximum(c.shift, 0), _right(c)
    rows = np.stack([c.bias, c.multiplier, left, right]).astype(np.int32)
    rows = rows.reshape(4, groups, -1)
    fill = np.pad(rows, ((0, 0), (0, 0), (0, -rows.shape[2] % multiple)))
    return np.ascontiguousarray(fill.reshape(4, -1, _BLOCK).transpose(1, 0, 2))


def is_plain(c: Channels) -> bool:
    """Return whether no channel is shifted left and all are shifted right."""
    return bool(np.all((c.shift <= 0) & (_right(c) < 0)))


def _right(c: Channels) -> np.ndarray:
    # A multiplier of zero gives zero whatever the shift.
    return np.where(c.multiplier == 0, -1, np.minimum(c.shift, 0))


def rows_params(
    window: Window, image: tuple[int, int, int, int], zero_point: int, *, direct: bool
) -> dict[str, int]:
    """Return the fields of ``eb_rows_params``."""
    _, in_h, in_w, in_c = image
    return {
        "copies": copied_rows(window, in_h, direct=direct),
        "in_h": in_h,
        "in_w": in_w,
        "in_c": in_c,
        "kernel_h": window.kernel_h,
        "stride_h": window.stride_h,
        "dilation_h": window.dilation_h,
        "pad_top": window.pad_top,
        "pad_left": window.pad_left,
        "columns": columns(window),
        "pad": zero_point,
        "direct": direct,
    }


def columns(window: Window) -> int:
    """Return how many columns of the input an output row reads, padding included."""
    extent = (window.kernel_w - 1) * window.dilation_w + 1
    return (window.out_w - 1) * window.stride_w + extent


def copied_rows(window: Window, in_h: int, *, direct: bool) -> int:
    """Return how many rows lie in scratch memory; with ``direct`` one of padding, or none."""
    if not direct:
        return window.kernel_h
    last = (window.out_h - 1) * window.stride_h + (window.kernel_h - 1) * window.dilation_h
    return int(window.pad_top > 0 or last >= in_h)


def rows_scratch(window: Window, image: tuple[int, int, int, int], *, direct: bool) -> int:
    """Return the bytes that ``eb_rows_start`` takes of the scratch memory."""
    _, in_h, _, in_c = image
    rows = copied_rows(window, in_h, direct=direct)
    return 4 * window.kernel_h + rows * (columns(window) * in_c + _SLACK)


def pointers_bytes(count: int) -> int:
    """Return the bytes of ``count`` pointers, rounded up to keep what follows aligned."""
    return 8 * (count + count % 2)


def inside(window: Window, in_w: int) -> bool:
    """Return whether no output row reads padding at its left or right."""
    return window.pad_left == 0 and columns(window) <= in_w


def conv2d_call(node: Node, m: Matrix) -> KernelCall:
    """Return the call of ``eb_conv2d_s8_neon`` for a layer with the weights ``m``."""
    w, image = m.window, m.image
    joined = m.groups == 1 and w.dilation_w == 1
    depth = m.weights.shape[1]
    runs = w.kernel_h * (1 if joined else w.kernel_w)
    gather = _gathers(depth, runs, len(m.weights) // m.groups)
    direct = inside(w, image[2]) and (depth // runs) % _BLOCK == 0 and not gather
    product_runs = 1 if gather else runs
    blocks = math.ceil(depth // product_runs / _BLOCK)
    params = {
        "batches": image[0],
        "out_h": w.out_h,
        "out_w": w.out_w,
        "kernel_w": w.kernel_w,
        "kernel_c": m.kernel_c,
        "stride_w": w.stride_w,
        "dilation_w": w.dilation_w,
        "groups": m.groups,
        "joined": joined,
        "gather": gather,
        "rows": rows_params(w, image, node.input(0).zero_point, direct=direct),
        "product": {
            "runs": product_runs,
            "blocks": blocks,
            "out_c": len(m.weights) // m.groups,
            "plain": is_plain(m.channels),
            "lowest": bool(np.any(m.weights == -128)),
            "weights": pack_blocks(m.weights, product_runs, m.groups),
            "channels": channel_blocks(m.channels, m.groups),
            "output": output_stage(node),
        },
    }
    scratch = pointers_bytes(runs) + rows_scratch(w, image, direct=direct)
    return KernelCall(
        "eb_conv2d_s8_neon",
        "conv2d/conv2d_neon.h",
        ("conv2d/conv2d_s8_neon.c", "common/eb_matmul_neon.c", ISA_SOURCE),
        "eb_conv2d_neon_params",
        params,
        scratch_bytes=scratch + (_TILE_PIXELS * _BLOCK * blocks + _SLACK if gather else 0),
    )


def _gathers(depth: int, runs: int, out_c: int) -> bool:
    """Return whether copying short runs together costs less than multiplying their filling.

    In instructions for a pixel: about one for 16 products, four for a copy of 16 bytes.
    """
    run = depth // runs
    filling = runs * (run + -run % _BLOCK) - (depth + -depth % _BLOCK)
    return filling * out_c / 16 > 4 * runs * math.ceil(run / 16)
