"""Channels that no input changes go, and not one output byte changes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import Op
from edgebuild.ops import OPS
from edgebuild.ops.support import check_supported, interpret, unsupported
from edgebuild.passes import FoldConstantChannels, FoldConstants, RemoveUnused, run_passes
from edgebuild.passes.value_ranges import channel_ranges
from edgebuild.targets import CpuFeatures
from tests.kernels import harness

PASSES = (FoldConstants(), FoldConstantChannels(), RemoveUnused())
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def nets(monkeypatch):
    """``benchmarks/random_nets.py``, whose layers have dead channels and weights of zero."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import random_nets

    class Net(random_nets.RandomNet):
        def weights(self, shape, axis):
            weights, bias = super().weights(shape, axis)
            data = self.tensors[weights].data
            if axis == 0:
                data[..., self.rng.random(shape[-1]) < 0.2] = 0
            dead = self.rng.random(shape[axis]) < 0.4
            # Far below or far above all that the layer's inputs can add.
            far = self.rng.choice([-1, -1, -1, 1], shape[axis]) << 28
            self.tensors[bias].data[dead] = far[dead]
            return weights, bias

    monkeypatch.setattr(random_nets, "RandomNet", Net)
    yield random_nets
    sys.modules.pop("random_nets")


@pytest.fixture
def net(nets):
    """An empty network to grow."""
    return nets.RandomNet(1)


def samples(graph, count=2):
    rng = np.random.default_rng(0)
    return [
        [rng.integers(-128, 128, t.shape).astype(np.int8) for t in graph.input_tensors]
        for _ in range(count)
    ]


def assert_same(before, after):
    for sample in samples(before):
        a, b = interpret(before, sample), interpret(after, sample)
        for index in before.outputs:
            np.testing.assert_array_equal(a[index], b[index])


def weights_of(graph):
    return sum(t.nbytes for t in graph.tensors.values() if t.is_constant)


def agree(make, seeds):
    narrowed = 0
    for seed in seeds:
        before = run_passes(make(seed), (FoldConstants(), RemoveUnused())).graph
        after = run_passes(before, PASSES).graph
        if not unsupported(before):
            check_supported(after)
        assert_same(before, after)
        assert weights_of(after) <= weights_of(before)
        narrowed += weights_of(after) < weights_of(before)
        again = run_passes(after, PASSES)
        assert weights_of(again.graph) == weights_of(after), seed
    return narrowed / len(seeds)


@pytest.mark.parametrize("kind", ["random_net", "odd_net"])
def test_random_networks_give_the_same(nets, kind):
    assert agree(getattr(nets, kind), range(12)) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["random_net", "odd_net"])
def test_many_random_networks_give_the_same(nets, kind):
    assert agree(getattr(nets, kind), range(100, 400)) > 0.5


@pytest.mark.parametrize("kind", ["random_net", "odd_net"])
def test_every_value_is_within_its_range(nets, kind):
    tight = 0
    for seed in range(20, 28):
        graph = run_passes(getattr(nets, kind)(seed), (FoldConstants(),)).graph
        ranges = channel_ranges(graph)
        for sample in samples(graph):
            values = interpret(graph, sample)
            for index, (low, high) in ranges.items():
                rows = values[index].reshape(-1, len(low))
                assert np.all((rows >= low) & (rows <= high)), graph.tensors[index].name
        tight += sum(int((low == high).sum()) for low, high in ranges.values())
    assert tight > 100


