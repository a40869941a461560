"""The work of FULLY_CONNECTED: the loops of its C kernels."""

from __future__ import annotations

import numpy as np

from edgebuild.cycles.epilogue import Params, clamp
from edgebuild.cycles.work import Work
from edgebuild.ops.fully_connected_dsp import groups_of


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
    clamp(work, p, batches * p["units"])
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
    clamp(work, p, p["batches"] * p["units"])
    return work
