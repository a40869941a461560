"""Of the kernels that may run a layer, the schedule takes what suits the preference."""

import dataclasses
import itertools
import math
import time

import numpy as np
import pytest

from edgebuild.cycles import predict_cycles
from edgebuild.cycles.waits import memory_model
from edgebuild.errors import InternalError
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS
from edgebuild.ops.base import KernelCall
from edgebuild.profile import CORES, CpuFeatures, Optimize
from edgebuild.schedule import Schedule, schedule_graph, usual_schedule
from edgebuild.schedule import schedule as module
from edgebuild.schedule.choose import (
    FLASH_OF_BALANCED,
    SMALL_FLASH,
    STEP_BYTES,
    Room,
    choose,
)
from edgebuild.schedule.costs import Option, costs_for
from edgebuild.targets import load_target
from edgebuild.tflite.reader import read_tflite
from tests.chains import chained, wired
from tests.small import small_model

M4, M55, PORTABLE = CORES["cortex-m4"], CORES["cortex-m55"], CpuFeatures()
SPEED, BALANCED, SIZE, RAM = Optimize


@pytest.fixture
def make(bench):
    return bench.Layers(1)


def kernels(graph, cpu=M4, optimize=BALANCED):
    return [step.option.kernel for step in schedule_graph(graph, cpu, optimize).steps]


def test_few_outputs_do_not_pay_for_prepared_weights(make):
    small = make.depthwise((1, 6, 6, 128), stride=(2, 2))
    assert kernels(small, optimize=SPEED) == ["depthwise_conv2d_s8_dsp"]
    assert OPS["DEPTHWISE_CONV_2D"].kernel(small.node(0), M4).function.endswith("_3x3_s8_dsp")
    assert kernels(make.depthwise((1, 20, 20, 64)), optimize=SPEED)[0].endswith("_3x3_s8_dsp")


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_size_takes_the_smaller_kernel_and_speed_the_faster(make, kind):
    graph = make.conv((1, 8, 8, 16), 16, (5, 5)) if kind == "conv" else make.dense((1, 128), 64)
    (fast,) = kernels(graph, M4, SPEED)
    (small,) = kernels(graph, M4, SIZE)
    portable = {"conv": "conv2d_s8", "dense": "fully_connected_s8"}[kind]
    assert fast.startswith(portable) and fast.endswith("_dsp") and small == portable


def test_cores_without_figures_run_the_usual_kernels(make):
    node = make.depthwise((1, 23, 1, 64), (23, 1), padding="VALID")
    for cpu, ending in ((M55, "_mve"), (PORTABLE, "_s8"), (CpuFeatures(neon=True), "_neon")):
        (step,) = schedule_graph(node, cpu).steps
        assert step.option.call.function.endswith(ending) and not step.others


def test_without_a_fit_the_usual_kernel_runs(make, monkeypatch):
    graph = make.depthwise((1, 23, 1, 64), (23, 1), padding="VALID")
    monkeypatch.setattr("edgebuild.cycles.predict.load_weights", lambda core: None)
    assert kernels(graph) == ["depthwise_conv2d_s8_dsp"]


@pytest.mark.parametrize(("cpu", "kernel"), [(M4, "conv2d_rows_s8_dsp"), (PORTABLE, "conv2d_s8")])
def test_a_depthwise_layer_of_one_channel_is_a_convolution(make, cpu, kernel):
    graph = make.depthwise((1, 12, 10, 1), (5, 4), multiplier=8, padding="SAME")
    assert kernels(graph, cpu) == [kernel]
    graph = make.depthwise((1, 12, 10, 2), (5, 4), multiplier=4, padding="SAME")
    assert kernels(graph, cpu) == ["depthwise_conv2d_s8"]


class Codes:
    """Kernels by name, of which each has so many bytes of code."""

    def __init__(self, **sizes):
        self.sizes = sizes

    def code_bytes(self, used):
        return sum(self.sizes[name] for name in used)


def option(kernel, cycles, constants=0, scratch=0):
    call = KernelCall(f"eb_{kernel}", "x.h", (f"{kernel}.c",), scratch_bytes=scratch)
    return Option(call, cycles, constants)


def live(calls):
    return lambda position, call: call.scratch_bytes + 1000


def taken(steps, codes, optimize):
    return [step.option.kernel for step in choose(steps, codes, optimize, live).steps[0]]


def test_a_kernel_is_linked_where_what_it_saves_is_worth_its_code():
    codes = Codes(a=1000, b=1000)
    # Once it is there, the second step may have it as well.
    steps = [[option("a", 1e6), option("b", 5e5)], [option("a", 1e6), option("b", 9e5)]]
    assert taken(steps, codes, SPEED) == ["b", "b"]
    steps = [[option("a", 1e6), option("b", 5e5)], [option("a", 1e6), option("b", 2e6)]]
    assert taken(steps, codes, SPEED) == ["b", "a"]
    assert taken(steps, codes, SIZE) == ["a", "a"]
    # A thousandth of the cycles is not worth 10 KB.
    steps = [[option("a", 1e6), option("b", 9.99e5)], [option("a", 1e6), option("b", 2e6)]]
    assert taken(steps, Codes(a=1000, b=10_000), SPEED) == ["a", "a"]


