"""Padding in front of a convolution that the convolution does itself: the same bytes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import DType
from edgebuild.ops import OPS
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.support import interpret
from edgebuild.passes import FoldPadding, RemoveUnused, run_passes
from edgebuild.targets import CpuFeatures
from tests.chains import chained
from tests.kernels import harness, m55

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

COUNT, SAMPLES = 80, 4
FAMILIES = {
    "portable": (CpuFeatures(), harness.SANITIZED_GCC, []),
    "dsp": (CpuFeatures(dsp=True), [*harness.ARM_DSP_ZIG, "-DEB_GUARD"], ["qemu-arm"]),
    "neon": (CpuFeatures(neon=True), harness.ARM64_ZIG, ["qemu-aarch64", "-cpu", "max"]),
}


def framed(shape, pads, layer):
    """Return PAD by ``pads`` (above, below, left, right) and the ``layer`` that reads it."""
    given = layer.input_tensors[0]
    pairs = [(0, 0), pads[:2], pads[2:], (0, 0)]
    pad = one_op(
        "pad", "PAD",
        [activation(shape, given.scale, given.zero_point), constant(pairs, dtype=DType.INT32)],
        [activation(given.shape, given.scale, given.zero_point)],
    )  # fmt: skip
    return chained([pad.graph, layer])


def random_layer(rng, make):
    """Return a convolution of any kind that reads a frame of any sides but whole kernels."""
    kernel = tuple(map(int, rng.choice([1, 2, 3, 3, 3, 5, 7], 2)))
    stride, dilation = (int(rng.choice([1, 1, 2, 3])),) * 2, (int(rng.choice([1, 1, 1, 2])),) * 2
    covers = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = [int(rng.integers(0, cover)) for cover in covers for _ in range(2)]
    size = [max(int(rng.integers(3, 14)), cover) for cover in covers]
    shape = (int(rng.choice([1, 1, 2])), *size, int(rng.choice([1, 3, 4, 8, 12])))
    outside = (shape[0], size[0] + sum(pads[:2]), size[1] + sum(pads[2:]), shape[3])
    act, zero_point = [("RELU", -128), ("RELU6", -20), ("NONE", 5)][rng.integers(3)]
    options = {"stride": stride, "dilation": dilation, "padding": "VALID"}
    options |= {"act": act, "zero_point": zero_point}
    if rng.random() < 0.5:
        return framed(shape, pads, make.depthwise(outside, kernel, **options))
    return framed(shape, pads, make.conv(outside, int(rng.choice([3, 4, 8])), kernel, **options))


@pytest.fixture(scope="module")
def layers():
    """Pairs of layers, and what is left of each."""
    rng, make = np.random.default_rng(4), Layers(4)
    pairs = [random_layer(rng, make) for _ in range(COUNT)]
    return [(pair, run_passes(pair, (FoldPadding(), RemoveUnused())).graph) for pair in pairs]


def check(layers, requests, answers):
    for request, (found,) in zip(requests, answers, strict=True):
        whole, graph = layers[request.number]
        (right,) = (interpret(whole, request.inputs)[i] for i in whole.outputs)
        assert np.array_equal(found, right), (request.number, graph.ops[0].attrs)


def requests(layers):
    return [
        harness.Request(number, sample)
        for number, (whole, _) in enumerate(layers)
        for sample in harness.sample_inputs(whole, SAMPLES, seed=number)
    ]


def test_no_frame_is_left(layers):
    assert all(len(graph.ops) == 1 for _, graph in layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kernel(layers, family, tmp_path):
    """Each that may run a layer, in turn."""
    cpu, compiler, prefix = FAMILIES[family]
    needed = prefix[0] if prefix else "gcc"
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")

    every = [
        (whole, graph, call)
        for whole, graph in layers
        for call in OPS[graph.node(0).kind].candidates(graph.node(0), cpu)
    ]
    taken = iter([call for *_, call in every])
    pairs = [(whole, graph) for whole, graph, _ in every]
    graphs = [graph for _, graph in pairs]
    program = harness.build_program(graphs, cpu, compiler, tmp_path, lambda *_: [next(taken)])
    asked = requests(pairs)
    check(pairs, asked, harness.run_program(program, graphs, asked, prefix))


def test_helium(layers, tmp_path):
    graphs = [graph for _, graph in layers]
    program = m55.build_program(graphs, "zig", tmp_path)
    asked = requests(layers)
    check(layers, asked, m55.run_program(program, graphs, asked))
