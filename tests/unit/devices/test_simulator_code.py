"""Code that ran, through a cache."""

import numpy as np
import pytest

from edgebuild.devices.simulator.code import Ran, RunCode, pieces_behind, within
from edgebuild.devices.simulator.cycles import BlockCost, Decoder
from edgebuild.devices.simulator.trace import Block, BlockTrace
from edgebuild.regions import Cache

COST = BlockCost(instructions=4, taken=8, not_taken=6, literals=1, accesses=2)
ART = Cache(64, 16, 4)


def ran(address, size, count, taken=True):
    return Ran(Block(address, size, taken), count, COST)


def stream(*blocks):
    return np.array([address | size << 32 for address, size in blocks], np.uint64)


def test_sums():
    code = RunCode((ran(0, 16, 10), ran(0, 16, 1, taken=False), ran(32, 8, 2)), ())
    assert (code.size, code.fetched, code.jumps) == (24, 192, 12)
    assert (code.literals, code.accesses) == (13, 26)


def test_code_that_fits_is_filled_once():
    code = RunCode((ran(0, 64, 1000),), ())
    assert code.misses(ART) == (4, 4)
    assert RunCode((ran(8, 16, 5),), ()).misses(ART) == (2, 2)  # over two lines


@pytest.mark.parametrize("times", [400, 40_000])
def test_a_loop_larger_than_the_cache_is_missed_in_every_round(times):
    blocks = [(address, 16) for address in range(0, 80, 16)]
    window = stream(*(blocks * 400))
    code = RunCode(tuple(ran(a, s, times) for a, s in blocks), (window,))
    assert code.misses(ART) == (5 * times, 5 * times)
    larger = Cache(128, 16, 8)
    assert code.misses(larger) == (5, 5)


def test_the_inner_loop_of_a_larger_one_stays():
    inner, outer = [(0, 16)] * 50, [(address, 16) for address in range(64, 128, 16)]
    window = stream(*((inner + outer) * 40))
    blocks = (ran(0, 16, 50 * 40), *(ran(a, s, 40) for a, s in outer))
    assert RunCode(blocks, (window,)).misses(ART) == pytest.approx([5 * 40] * 2, rel=0.1)


def test_lines_of_one_set_drive_each_other_out():
    window = stream(*([(0, 16), (1024, 16)] * 100))
    code = RunCode((ran(0, 16, 100), ran(1024, 16, 100), ran(2048, 3000, 1)), (window,))
    direct = Cache(1024, 16, 1)
    assert code.misses(direct)[0] == pytest.approx(201, rel=0.02)
    assert code.misses(Cache(2048, 16, 2))[1] < 201


def test_code_that_fits_conflicts_where_its_pieces_share_lines():
    """A helper called from a loop lies a whole cache behind it: the least are those of the stream,
    the most those of any order in which each line runs as often."""
    window = stream(*([(0, 32)] * 9 + [(1024, 16)]) * 50)
    code = RunCode((ran(0, 32, 450), ran(1024, 16, 50)), (window,))
    assert code.size < 1024
    least, most = code.misses(Cache(1024, 16, 1))
    assert least == pytest.approx(1 + 2 * 50, rel=0.05)
    assert most == 1 + 1 + 2 * 50
    assert code.misses(Cache(1024, 16, 2)) == (3, 3)


def test_the_part_in_one_region():
    window = stream((0, 16), (0x2000, 16), (4, 12))
    code = RunCode((ran(0, 16, 1), ran(0x2000, 16, 1)), (window, stream((0x2000, 16))))
    part = within(code, 0, 0x1000)
    assert [one.block.address for one in part.ran] == [0]
    assert [window.tolist() for window in part.windows] == [stream((0, 16), (4, 12)).tolist()]


def test_pieces_of_the_stream_are_kept_in_their_order():
    trace = BlockTrace(None, 1 << 30)
    callback = trace.on_block()
    for number in range(100_000):
        callback(None, 64 * (number % 1000), 8, None)
    trace.finish()
    (segment,) = trace.segments
    assert len(segment.windows) == 4
    for window in segment.windows:
        steps = np.diff((window & np.uint64(0xFFFF_FFFF)).astype(int)) % 64_000
        assert set(steps.tolist()) == {64} and set((window >> np.uint64(32)).tolist()) == {8}


def test_literals_and_other_accesses_are_told_apart():
    # ldr r0, [pc, #4]; ldr r1, [r2]; push {r4, r5, lr}; strd r0, r1, [r2]; bx lr
    code = bytes.fromhex("0148 1168 30b5 c2e90001 7047".replace(" ", ""))
    cost = Decoder("cortex-m4").cost(code)
    assert (cost.instructions, cost.literals, cost.accesses) == (5, 1, 1 + 3 + 2)


def test_a_block_goes_on_behind_the_end_of_a_page():
    """Unicorn cuts it there; an instruction that lies in two pages is a piece of its own."""
    sizes = {0x3F0: 14, 0x3FE: 4, 0x402: 8, 0x40A: 6, 0x100: 8, 0x108: 8}
    pieces = list(pieces_behind(Block(0x3F0, 14, False), sizes))
    assert pieces == [(0x3FE, 4), (0x402, 8)]
    assert list(pieces_behind(Block(0x100, 8, False), sizes)) == []
    assert list(pieces_behind(Block(0x3F8, 8, False), sizes)) == []  # nothing ran at 0x400


def test_neighbours_share_cycles_over_a_cut_but_not_over_a_branch():
    # adds r0, #1; adds r1, #1 go together on a Cortex-M7; beq ends a block.
    first, second, branch = b"\x40\x1c", b"\x49\x1c", b"\x00\xd0"
    decoder = Decoder("cortex-m7")
    together = decoder.cost(first + second)
    before = decoder.cost_before(first, second)
    assert before.not_taken + decoder.cost(second).not_taken == together.not_taken
    assert before.not_taken < decoder.cost(first).not_taken
    assert before.instructions == 1
    assert decoder.cost_before(branch, second) == decoder.cost(branch)
    assert decoder.cost_before(first, b"") == decoder.cost(first)
