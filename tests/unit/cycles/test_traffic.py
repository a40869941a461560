"""What layers move: constants, activations and code."""

import numpy as np
import pytest

from edgebuild.cycles.traffic import (
    CodePart,
    CodePiece,
    CodeRuns,
    Reads,
    code_runs,
    conflicts,
    layer_reads,
)
from edgebuild.cycles.work import Work
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS
from edgebuild.regions import Cache
from edgebuild.targets import load_target


def reads_of(graph, core):
    node = graph.node(0)
    return layer_reads(node, OPS[node.kind].kernel(node, load_target(core).cpu.features))


def weights(reads):
    return [read for read in reads if read.role == "weights"]


def test_what_fits_is_filled_once_and_what_does_not_in_every_pass():
    read = Reads("weights", 1000, passes=5)
    assert read.misses(line=16, capacity=1000) == 63
    assert read.misses(line=16, capacity=999) == 5 * 63
    assert (read.loads, read.touched(16)) == (5 * 250, 5 * 1000 / 16)


def test_runs_that_lie_apart_share_their_lines_only_where_a_whole_row_of_them_fits():
    taps = Reads("weights", 900, passes=2, run=4, unit=1, taps=9)
    assert taps.misses(line=16, capacity=9 * 16) == 2 * 57
    assert taps.misses(line=16, capacity=8 * 16) == 2 * 225
    assert taps.loads == 1800 and taps.touched(16) == 2 * 900 / 4


def test_a_window_is_filled_again_where_it_does_not_fit():
    read = Reads("weights", 640, window=64, repeats=10)
    assert read.misses(line=32, capacity=64) == 20
    assert read.misses(line=32, capacity=32) == 200
    assert read.misses(line=32, capacity=0, window=64) == 20


def test_every_pair_of_pixels_reads_all_weights(bench):
    pointwise = bench.Layers().conv((1, 5, 7, 8), 6, (1, 1))
    # With the DSP extension pairs are of one row, elsewhere of all pixels.
    for core, (size, pairs) in {
        "cortex-m4": (8 * (72 + 8), 5 * 4),
        "cortex-m0plus": (72 * 6, 18),
    }.items():
        kernel, *others = weights(reads_of(bench.Layers().conv((1, 5, 7, 8), 6), core))
        assert (kernel.size, kernel.unit) == (size, 4)
        assert all(read.passes == pairs for read in (kernel, *others))
        assert weights(reads_of(pointwise, core))[0].passes == 18


def test_parameters_are_read_again_for_each_pair_of_pixels_or_kept(bench):
    reads = reads_of(bench.Layers().conv((1, 5, 7, 8), 6), "cortex-m4")
    (parameters,) = [read for read in reads if read.role == "parameters"]
    assert parameters.passes == 20 and 80 < parameters.size < 160


def test_a_dense_layer_reads_its_weights_once_for_each_batch(bench):
    for batches in (1, 3):
        (kernel, _) = weights(reads_of(bench.Layers().dense((batches, 32), 10), "cortex-m0plus"))
        assert (kernel.size, kernel.passes) == (320, batches)
        assert kernel.loads == 80 * batches


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_every_case_of_every_operator_reads_what_it_is_given(core):
    """All of the constants, and all inputs and outputs at least once."""
    for operator in OPS.values():
        for case in operator.cases():
            node = case.graph.node(0)
            reads = reads_of(case.graph, core)
            moved = [t for t in (*node.inputs, *node.outputs) if t and not t.is_constant]
            arena = sum(read.size for read in reads if read.role == "arena")
            if not node.kind.startswith("FULLY"):  # its input is read in another form
                assert arena == sum(tensor.nbytes for tensor in moved), case.name
            assert all(read.passes > 0 and read.repeats >= 1 for read in reads), case.name


def runs(*loops, spans=(1000,), **entries):
    """Code of (bytes, times, piece or phase)."""
    parts = []
    for size, times, *where in loops:
        phase, piece = (where[0], 0) if where and isinstance(where[0], str) else ("", *where, 0)[:2]
        parts.append(CodePart(size, times, phase, piece))
    return CodeRuns(tuple(parts), 0.0, 0.0, 0.0, 0.0, entries, spans)


def test_loops_that_fit_are_filled_once():
    assert runs((400, 1e6), (200, 100)).misses(Cache(1024, 16, 64)) == (600 / 16,) * 2


def test_a_loop_that_does_not_fit_is_missed_in_every_round_and_the_innermost_is_not():
    code = runs((400, 1e6), (800, 100), (300, 3))
    # The inner 400 bytes stay while they run; the 1,200 of both are filled 100 times.
    assert code.misses(Cache(1024, 16, 64)) == ((1200 * 100 + 300 * 3) / 16,) * 2
    assert code.misses(Cache(2048, 16, 64)) == (1500 / 16,) * 2


