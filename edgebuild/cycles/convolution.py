"""The work of CONV_2D: the loops of its C kernels."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgebuild.cycles.epilogue import Params, clamp, left_shifts, rounding
from edgebuild.cycles.work import Work


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
        work.add("output channel", steps * p["out_c"], rounding(p))
        work.add("left shift", steps / groups * left_shifts(p, groups * (p["out_c"] % 2)))
    clamp(work, p, batches * pixels * groups * p["out_c"])
    return work


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
    """``conv2d_s8_dsp.c``: two pixels become columns at a time."""
    work = Work()
    rows = p["batches"] * p["out_h"]
    steps = rows * -(-p["out_w"] // 2) * p["groups"]
    work.add("row", rows)
    _fill(work, p)
    with work.phase("multiply", steps):
        _pairs(work, p, p["depth"] + -p["depth"] % 4, steps)
    clamp(work, p, rows * p["out_w"] * p["groups"] * p["out_c"])
    return work


def conv2d_1x1_dsp(p: Params) -> Work:
    """``conv2d_1x1_s8_dsp.c``: runs of pairs of pixels."""
    work = Work()
    rows = p["batches"] * p["rows"]
    pairs, odd = divmod(p["pixels"], 2)
    steps = rows * (pairs + odd)
    work.add("row", rows)
    work.add("run", rows * (bool(pairs) + odd))
    _widened(work, p["in_c"], 1, steps)
    with work.phase("multiply", steps):
        _pairs(work, p, p["in_c"], steps)
    clamp(work, p, rows * p["pixels"] * p["out_c"])
    return work


def conv2d_1x1_narrow_dsp(p: Params) -> Work:
    """``conv2d_1x1_narrow_s8_dsp.c``: runs of pairs of pixels, four values of depth a step."""
    work = Work()
    rows = p["batches"] * p["rows"]
    pairs, odd = divmod(p["pixels"], 2)
    steps = -(-p["in_c"] // 4)
    work.add("row", rows)
    work.add("run", rows * (bool(pairs) + odd))
    pairs = rows * (pairs + odd)
    work.add("pair", pairs, rounding(p))
    work.unrolled("step", 4, steps - 1, pairs)  # the first step is apart
    clamp(work, p, rows * p["pixels"] * p["out_c"])
    return work


def _widened(work: Work, run: int, kernel_h: int, pairs: int) -> None:
    """Columns that ``conv2d_pairs_dsp.c`` itself makes."""
    with work.phase("widen", pairs):
        work.add("kernel row", pairs * kernel_h)
        work.add("widened eight", pairs * kernel_h * (run // 8))
        work.add("widened four", pairs * kernel_h * (run // 4 % 2))


def _pairs(work: Work, p: Params, depth: int, steps: int) -> None:
    """``conv2d_pairs_dsp.c``: two pixels, four channels and two values of depth a step."""
    quads, left = divmod(p["out_c"], 4)
    fours = steps * (quads + bool(left))
    more = depth // 2 - 1  # the first step is apart
    work.add("pair of pixels", steps)
    work.add("four channels", fours, rounding(p))
    work.unrolled("step", 11, more, fours)
    work.add("channels left", steps * bool(left))
    work.add("channel left", steps * left)


def _fill(work: Work, p: Params) -> None:
    """The columns of every pair of pixels and every group."""
    c, kernel_w, kernel_h = p["kernel_c"], p["kernel_w"], p["kernel_h"]
    run, times = kernel_w * c, p["batches"] * p["groups"]
    top = np.arange(p["out_h"]) * p["stride_h"] - p["pad_top"]
    first = np.arange(0, p["out_w"], 2)
    left = first * p["stride_w"] - p["pad_left"]
    step = np.where(first + 1 < p["out_w"], p["stride_w"], 0)
    bottom, right = top + (kernel_h - 1) * p["dilation_h"], left + step + kernel_w
    inside_y = (top >= 0) & (bottom < p["in_h"])
    inside_x = (left >= 0) & (right <= p["in_w"])
    inside = inside_y[:, np.newaxis] & inside_x & bool(p["contiguous"])
    positions = inside.size
    if run % 4 == 0:
        runs = int(inside[:, step > 0].any(axis=1).sum() + inside[:, step == 0].sum())
        positions += runs - int(inside.sum())
        work.add("run", times * runs)
        _widened(work, run, kernel_h, times * int(inside.sum()))
        slow = ~inside
    else:
        copied = ((p["in_h"] - bottom)[:, np.newaxis] * p["in_w"] - right) * c >= 3
        slow = ~(inside & copied)
        fast = times * int(slow.size - slow.sum())
        with work.phase("fill", fast):
            work.add("word fill", fast)
            work.loop("copied words", -(-run // 4), fast * 2 * kernel_h)
            work.loop("word widen", -(-p["depth"] // 4), fast)
    work.add("position", p["batches"] * positions)
    edges = times * int(slow.sum())
    if edges:
        with work.phase("im2col", edges):
            _fill_edges(work, p, left, step, slow)


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


def conv2d_rows_dsp(p: Params) -> Work:
    """``conv2d_rows_s8_dsp.c``: widened rows, then two pixels and four channels at a time."""
    work = Work()
    batches, out_h, kernel_h = p["batches"], p["out_h"], p["kernel_h"]
    rows, dropped = batches * out_h, min(p["stride_h"], kernel_h)
    work.add("image", batches)
    work.add("row", rows)
    with work.phase("widen", rows):
        _rows_moved(work, p)
        tops = np.arange(out_h)[:, np.newaxis] * p["stride_h"] - p["pad_top"]
        y = tops + np.arange(kernel_h)
        new = (np.arange(kernel_h) >= kernel_h - dropped) | (tops == tops[:1])
        inside = int((new & (y >= 0) & (y < p["in_h"])).sum())
        times = batches * (2 if p["second"] else 1)
        _rows_widened(work, p, times * inside, times * (int(new.sum()) - inside))
    odd = p["out_w"] % 2
    pairs, last = rows * (p["out_w"] // 2), batches * odd * -(-out_h // 2)
    with work.phase("multiply", rows):
        work.add("kept run", batches * odd * (out_h // 2))
        work.loop("kept words", p["words"], batches * odd * (out_h // 2))
        work.add("odd pixels", last)
        work.add("call of pairs", rows * bool(pairs) + last)
        pairs += last
        work.add("pair", pairs)
        quads = pairs * -(-p["out_c"] // 4)
        work.add("four channels", quads)
        work.unrolled("word", 16, p["words"] - 1, quads)
        work.add("channels left", pairs * bool(p["out_c"] % 4))
        work.add("channel left", pairs * (p["out_c"] % 4))
    clamp(work, p, rows * p["out_w"] * p["out_c"])
    return work


def _rows_moved(work: Work, p: Params) -> None:
    """Back to the start of the memory."""
    dropped = p["stride_h"] if p["stride_h"] < p["kernel_h"] else 0
    if dropped:
        steps = p["reserve"] // dropped + 1
        moves = p["batches"] * ((p["out_h"] - 1) // steps)
        used = 2 * (p["second"] + p["values"] * p["kernel_h"])
        work.add("move", moves)
        work.add("moved words", moves * used / 4)


def _rows_widened(work: Work, p: Params, inside: int, outside: int) -> None:
    """``widen`` of rows inside the image and of others."""
    lead = p["lead"]
    length = min(p["line"], p["values"] - lead)
    work.add("widened row", inside + outside)
    work.loop("padding", lead, inside + outside)
    work.loop("padding", p["values"] - lead, outside)
    work.loop("padding", p["values"] - lead - length, inside)
    work.add("row of eights", inside * (length >= 8))
    work.add("eight values", inside * (length // 8))
    work.add("row of single values", inside * bool(length % 8))
    work.add("single value", inside * (length % 8))
