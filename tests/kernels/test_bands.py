"""Operators in bands of rows: the same bytes as one operator after the other."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import DType
from edgebuild.memory import plan_memory
from edgebuild.ops.band_rows import lay_out
from edgebuild.ops.bands import BandPlan, in_bands, joined, macs
from edgebuild.ops.base import Overlap
from edgebuild.ops.support import interpret
from edgebuild.targets import CpuFeatures
from tests.chains import chained, wired
from tests.kernels import harness, m55

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

STEPS = 60
SAMPLES = 4
PORTABLE, DSP, NEON = CpuFeatures(), CpuFeatures(dsp=True), CpuFeatures(neon=True)


def random_layer(rng, make, shape):
    """Return an operator of one image that may run in bands."""
    kinds = ["pointwise", "conv", "depthwise", "pool", "table"]
    kind = rng.choice(kinds, p=[0.3, 0.2, 0.35, 0.1, 0.05])
    if kind == "table":
        return make.unary(str(rng.choice(["LOGISTIC", "HARD_SWISH"])), shape)
    size = (1, 1) if kind == "pointwise" else (3, 3) if rng.random() < 0.7 else (5, 5)
    side = 2 if rng.random() < 0.4 and kind != "pointwise" and min(shape[1:3]) > 4 else 1
    fits = min(shape[1:3]) > 2 * size[0]
    padding = "VALID" if fits and rng.random() < 0.3 else "SAME"
    act, zero_point = [("RELU", -128), ("RELU6", -20), ("NONE", 5)][rng.integers(3)]
    options = {"stride": (side, side), "padding": padding}
    if kind == "pool":
        what = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        return make.pool(what, shape, size, (side, side), padding)
    if kind == "depthwise":
        return make.depthwise(shape, size, act=act, zero_point=zero_point, **options)
    channels = int(rng.choice([3, 4, 8, 16, 20]))
    return make.conv(shape, channels, size, act=act, zero_point=zero_point, **options)


def random_step(rng, make):
    """Return two to ten operators, with shortcuts: one of two operands reads the last image and
    any other of its shape. The last may be the mean of the whole image."""
    shapes = [(1, *map(int, rng.integers(5, 26, 2)), int(rng.choice([1, 3, 4, 6, 8, 12, 16])))]
    graphs, sources = [], []
    for number in range(int(rng.choice([2, 2, 3, 4, 6, 9]))):
        others = [at for at in range(number) if shapes[at] == shapes[-1]]
        if others and rng.random() < 0.5:
            graphs.append(make.binary(str(rng.choice(["ADD", "MUL"])), shapes[-1], shapes[-1]))
            sources.append([number - 1, int(rng.choice(others)) - 1])
        else:
            graphs.append(random_layer(rng, make, shapes[-1]))
            sources.append([number - 1])
        shapes.append(graphs[-1].output_tensors[0].shape)
    if rng.random() < 0.4:
        graphs.append(random_mean(rng, make, shapes[-1]))
        sources.append([len(sources) - 1])
    return wired(graphs, sources)


def random_mean(rng, make, shape):
    """Return what sums up a whole image."""
    kind = str(rng.choice(["AVERAGE_POOL_2D", "MEAN", "SUM"]))
    if kind == "AVERAGE_POOL_2D":
        return make.pool(kind, shape, shape[1:3])
    return make.reduce(kind, shape, (1, 2))


def two_branches(make, height, channels):
    """Return the start of a residual network: a block as it is, and one of stride 2 with a
    convolution beside it."""
    small = (1, height // 2, 10, 2 * channels)
    full = (1, height, 20, channels)
    graphs = [
        make.conv((1, height, 20, 3), channels, (3, 3)),
        make.conv(full, channels, (3, 3)),
        make.conv(full, channels, (3, 3)),
        make.binary("ADD", full, full),
        make.conv(full, 2 * channels, (3, 3), stride=(2, 2)),
        make.conv(full, 2 * channels, (1, 1), stride=(2, 2)),
        make.conv(small, 2 * channels, (3, 3)),
        make.binary("ADD", small, small),
    ]
    return wired(graphs, [[-1], [0], [1], [0, 2], [3], [3], [4], [5, 6]])


def steps(count, seed):
    rng, make = np.random.default_rng(seed), Layers(seed)
    found = [random_step(rng, make) for _ in range(count)]
    for _ in range(6):  # with a shortcut
        shape = (1, *map(int, rng.integers(6, 15, 2)), 8)
        parts = [make.conv(shape, 16, (3, 3)), make.conv((*shape[:3], 16), 8, (3, 3))]
        found.append(chained([*parts, make.binary("ADD", shape, shape)], shortcut=True))
    return [*found, two_branches(make, 18, 4), two_branches(make, 24, 8)]


def step_of(graph):
    """Return all of ``graph`` as one step, if it may be."""
    return joined(graph, list(graph.nodes()))


def whole(graph, cpu, height, rng=None):
    """Return the call that runs all of ``graph`` in bands, of the usual kernels or random ones;
    None where one does not take its rows."""
    plan, kernels, names = BandPlan(step_of(graph), height), {}, {}
    for shape in plan.images:
        calls = {(call.function, call.sources): call for call in plan.candidates(shape, cpu)}
        every = list(calls)
        name = names.setdefault(shape[0], every[rng.integers(len(every)) if rng else 0])
        if name not in calls:
            return None
        kernels[shape] = calls[name]
    return plan.call(kernels) if kernels else None


def run(pairs, cpu, compiler, folder, prefix=()):
    """Return the outputs of graphs that run as one call each, and what they should be."""
    graphs = [in_bands(graph, [call]) for graph, call in pairs]
    calls = {id(graph): [call] for graph, (_, call) in zip(graphs, pairs, strict=True)}
    program = harness.build_program(
        graphs, cpu, compiler, folder, lambda graph, _: calls[id(graph)]
    )
    requests = [
        harness.Request(number, sample)
        for number, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, SAMPLES)
    ]
    found = harness.run_program(program, graphs, requests, prefix)
    for request, (output,) in zip(requests, found, strict=True):
        graph, call = pairs[request.number]
        yield graph, call, output, interpret(graph, request.inputs)[graph.outputs[0]]


def check(cpu, compiler, folder, prefix=(), seed=0):
    rng = np.random.default_rng(seed)
    heights = (1, 1, 2, 3, 4, 8)
    pairs = [(g, whole(g, cpu, int(rng.choice(heights)), rng)) for g in steps(STEPS, seed)]
    pairs = [(graph, call) for graph, call in pairs if call is not None]
    assert len(pairs) >= 0.7 * STEPS
    for graph, call, output, expected in run(pairs, cpu, compiler, folder, prefix):
        what = f"{[(op.kind, graph.tensors[op.outputs[0]].shape) for op in graph.ops]} {call}"
        np.testing.assert_array_equal(output, expected, err_msg=what)


@pytest.mark.parametrize(
    "cpu", [PORTABLE, DSP, m55.MVE], ids=["portable", "DSP in plain C", "Helium in plain C"]
)
def test_random_steps_on_the_host(cpu, tmp_path):
    check(cpu, harness.SANITIZED_GCC, tmp_path)


def test_random_steps_with_the_dsp_extension(tmp_path):
    if shutil.which("qemu-arm") is None:
        pytest.skip("qemu-arm is not installed (Debian: qemu-user)")
    check(DSP, harness.ARM_DSP_ZIG, tmp_path, ("qemu-arm",), seed=1)


def test_random_steps_with_neon(tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    check(NEON, harness.ARM64_ZIG, tmp_path, ("qemu-aarch64",), seed=2)


def expanding(make, stride=2):
    """Return a pair as in MobileNet, whose tensor in between is the largest."""
    first = make.conv((1, 20, 18, 8), 16, (1, 1))
    return chained([first, make.depthwise((1, 20, 18, 16), stride=(stride, stride))])


def with_shortcut(make):
    """Return two convolutions whose output is added to what they read."""
    parts = [make.conv((1, 16, 12, 8), 16, (3, 3)), make.conv((1, 16, 12, 16), 8, (3, 3))]
    return chained([*parts, make.binary("ADD", (1, 16, 12, 8), (1, 16, 12, 8))], shortcut=True)


def test_output_and_input_overlap_no_less_and_no_more(tmp_path):
    make = Layers(3)
    graphs = [expanding(make), expanding(make, stride=1), with_shortcut(make)]
    for less in (0, 16):
        pairs = []
        for graph in graphs:
            call = whole(graph, DSP, 4)
            lead = Overlap(call.overlap.least // 16 * 16 - less, 16) if less else call.overlap
            pairs.append((graph, dataclasses.replace(call, overlap=lead)))
        (folder := tmp_path / str(less)).mkdir()
        wrong = {
            id(graph)
            for graph, _, output, expected in run(pairs, DSP, harness.SANITIZED_GCC, folder)
            if not np.array_equal(output, expected)
        }
        assert len(wrong) == (len(graphs) if less else 0)


def test_bands_in_the_middle_are_a_loop():
    graph = expanding(Layers(1))
    call = whole(graph, DSP, 2)
    # 10 rows of output, of which the first band reads 5 rows and the last one has one row padded.
    assert [(one.times, len(one.parts)) for one in call.rounds] == [(1, 3), (3, 3), (1, 2)]
    first, middle, _last = call.rounds
    expand, shrink, move = first.parts
    assert expand.node.output.shape == (1, 5, 18, 16) and shrink.node.output.shape == (1, 2, 9, 16)
    more, _, _ = middle.parts
    assert move.call.params == {"bytes": 18 * 16} and more.inputs[0].step == 4 * 18 * 8
    assert call.overlap.least == max(2 * b * 9 * 16 - (4 * b + 1) * 18 * 8 for b in range(1, 5))
    assert call.scratch_bytes >= 5 * 18 * 16
    # The weights of all bands are the same.
    streams = {part.call.params["stream"].tobytes() for part in (expand, more)}
    assert len(streams) == 1


def test_a_node_of_several_operators():
    graph = with_shortcut(Layers(1))
    call = whole(graph, DSP, 4)
    joined = in_bands(graph, [call])
    (node,) = joined.nodes()
    assert node.kind == "CONV_2D + CONV_2D + ADD" and node.output.index == graph.outputs[0]
    assert macs(node) == sum(map(macs, graph.nodes()))
    assert set(joined.tensors) == set(graph.tensors) - {op.outputs[0] for op in graph.ops[:-1]}
    # Input and output take the memory of one, and the rows in between a part of it.
    plan = plan_memory(joined, [call])
    assert plan.arena_bytes - joined.input_tensors[0].nbytes == -(-call.scratch_bytes // 16) * 16


def test_what_is_no_step():
    make = Layers(1)
    pair = expanding(make)
    nodes = list(pair.nodes())
    assert joined(pair, nodes).readers == ((1,),)
    between = pair.ops[0].outputs[0]
    assert joined(pair.replace(outputs=(between, *pair.outputs)), nodes) is None
    twice = pair.replace(ops=(*pair.ops, pair.ops[1]))
    assert joined(twice, nodes) is None
    assert joined(pair, [nodes[0], nodes[0]]) is None
    two = chained([make.conv((2, 6, 6, 8), 8, (1, 1)), make.depthwise((2, 6, 6, 8))])
    assert step_of(two) is None
    softmax = chained([make.conv((1, 6, 6, 8), 8, (1, 1)), make.unary("SOFTMAX", (1, 6, 6, 8))])
    assert step_of(softmax) is None


def test_a_step_may_begin_with_floats(tmp_path):
    make = Layers(1)
    shape = (1, 12, 8, 4)
    graph = chained([make.cast(DType.FLOAT32, shape, DType.INT8), make.depthwise(shape)])
    ((_, call, output, expected), *_) = run(
        [(graph, whole(graph, DSP, 2))], DSP, harness.SANITIZED_GCC, tmp_path
    )
    np.testing.assert_array_equal(output, expected)
    assert call.operators == 2


def test_branches_of_a_step():
    graph = two_branches(Layers(1), 24, 8)
    step = step_of(graph)
    assert step.readers == ((1, 3), (2,), (3,), (4, 5), (6,), (7,), (7,))
    nodes = step.nodes
    assert joined(graph, nodes[1:4]) is not None and joined(graph, nodes[4:8]) is not None
    # Of two outputs, or of two images.
    assert joined(graph, nodes[:6]) is None and joined(graph, nodes[2:4]) is None


@pytest.mark.parametrize("early", [False, True])
def test_early_bands_keep_the_buffers_small(early):
    make = Layers(1)
    shape = (1, 20, 8, 8)
    step = step_of(chained([make.depthwise(shape) for _ in range(5)]))
    # Four rows of the input are needed below each of the output.
    assert step.early(1) == 4
    bands = step.bands(1, 4 if early else 0)
    rows = [max(b.end[at] - b.first[at] for b in bands) for at in range(4)]
    assert rows == ([3, 3, 3, 3] if early else [5, 4, 3, 3])
    assert len(bands) == (24 if early else 20)
    for at, height in enumerate([20] * 5):
        written = [one.written for band in bands for one in band.rows if one.at == at]
        assert [a for a, _ in written] == [0, *(b for _, b in written[:-1])]
        assert written[-1][1] == height


def test_rows_between_bands_are_stored_where_that_is_smaller():
    make = Layers(1)
    two = band_plan(chained([make.depthwise((1, 20, 8, 8)) for _ in range(2)]), 4)
    assert two.stores == (None,)
    four = band_plan(chained([make.depthwise((1, 20, 8, 8)) for _ in range(5)]), 4)
    # Two rows are kept of each, and of two at a time there are six.
    assert None not in four.stores and four.size == (4 * 2 + 2 * 6) * 64


def test_a_mean_of_the_whole_image_writes_once():
    make = Layers(1)
    shape = (1, 12, 8, 8)
    graph = chained([make.depthwise(shape), make.pool("AVERAGE_POOL_2D", shape, (12, 8))])
    call = whole(graph, DSP, 4)
    means = [part for one in call.rounds for part in one.parts if part.operator == 1]
    assert {part.call.function for part in means} == {"eb_average_pool2d_rows_s8"}
    ends = [(p.call.params["rows"]["first"], p.call.params["rows"]["last"]) for p in means]
    assert ends[0] == (True, False) and ends[-1] == (False, True)
    assert all(part.output.offset == part.output.step == 0 for part in means)
    # Sums are there all the time, apart from the buffer and other kernels' scratch memory.
    (sums,) = {part.scratch for part in means}
    buffer = {part.inputs[0].offset for part in means}
    assert sums + 4 * 8 <= min(buffer) or sums >= max(buffer) + 4 * 64


def test_means_that_cannot_be_summed_by_rows():
    make = Layers(1)
    shape = (1, 12, 8, 8)
    for last in (
        make.pool("MAX_POOL_2D", shape, (12, 8)),
        make.reduce("MEAN", shape, (1,)),
        make.reduce("MEAN", shape, (2, 3)),
        make.reduce("MEAN", (1, 12, 8, 8), (1, 2, 3)),
    ):
        graph = chained([make.depthwise(shape), last])
        step = step_of(graph)
        assert step is None or not step.sums_rows


def band_plan(graph, height):
    step = step_of(graph)
    return lay_out(step, step.bands(height, step.early(height)), [0] * len(step.nodes))


def test_rows_that_would_move_onto_themselves():
    make = Layers(1)
    graph = chained([make.conv((1, 14, 6, 8), 8, (1, 1)), make.depthwise((1, 14, 6, 8), (5, 5))])
    # Four rows are kept of each band, and move by three.
    _, middle, *_ = whole(graph, DSP, 3).rounds
    moves = [part for part in middle.parts if part.operator is None]
    assert [part.call.params["bytes"] // (6 * 8) for part in moves] == [3, 1]
    for part in moves:
        assert part.inputs[0].offset - part.output.offset == 3 * 6 * 8
