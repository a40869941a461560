"""What layers fetch, and what caches miss of it."""

import dataclasses

import numpy as np
import pytest

from edgebuild.cycles.code import CodePart, CodeRuns, Stretch, code_runs, conflicts, in_turns
from edgebuild.cycles.work import Work
from edgebuild.regions import Cache


def runs(*loops, **entries):
    """Code of (bytes, times, piece or phase), one behind the other."""
    parts, ends = [], {}
    for size, times, *where in loops:
        phase, piece = (where[0], 0) if where and isinstance(where[0], str) else ("", *where, 0)[:2]
        start = ends.get(piece, 0)
        ends[piece] = start + size
        parts.append(CodePart(start, size, times, phase, piece))
    return CodeRuns(tuple(parts), 0.0, 0.0, 0.0, 0.0, entries)


def part_lines(*sizes):
    """Lines of 16 bytes that runs of code of so many bytes touch on average."""
    return sum((size + 14) / 16 for size in sizes)


def same(figure):
    return pytest.approx(figure, rel=1e-9)


def test_loops_that_fit_are_filled_once():
    found = runs((400, 1e6), (200, 100)).misses(Cache(1024, 16, 64))
    assert found == same((part_lines(600),) * 2)


def test_a_loop_that_does_not_fit_is_missed_in_every_round_and_the_innermost_is_not():
    code = runs((400, 1e6), (800, 100), (300, 3))
    # The inner 400 bytes stay while they run; the 1,200 of both are filled 100 times.
    assert code.misses(Cache(1024, 16, 64))[0] == same(part_lines(1200) * 100 + 300 / 16 * 3)
    assert code.misses(Cache(2048, 16, 64))[0] == same(part_lines(1500))


def test_code_touches_a_line_more_wherever_it_lies_apart():
    whole = runs((160, 9), (160, 9)).misses(Cache(1024, 16, 64))[0]
    assert whole == same(part_lines(320))
    apart = CodePart(0, 160, 9, "", 0), CodePart(500, 160, 9, "", 0)
    assert CodeRuns(apart, 0, 0, 0, 0).misses(Cache(1024, 16, 64))[0] == same(part_lines(160, 160))
    # A gap of a few bytes is of lines that are touched anyhow.
    near = CodePart(0, 160, 9, "", 0), CodePart(164, 160, 9, "", 0)
    assert CodeRuns(near, 0, 0, 0, 0).misses(Cache(1024, 16, 64))[0] == same(part_lines(324))
    # What closes a gap touches no lines of its own; all lines that begin anywhere are counted.
    closed = CodeRuns((*near, CodePart(160, 4, 2, "", 0)), 0, 0, 0, 0)
    assert closed.misses(Cache(1024, 16, 64))[0] == same(part_lines(324))


