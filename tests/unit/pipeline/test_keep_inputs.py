"""A run that keeps its inputs: they are written once, and the next run reads the same."""

import ctypes

import numpy as np
import pytest

import edgebuild
from edgebuild.backends.native import compile_for_host
from edgebuild.devices.host import _Arena
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve
from edgebuild.tflite.writer import write_tflite
from tests.chains import chained


@pytest.fixture
def model(bench, tmp_path):
    """A pointwise and a depthwise convolution, whose output takes the input's place, as a rule."""
    make, path = bench.Layers(7), tmp_path / "pair.tflite"
    layers = make.conv((1, 8, 8, 16), 16, (1, 1)), make.depthwise((1, 8, 8, 16))
    path.write_bytes(write_tflite(chained(layers)))
    return path


def emitted(model, target, *, keep):
    plan = make_plan(BuildRequest(model, target, keep_inputs=keep))
    return resolve(plan, lambda _: None).emitted


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0plus"])
def test_nothing_lies_where_the_input_is(model, target):
    for keep in (True, False):
        made = emitted(model, target, keep=keep)
        (given,) = made.graph.input_tensors
        start = made.plan.offsets[given.index]
        others = [made.plan.offsets[i] for node in made.graph.nodes() for i in node.op.outputs]
        free = all(abs(start - other) >= given.nbytes for other in others)
        assert free == keep
        assert ("keeps the inputs" in made.files["lib/pair.h"]) == keep


def test_a_second_run_needs_no_input(model, tmp_path):
    made = emitted(model, "cortex-m4", keep=True)
    device = compile_for_host(made, "zig", tmp_path, lambda _: None)
    arena, net = _Arena(device._model), device._model
    values = np.random.default_rng(2).integers(-128, 128, net.inputs[0].bytes, np.int8).tobytes()
    ctypes.memmove(net.input(arena.address, 0), values, len(values))
    found = []
    for _ in range(2):
        assert net.run(arena.address) == 0
        found.append(ctypes.string_at(net.output(arena.address, 0), net.outputs[0].bytes))
        assert ctypes.string_at(net.input(arena.address, 0), len(values)) == values
    assert found[0] == found[1]


def test_the_build_says_what_it_takes(model, tmp_path):
    reports = [
        edgebuild.build(model, target="cortex-m4", out=tmp_path / str(keep), keep_inputs=keep)
        for keep in (False, True)
    ]
    assert all(report.comparison.equal for report in reports)
    overwrites, keeps = (report.memory["arena"].value for report in reports)
    assert keeps >= overwrites + 8 * 8 * 16 / 2