def test_balanced_spends_flash_where_it_saves_most_cycles():
    codes = Codes(small=1000, large=1000)
    steps = [
        [option("small", 1e6, 10_000), option("large", 1e6 - saved, 20_000)]
        for saved in (1e5, 4e5, 2e5, 3e5)
    ] + [[option("small", 10.0, 40_000)]]
    least = 1000 + 4 * 10_000 + 40_000 + 5 * STEP_BYTES
    # 40 % of that is enough for the kernel's code and for three of the layers.
    assert 31_000 <= (FLASH_OF_BALANCED - 1) * least < 40_000
    assert taken(steps, codes, BALANCED) == ["small", "large", "large", "large", "small"]
    assert taken(steps, codes, SPEED) == ["large"] * 4 + ["small"]
    assert taken(steps, codes, SIZE) == ["small"] * 5


def test_balanced_and_ram_give_up_scratch():
    codes = Codes(a=1000, b=1000)
    steps = [
        [option("a", 9e5, 0, 100), option("b", 8e5, 0, 3000)],
        [option("a", 1e6, 0, 100), option("b", 5e5, 0, 150)],
    ]
    assert taken(steps, codes, SPEED) == ["b", "b"]
    # A quarter of the RAM for a twelfth more cycles; for the last 50 B a third more are too many.
    assert taken(steps, codes, BALANCED) == ["a", "b"]
    # RAM may cost two fifths of the cycles.
    assert taken(steps, codes, RAM) == ["a", "a"]
    steps[1] = [option("a", 2e6, 0, 100), option("b", 5e5, 0, 150)]
    assert taken(steps, codes, RAM) == ["a", "b"]
    steps[0] = [option("a", 9e6, 0, 100), option("b", 8e5, 0, 3000)]
    assert taken(steps, codes, BALANCED) == ["b", "b"]


def test_speed_keeps_within_the_ram_that_there_is():
    codes = Codes(a=1000, b=1000)
    ways = [option("b", 3e5, 0, 9000), option("b", 5e5, 0, 3000), option("a", 9e5, 0, 100)]
    steps = [ways, ways[:1]]  # of the second, nothing takes less

    def scratch(ram):
        found = choose(steps, codes, SPEED, live, room=Room(ram=ram)).steps[0]
        return [step.option.call.scratch_bytes for step in found]

    assert scratch(math.inf) == [9000, 9000]
    assert scratch(9999) == [3000, 9000]
    assert scratch(3999) == [100, 9000]


def test_balanced_gives_up_scratch_of_several_steps_at_once():
    """One step with less scratch alone would cost cycles and save nothing."""
    codes = Codes(a=1000)
    steps = [[option("a", 1e6, 0, 100), option("a", 9.5e5, 0, 9000)]] * 3
    found = choose(steps, codes, BALANCED, live).steps[0]
    assert [step.option.call.scratch_bytes for step in found] == [100] * 3


def test_the_least_of_what_was_tried_is_known():
    """Too slow for the balance, but it could be done."""
    steps = [[option("a", 9e6, 0, 100), option("b", 1e6, 0, 9000)]]
    found = choose(steps, Codes(a=1000, b=1000), RAM, live)
    assert (found.steps[0][0].option.kernel, found.least) == ("b", 1100)


def test_balanced_costs_at_most_a_tenth_of_the_cycles():
    for cycles, kernel in ((1.09e6, "a"), (1.11e6, "b")):
        steps = [[option("a", cycles, 0, 100), option("b", 1e6, 0, 9000)]]
        assert taken(steps, Codes(a=1000, b=1000), BALANCED) == [kernel]
        assert taken(steps, Codes(a=1000, b=1000), RAM) == ["a"]


