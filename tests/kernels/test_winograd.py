"""Winograd's kernels of the DSP extension: every layer that they take."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.ops import OPS, winograd_dsp
from edgebuild.ops.conv2d import winograd_calls
from edgebuild.ops.support import interpret
from edgebuild.ops.winograd import FOUR
from edgebuild.targets import CpuFeatures
from tests.kernels import harness

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

DSP = CpuFeatures(dsp=True)
LAYERS = 40
SAMPLES = 4
FUNCTIONS = tuple(
    f"eb_{name}" for k in winograd_dsp.KERNELS for name in (k.function, k.narrow) if name
)


def random_layers(count, seed=7):
    """Yield layers of 3x3 with sides, channels, batches and activations of any kind."""
    rng, make = np.random.default_rng(seed), Layers(seed)
    for _ in range(count):
        channels = int(rng.choice([1, 2, 3, 4, 5, 8, 12, 16, 20, 24, 31, 32, 36, 40, 48]))
        shape = (int(rng.choice([1, 1, 2])), *map(int, rng.integers(3, 14, 2)), channels)
        act, zero_point = [("RELU", -128), ("RELU6", -20), ("NONE", 5)][rng.integers(3)]
        yield make.conv(
            shape,
            int(rng.integers(1, 20)),
            (3, 3),
            stride=(1, 1) if rng.random() < 0.5 else (2, 2),
            padding=str(rng.choice(["SAME", "VALID"])),
            act=act,
            zero_point=zero_point,
        )


def ways_of(graph, function):
    """Return the calls of ``function`` that may run a layer: several where it expands weights."""
    return [call for call in winograd_calls(graph.node(0), DSP) if call.function == function]


@pytest.fixture(scope="module")
def layers():
    return [case.graph for case in OPS["CONV_2D"].cases()] + list(random_layers(LAYERS))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("compiler", "prefix"),
    [(harness.SANITIZED_GCC, ()), (harness.ARM_DSP_ZIG, ("qemu-arm",))],
    ids=["twin", "dsp"],
)
def test_every_layer_that_it_takes(function, compiler, prefix, layers, tmp_path):
    if any(shutil.which(tool) is None for tool in ("gcc", *prefix)):
        pytest.skip("no gcc, or no qemu-arm (Debian: qemu-user)")
    graphs = [graph for graph in layers if ways_of(graph, function)]
    assert len(graphs) >= LAYERS // 4
    rng = np.random.default_rng(11)

    def any_way(graph, _):
        ways = ways_of(graph, function)
        return [ways[rng.integers(len(ways))]]

    program = harness.build_program(graphs, DSP, compiler, tmp_path, any_way)
    requests = [
        harness.Request(number, sample)
        for number, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, SAMPLES)
    ]
    found = harness.run_program(program, graphs, requests, prefix)
    for request, (output,) in zip(requests, found, strict=True):
        graph = graphs[request.number]
        expected = interpret(graph, request.inputs)[graph.outputs[0]]
        np.testing.assert_array_equal(output, expected, err_msg=str(graph.node(0).input(0).shape))


def test_points_give_the_convolution():
    """One tile in NumPy, with the transforms of the image and of the sums."""
    rng = np.random.default_rng(4)
    weights = rng.integers(-128, 128, (5, 9, 4)).astype(np.int8)
    image = rng.integers(-128, 128, (6, 6, 4))
    packed = winograd_dsp.pack_points(weights, FOUR).view("<i2")
    points = packed.reshape(2, 36, 2, 4, 2).transpose(0, 3, 1, 2, 4).reshape(8, 6, 6, 4)
    assert not points[5:].any()
    points = points[..., [0, 2, 1, 3]].astype(np.int64)  # in order again
    b = np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    )
    a = np.array(
        [[2, -1, -1, 1, 1, 0], [0, -1, 1, 2, -2, 0], [0, -1, -1, 4, 4, 0], [0, -1, 1, 8, -8, 8]]
    )
    products = points * np.einsum("iy,yxc,jx->ijc", b, image, b)
    sums = np.einsum("yi,oijc,xj->oyx", a, products, a)
    for y, x in np.ndindex(4, 4):
        window = image[y : y + 3, x : x + 3].reshape(9, 4)
        direct = (weights.astype(int) * window).sum(axis=(1, 2))
        np.testing.assert_array_equal(sums[:5, y, x], 576 * direct)


def functions_of(graph, cpu=DSP):
    """Return the kernels that may run a layer, each once."""
    calls = OPS["CONV_2D"].candidates(graph.node(0), cpu)
    return list(dict.fromkeys(call.function for call in calls))


def test_who_is_offered():
    make = Layers()
    four, narrow, stride2 = FUNCTIONS
    assert functions_of(make.conv((1, 8, 8, 16), 8))[2:] == [four, narrow]
    assert functions_of(make.conv((1, 8, 8, 16), 8, stride=(2, 2)))[2:] == [stride2]
    for other in (
        make.conv((1, 8, 8, 16), 8, stride=(2, 1)),
        make.conv((1, 8, 8, 16), 8, dilation=(2, 2)),
        make.conv((1, 8, 8, 16), 8, groups=2),
        make.conv((1, 8, 8, 16), 8, (3, 2)),
        make.conv((1, 1, 8, 16), 8),  # most of a tile would lie outside
    ):
        assert not set(functions_of(other)) & set(FUNCTIONS)
    assert functions_of(make.conv((1, 8, 8, 16), 8), CpuFeatures())[1:] == [four, narrow]
    assert not set(functions_of(make.conv((1, 8, 8, 16), 8), CpuFeatures(neon=True))) & set(
        FUNCTIONS
    )


def test_accumulators_that_do_not_fit():
    """Of 64 times the accumulator no bit may be lost."""
    make = Layers()
    assert functions_of(make.conv((1, 8, 8, 200), 8))[2:]
    assert not functions_of(make.conv((1, 8, 8, 800), 8))[2:]


def test_scratch_of_expanded_weights():
    make = Layers()
    for channels, side in ((16, 32), (32, 16), (64, 8), (3, 32)):
        graph = make.conv((1, side, side, channels), 16)
        calls = ways_of(graph, FUNCTIONS[1])
        taken = {(call.params["block"], call.params["part"]): call.scratch_bytes for call in calls}
        assert len(taken) == len(calls) > 1  # no two ways are the same
        assert all(
            block == 1 or size <= max(winograd_dsp.NARROW_SCRATCH)
            for (block, _), size in taken.items()
        )
        assert {call.params["weights"].nbytes for call in calls} == {
            9 * 16 * (channels + -channels % 4)
        }
