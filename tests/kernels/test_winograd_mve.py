"""Winograd's kernel with Helium: its layout, every layer that it takes, and where it runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgebuild.memory import plan_memory
from edgebuild.ops import OPS, winograd_mve
from edgebuild.ops import convolution as conv
from edgebuild.ops.conv2d import _groups, _matrix, _window
from edgebuild.ops.support import interpret
from edgebuild.profile import Optimize
from edgebuild.schedule import schedule_graph
from edgebuild.schedule.choose import Room
from edgebuild.schedule.schedule import _without_costs
from tests.kernels import harness, m55
from tests.kernels.test_winograd import Layers, random_layers

LAYERS, SAMPLES = 40, 4
NAME = "eb_conv2d_s8_winograd_mve"


def tiled(graph, block):
    """Return the kernel's call for a layer; None where it does not take it."""
    node = graph.node(0)
    weights, w = _matrix(node), _window(node)
    c = conv.channels(node, weights, single_precision_product=False)
    if _groups(node) != 1 or not winograd_mve.takes(weights, c, w):
        return None
    return winograd_mve.winograd_call(node, weights, c, w, block)


def any_block(graph, _):
    """Return the call with some number of tiles, the same each time."""
    return [tiled(graph, 3 * (1 + sum(graph.node(0).input(0).shape) % 4))]


@pytest.fixture(scope="module")
def layers():
    found = [case.graph for case in OPS["CONV_2D"].cases()] + list(random_layers(LAYERS, 5))
    return [graph for graph in found if tiled(graph, 3)]


def check(graphs, run):
    """Compare all outputs that ``run`` makes of requests."""
    assert len(graphs) >= LAYERS // 4
    requests = [
        harness.Request(number, sample)
        for number, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, SAMPLES)
    ]
    for request, (output,) in zip(requests, run(requests), strict=True):
        graph = graphs[request.number]
        expected = interpret(graph, request.inputs)[graph.outputs[0]]
        np.testing.assert_array_equal(output, expected, err_msg=str(graph.node(0).input(0).shape))