def test_unknown_cycles_leave_the_usual_kernel():
    steps = [[option("a", math.nan), option("b", 1.0)], [option("a", 9.0), option("b", 5.0)]]
    assert taken(steps, Codes(a=10, b=10), SPEED) == ["a", "b"]


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_nearly_as_good_as_the_best_of_all(seed):
    """For speed and size, against all choices of small problems."""
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c"]
    codes = Codes(**{name: int(rng.integers(100, 4000)) for name in names})
    steps = [
        [
            option(name, float(rng.integers(10**4, 10**6)), int(rng.integers(0, 20_000)))
            for name in names[: int(rng.integers(1, 4))]
        ]
        for _ in range(5)
    ]

    def flash(chosen):
        code = codes.code_bytes({one.kernel for one in chosen})
        return code + sum(one.constant_bytes + STEP_BYTES for one in chosen)

    def of(optimize):
        return [step.option for step in choose(steps, codes, optimize, live).steps[0]]

    every = list(itertools.product(*steps))
    least = min(map(flash, every))
    smallest = flash(of(SIZE))
    assert smallest <= 1.1 * least
    limit = max(FLASH_OF_BALANCED * smallest, smallest + SMALL_FLASH)
    balanced = of(BALANCED)
    assert flash(balanced) <= limit
    within = [sum(o.cycles for o in chosen) for chosen in every if flash(chosen) <= limit]
    assert sum(one.cycles for one in balanced) <= 1.2 * min(within)
    cycles = [sum(one.cycles for one in chosen) for chosen in every]
    assert sum(one.cycles for one in of(SPEED)) <= 1.02 * min(cycles)


def test_a_schedule_is_verified():
    graph = read_tflite(small_model(), name="small")
    schedule = schedule_graph(graph, M4)
    schedule.verify(graph)
    with pytest.raises(InternalError, match="each operator once"):
        Schedule(BALANCED, schedule.steps[1:], graph).verify(graph)
    first, second, *rest = schedule.steps
    with pytest.raises(InternalError, match="once, in order"):
        Schedule(BALANCED, (second, first, *rest), graph).verify(graph)


def test_the_dump_says_what_runs_where():
    graph = read_tflite(small_model(), name="small")
    schedule = schedule_graph(graph, M4)
    plan = plan_memory(graph, schedule.calls)
    rows = schedule.to_json(plan)
    assert [row["kind"] for row in rows] == [op.kind for op in graph.ops]
    assert rows[2]["kernel"] == "view" and rows[2]["cycles"] == 0
    for row, node, step in zip(rows, graph.nodes(), schedule.steps, strict=True):
        (place,) = row["outputs"]
        offset = plan.offsets[node.output.index]
        assert place == [0, offset, offset + node.output.nbytes]
        assert len(row["others"]) == len(step.others)
    conv = rows[0]
    assert conv["kernel"] == "conv2d_s8_dsp" and conv["others"][0]["kernel"] == "conv2d_s8"
    assert 0 < conv["cycles"] < conv["others"][0]["cycles"]
    (usual,) = {row["cycles"] for row in usual_schedule(graph, M4).to_json(plan)} - {0}
    assert usual is None


def pair(bench):
    """Return a pair as in MobileNet, whose tensor in between is the largest."""
    make = bench.Layers(2)
    graphs = make.conv((1, 24, 24, 8), 16, (1, 1)), make.depthwise((1, 24, 24, 16), stride=(2, 2))
    return chained(graphs)


def test_bands_of_rows_where_they_save_memory(bench):
    graph = pair(bench)
    for optimize, joined in ((SPEED, False), (SIZE, False), (BALANCED, True), (RAM, True)):
        schedule = schedule_graph(graph, M4, optimize)
        schedule.verify(graph)
        assert len(schedule.steps) == (1 if joined else 2)
    apart = schedule_graph(graph, M4, SPEED)
    assert plan_memory(schedule.graph, schedule.calls).arena_bytes < 0.8 * (
        plan_memory(apart.graph, apart.calls).arena_bytes
    )
    for cpu in (M55, CpuFeatures(neon=True)):
        assert len(schedule_graph(graph, cpu, RAM).steps) == 2


def test_the_step_in_bands_is_predicted_and_reported(bench):
    graph, target = pair(bench), bench.roomy("cortex-m4")
    schedule = schedule_graph(graph, M4)
    plan = plan_memory(schedule.graph, schedule.calls)
    (row,) = schedule.to_json(plan)
    first, second, last = row["kernel"].split(" + ")
    assert (row["kind"], first, last) == (
        "CONV_2D + DEPTHWISE_CONV_2D", "conv2d_1x1_s8_dsp", "copy",
    )  # fmt: skip
    assert second.startswith("depthwise_conv2d_")
    assert all(" + copy" in other["kernel"] for other in row["others"])
    simulated = bench.simulate(graph, target).layers[0].cycles
    (predicted,) = bench.predicted_cycles(graph, target).layers
    assert row["cycles"] == pytest.approx(simulated, rel=0.02)
    assert predicted.cycles == pytest.approx(simulated, rel=0.02) and predicted.known
    # Constants of all bands are stored once.
    calls = {call.function: call for call in schedule.calls[0].kernels}
    options = (costs_for(M4).option(graph.node(0), call) for call in calls.values())
    assert row["constant_bytes"] == sum(option.constant_bytes for option in options)


