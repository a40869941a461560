"""Outputs that overlap their inputs: by as much as each kernel's order of work allows, no more.

The plan of a single operator lets them overlap as far as it can, so all tests of kernels run that
way. Here the same layers are run by one step less, which has to go wrong.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.memory import plan_memory
from edgebuild.ops import OPS, conv2d, winograd_mve
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import Overlap
from edgebuild.targets import CpuFeatures
from tests.kernels.harness import (
    SANITIZED_GCC,
    Request,
    build_program,
    run_program,
    sample_inputs,
    usual_calls,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

DSP, PORTABLE = CpuFeatures(dsp=True), CpuFeatures()
MVE = CpuFeatures(dsp=True, mve=True)
make = Layers(5)

LAYERS = {
    "pointwise": make.conv((1, 5, 7, 16), 16, (1, 1)),
    "expanding": make.conv((1, 5, 7, 16), 48, (1, 1)),
    "3x3": make.conv((1, 9, 8, 16), 16, (3, 3), padding="SAME"),
    "stride 2": make.conv((1, 9, 8, 16), 64, (3, 3), stride=(2, 2), padding="SAME"),
    "few channels": make.conv((1, 30, 20, 3), 8, (3, 3), stride=(2, 2), padding="SAME"),
    "few channels, odd": make.conv((2, 30, 19, 3), 5, (5, 3), stride=(2, 1), padding="SAME"),
    "two images": make.conv((2, 5, 4, 16), 32, (3, 3), padding="SAME"),
    "depthwise 3x3": make.depthwise((1, 9, 6, 16), (3, 3), padding="SAME"),
    "depthwise 5x5": make.depthwise((1, 9, 6, 16), (5, 5), padding="SAME"),
    "depthwise, multiplier 2": make.depthwise((1, 6, 6, 16), (3, 3), multiplier=2, padding="SAME"),
    "average": make.pool("AVERAGE_POOL_2D", (1, 8, 6, 16), (3, 3), (1, 1), "SAME"),
    "max": make.pool("MAX_POOL_2D", (1, 8, 6, 16), (3, 3), (1, 1), "SAME"),
}


def winograd_calls(graph, cpu):
    """Return the layer's Winograd kernel that computes the fewest tiles together."""
    return [conv2d.winograd_calls(graph.node(0), cpu)[0]]


WINOGRAD = {name: LAYERS[name] for name in ("3x3", "stride 2", "two images")}


def outputs(cpu, folder, less=0, layers=LAYERS, calls_of=usual_calls):
    """Return the outputs of each layer on four samples, with inputs ``less`` bytes nearer."""

    def nearer(call):
        assert call.overlap is not None, call.function
        exactly = (
            Overlap(call.overlap.least - less, call.overlap.apart or 16) if less else call.overlap
        )
        return dataclasses.replace(call, overlap=exactly)

    def all_nearer(graph, cpu):
        return [nearer(call) for call in calls_of(graph, cpu)]

    graphs = list(layers.values())
    requests = [
        Request(number, sample)
        for number, graph in enumerate(graphs)
        for sample in sample_inputs(graph, 4)
    ]
    program = build_program(graphs, cpu, SANITIZED_GCC, folder, all_nearer)
    found = run_program(program, graphs, requests)
    return {
        name: [result[0] for result in found[4 * n : 4 * n + 4]] for n, name in enumerate(layers)
    }


def expected(name):
    graph = LAYERS[name]
    node = graph.node(0)
    constants = [t.data if t is not None else None for t in map(node.optional_input, range(3))]
    return [
        OPS[node.kind].reference(node, [sample[0], *constants[1:]])[0]
        for sample in sample_inputs(graph, 4)
    ]


