"""Counts of loops, copies and fills."""

import numpy as np
import pytest

from edgebuild.cycles.work import Work, loop_rounds


def counts(work):
    return {name: count for name, count in work.counts.items() if name != "call"}


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, {"x": 3}),
        (2, {"x": 3, "x: 2 left": 3}),
        (8, {"x": 3, "x: four or more": 3, "x: fours": 6}),
        (13, {"x": 3, "x: four or more": 3, "x: fours": 9, "x: 1 left": 3}),
    ],
)
def test_a_loop(length, expected):
    work = Work()
    work.loop("x", length, 3)
    assert counts(work) == expected
    assert work.counts["call"] == 1


def test_the_rounds_of_a_loop():
    work = Work()
    work.loop("x", 13, 3)
    work.loop("x", 5, 1)
    work.loop("short", 3)
    assert loop_rounds(work.counts) == {"x": (3 * 3 + 1) / 4}


def test_a_loop_that_is_never_entered_counts_nothing():
    work = Work()
    work.loop("x", 5, 0)
    work.add("y", 0)
    assert counts(work) == {}


def test_loops_are_the_sum_of_their_lengths():
    one, many = Work(), Work()
    many.loops("x", np.array([[3, 9], [3, 0]]), 2)
    for length in (3, 9, 3, 0):
        one.loop("x", length, 2)
    assert counts(one) == counts(many)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 11])
def test_the_copies_of_an_unrolled_loop_run_as_often_as_a_jump_into_it_says(length):
    copies, ran = 4, [0] * 4
    at = -length % copies
    for _ in range(length):
        ran[at] += 3
        at = (at + 1) % copies
    work = Work()
    with work.phase("inner", 2):
        work.unrolled("x", copies, length, 3)
    assert counts(work) == ({"x": 3 * length, "x: turn": ran[-1]} if length else {})
    others = {f"x: copy {n} from the end": ran[-n] for n in range(2, copies + 1) if ran[-n]}
    assert {part: work.runs[part] for part in work.runs.keys() - work.counts.keys()} == others
    assert set(work.phases) == {*work.runs} - {"call"}


def test_forms_of_a_part_share_code():
    work = Work()
    work.add("x", 3, "rounded once")
    work.add("x", 4, "rounded twice")
    assert counts(work) == {"x, rounded once": 3, "x, rounded twice": 4}
    assert work.runs == {**work.counts, "x": 7}


def test_calls_of_a_kernel_add_up():
    one, other = Work(), Work()
    with one.phase("fill", 3):
        one.unrolled("x", 4, 5)
    with other.phase("fill", 2):
        other.unrolled("x", 4, 2)
        other.add("y", 7)
    both = one + other
    assert both.counts == {"call": 2, "x": 7, "x: turn": 3, "y": 7}
    assert both.runs["x: copy 2 from the end"] == 2
    assert both.entries == {"fill": 5} and both.phases == {**one.phases, **other.phases}
    assert one.counts["call"] == 1


def copied(length, to, source):
    """What ``copy_up`` of libc.c does, counted step by step."""
    found = {"bytes": 0, "words": 0}
    if length >= 8 and to % 4 == source % 4:
        while to % 4:
            to, length = to + 1, length - 1
            found["bytes"] += 1
        found["words"], length = divmod(length, 4)
    found["bytes"] += length
    return found


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 23, 40, 67])
@pytest.mark.parametrize(("to", "source"), [(0, 0), (1, 1), (3, 3), (0, 2), (1, 3)])
def test_copies_follow_libc(length, to, source):
    work = Work()
    work.copies("m", length, np.array([to]), np.array([source]), 2)
    found = counts(work)
    expected = copied(length, to, source)
    if expected["words"]:
        before = next((n for n in (1, 2, 3) if found.get(f"m words: {n} before")), 0)
        left = next((n for n in (1, 2, 3) if found.get(f"m words: {n} left")), 0)
        behind = next((n for n in (1, 2, 3) if found.get(f"m words: {n} behind")), 0)
        blocks = "m words, sixteen bytes"
        sixteens = 4 * found.get(f"{blocks}: fours", 0) / 2
        sixteens += sum(n for n in (1, 2, 3) if found.get(f"{blocks}: {n} left"))
        assert found["m words"] == 2
        assert (4 * sixteens + left, before + behind) == (expected["words"], expected["bytes"])
    else:
        fours = 4 * found.get("m bytes: fours", 0) / 2
        left = next((n for n in (1, 2, 3) if found.get(f"m bytes: {n} left")), 0)
        assert found["m bytes"] == 2 and fours + left == expected["bytes"]


def test_fills_need_no_second_address():
    fill, copy = Work(), Work()
    addresses = np.array([0, 1, 2, 5])
    fill.fills("m", 21, addresses)
    copy.copies("m", 21, addresses, addresses)
    assert counts(fill) == counts(copy)
    fill.fills("short", 3, addresses)
    assert fill.counts["short bytes: 3 left"] == 4