def test_a_schedule_in_bands_is_verified(bench):
    graph = pair(bench)
    schedule = schedule_graph(graph, M4)
    with pytest.raises(InternalError, match="each operator once"):
        Schedule(BALANCED, schedule.steps, graph).verify(graph)
    (step,) = schedule.steps
    with pytest.raises(InternalError, match="once, in order"):
        Schedule(BALANCED, (dataclasses.replace(step, position=1),), graph).verify(graph)


def test_a_chain_of_equal_images_runs_without_any_of_them(bench):
    make, x = bench.Layers(3), (1, 24, 10, 32)
    layers = [make.conv((1, 24, 10, 1), 32, (5, 5))]
    for _ in range(3):
        layers += [make.depthwise(x), make.conv(x, 32, (1, 1))]
    graph = chained([*layers, make.pool("AVERAGE_POOL_2D", x, x[1:3])])
    schedule = schedule_graph(graph, M4, RAM)
    schedule.verify(graph)
    assert len(schedule.steps) == 1
    assert plan_memory(schedule.graph, schedule.calls).arena_bytes < 0.75 * 24 * 10 * 32
    fast = schedule_graph(graph, M4, BALANCED)
    cycles = [sum(step.option.cycles for step in one.steps) for one in (schedule, fast)]
    assert cycles[0] <= 1.4 * cycles[1]


def test_branches_run_in_bands(bench):
    make, x, y = bench.Layers(3), (1, 32, 24, 16), (1, 16, 12, 32)
    layers = [
        make.conv((1, 32, 24, 3), 16, (3, 3)),
        make.conv(x, 16, (3, 3)),
        make.binary("ADD", x, x),
        make.conv(x, 32, (3, 3), stride=(2, 2)),
        make.conv(x, 32, (1, 1), stride=(2, 2)),
        make.binary("ADD", y, y),
    ]
    graph = wired(layers, [[-1], [0], [1, 0], [2], [2], [3, 4]])
    schedule = schedule_graph(graph, M4, RAM)
    assert len(schedule.steps) == 1
    # No image of 32 x 24 x 16 is there, but two of a quarter and a half of it.
    arena = plan_memory(schedule.graph, schedule.calls).arena_bytes
    assert arena - 32 * 24 * 3 - 16 * 12 * 32 < 32 * 24 * 16 / 2


def test_steps_are_joined_from_where_few_bytes_are_alive():
    steps = [[option("a", 1e6, 0, scratch)] for scratch in (0, 0, 2000, 0, 0)]
    tried = []

    def join(joined, _):
        tried.append((joined[0].position, joined[-1].position))

    choose(steps, Codes(a=1000), RAM, live, join, (100, 200, 200, 300, 100, 50))
    assert set(tried) == {(0, 2), (0, 3), (0, 4), (2, 3), (2, 4)}


def test_time_is_linear_in_operators(bench):
    """For layers that could all be joined, by the time of this process alone."""
    make = bench.Layers(1)
    pair = [make.depthwise((1, 4, 4, 8)), make.conv((1, 4, 4, 8), 8, (1, 1))]

    def seconds(count):
        graph = chained(pair * (count // 2))
        start = time.process_time()
        schedule_graph(graph, M4)
        return time.process_time() - start

    assert seconds(160) < 8 * seconds(40)


def test_costs_are_those_of_the_core(bench):
    graph = bench.Layers().conv((1, 8, 8, 16), 16)
    (step,) = schedule_graph(graph, M4).steps
    target = bench.roomy("cortex-m4")
    assert step.option.cycles == pytest.approx(bench.layer_cycles(graph, target)[0], rel=0.02)
    costs = costs_for(M4)
    both = costs.code_bytes({"conv2d_s8", "conv2d_s8_dsp"})
    assert both <= costs.code_bytes({"conv2d_s8"}) + costs.code_bytes({"conv2d_s8_dsp"})
    assert costs_for(M55) is None and costs_for(dataclasses.replace(M4, dsp=False)) is not None
    assert module.costs_for is costs_for


def test_a_slow_flash_makes_weights_dear(bench):
    """A kernel with eight times the weights is no faster where they are waited for."""
    graph, board = bench.Layers(3).conv((1, 8, 8, 64), 64, (3, 3)), load_target("nucleo-l4r5zi")
    memory = memory_model(board)
    slow, fast = (
        schedule_graph(graph, board.cpu.features, SPEED, where).steps[0].option
        for where in (memory, None)
    )
    assert fast.waits == 0.0 and slow.waits > 0.0
    assert slow.cycles > fast.cycles and slow.constant_bytes < fast.constant_bytes
    same = costs_for(board.cpu.features, SPEED, memory).option(graph.node(0), fast.call)
    assert same.cycles == fast.cycles and same.time > slow.time
    # A mean of what the whole prediction has as bounds.
    (step,) = predict_cycles(graph, board, [slow.call]).layers
    assert step.waits.low <= slow.waits <= step.waits.high
