"""The work of pooling, arithmetic, reductions, tables and copies: the loops of their C kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgebuild.cycles.epilogue import Params
from edgebuild.cycles.work import Work


def pool(p: Params) -> Work:
    """``max_pool2d_s8.c``: what of each window lies inside."""
    work = Work()
    _pixels(work, p)
    _windows(work, p, "", p["channels"])
    return work


def average_pool(p: Params) -> Work:
    """``average_pool2d_s8.c``: the same, four channels at a time, and what is left over."""
    work = Work()
    fours, left = divmod(p["channels"], 4)
    _pixels(work, p)
    for name, count in (("four: ", fours), ("", left)):
        if count:
            _windows(work, p, name, count)
    return work


def _pixels(work: Work, p: Params) -> None:
    work.add("row", p["batches"] * p["out_h"])
    work.add("pixel", p["batches"] * p["out_h"] * p["out_w"])


def _windows(work: Work, p: Params, name: str, channels: int) -> None:
    rows, columns = _inside(p, "h", "pad_top"), _inside(p, "w", "pad_left")
    times = p["batches"] * channels
    work.add(f"{name}output", times * p["out_h"] * p["out_w"])
    work.loops(f"{name}rows", rows, times * p["out_w"])
    work.loops(f"{name}columns", columns, times * int(rows.sum()))


def pool_dsp(p: Params) -> Work:
    """``average_pool2d_s8_dsp.c``, ``max_pool2d_s8_dsp.c``: the same, four channels at a time."""
    return pool({**p, "channels": -(-p["channels"] // 4)})


def _inside(p: Params, side: str, pad: str) -> np.ndarray:
    start = np.arange(p[f"out_{side}"]) * p[f"stride_{side}"] - p[pad]
    end = np.minimum(start + p[f"filter_{side}"], p[f"in_{side}"])
    return np.asarray(end - np.maximum(start, 0))


def row_sums(p: Params) -> Work:
    """``eb_row_sums.h``, and what becomes of the sums with the last rows."""
    work, rows = Work(), p["rows"]
    work.loop("value", rows["channels"], rows["pixels"])
    if rows["first"]:
        work.add("cleared", rows["channels"])
    if rows["last"]:
        work.loop("output", rows["channels"])
    return work


def elementwise(p: Params) -> Work:
    """``elementwise_loops.h``: four nested loops."""
    work = Work()
    counts = p["loops"]["count"] if "loops" in p else p["count"]
    for depth in (1, 2, 3):
        work.add(f"loop {depth}", math.prod(counts[:depth]))
    work.loop("value", counts[3], math.prod(counts[:3]))
    return work


def add(p: Params) -> Work:
    """``add_s8.c``: the same loops; which of the last shifts takes longer depends on the core."""
    work = elementwise(p)
    shift = "right shift" if p["right"] else "no shift"
    work.add(shift, math.prod(p["loops"]["count"]))
    return work


def multiply(p: Params) -> Work:
    """``mul_s8.c``: the same loops; the product is shifted right or not."""
    work = elementwise(p)
    work.add("right shift", math.prod(p["loops"]["count"]) * bool(p["shift"] < 0))
    return work


def add_dsp(p: Params) -> Work:
    """``add_s8_dsp.c``, ``mul_s8_dsp.c``: the same loops, and the clamp behind them."""
    work = elementwise(p)
    if p["clamp"]:
        work.loop("clamp", math.prod(p["loops"]["count"]))
    return work


def sub_dsp(p: Params) -> Work:
    """The same, with the order of the operands decided once."""
    work = add_dsp(p)
    work.add("plain first", p["plain_first"])
    return work


def softmax(p: Params) -> Work:
    """``softmax_s8.c``; how many values are near enough to the largest to count is a guess: as many
    as of evenly spread ones, whose largest is on average depth / (depth + 1) of the way up."""
    work = Work()
    rows, depth = p["rows"], p["depth"]
    others = min(1.0, p["table_length"] / 256 * (depth + 1) / depth)
    near = (1.0 + (depth - 1) * others) / depth
    work.add("row", rows)
    work.loop("value", depth, rows)
    work.add("value that counts", rows * depth * near)
    return work


def values(p: Params) -> Work:
    """One loop over all values: tables, QUANTIZE and DEQUANTIZE."""
    work = Work()
    work.loop("value", p["count"])
    return work


def arg_max(p: Params) -> Work:
    """``arg_max_s8.c``."""
    work = Work()
    work.add("outer", p["outer"])
    work.add("output", p["outer"] * p["inner"])
    work.loop("value", p["axis"] - 1, p["outer"] * p["inner"])
    return work


def reduce_sum(p: Params) -> Work:
    """``reduce_loops.h`` with the portable sum of four."""
    return _reduce(p, 0)


def reduce_sum_dsp(p: Params) -> Work:
    """``reduce_loops.h`` with sums in halfwords, which are emptied every 256 values."""
    return _reduce(p, 256)


def _reduce(p: Params, block: int) -> Work:
    work = Work()
    kept, reduced = p["kept"], p["reduced"]
    outer = kept[0] * kept[1]
    fours = kept[2] // 4 if p["kept_stride"][2] == 1 else 0
    singles = kept[2] - 4 * fours
    work.add("outer loop", kept[0])
    work.add("row", outer)
    for name, count in (("four", outer * fours), ("single", outer * singles)):
        work.add(name, count)
        work.add(f"{name}: loop 1", count * reduced[0])
        entries = count * reduced[0] * reduced[1]
        work.add(f"{name}: loop 2", entries)
        if name == "four" and block:
            whole, rest = divmod(reduced[2], block)
            work.add("block", entries * (whole + bool(rest)))
            work.loop("four: value", block, entries * whole)
            work.loop("four: value", rest, entries * bool(rest))
        else:
            work.loop(f"{name}: value", reduced[2], entries)
    return work


def copy(p: Params) -> Work:
    """``copy.c``, where a view's memory could not be shared, and rows of a band are kept; these may
    be unaligned, which matters on the M0+ alone."""
    work = Work()
    work.copies("memcpy", p["bytes"], np.zeros(1, int), np.zeros(1, int))
    return work


def concatenation(p: Params) -> Work:
    """``concatenation.c``; every tensor begins at a multiple of four."""
    work = Work()
    runs = [int(run) for run in p["runs"]]
    _parts(work, p["outer"], runs, forward=True)
    return work


def split(p: Params) -> Work:
    """``split.c``: the way back."""
    work = Work()
    _parts(work, p["outer"], [p["run"]] * p["outputs"], forward=False)
    return work


def _parts(work: Work, outer: int, runs: Sequence[int], *, forward: bool) -> None:
    k = np.arange(outer)
    work.add("outer", outer)
    work.add("part", outer * len(runs))
    start, total = 0, sum(runs)
    for run in runs:
        whole, part = k * total + start, k * run
        work.copies("memcpy", run, *((whole, part) if forward else (part, whole)))
        start += run


def strided_copy(p: Params) -> Work:
    """``strided_copy.c``: five nested loops around runs of 1, 2, 4 or more bytes."""
    work = Work()
    count, run = p["count"], p["run"]
    for depth in (1, 2, 3, 4):
        work.add(f"loop {depth}", math.prod(count[:depth]))
    entries = math.prod(count[:4])
    if run in (1, 2, 4):
        work.loop(f"run of {run}", count[4], entries)
        return work
    source = np.array([p["offset"]])
    for n, stride in zip(count, p["stride"], strict=True):
        # Only remainders count.
        source = (source[:, None] + np.arange(n) * (stride % 4)).ravel() % 4
    work.add("run", source.size)
    work.copies("memcpy", run, np.arange(source.size) * run, source)
    return work


def pad(p: Params) -> Work:
    """``pad.c``: four nested loops around a run, each with something before and behind."""
    work = Work()
    before, after = p["before"], p["after"]
    # Bytes that one round of each loop writes, from the innermost outwards.
    sizes = [before[4] + p["run"] + after[4]]
    for n, pair in zip(p["count"][::-1], list(zip(before, after, strict=True))[3::-1], strict=True):
        sizes.append(pair[0] + n * sizes[-1] + pair[1])
    sizes = sizes[::-1]
    starts = np.zeros(1, np.int64)
    for depth in range(5):
        work.add(f"loop {depth}", len(starts))
        _filled(work, p, before[depth], starts)
        _filled(work, p, after[depth], starts + sizes[depth] - after[depth])
        starts = starts + before[depth]
        if depth < 4:
            steps = np.arange(p["count"][depth]) * sizes[depth + 1]
            starts = (starts[:, None] + steps).ravel()
    work.copies("memcpy", p["run"], starts, np.arange(len(starts)) * p["run"])
    return work


def _filled(work: Work, p: Params, length: int, starts: np.ndarray) -> None:
    if p["element"] == 1:
        work.fills("memset", length, starts)
    else:
        work.loop(f"fill of {p['element']}", length // p["element"], len(starts))


def resize_nearest(p: Params) -> Work:
    """``resize_nearest.c``: pixels, or a copy of the row before."""
    work = Work()
    rows, columns, pixel = p["rows"], p["columns"], p["pixel"]
    row_bytes = p["out_w"] * pixel
    same = np.zeros(len(rows), bool)
    same[1:] = rows[1:] == rows[:-1]
    batch, y = np.ogrid[: p["batches"], : p["out_h"]]
    starts = (batch * p["out_h"] + y) * row_bytes
    again = starts[:, same]
    work.add("row", again.size)
    work.copies("row memcpy", row_bytes, again, again - row_bytes)
    fresh = starts[:, ~same][..., None] + np.arange(p["out_w"]) * pixel
    source = (batch * p["in_h"] + rows[~same]) * p["in_w"]
    source = (source[..., None] + columns.astype(np.int64)) * pixel
    work.add("fresh row", fresh[..., 0].size)
    work.add("pixel", fresh.size)
    work.copies("memcpy", pixel, fresh, source)
    return work


def resize_bilinear(p: Params) -> Work:
    """``resize_bilinear_s8.c``."""
    work = Work()
    work.add("batch", p["batches"])
    work.add("row", p["batches"] * p["out_h"])
    pixels = p["batches"] * p["out_h"] * p["out_w"]
    work.add("pixel", pixels)
    work.loop("value", p["channels"], pixels)
    return work
