"""The work of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: the loops of their C kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgebuild.cycles.work import Work

Params = Mapping[str, Any]


def conv2d(p: Params) -> Work:
    """``conv2d_s8.c``: two pixels and two channels at a time."""
    work = Work()
    if p["pointwise"]:
        pixels = p["batches"] * p["out_h"] * p["out_w"]
        _multiply(work, p, pixels // 2, pixels % 2)
        return work
    rows = p["batches"] * p["out_h"]
    steps = rows * p["groups"]
    work.add("row", rows)
    work.add("step", rows * -(-p["out_w"] // 2))
    _multiply(work, p, steps * (p["out_w"] // 2), steps * (p["out_w"] % 2))
    _columns(work, p)
    return work


def _multiply(work: Work, p: Params, pairs: int, singles: int) -> None:
    """``pairs`` and ``singles``: calls with two pixels and with one."""
    calls, depth = pairs + singles, p["depth"]
    twos, odd = divmod(p["out_c"], 2)
    work.add("multiply", calls)
    for name, times in (("pair of channels", twos), ("odd channel", odd)):
        work.loop(name, depth, calls * times)
        work.add(f"{name}, second pixel", pairs * times)


def _columns(work: Work, p: Params) -> None:
    """``eb_conv2d_column`` for every pixel and group."""
    c, kernel_w = p["kernel_c"], p["kernel_w"]
    run, times = kernel_w * c, p["batches"]
    work.add("column", times * p["groups"] * p["out_h"] * p["out_w"])
    y, x, g, ky, kx = np.ogrid[
        : p["out_h"], : p["out_w"], : p["groups"], : p["kernel_h"], :kernel_w
    ]
    rows = y * p["stride_h"] - p["pad_top"] + ky * p["dilation_h"]
    left = x * p["stride_w"] - p["pad_left"]
    # Two columns lie behind each other in memory that is aligned to words.
    to = (x % 2) * p["depth"] + ky * run
    outside = (rows < 0) | (rows >= p["in_h"])
    shape = (p["out_h"], p["out_w"], p["groups"], p["kernel_h"])
    flat = np.broadcast_to(to[..., 0], shape)
    lost = np.broadcast_to(outside[..., 0], shape)
    work.add("kernel row", times * lost.size)
    if lost.any():
        work.fills("row memset", run, flat[lost], times)
    whole = (left >= 0) & (left + kernel_w <= p["in_w"]) & bool(p["contiguous"])
    whole = np.broadcast_to(whole[..., 0], shape) & ~lost
    source = rows * p["in_w"] * p["in_c"] + g * c
    if whole.any():
        starts = np.broadcast_to((source + left * c)[..., 0], shape)
        work.copies("row memcpy", run, flat[whole], starts[whole], times)
    parts = ~(whole | lost)
    if parts.any():
        full = (*shape, kernel_w)
        column = left + kx * p["dilation_w"]
        parts = np.broadcast_to(parts[..., None], full)
        gone = np.broadcast_to((column < 0) | (column >= p["in_w"]), full)
        targets = np.broadcast_to(to + kx * c, full)
        starts = np.broadcast_to(source + column * p["in_c"], full)
        work.add("kernel column", times * int(parts.sum()))
        work.fills("memset", c, targets[parts & gone], times)
        inside = parts & ~gone
        work.copies("memcpy", c, targets[inside], starts[inside], times)


def conv2d_dsp(p: Params) -> Work:
    """``conv2d_s8_dsp.c``: two pixels, four channels and eight values of depth a round.

    Two channels where fewer than four are left.
    """
    work = Work()
    outputs = p["batches"] * p["out_h"] * p["out_w"] * p["groups"] * p["out_c"]
    if p["pointwise"]:
        steps = -(-p["batches"] * p["out_h"] * p["out_w"] // 2)
        kind = "pointwise "
        with work.phase("fill", steps):
            _widen2(work, "pointwise widen", p["in_c"], steps)
    else:
        rows = p["batches"] * p["out_h"]
        steps = rows * -(-p["out_w"] // 2) * p["groups"]
        kind = ""
        work.add("row", rows)
        _fill(work, p)
    fours, left = divmod(p["out_c"], 4)
    twos, odd = divmod(left, 2)
    floored = ", floored" if p["output"]["offset"] == -128 else ""
    rounds = -(-p["depth"] // 8)
    # The compiler puts `multiply` into one of its callers and calls it from the other.
    with work.phase("multiply", steps):
        work.add(f"{kind}multiply", steps)
        work.add(f"{kind}call of four channels", steps * bool(fours))
        work.add(f"four channels{floored}", steps * fours)
        work.add("round of four", steps * fours * rounds)
        work.add(f"{kind}two channels", steps * twos)
        work.add(f"{kind}odd channel", steps * odd)
        work.add("round of two", steps * (twos + odd) * rounds)
    if p["clamp"]:
        with work.phase("clamp", 1):
            work.loop("clamp", outputs)
    return work


def _widen2(work: Work, name: str, length: int, calls: float) -> None:
    """``widen2``, of which each caller has a copy."""
    fours, left = divmod(length, 4)
    work.loop(name, fours, calls)
    if left:
        work.add("widen rest", calls)
        work.loop("widen rest bytes", left, calls)


def _fill(work: Work, p: Params) -> None:
    """``fill`` for every pair of pixels and every group."""
    c, kernel_w, kernel_h = p["kernel_c"], p["kernel_w"], p["kernel_h"]
    run, times = kernel_w * c, p["batches"] * p["groups"]
    top = np.arange(p["out_h"]) * p["stride_h"] - p["pad_top"]
    first = np.arange(0, p["out_w"], 2)
    left = first * p["stride_w"] - p["pad_left"]
    step = np.where(first + 1 < p["out_w"], p["stride_w"], 0)
    bottom, right = top + (kernel_h - 1) * p["dilation_h"], left + step + kernel_w
    inside_y = (top >= 0) & (bottom < p["in_h"])
    inside_x = (left >= 0) & (right <= p["in_w"])
    fast = inside_y[:, np.newaxis] & inside_x & bool(p["contiguous"])
    if run % 4:
        fast &= ((p["in_h"] - bottom)[:, np.newaxis] * p["in_w"] - right) * c >= 3
    direct = times * int(fast.sum())
    with work.phase("fill", direct):
        if run % 4:
            work.add("word fill", direct)
            work.loop("copied words", -(-run // 4), direct * 2 * kernel_h)
            work.loop("word widen", -(-p["depth"] // 4), direct)
        else:
            work.add("direct fill", direct)
            _widen2(work, "direct widen", run, direct * kernel_h)
    slow = times * fast.size - direct
    if slow:
        with work.phase("im2col", slow):
            _fill_edges(work, p, left, step, ~fast)


def _fill_edges(
    work: Work, p: Params, left: np.ndarray, step: np.ndarray, slow: np.ndarray
) -> None:
    """``fill`` of the pairs ``slow`` [out_h, pairs], which ``im2col`` copies."""
    kernel_h, times = p["kernel_h"], p["batches"] * p["groups"]
    work.add("im2col fill", times * int(slow.sum()))
    work.loop("widen", -(-p["depth"] // 4), times * int(slow.sum()))
    top = np.arange(p["out_h"]) * p["stride_h"] - p["pad_top"]
    rows = top[:, np.newaxis] + np.arange(kernel_h) * p["dilation_h"]
    lost = ((rows < 0) | (rows >= p["in_h"])).sum(axis=1)
    alike = Counter((one.tobytes(), int(gone)) for one, gone in zip(slow, lost, strict=True))
    for (mask, gone), count in alike.items():
        columns = np.frombuffer(mask, bool)
        lefts = np.concatenate([left[columns], (left + step)[columns & (step > 0)]])
        if len(lefts):
            _im2col(work, p, lefts, times, gone * count, (kernel_h - gone) * count)


def _im2col(
    work: Work, p: Params, lefts: np.ndarray, times: int, outside: int, inside: int
) -> None:
    """``im2col`` of pixels at columns ``lefts``; kernel rows ``outside`` and ``inside`` of each."""
    c, kernel_w = p["kernel_c"], p["kernel_w"]
    work.add("im2col", times * len(lefts) * (outside + inside) / p["kernel_h"])
    work.add("im2col row", times * len(lefts) * (outside + inside))
    work.loop("pad row", kernel_w * c, times * len(lefts) * outside)
    if p["contiguous"]:
        before = np.maximum(-lefts, 0)
        after = np.maximum(lefts + kernel_w - p["in_w"], 0)
        work.loops("pad", np.concatenate([before, after]) * c, times * inside)
        for length in ((kernel_w - before - after) * c).tolist():
            _append(work, length, times * inside)
        return
    columns = lefts[:, None] + np.arange(kernel_w) * p["dilation_w"]
    gone = int(((columns < 0) | (columns >= p["in_w"])).sum())
    work.add("im2col column", times * inside * columns.size)
    work.loop("pad", c, times * inside * gone)
    _append(work, c, times * inside * (columns.size - gone))


def _append(work: Work, length: int, calls: float) -> None:
    work.loop("append words", length // 4, calls)
    work.loop("append bytes", length % 4, calls)


def _taps(p: Params, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return [outputs, taps] of a side (``h`` or ``w``): where in the image, and whether inside."""
    at = np.arange(p[f"out_{side}"]) * p[f"stride_{side}"]
    at = at - p["pad_top" if side == "h" else "pad_left"]
    taps = at[:, None] + np.arange(p[f"kernel_{side}"]) * p[f"dilation_{side}"]
    return taps, (taps >= 0) & (taps < p[f"in_{side}"])