def test_the_lines_of_code_are_those_that_it_touches_on_average():
    """Of 10, 30 and 6 bytes with gaps of 8 and 40, over every place where they may begin."""
    places = (0, 10), (18, 48), (88, 94)
    touched = [
        len({at // 16 for start, end in places for at in range(start + first, end + first)})
        for first in range(0, 16, 2)
    ]
    parts = tuple(CodePart(start, end - start, 9, "", 0) for start, end in places)
    found = CodeRuns(parts, 0, 0, 0, 0).misses(Cache(1024, 16, 64))[0]
    assert found == same(np.mean(touched))


def test_phases_that_take_turns_drive_each_other_out_and_not_themselves():
    cache = Cache(1024, 16, 64)
    # Both fit alone: each is filled whenever it is entered, whatever runs more often inside.
    code = runs(
        (100, 1e6, "fill"), (500, 300, "fill"), (600, 4e5, "multiply"), fill=50, multiply=80
    )
    assert code.misses(cache)[0] == same(part_lines(600) * 50 + part_lines(600) * 80)
    assert code.misses(Cache(2048, 16, 64))[0] == same(part_lines(1200))
    # One that does not fit is missed in each of its own rounds.
    code = runs((100, 1e6, "fill"), (1000, 300, "fill"), (600, 4e5, "multiply"), fill=5, multiply=8)
    assert code.misses(cache)[0] == same(part_lines(1100) * 300 + part_lines(600) * 8)
    # What runs seldom is filled seldom.
    code = runs((900, 1e6, "fill"), (100, 2, "fill"), (600, 4e5, "multiply"), fill=5, multiply=8)
    assert code.misses(cache)[0] == same(part_lines(900) * 5 + 100 / 16 * 2 + part_lines(600) * 8)


def test_kernels_that_take_turns_drive_each_other_out():
    cache = Cache(1024, 16, 64)
    one, other = runs((600, 1000)), runs((500, 1000))
    one, other = (dataclasses.replace(kernel, entries={"": 20}) for kernel in (one, other))
    both = in_turns([one, other])
    assert both.size == 1100 and in_turns([one]) is one
    # Calls of a kernel alone leave it there.
    assert one.misses(cache)[0] == same(part_lines(600))
    assert both.misses(cache)[0] == same(part_lines(600, 500) * 20)
    assert both.misses(Cache(2048, 16, 64))[0] == same(part_lines(600, 500))
    # One that does not fit alone is missed in its own rounds as well.
    large = dataclasses.replace(runs((1200, 1000)), entries={"": 20})
    missed = part_lines(1200) * 1000 + part_lines(500) * 20
    assert in_turns([large, other]).misses(cache)[0] == same(missed)


def test_pieces_that_lie_apart_may_share_lines_of_a_cache_of_few_ways():
    direct = Cache(1024, 16, 1)
    loops = (320, 1000), (160, 10), (160, 2)
    assert runs(*loops).misses(direct)[1] == same(part_lines(640))
    # 160 B may lie over the hot loop: each use of a line of them, and a use after it, is missed.
    hot = (320, 1000), (160, 10), (160, 1000, 1)
    assert runs(*hot).misses(direct)[1] == 20 + 10 * 2 * 1000
    # Where they run seldom, so often at most; each line fills the one of the other once.
    assert runs((480, 1000), (160, 2, 1)).misses(direct)[1] == 30 + 10 * 2 * 2
    # Two ways hold two pieces, whatever third one there is, but for its own uses.
    two = Cache(2048, 16, 2)
    apart = (160, 1000), (160, 1000, 1)
    assert runs(*apart).misses(two)[1] == same(part_lines(160, 160))
    assert runs(*apart, (160, 7, 2)).misses(two)[1] == 20 + 10 * 3 * 7


def test_a_piece_longer_than_a_cache_lies_over_itself_where_it_always_does():
    direct = Cache(1024, 16, 1)
    # The first 160 bytes and those from 1,024 on.
    code = runs((160, 1000), (864, 1), (160, 30))
    assert code.misses(direct)[1] == 64 + 10 * 2 * 30
    # In two ways both stay, and what lies elsewhere fills lines of them.
    assert code.misses(Cache(2048, 16, 2))[1] == same(part_lines(1184))
    more = runs((160, 1000), (864, 1), (160, 30), (32, 5, 1))
    assert more.misses(Cache(2048, 16, 2))[1] == 74 + 2 * 3 * 5


def test_kernels_conflict_once_in_each_of_their_turns():
    direct = Cache(1024, 16, 1)
    one, other = (dataclasses.replace(runs((size, 1000)), entries={"": 20}) for size in (320, 160))
    found = in_turns([one, other]).misses(direct)[1]
    assert found == (20 + 10) + (10 + 10 * 2 * 20)


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_no_order_of_uses_conflicts_more_than_the_bound(ways):
    rng = np.random.default_rng(ways)
    worst = 0.0
    for _ in range(300):
        lines = int(rng.integers(1, 7))
        counts = rng.integers(1, 12, lines)
        order = rng.permutation(np.repeat(np.arange(lines), counts)).tolist()
        held: list[int] = []
        missed = 0
        for line in order:
            missed += line not in held
            held = [*(other for other in held if other != line), line][-ways:]
        bound = conflicts(counts.tolist(), ways)
        assert missed <= bound <= len(order)
        worst = max(worst, missed / bound)
    assert worst == 1


def test_the_code_of_a_kernel_follows_its_counts():
    work = Work()
    with work.phase("fill", 3):
        work.unrolled("pixel", 4, 2, 4)
    found = code_runs(
        [
            [
                Stretch(0, 40, 1.0, "call"),
                Stretch(40, 60, 1.0, "never"),
                Stretch(100, 100, 0.5, "pixel"),
                Stretch(200, 10, 1.0, "pixel: copy 2 from the end"),
            ],
            [Stretch(10, 20, 2.0, "pixel")],
        ],
        {"fetched": {"pixel": 50}, "jumps": {"pixel": 2}, "literals": {}, "accesses": {"call": 3}},
        work,
    )
    assert found.entries == {"": 1, "fill": 3}
    assert found.parts == (
        (0, 40, 1, "", 0),
        (100, 100, 4, "fill", 0),
        (200, 10, 4, "fill", 0),
        (10, 20, 16, "fill", 1),
    )
    assert found.size == 170
    assert (found.fetched, found.jumps, found.literals, found.accesses) == (400, 16, 0, 3)
