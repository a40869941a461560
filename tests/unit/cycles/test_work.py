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
