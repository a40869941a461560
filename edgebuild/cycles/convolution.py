"""The work of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: the loops of their C kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgebuild.cycles.work import Work

Params = Mapping[str, Any]


def conv2d(p: Params) -> Work:
    """``conv2d_s8.c``: two pixels, two channels and four values of depth a round."""
    work = Work()
    pixels, batches, groups = p["out_h"] * p["out_w"], p["batches"], p["groups"]
    if p["pointwise"]:
        steps = -(-batches * pixels // 2)
        work.add("pointwise step", steps)
        with work.phase("fill", steps):
            _widen(work, "pointwise widen", p["in_c"], 2 * steps)
    else:
        pairs = batches * -(-pixels // 2)
        steps = pairs * groups
        work.add("image", batches)
        work.add("step", pairs)
        with work.phase("fill", steps):
            _columns(work, p)
    twos, odd = divmod(p["out_c"], 2)
    rounds = -(-p["depth"] // 4)
    with work.phase("multiply", steps):
        work.add("multiply", steps)
        work.add("pair of channels", steps * (twos + odd))
        work.add("round", steps * (twos + odd) * rounds)
        work.add("odd round", steps * (twos + odd) * (rounds % 2))
        work.add("output channel", steps * p["out_c"])
        work.add("left shift", steps / groups * _left_shifts(p, groups * (p["out_c"] % 2)))
    _clamp(work, p, batches * pixels * groups * p["out_c"])
    return work


def _left_shifts(p: Params, fill: int = 0) -> int:
    """Return how many channels are not shifted right; ``fill`` rows of the table are none."""
    return int((p["channels"][..., 2] >= 0).sum()) - fill


def _clamp(work: Work, p: Params, outputs: int) -> None:
    """``eb_clamp_all``."""
    if p["clamp"]:
        with work.phase("clamp", 1):
            work.loop("clamp", outputs)


def _widen(work: Work, name: str, length: int, calls: float) -> None:
    """``widen``, of which each caller may have a copy."""
    fours, left = divmod(length, 4)
    work.loop(name, fours, calls)
    work.add(f"{name} rest of {left}", calls * bool(left))


def _columns(work: Work, p: Params) -> None:
    """``fill`` for every pixel and group; the last one of an odd number comes twice."""
    run, times = p["kernel_w"] * p["kernel_c"], p["batches"] * p["groups"]
    pixels = p["out_h"] * p["out_w"]
    pixel = np.minimum(np.arange(pixels + pixels % 2), pixels - 1)
    top = pixel // p["out_w"] * p["stride_h"] - p["pad_top"]
    left = pixel % p["out_w"] * p["stride_w"] - p["pad_left"]
    rows = top[:, np.newaxis] + np.arange(p["kernel_h"]) * p["dilation_h"]
    lost = ((rows < 0) | (rows >= p["in_h"])).sum(axis=1)
    direct = (left >= 0) & (left + p["kernel_w"] <= p["in_w"])
    direct &= bool(p["contiguous"]) & (run % 4 == 0)
    inside = int((p["kernel_h"] - lost)[direct].sum())
    work.add("direct fill", times * int(direct.sum()))
    work.loop("direct widen", run // 4, times * inside)
    work.loop("direct pad", run // 2, times * int(lost[direct].sum()))
    slow = times * int((~direct).sum())
    if not slow:
        return
    work.add("im2col fill", slow)
    _widen(work, "widen", p["depth"], slow)
    for gone in np.unique(lost[~direct]).tolist():
        lefts = left[~direct & (lost == gone)]
        _im2col(work, p, lefts, times, gone, p["kernel_h"] - gone)


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


def depthwise(p: Params) -> Work:
    """``depthwise_conv2d_s8.c``: four pixels at a time, one channel after the other."""
    work = Work()
    pixels, taps = p["out_h"] * p["out_w"], p["kernel_h"] * p["kernel_w"]
    groups = p["batches"] * -(-pixels // 4)
    out_c = p["in_c"] * p["multiplier"]
    work.fills("pad memset", p["in_c"], np.array([32 * taps]))
    work.add("image", p["batches"])
    work.add("group", groups)
    with work.phase("point", groups):
        work.add("tap row", 4 * groups * p["kernel_h"])
        work.loop("tap pointer", p["kernel_w"], 4 * groups * p["kernel_h"])
        _looked_up(work, p)
    with work.phase("filters", groups):
        work.add("filter", groups * p["multiplier"])
        work.add("channel", groups * out_c)
        work.add("tap", groups * out_c * taps)
        work.add("three taps", groups * out_c * -(-taps // 3))
        work.add("left shift", groups * _left_shifts(p))
    _clamp(work, p, p["batches"] * pixels * out_c)
    return work


def _looked_up(work: Work, p: Params) -> None:
    """The taps of ``point`` by where they lie; the last pixel of an image fills its group."""
    in_y = _taps(p, "h")[1]
    at_x, in_x = _taps(p, "w")
    rows = in_y.sum(axis=1)
    before = (at_x < 0).sum(axis=1)
    inside = in_x.sum(axis=1)
    ways = {
        "above or below": (p["kernel_h"] - rows, np.full(p["out_w"], p["kernel_w"])),
        "left": (rows, before),
        "inside": (rows, inside),
        "right": (rows, p["kernel_w"] - before - inside),
    }
    for name, (down, across) in ways.items():
        taps = np.outer(down, across).reshape(-1)
        count = taps.sum() + -len(taps) % 4 * taps[-1]
        work.add(f"tap {name}", p["batches"] * int(count))


def _taps(p: Params, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return [outputs, taps] of a side (``h`` or ``w``): where in the image, and whether inside."""
    at = np.arange(p[f"out_{side}"]) * p[f"stride_{side}"]
    at = at - p["pad_top" if side == "h" else "pad_left"]
    taps = at[:, None] + np.arange(p[f"kernel_{side}"]) * p[f"dilation_{side}"]
    return taps, (taps >= 0) & (taps < p[f"in_{side}"])


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
    """``depthwise_conv2d_3x3_s8_dsp.c``: steps of two output rows, or of one at stride_h 2."""
    work = Work()
    blocks, out_h, out_w = p["in_c"] // 4, p["out_h"], p["out_w"]
    images = blocks * p["batches"]
    columns = min(p["in_w"], p["columns"] - p["pad_left"])
    work.loop("pads", 8 * p["columns"])
    work.add("block", blocks)
    work.add("image", images)
    both = p["stride_h"] == 1
    tops = np.arange(0, out_h, 2 if both else 1) * p["stride_h"] - p["pad_top"]
    steps, rows = len(tops), "two rows" if both else "one row"
    work.add(f"step of {rows}", images * steps)
    with work.phase("fill", images * steps):
        if both:
            inside = int(((tops >= -1) & (tops + 4 <= p["in_h"])).sum())
            work.add("kept row", images)
            work.add("kept column", images * columns)
            work.add("fill inside", images * inside)
            work.add("column inside", images * inside * columns)
            work.add("fill at an edge", images * (steps - inside))
            work.add("column at an edge", images * (steps - inside) * columns)
        else:
            work.add("fill", images * (steps + 1))
            work.add("column", images * (steps + 1) * columns)
    channels = 4 * images * steps
    floor = ", floored" if p["output"]["offset"] == -128 else ""
    pairs = -(-out_w // 2) if p["stride_w"] == p["stride_h"] and out_w > 1 else 0
    singles = 0 if pairs else out_w
    with work.phase("multiply", images * steps):
        work.add(f"channel in {rows}{floor}", channels)
        work.add(f"call of pairs in {rows}{floor}", channels * bool(pairs))
        work.add(f"pair in {rows}{floor}", channels * pairs)
        work.add(f"odd in {rows}{floor}", channels * (pairs > out_w // 2))
        work.add(f"singles in {rows}", channels * bool(singles))
        work.add(f"single in {rows}", channels * singles)
    if p["clamp"]:
        with work.phase("clamp", 1):
            work.loop("clamp", p["batches"] * out_h * out_w * p["in_c"])
    return work


def _widen_rows(work: Work, kernel_h: int, columns: int, calls: int) -> None:
    work.add("widen", calls)
    work.add("widen row", calls * kernel_h)
    work.loop("widen pair", columns, calls * (kernel_h // 2))
    work.loop("widen last", columns, calls * (kernel_h % 2))


def fully_connected(p: Params) -> Work:
    """``fully_connected_s8.c``: four units and four values of depth a round, then one unit."""
    work = Work()
    batches, rest = p["batches"], p["depth"] % 4
    fours, left = divmod(p["units"], 4)
    rounds = -(-p["depth"] // 4)
    work.add("batch", batches)
    work.loop("rest", rest, batches)
    work.add("call of four units", batches * bool(fours))
    work.add("four units", batches * fours)
    work.add("round of four", batches * fours * rounds)
    work.add("rest of four", batches * fours * bool(rest and p["depth"] > 4))
    work.loop("unit", rounds, batches * left)
    work.add("rest of one", batches * left * bool(rest and p["depth"] > 4))
    up = p["channels"][:, 2] >= 0
    work.add("left shift", batches * int(up[: 4 * fours].sum()))
    work.add("left shift of one", batches * int(up[4 * fours :].sum()))
    _clamp(work, p, batches * p["units"])
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
