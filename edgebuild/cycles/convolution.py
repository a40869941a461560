"""The work of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED: the loops of their C kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.cycles.work import Work
from edgebuild.ops.fully_connected_dsp import groups_of

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
        work.add("output channel", steps * p["out_c"], _rounding(p))
        work.add("left shift", steps / groups * _left_shifts(p, groups * (p["out_c"] % 2)))
    _clamp(work, p, batches * pixels * groups * p["out_c"])
    return work


def _rounding(p: Params) -> str:
    """Return in which form a part scales sums to outputs."""
    return "one rounding" if p["once"] else "two roundings"


def _left_shifts(p: Params, fill: int = 0) -> int:
    """Return how many channels are not shifted right; ``fill`` rows of the table are none."""
    if p["once"]:
        return 0
    return int((p["channels"][..., 2] >= 0).sum()) - fill


def _clamp(work: Work, p: Params, outputs: int) -> None:
    """``eb_clamp_all``, or its form for the DSP extension."""
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
    """``conv2d_s8_dsp.c``: two pixels become columns at a time."""
    work = Work()
    rows = p["batches"] * p["out_h"]
    steps = rows * -(-p["out_w"] // 2) * p["groups"]
    work.add("row", rows)
    _fill(work, p)
    with work.phase("multiply", steps):
        _pairs(work, p, p["depth"] + -p["depth"] % 4, steps)
    _clamp(work, p, rows * p["out_w"] * p["groups"] * p["out_c"])
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
    _clamp(work, p, rows * p["pixels"] * p["out_c"])
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
    work.add("pair", pairs, _rounding(p))
    work.unrolled("step", 4, steps - 1, pairs)  # the first step is apart
    _clamp(work, p, rows * p["pixels"] * p["out_c"])
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
    work.add("four channels", fours, _rounding(p))
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
    _clamp(work, p, rows * p["out_w"] * p["out_c"])
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
    _clamp(work, p, batches * p["out_h"] * p["out_w"] * p["out_c"])
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
        work.add("channel", groups * out_c, _rounding(p))
        work.unrolled("tap", 3, taps, groups * out_c)
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
    """``depthwise_conv2d_s8_dsp.c``: pixels of a run, four channels, eight taps a turn."""
    work = Work()
    taps = p["kernel_h"] * p["kernel_w"]
    pixels = p["batches"] * p["out_h"] * p["out_w"]
    work.fills("pad memset", p["in_c"], np.array([4 * taps]))
    inside_y, inside_x = (_taps(p, side)[1].all(axis=1) for side in "hw")
    rows, edges = int(inside_y.sum()), int((~inside_x).sum())
    runs = rows * (edges + bool(inside_x.any())) + (p["out_h"] - rows) * p["out_w"]
    work.add("row", p["batches"] * p["out_h"])
    with work.phase("point", p["batches"] * runs):
        work.add("run", p["batches"] * runs)
        work.add("tap row", p["batches"] * runs * p["kernel_h"])
        work.loop("tap pointer", p["kernel_w"], p["batches"] * runs * p["kernel_h"])
    with work.phase("multiply", p["batches"] * runs):
        work.add("pixel", pixels)
        fours = pixels * -(-p["in_c"] // 4)
        work.add("four channels", fours, _rounding(p))
        work.add("channels left", pixels * bool(p["in_c"] % 4))
        work.unrolled("two taps", 4, taps // 2, fours)
        work.add("odd tap", fours * (taps % 2))
    _clamp(work, p, pixels * p["in_c"])
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
    _clamp(work, p, channels * out_h * out_w)
    return work


def fully_connected(p: Params) -> Work:
    """``fully_connected_s8.c``: four units and four values of depth a round, then one unit."""
    work = Work()
    batches, rest = p["batches"], p["depth"] % 4
    fours, left = divmod(p["units"], 4)
    rounds = -(-p["depth"] // 4)
    work.add("batch", batches)
    work.loop("rest", rest, batches)
    up = np.broadcast_to(p["channels"][p["units"] + 1 :: 2] >= 0, p["units"])
    with work.phase("four units", batches):
        work.add("call of four units", batches * bool(fours))
        work.add("four units", batches * fours)
        work.add("round of four", batches * fours * rounds)
        work.add("rest of four", batches * fours * bool(rest and p["depth"] > 4))
        work.add("left shift", batches * int(up[: 4 * fours].sum()))
    with work.phase("unit", batches):
        work.loop("unit", rounds, batches * left)
        work.add("rest of one", batches * left * bool(rest and p["depth"] > 4))
        work.add("left shift of one", batches * int(up[4 * fours :].sum()))
    _clamp(work, p, batches * p["units"])
    return work


def fully_connected_dsp(p: Params) -> Work:
    """``fully_connected_s8_dsp.c``: eight, four or two units and four values of depth a step."""
    work = Work()
    batches, words, rest = p["batches"], p["depth"] // 4, bool(p["depth"] % 4)
    work.add("batch", batches)
    eights, fours, twos = groups_of(p["units"], p["chunk"])
    sums = batches * bool(eights)
    work.add("neighbours", sums)
    work.add("two words of neighbours", sums * (words // 2))
    work.add("word of neighbours", sums * (words % 2 + rest))
    units = f"units, {'one rounding' if p['once'] else 'two roundings'}"
    if p["scale_step"]:
        units += ", a scale each"
    # The loops of eight and four steps are entered in the middle.
    for name, groups, steps in (("eight", eights, 4), ("four", fours, 2), ("two", twos, 1)):
        times = batches * groups
        with work.phase(f"{name} units", batches):
            work.add(f"{name} {units}", times)
            work.add(f"step of {name}", times * (words + rest))
            work.add(f"turn of {name}", times * -(-words // steps))
            work.add(f"rest of {name}", times * rest)
    work.add("odd step of four", batches * fours * (words % 2))
    work.add("one unit" + units[5:], batches * (p["units"] % 2))
    chunks = -(-4 * words // p["chunk"]) - 1 if p["chunk"] else 0
    work.add("chunk", batches * (fours + twos) * chunks)
    _clamp(work, p, p["batches"] * p["units"])
    return work
