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
from edgebuild.targets import CpuFeatures
from tests.kernels import harness

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cycle_layers import Layers

DSP = CpuFeatures(dsp=True)
LAYERS = 40
SAMPLES = 4
FUNCTIONS = tuple(
    f"eb_{name}" for form in winograd_dsp.FORMS for name in (form.function, form.narrow) if name
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


def call_of(graph, function):
    """Return the call of ``function`` that may run a layer, None where it may not."""
    calls = {call.function: call for call in winograd_calls(graph.node(0), DSP)}
    return calls.get(function)


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
    graphs = [graph for graph in layers if call_of(graph, function) is not None]
    assert len(graphs) >= LAYERS // 4
    program = harness.build_program(
        graphs, DSP, compiler, tmp_path, lambda graph, _: [call_of(graph, function)]
    )
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