def depthwise(p: Params) -> Work:
    """``depthwise_conv2d_s8.c``: the taps inside the image, four channels at a time."""
    work = Work()
    at_y, in_y = _taps(p, "h")
    at_x, in_x = _taps(p, "w")
    batches, in_c = p["batches"], p["in_c"]
    pixels = batches * p["out_h"] * p["out_w"]
    work.add("row", batches * p["out_h"])
    work.add("pixel", pixels)
    searched = batches * (int((at_y < 0).sum()) + p["out_h"] * int((at_x < 0).sum()))
    work.add("tap before", searched)
    beyond = int((at_y >= p["in_h"]).sum()) + p["out_h"] * int((at_x >= p["in_w"]).sum())
    work.add("tap behind", batches * beyond)
    fours = in_c // 4 if p["multiplier"] == 1 else 0
    singles = (in_c - 4 * fours) * p["multiplier"]
    rows, columns = in_y.sum(axis=1), in_x.sum(axis=1)
    for name, count in (("four", fours), ("single", singles)):
        if count:
            work.add(name, pixels * count)
            work.loops(f"{name}: rows", rows, batches * count * p["out_w"])
            work.loops(f"{name}: columns", columns, batches * count * int(rows.sum()))
    work.add("input channel", pixels * (in_c - 4 * fours))
    return work


