"""Chains of operators in bands of rows: the same bytes as one operator after the other."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import Graph
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS
from edgebuild.ops.bands import band_call, in_bands, is_chain, macs
from edgebuild.ops.base import Overlap, executed
from edgebuild.ops.support import interpret
from edgebuild.targets import CpuFeatures
from tests.kernels import harness, m55

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

CHAINS = 60
SAMPLES = 4
PORTABLE, DSP, NEON = CpuFeatures(), CpuFeatures(dsp=True), CpuFeatures(neon=True)


def chained(graphs, shortcut=False):
    """Return one graph whose operators read each what the one before writes; with a ``shortcut``
    the last reads the graph's input, too."""
    tensors, ops, start, before = {}, [], graphs[0].inputs[0], graphs[0].inputs[0]
    for number, graph in enumerate(graphs):
        index = {i: 10 * number + i for i in graph.tensors}
        if number:
            index[graph.inputs[0]] = before
        if shortcut and graph is graphs[-1]:
            index[graph.inputs[1]] = start
        (op,) = graph.ops
        before = index[op.outputs[0]]
        inputs = tuple(index[i] for i in op.inputs)
        ops.append(dataclasses.replace(op, inputs=inputs, outputs=(before,)))
        for i, tensor in graph.tensors.items():
            tensors.setdefault(index[i], dataclasses.replace(tensor, index=index[i]))
    return Graph("chain", (start,), (before,), tuple(ops), tensors)


def random_chain(rng, make):
    """Return two or three operators of any kind that may run in bands."""
    shape = (1, *map(int, rng.integers(5, 22, 2)), int(rng.choice([1, 3, 4, 6, 8, 12, 16])))
    start, graphs = shape, []
    for _ in range(int(rng.choice([2, 2, 3]))):
        kind = rng.choice(["pointwise", "conv", "depthwise", "pool"], p=[0.35, 0.2, 0.35, 0.1])
        size = (1, 1) if kind == "pointwise" else (3, 3) if rng.random() < 0.7 else (5, 5)
        side = 2 if rng.random() < 0.4 and kind != "pointwise" else 1
        fits = min(shape[1:3]) > 2 * size[0]
        padding = "VALID" if fits and rng.random() < 0.3 else "SAME"
        act, zero_point = [("RELU", -128), ("RELU6", -20), ("NONE", 5)][rng.integers(3)]
        options = {"stride": (side, side), "padding": padding}
        if kind == "pool":
            graph = make.pool(str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"])), shape, size,
                              (side, side), padding)  # fmt: skip
        elif kind == "depthwise":
            graph = make.depthwise(shape, size, act=act, zero_point=zero_point, **options)
        else:
            channels = int(rng.choice([3, 4, 8, 16, 20]))
            graph = make.conv(shape, channels, size, act=act, zero_point=zero_point, **options)
        graphs.append(graph)
        shape = graph.output_tensors[0].shape
    if shape == start and rng.random() < 0.9:
        graphs.append(make.binary("ADD", shape, shape))
        return chained(graphs, shortcut=True)
    return chained(graphs)


def chains(count, seed):
    rng, make = np.random.default_rng(seed), Layers(seed)
    found = [random_chain(rng, make) for _ in range(count)]
    for _ in range(6):  # with a shortcut
        shape = (1, *map(int, rng.integers(6, 15, 2)), 8)
        parts = [make.conv(shape, 16, (3, 3)), make.conv((*shape[:3], 16), 8, (3, 3))]
        found.append(chained([*parts, make.binary("ADD", shape, shape)], shortcut=True))
    return found


def banded(graph, cpu, rng):
    """Return the call that runs all of ``graph`` in bands of a random height, of random kernels."""
    nodes = list(graph.nodes())
    assert is_chain(graph, nodes)
    every = [OPS[node.kind].candidates(node, cpu) for node in nodes]
    taken = [found[rng.integers(len(found))] for found in every]

    def bind(node, at):
        same = (c for c in OPS[node.kind].candidates(node, cpu) if c.sources == taken[at].sources)
        return next((c for c in same if c.function == taken[at].function), None)

    return band_call(nodes, int(rng.choice([1, 2, 3, 4, 8])), bind)


def check(cpu, compiler, folder, prefix=(), count=CHAINS, seed=0):
    """Run random chains as a program; return how many there were."""
    rng = np.random.default_rng(seed)
    pairs = [(graph, banded(graph, cpu, rng)) for graph in chains(count, seed)]
    pairs = [(graph, call) for graph, call in pairs if call is not None]
    graphs = [in_bands(graph, [call]) for graph, call in pairs]
    calls = {id(joined): [call] for joined, (_, call) in zip(graphs, pairs, strict=True)}
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
        expected = interpret(graph, request.inputs)[graph.outputs[0]]
        what = [(op.kind, graph.tensors[op.outputs[0]].shape) for op in graph.ops]
        np.testing.assert_array_equal(output, expected, err_msg=f"{what} {call.rounds}")
    assert len(pairs) >= 0.7 * count
    return pairs


@pytest.mark.parametrize(
    "cpu", [PORTABLE, DSP, m55.MVE], ids=["portable", "DSP in plain C", "Helium in plain C"]
)
def test_random_chains_on_the_host(cpu, tmp_path):
    check(cpu, harness.SANITIZED_GCC, tmp_path)


def test_random_chains_with_the_dsp_extension(tmp_path):
    if shutil.which("qemu-arm") is None:
        pytest.skip("qemu-arm is not installed (Debian: qemu-user)")
    check(DSP, harness.ARM_DSP_ZIG, tmp_path, ("qemu-arm",), seed=1)


def test_random_chains_with_neon(tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    check(NEON, harness.ARM64_ZIG, tmp_path, ("qemu-aarch64",), seed=2)
