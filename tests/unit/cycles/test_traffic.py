"""What layers read: constants and activations."""

import dataclasses

import pytest

from edgebuild.cycles.traffic import Reads, layer_reads
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS
from edgebuild.ops.base import executed
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.schedule import schedule_graph
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


def test_a_step_in_bands_reads_in_each_of_its_calls(random_net):
    graph = run_passes(random_net(1056), DEFAULT_PASSES).graph
    target = load_target("nrf52840-dk")
    schedule = schedule_graph(graph, target.cpu.features, target.optimize)
    node, call = next(
        (node, call)
        for node, call in zip(schedule.graph.nodes(), schedule.calls, strict=True)
        if call.rounds
    )
    calls = list(executed(node, call))
    reads = layer_reads(node, call)
    assert {read.call for read in reads} == set(range(len(calls)))
    first = {}
    for number, (one, _) in enumerate(calls):
        first.setdefault(one.output.index, number)
    for number, (one, own) in enumerate(calls):
        assert [r for r in reads if r.call == number] == [
            dataclasses.replace(read, call=number, again=first[one.output.index] < number)
            for read in layer_reads(one, own)
        ]


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