def depthwise_dsp(p: Params) -> Work:
    """``depthwise_conv2d_s8_dsp.c``: four channels at a time, over the whole image."""
    work = Work()
    kernel_h, kernel_w = p["kernel_h"], p["kernel_w"]
    words, blocks = 2 * kernel_h, p["in_c"] // 4
    images = blocks * p["batches"]
    work.loop("pads", p["columns"] * words)
    work.add("block", blocks)
    work.add("image", images)
    _widen_rows(work, kernel_h, kernel_w, blocks)
    work.loop("double", kernel_w * words, blocks)
    rows = images * p["out_h"]
    work.add("row", rows)
    _widen_rows(work, kernel_h, min(p["in_w"], p["columns"] - p["pad_left"]), rows)
    pixels = rows * p["out_w"]
    if kernel_h == kernel_w == 3 and p["dilation_w"] == 1:
        work.add("pixel of 3x3", pixels)
    else:
        work.add("pixel", pixels)
        work.add("kernel column", pixels * kernel_w)
        work.loop("kernel rows", kernel_h // 2, pixels * kernel_w)
        work.add("odd kernel row", pixels * kernel_w * (kernel_h % 2))
    if p["clamp"]:
        work.loop("clamp", p["batches"] * p["out_h"] * p["out_w"] * p["in_c"])
    return work


def depthwise_3x3_dsp(p: Params) -> Work:
    """``depthwise_conv2d_3x3_s8_dsp.c``: steps of four output rows, two at a stride of 2."""
    work = Work()
    out_h, out_w, channels = p["out_h"], p["out_w"], p["batches"] * p["in_c"]
    groups, rows = -(-p["in_c"] // 4), 4 // p["stride"]
    images, steps = groups * p["batches"], (out_h + 1) // rows
    inside = min(max((p["in_h"] - 2 + p["pad_top"]) // 4, 0), steps)
    left = int(out_h > steps * rows)
    columns = min(p["in_w"], p["columns"] - p["pad_left"])
    rounds = "once" if p["once"] else "twice"
    work.add("group", groups)
    work.add("image", images)
    work.add("steps inside", images * bool(inside))
    work.add("step at an edge", images * (steps - inside))
    work.add("step of what is left", images * left)
    with work.phase("fill", images * (steps + left)):
        for name, fills in (
            ("fill both", images * inside),
            ("fill two", images * (1 + 2 * (steps - inside) + left)),
        ):
            work.add(name, fills)
            work.add(f"{name}: column", fills * columns)
            work.add(f"{name}: turn", fills * -(-columns // 2))
            work.add(f"{name}: odd", fills * (columns % 2))
    with work.phase("multiply", images * (steps + left)):
        kinds = {"four rows": steps, "two rows": left}
        for kind, times in kinds.items() if p["stride"] == 1 else [("two rows apart", steps)]:
            name, rows_of = f"{kind}, {rounds}", channels * times
            work.add(name, images * times)
            work.add(f"{name}: channel", rows_of)
            work.add(f"{name}: turn", rows_of * -(-out_w // 2))
            # Four rows take their columns one by one; of pairs, one is repeated.
            work.add(f"{name}: column", rows_of * out_w * (kind == "four rows"))
            work.add(f"{name}: odd", rows_of * (out_w % 2) * (kind == "four rows" or out_w > 1))
    if p["clamp"]:
        with work.phase("clamp", 1):
            work.loop("clamp", channels * out_h * out_w)
    return work


def _widen_rows(work: Work, kernel_h: int, columns: int, calls: int) -> None:
    work.add("widen", calls)
    work.add("widen row", calls * kernel_h)
    work.loop("widen pair", columns, calls * (kernel_h // 2))
    work.loop("widen last", columns, calls * (kernel_h % 2))


def fully_connected(p: Params) -> Work:
    """``fully_connected_s8.c``: two units at a time."""
    work = Work()
    twos, odd = divmod(p["units"], 2)
    work.add("batch", p["batches"])
    work.add("pair of units", p["batches"] * twos)
    work.add("odd unit", p["batches"] * odd)
    work.loop("depth", p["depth"], p["batches"] * twos)
    work.loop("odd depth", p["depth"], p["batches"] * odd)
    return work


def fully_connected_dsp(p: Params) -> Work:
    """``fully_connected_s8_dsp.c``: four units, or two, and sixteen values of depth a round."""
    work = Work()
    batches, rest = p["batches"], p["depth"] % 16
    fours, odd = divmod(p["units"], 4)
    twos, rounds = -(-odd // 2), -(-p["depth"] // 16)
    floor = ", floored" if p["output"]["offset"] == -128 else ""
    work.add("batch", batches)
    work.loop("rest", rest, batches)
    work.add(f"four units{floor}", batches * fours)
    whole = p["depth"] // 16
    work.add("round of four", batches * fours * rounds)
    work.add("turn of four", batches * fours * -(-whole // 2))
    work.add("odd round of four", batches * fours * (whole % 2))
    work.add("rest of four", batches * fours * bool(rest))
    work.add("two units", batches * twos)
    work.add("second unit", batches * (odd // 2))
    work.loop("values of two", 4 * (p["depth"] // 16), batches * twos)
    work.loop("rest of two", 4 * bool(rest), batches * twos)
    if p["clamp"]:
        work.loop("clamp", p["batches"] * p["units"])
    return work
