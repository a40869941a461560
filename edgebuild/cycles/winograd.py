"""The work of convolutions by Winograd's algorithm: the loops of their C kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebuild.cycles.epilogue import Params, clamp
from edgebuild.cycles.work import Work


def winograd(p: Params) -> Work:
    """``conv2d_s8_winograd_dsp.c``: pairs of tiles of 4x4 outputs, four channels."""
    return _tiles(p, tile=4, stride=1, sums=((36, 2),))


def winograd_narrow(p: Params) -> Work:
    """The same, with weights that are expanded for each block of tiles."""
    return _tiles(p, tile=4, stride=1, sums=((36, 2),), narrow=True)


def winograd_stride2(p: Params) -> Work:
    """``conv2d_s8_winograd_stride2_dsp.c``: pairs of tiles of 2x2 outputs, four channels."""
    return _tiles(p, tile=2, stride=2, sums=((4, 8), (4, 4), (1, 2)))


def _tiles(
    p: Params, tile: int, stride: int, sums: Sequence[tuple[int, int]], *, narrow: bool = False
) -> Work:
    """``conv2d_winograd_dsp.c``; ``sums``: points, and words for each four values of depth."""
    work = Work()
    depth, batches = -(-p["in_c"] // 4) * 4, p["batches"]
    pairs = batches * -(-p["out_h"] // tile) * -(-p["out_w"] // (2 * tile))
    blocks, groups = -(-pairs // p["block"]), -(-p["out_c"] // 4)
    with work.phase("load", blocks):
        work.add("pair of tiles", pairs)
        _load(work, p, tile, stride, depth)
    parts = [min(p["part"], depth - c) for c in range(0, depth, p["part"])]
    work.add("group", blocks * groups)
    work.add("part", blocks * groups * len(parts))
    if narrow:
        with work.phase("expand", blocks * groups * len(parts)):
            work.add("expansion", blocks * groups * len(parts))
            work.add("expanded channel", blocks * groups * depth)
    for number, part in enumerate(parts):
        more = ", added" if number else ""
        # Other parts follow at once, where no weights are expanded.
        with work.phase(f"multiply{more}", blocks * groups * (narrow or number < 2)):
            work.add(f"multiply{more}", pairs * groups)
            for points, words in sums:
                count, length = pairs * groups * points, words * part // 4
                rounds, last = divmod(length - 2, 16)
                work.add(f"point{more}", count)
                work.unrolled(f"word{more}", 16, last + 1, count)
                work.add(f"loop of words{more}", count * bool(rounds))
                work.add(f"round of words{more}", count * rounds)
                work.add(f"word{more}", count * 16 * rounds)
    with work.phase("finish", blocks * groups):
        _finish(work, p, tile, groups)
    clamp(work, p, batches * p["out_h"] * p["out_w"] * p["out_c"])
    return work


def _load(work: Work, p: Params, tile: int, stride: int, depth: int) -> None:
    """Windows of the image to points; those at edges, and less than four channels, are copied."""
    batches, slices = p["batches"], depth // 4
    height, width = stride * (tile - 1) + 3, stride * (2 * tile - 1) + 3
    top = np.arange(0, p["out_h"], tile) * stride - p["pad_top"]
    left = np.arange(0, p["out_w"], 2 * tile) * stride - p["pad_left"]
    work.add("transform", batches * len(top) * len(left) * slices)
    inside_y, inside_x = (top >= 0) & (top + height <= p["in_h"]), left + width <= p["in_w"]
    inside = inside_y[:, None] & (inside_x & (left >= 0))
    before = np.maximum(-left, 0)
    copied = np.minimum(width, p["in_w"] - left) - before
    rows = top[:, None] + np.arange(height)
    rows_inside = ((rows >= 0) & (rows < p["in_h"])).sum(axis=1)
    odd = p["in_c"] % 4
    for y, x in np.ndindex(inside.shape):
        whole = 0 if inside[y, x] else p["in_c"] // 4
        count = batches * (whole + bool(odd))
        if not count:
            continue
        there = int(rows_inside[y])
        work.add("window", count)
        work.add("window row", count * there)
        work.add("row outside", count * (height - there))
        work.add("filled", count * ((height - there) * width + there * (width - int(copied[x]))))
        pixels = batches * there * int(copied[x])
        bytewise = batches * there * min(int(copied[x]), 4 - odd) if odd else 0
        work.add("copied", pixels * (whole + bool(odd)) - bytewise)
        work.add("pixel by bytes", bytewise)
        work.add("copied byte", bytewise * odd)


def _finish(work: Work, p: Params, tile: int, groups: int) -> None:
    """Sums to outputs; a pair of tiles with parts outside goes through a copy."""
    floor = "floored" if p["output"]["offset"] == -128 else "not floored"
    lengths_y = np.minimum(p["out_h"] - np.arange(0, p["out_h"], tile), tile)
    left = p["out_w"] - np.arange(0, p["out_w"], 2 * tile)
    tiles = np.stack([np.clip(left, 0, tile), np.clip(left - tile, 0, tile)])
    channels = np.minimum(p["out_c"] - np.arange(0, p["out_c"], 4), 4)
    whole = (lengths_y == tile)[:, None, None] & (left >= 2 * tile)[:, None] & (channels == 4)
    batches = p["batches"]
    count = batches * len(lengths_y) * int((tiles > 0).sum()) * groups
    work.add("tile", count, floor)
    parts = ~whole[:, None] & (tiles > 0)[:, :, None]
    work.add("partial tile", batches * int(parts.sum()))
    work.add("partial row", batches * int((parts * lengths_y[:, None, None, None]).sum()))
    pixels = lengths_y[:, None, None, None] * tiles[:, :, None]
    work.add("partial pixel", batches * int((parts * pixels).sum()))
    work.add("partial output", batches * int((parts * pixels * channels).sum()))
