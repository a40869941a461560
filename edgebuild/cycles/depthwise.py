"""The work of DEPTHWISE_CONV_2D: the loops of its C kernels."""

from __future__ import annotations

import numpy as np

from edgebuild.cycles.epilogue import Params, clamp, left_shifts, rounding
from edgebuild.cycles.work import Work


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
        work.add("channel", groups * out_c, rounding(p))
        work.unrolled("tap", 3, taps, groups * out_c)
        work.add("left shift", groups * left_shifts(p))
    clamp(work, p, p["batches"] * pixels * out_c)
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
        work.add("four channels", fours, rounding(p))
        work.add("channels left", pixels * bool(p["in_c"] % 4))
        work.unrolled("two taps", 4, taps // 2, fours)
        work.add("odd tap", fours * (taps % 2))
    clamp(work, p, pixels * p["in_c"])
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
    clamp(work, p, channels * out_h * out_w)
    return work