@pytest.mark.parametrize("cpu", [PORTABLE, DSP, MVE], ids=["portable", "dsp", "mve"])
def test_layers_overlap_as_far_as_they_may(tmp_path, cpu):
    found = outputs(cpu, tmp_path)
    for name, graph in LAYERS.items():
        plan = plan_memory(graph, usual_calls(graph, cpu))
        whole = sum(block.size for block in plan.blocks)
        assert plan.arena_bytes < whole, name
        for one, other in zip(found[name], expected(name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.parametrize("cpu", [PORTABLE, DSP, MVE], ids=["portable", "dsp", "mve"])
def test_some_pixels_less_go_wrong(tmp_path, cpu):
    """So the distances are no larger than they have to be, but for a few pixels."""
    found = outputs(cpu, tmp_path, less=112)
    for name in LAYERS:
        pairs = zip(found[name], expected(name), strict=True)
        assert any(not np.array_equal(one, other) for one, other in pairs), name


@pytest.mark.parametrize("less", [0, 96])
def test_winograds_tiles_overlap_no_less_and_no_more(tmp_path, less):
    found = outputs(DSP, tmp_path, less, WINOGRAD, winograd_calls)
    for name in WINOGRAD:
        pairs = zip(found[name], expected(name), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs) == (less == 0), name


@pytest.mark.parametrize("less", [0, 96])
def test_heliums_tiles_overlap_no_less_and_no_more(tmp_path, less):
    def tiled(graph, _):
        node, weights = graph.node(0), conv2d._matrix(graph.node(0))
        c = conv.channels(node, weights, single_precision_product=False)
        return [winograd_mve.winograd_call(node, weights, c, conv2d._window(node), 3)]

    layers = {name: LAYERS[name] for name in ("3x3", "two images")}
    found = outputs(MVE, tmp_path, less, layers, tiled)
    for name in layers:
        pairs = zip(found[name], expected(name), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs) == (less == 0), name


def test_a_distance_in_pixels():
    """A kernel that takes four channels through the image keeps channels apart."""
    graph = make.depthwise((1, 9, 6, 20), (3, 3), padding="SAME")
    (call,) = usual_calls(graph, DSP)
    assert call.overlap == Overlap(0, apart=20)
    distant = dataclasses.replace(call, overlap=Overlap(2 * 6 * 20 - 39, apart=20))
    plan = plan_memory(graph, [distant])
    apart = plan.offsets[graph.inputs[0]] - plan.offsets[graph.outputs[0]]
    assert apart == 240 and apart % 16 == 0


def test_a_distance_to_the_first_tap():
    """A kernel that takes pixel after pixel still reads two rows above the last one, two pixels to
    the left, and the pixel itself for its other channels."""
    graph = make.depthwise((1, 9, 6, 20), (5, 5), padding="SAME")
    (call,) = usual_calls(graph, DSP)
    assert call.overlap == Overlap((2 * 6 + 2 + 1) * 20)


def test_in_place():
    for shape, stride in (((1, 9, 6, 16), (1, 1)), ((1, 9, 6, 16), (2, 2))):
        graph = make.depthwise(shape, (3, 3), stride=stride, padding="SAME")
        (call,) = usual_calls(graph, DSP)
        assert call.overlap == Overlap(0, apart=16)
    (call,) = usual_calls(LAYERS["pointwise"], DSP)
    assert call.overlap == Overlap(0)


@pytest.mark.parametrize("cpu", [PORTABLE, DSP, MVE], ids=["portable", "dsp", "mve"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "pool"])
def test_a_kernel_larger_than_the_image_has_no_outputs(cpu, kind):
    graph = {
        "conv": lambda: make.conv((1, 3, 3, 4), 4, (5, 5), padding="VALID"),
        "depthwise": lambda: make.depthwise((1, 3, 3, 4), (5, 5), padding="VALID"),
        "pool": lambda: make.pool("MAX_POOL_2D", (1, 3, 3, 4), (5, 5), (1, 1), "VALID"),
    }[kind]()
    (call,) = usual_calls(graph, cpu)
    assert call.overlap.least < 0 and plan_memory(graph, [call]).arena_bytes > 0