@pytest.mark.parametrize("dsp", [False, True])
def test_the_compiled_networks_give_the_same(nets, dsp, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    before = [nets.odd_net(seed) for seed in range(40, 46)]
    after = [run_passes(graph, PASSES).graph for graph in before]
    cpu = CpuFeatures(dsp=dsp)
    program = harness.build_program(after, cpu, harness.SANITIZED_GCC, tmp_path)
    rows = [(number, sample) for number, g in enumerate(before) for sample in samples(g)]
    requests = [harness.Request(number, sample) for number, sample in rows]
    found = harness.run_program(program, after, requests)
    for (number, sample), outputs in zip(rows, found, strict=True):
        values = interpret(before[number], sample)
        for index, ours in zip(before[number].outputs, outputs, strict=True):
            np.testing.assert_array_equal(values[index], ours.reshape(values[index].shape))


def dead(net, layer, channels, bias=-(1 << 28)):
    """Make channels of the layer whose output is ``layer`` the same for every input."""
    op = next(op for op in net.ops if op.outputs == (layer,))
    net.tensors[op.inputs[2]].data[channels] = bias


def alive(net, layer):
    dead(net, layer, slice(None), 0)
    op = next(op for op in net.ops if op.outputs == (layer,))
    weights = net.tensors[op.inputs[1]].data
    weights[weights == 0] = 1


def folded(net, x):
    before = net.graph(x)
    after = run_passes(before, PASSES).graph
    assert_same(before, after)
    return [t.shape for node in after.nodes() for t in node.outputs]


def test_what_goes_leaves_a_multiple_of_four(net):
    x = net.value((1, 6, 6, 3))
    y = net.conv(x, 13, (3, 3), 1, "RELU")
    z = net.conv(y, 5, (3, 3), 1, "NONE")
    for layer in (y, z):
        alive(net, layer)
    dead(net, y, [0, 5, 6, 7, 12])
    assert folded(net, x) == [(1, 6, 6, 8), (1, 6, 6, 5)]
    dead(net, y, [1])  # seven are left: one stays to make eight
    assert folded(net, x)[0] == (1, 6, 6, 8)
    dead(net, y, slice(None))
    assert folded(net, x)[0] == (1, 6, 6, 4)


def test_padding_reads_zero_points(net):
    """A channel that is always 127 is not constant for a kernel that reads beside the image."""
    x = net.value((1, 6, 6, 3))
    y = net.conv(x, 8, (3, 3), 1, "RELU")
    z = net.conv(y, 5, (3, 3), 1, "NONE")
    for layer in (y, z):
        alive(net, layer)
    dead(net, y, [0, 1, 2, 3], 1 << 28)
    assert folded(net, x)[0] == (1, 6, 6, 8)
    inside = net.conv(y, 5, (3, 3), 1, "NONE", padding="VALID")
    alive(net, inside)
    del net.ops[-2]
    assert folded(net, x)[0] == (1, 6, 6, 4)


def test_channels_that_are_added_or_flattened_go_together(net):
    x = net.value((1, 6, 6, 3))
    y = net.conv(x, 8, (3, 3), 1, "RELU")
    z = net.conv(x, 8, (1, 1), 1, "RELU")
    for layer in (y, z):
        alive(net, layer)
    total = net.add("ADD", (y, z), fused_activation_function="NONE")
    pooled = net.pool(total, (2, 2), 2)
    flat = net.value((1, 72))
    shape = net.constant(np.array([1, 72], np.int32))
    net.ops.append(Op("RESHAPE", (pooled, shape), (flat,), {"new_shape": (1, 72)}))
    w = net.weights((4, 72), 0)
    out = net.value((1, 4))
    options = {"keep_num_dims": False, "weights_format": "DEFAULT"}
    net.ops.append(
        Op("FULLY_CONNECTED", (flat, *w), (out,), {"fused_activation_function": "NONE", **options})
    )
    alive(net, out)
    dead(net, y, [0, 1, 2, 3, 4])
    assert folded(net, x)[0] == (1, 6, 6, 8)  # the other one lives
    dead(net, z, [1, 2, 3, 4, 5])
    shapes = folded(net, x)
    assert shapes[:2] == [(1, 6, 6, 4)] * 2 and (1, 36) in shapes


def test_outputs_and_inputs_keep_their_channels(net):
    x = net.value((1, 6, 6, 8))
    y = net.conv(x, 8, (3, 3), 1, "RELU")
    alive(net, y)
    dead(net, y, slice(None))
    before = net.graph(x)
    assert not FoldConstantChannels().apply(before).changed


def test_a_layer_without_bias_gets_one(net):
    x = net.value((1, 6, 6, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU")
    w, _ = net.weights((5, 1, 1, 8), 0)
    window = net.ops[-1].attrs
    z = net.add("CONV_2D", (y, w), **window)
    alive(net, y)
    net.tensors[w].data[net.tensors[w].data == 0] = 1
    dead(net, y, [0, 1, 2, 3], 1 << 28)
    before = net.graph(x)
    after = run_passes(before, PASSES).graph
    assert_same(before, after)
    assert len(list(after.nodes())[-1].op.inputs) == 3 and after.outputs == (z,)


def test_the_first_depthwise_layer_of_one_channel(net):
    x = net.value((1, 6, 6, 1))
    y = net.depthwise(x, (3, 3), 1, "RELU", multiplier=12)
    z = net.conv(y, 5, (1, 1), 1, "NONE")
    for layer in (y, z):
        alive(net, layer)
    dead(net, y, [2, 3, 4, 5])
    assert folded(net, x)[0] == (1, 6, 6, 8)


def test_nothing_is_worth_looking_at():
    for kind in ("ADD", "SOFTMAX", "PAD", "CONV_2D", "RESHAPE", "QUANTIZE"):
        for case in OPS[kind].cases():
            result = FoldConstantChannels().apply(case.graph)
            assert not result.changed and result.graph is case.graph


def test_the_note_tells_how_many(net):
    x = net.value((1, 6, 6, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU")
    z = net.conv(y, 5, (1, 1), 1, "NONE")
    for layer in (y, z):
        alive(net, layer)
    dead(net, y, [0, 1, 2, 3])
    (note,) = FoldConstantChannels().apply(net.graph(x)).notes
    assert note == "left out 4 of 8 channels that no input changes or nothing reads"