def test_phases_that_take_turns_drive_each_other_out_and_not_themselves():
    cache = Cache(1024, 16, 64)
    # Both fit alone: each is filled whenever it is entered, whatever runs more often inside.
    code = runs(
        (100, 1e6, "fill"), (500, 300, "fill"), (600, 4e5, "multiply"), fill=50, multiply=80
    )
    assert code.misses(cache) == ((600 * 50 + 600 * 80) / 16,) * 2
    assert code.misses(Cache(2048, 16, 64)) == (1200 / 16,) * 2
    # One that does not fit is missed in each of its own rounds.
    code = runs((100, 1e6, "fill"), (1000, 300, "fill"), (600, 4e5, "multiply"), fill=5, multiply=8)
    assert code.misses(cache) == ((1100 * 300 + 600 * 8) / 16,) * 2
    # What runs seldom is filled seldom.
    code = runs((900, 1e6, "fill"), (100, 2, "fill"), (600, 4e5, "multiply"), fill=5, multiply=8)
    assert code.misses(cache) == ((900 * 5 + 100 * 2 + 600 * 8) / 16,) * 2


def test_pieces_that_lie_apart_may_share_lines_of_a_cache_of_few_ways():
    direct = Cache(1024, 16, 1)
    loops = (320, 1000), (160, 10), (160, 2)
    assert runs(*loops).misses(direct) == (40, 40)
    # 160 B may lie over the hot loop: each use of a line of them, and a use after it, is missed.
    small = (320, 1000), (160, 10), (160, 1000, 1)
    least, most = runs(*small, spans=(1000, 160)).misses(direct)
    assert (least, most) == (40, 40 + 2 * 10 * 1000)
    # Where they run seldom, so often at most.
    assert runs((480, 1000), (160, 2, 1), spans=(1000, 160)).misses(direct)[1] == 40 + 2 * 10 * 2
    # The hot loop of 160 B meets what runs 10 times at most.
    small = (160, 1000), (160, 10, 1), (320, 2)
    assert runs(*small, spans=(1000, 160)).misses(direct) == (40, 40 + 2 * 10 * 10)
    # Two ways hold both pieces; three pieces, the smallest of which is in excess, they may not.
    two, three = Cache(2048, 16, 2), (1000, 160, 160)
    assert runs(*small, spans=(1000, 160)).misses(two) == (40, 40)
    apart = (160, 1000), (160, 10, 1), (160, 2), (160, 50, 2)
    assert runs(*apart, spans=three).misses(two)[1] == 40 + 3 * 10 * 10
    # A piece longer than the cache lies over itself.
    loops = (160, 1000), (160, 10), (320, 2)
    assert runs(*loops, spans=(1184,)).misses(direct)[1] == 40 + 2 * 10 * 10


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
        work.add("pixel", 8)
    found = code_runs(
        [
            CodePiece(200, {"call": [40, 1.0], "pixel": [100, 0.5], "never": [60, 1.0]}),
            CodePiece(30, {"pixel": [20, 2.0]}),
        ],
        {"fetched": {"pixel": 50}, "jumps": {"pixel": 2}, "literals": {}, "accesses": {"call": 3}},
        work,
    )
    assert found.spans == (200, 30) and found.entries == {"": 1, "fill": 3}
    assert found.parts == ((40, 1, "", 0), (100, 4, "fill", 0), (20, 16, "fill", 1))
    assert found.size == 160
    assert (found.fetched, found.jumps, found.literals, found.accesses) == (400, 16, 0, 3)


def test_a_plan_says_in_which_bank_activations_lie(bench):
    graph = bench.Layers().conv((1, 8, 8, 4), 8)
    node = graph.node(0)
    call = OPS[node.kind].kernel(node, load_target("cortex-m4").cpu.features)
    plan = plan_memory(graph, [call], [node.output.nbytes + 64, 1 << 16])
    assert len(plan.bank_bytes) == 2
    reads = [read for read in layer_reads(node, call, plan) if read.role == "arena"]
    places = [plan.place(tensor.index)[0] for tensor in (node.input(0), node.output)]
    scratch = plan.scratch_banks.get(0, 0)
    assert [read.bank for read in reads] == [*places, scratch]
    assert {*places, scratch} == {0, 1} and reads[-1].maybe
    whole = plan_memory(graph, [call])
    assert {read.bank for read in layer_reads(node, call, whole)} == {None}