def test_in_plain_c(layers, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    program = harness.build_program(layers, m55.MVE, harness.SANITIZED_GCC, tmp_path, any_block)
    check(layers, lambda requests: harness.run_program(program, layers, requests))


@pytest.mark.qemu
@m55.TOOLCHAINS
@pytest.mark.parametrize("mve", [True, False], ids=["helium", "without"])
def test_on_a_core(layers, toolchain, mve, tmp_path):
    program = m55.build_program(layers, toolchain, tmp_path, calls_of=any_block, mve=mve)
    check(layers, lambda requests: m55.run_program(program, layers, requests))


@pytest.mark.qemu
def test_nothing_behind_inputs_and_outputs_is_touched(layers, tmp_path):
    program = m55.build_program(layers, "zig", tmp_path, calls_of=any_block, direct=True)
    check(layers, lambda requests: m55.run_program(program, layers, requests))


def test_packed_weights():
    weights = np.random.default_rng(1).integers(-128, 128, (11, 9, 20)).astype(np.int8)
    packed = winograd_mve.pack(weights)
    assert packed.shape == (2, 4, 3, 2, 9, 8)
    for block, pair, part, one, tap, i in np.ndindex(packed.shape):
        channel = 8 * block + (0, 2, 4, 6, 1, 3, 5, 7)[2 * pair + one]
        inside = channel < 11 and 8 * part + i < 20
        expected = weights[channel, tap, 8 * part + i] if inside else 0
        assert packed[block, pair, part, one, tap, i] == expected


def test_blocks_share_an_expansion_evenly():
    size = winograd_mve.scratch_bytes
    for in_c, count, scratch in ((32, 16, 1 << 16), (32, 64, 1 << 16), (80, 16, 1 << 17)):
        block = winograd_mve.block_in(scratch, in_c, count)
        assert block % 3 == 0 and size(in_c, block) <= scratch
        assert block >= count or size(in_c, 2 * block) > scratch
    assert winograd_mve.block_in(1 << 16, 80, 16) == 0


def functions(graph, optimize=Optimize.SPEED, ram=np.inf):
    schedule = _without_costs(graph, m55.MVE, optimize, Room(ram=ram))
    return [call.function for call in schedule.calls]


def test_it_runs_for_speed_where_it_takes_fewer_instructions():
    make = Layers()
    deep = make.conv((1, 16, 16, 32), 32)
    assert functions(deep) == [NAME]
    assert [call.function for call in schedule_graph(deep, m55.MVE, Optimize.SPEED).calls] == [NAME]
    for other in (
        make.conv((1, 32, 32, 16), 16),
        make.conv((1, 8, 8, 64), 64),
        make.conv((1, 16, 16, 32), 32, stride=(2, 2)),
        make.conv((1, 16, 16, 32), 32, groups=2),
    ):
        assert NAME not in functions(other)
    for optimize in set(Optimize) - {Optimize.SPEED}:
        assert functions(deep, optimize) == ["eb_conv2d_s8_mve"]


def counted():
    """Return what ``benchmarks/helium.py`` counted of each layer: the direct kernel, and tiles."""
    rows = json.loads((Path(__file__).parents[2] / "benchmarks" / "helium.json").read_text())
    direct = {row["layer"]: row["instructions"] for row in rows if not row["tiles"]}
    return [(row, direct[row["layer"]]) for row in rows if row["tiles"]]


def test_expected_instructions_are_those_that_qemu_counts():
    for row, direct in counted():
        side, _, in_c, out_c = map(int, re.findall(r"\d+", row["layer"]))
        graph = Layers().conv((1, side, side, in_c), out_c)
        image, w = graph.node(0).input(0).shape, _window(graph.node(0))
        tiled, other = winograd_mve.instructions(image, out_c, w, row["tiles"])
        assert tiled == pytest.approx(row["instructions"], rel=0.03), row
        assert other == pytest.approx(direct, rel=0.03), row
        share = winograd_mve.share(image, out_c, w, row["tiles"])
        assert (share < winograd_mve.PAYS) == row["runs"]


def test_where_it_runs_it_takes_fewer_instructions_and_modelled_cycles():
    runs = [row for row, _ in counted() if row["runs"]]
    assert len(runs) >= 8
    assert all(row[f"{of}_ratio"] < 0.95 for row in runs for of in ("instructions", "model_cycles"))


@pytest.mark.parametrize("name", ["vmladava", "vmlava"])  # as GNU and LLVM write it
def test_the_model_of_the_inner_loop(name):
    """Six multiplications of two cycles; of the loads, the first hides behind nothing."""
    import helium

    loads = [f"vldrb.u8\tq{q}, [r{r}], #16" for q, r in ((0, 7), (1, 1), (2, 3), (3, 5), (0, 7))]
    sums = [f"{name}.s8\tr{2 * i}, q0, q{1 + i % 3}" for i in range(6)]
    order = [*loads[:2], sums[0], loads[2], sums[1], loads[3], sums[2], loads[4], *sums[3:]]
    loop = [helium.decoded(line) for line in (*order, "letp\tlr, 2b")]
    assert helium.modelled(loop + loop) - helium.modelled(loop) == 14


def test_it_takes_no_more_memory_than_there_is():
    graph = Layers().conv((1, 32, 32, 40), 40)
    for ram, expected in ((256 << 10, 128 << 10), (160 << 10, 64 << 10), (90 << 10, 0)):
        (call,) = _without_costs(graph, m55.MVE, Optimize.SPEED, Room(ram=ram)).calls
        assert (call.function == NAME) == (expected > 0)
        assert plan_memory(graph, [call]).arena_bytes <= ram
        assert expected == 0 or expected // 2 < call.scratch_bytes <= expected


def test_accumulators_that_do_not_fit():
    make = Layers()
    assert tiled(make.conv((1, 8, 8, 200), 8), 3) is not None
    assert tiled(make.conv((1, 8, 8, 800), 8), 3) is None
