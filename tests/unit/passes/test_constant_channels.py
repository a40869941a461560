"""Channels that no input changes go, and not one output byte changes."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import Op, Quantization
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
    assert note == "left out 4 of 8 channels that no input changes or that nothing reads"


def dense(net, x, weights, bias=None, act="NONE", scale=0.01, quantization=None):
    """Add a FULLY_CONNECTED of given weights, with one scale."""
    w = net.constant(np.array(weights, np.int8), Quantization((scale,), (0,)))
    inputs = (x, w) if bias is None else (x, w, bias)
    options = {"keep_num_dims": False, "weights_format": "DEFAULT"}
    y = net.add("FULLY_CONNECTED", inputs, fused_activation_function=act, **options)
    if quantization is not None:
        net.tensors[y] = dataclasses.replace(net.tensors[y], quantization=quantization)
    return y


def narrowed(net, x, *outputs):
    """Narrow the graph with these outputs, compare, and return its tensors' shapes."""
    before = net.graph(x).replace(outputs=outputs or (net.ops[-1].outputs[0],))
    after = run_passes(before, PASSES).graph
    for sample in samples(before, 30):
        a, b = interpret(before, sample), interpret(after, sample)
        assert all(np.array_equal(a[i], b[i]) for i in before.outputs)
    if not unsupported(before):
        check_supported(after)
    return [t.shape for node in after.nodes() for t in node.outputs]


def test_a_product_with_itself_has_its_least_value_between_the_corners(net):
    x = net.value((1, 3, 3, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU_N1_TO_1")
    alive(net, y)
    z = net.add("MUL", (y, y), fused_activation_function="NONE")
    alive(net, net.conv(z, 5, (1, 1), 1, "NONE"))
    assert narrowed(net, x)[0] == (1, 3, 3, 8)


def test_bounds_say_nothing_where_a_left_shift_wraps(net):
    """Accumulators of 0 to 255 shifted by 30: both ends come out as -128, and 1 as 127."""
    x = net.value((1, 4), Quantization((1.0,), (-128,)))
    first = np.zeros((8, 4))
    first[:, 0] = 1
    low = Quantization((2.0**-9,), (-128,))
    y = dense(net, x, first, act="RELU", scale=2.0**20, quantization=low)
    dense(net, y, net.rng.integers(-127, 128, (3, 8)))
    assert narrowed(net, x)[0] == (1, 8)
    node = net.graph(x).node(0)
    assert not OPS[node.kind].kernel(node, CpuFeatures(dsp=True)).function.endswith("_dsp")


def test_constant_outputs_rank_0_and_odd_biases_are_left_alone(net):
    x = net.value((1, 2, 2, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU")
    alive(net, y)
    dead(net, y, slice(0, 4))
    bias = next(op for op in net.ops if op.outputs == (y,)).inputs[2]
    few = Quantization((0.1, 0.2, 0.3), (0, 0, 0))
    net.tensors[bias] = dataclasses.replace(net.tensors[bias], quantization=few)
    z = net.conv(y, 5, (1, 1), 1, "NONE")
    alive(net, z)
    constant = net.constant(np.arange(4, dtype=np.int8), net.tensors[x].quantization)
    other = net.add("RELU", (constant,))
    total = net.add("ADD", (constant, constant), fused_activation_function="NONE")
    assert narrowed(net, x, z, other, total)[0] == (1, 2, 2, 4)


def test_operands_that_an_operator_does_not_look_at_are_left_alone(net):
    x = net.value((1, 4, 4, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU")
    alive(net, y)
    dead(net, y, slice(0, 4))
    odd = net.constant(np.arange(3, dtype=np.int8), net.tensors[x].quantization)
    filters = {"filter_height": 2, "filter_width": 2, "stride_h": 2, "stride_w": 2}
    pooled = net.add(
        "MAX_POOL_2D", (y, *[odd] * 20), padding="SAME", fused_activation_function="NONE", **filters
    )
    alive(net, net.conv(net.add("RELU", (pooled, odd)), 5, (1, 1), 1, "NONE"))
    assert narrowed(net, x)[0] == (1, 4, 4, 4)


def test_a_new_bias_has_the_scale_that_the_model_must_have(net):
    x = net.value((1, 4))
    y = net.dense(x, 8, "RELU")
    alive(net, y)
    dead(net, y, slice(0, 4), 1 << 28)
    dense(net, y, net.rng.integers(1, 128, (3, 8)))
    assert narrowed(net, x)[0] == (1, 4)


def test_what_one_layer_no_longer_reads_goes_too_wherever_it_is_made(net):
    x = net.value((1, 2, 2, 3))
    first = net.conv(x, 8, (1, 1), 1, "NONE")
    second = net.conv(first, 8, (1, 1), 1, "RELU")
    last = net.conv(first, 4, (1, 1), 1, "NONE")
    for layer in (first, second, last):
        alive(net, layer)
    weights = {layer: next(o for o in net.ops if o.outputs == (layer,)).inputs[1]
               for layer in (second, last)}  # fmt: skip
    # Channels 0 to 3 go into the second layer's dead ones alone.
    net.tensors[weights[last]].data[..., :4] = 0
    net.tensors[weights[second]].data[4:, ..., :4] = 0
    dead(net, second, slice(0, 4))
    end = net.conv(second, 4, (1, 1), 1, "NONE")
    alive(net, end)
    assert narrowed(net, x, last, end)[:2] == [(1, 2, 2, 4), (1, 2, 2, 4)]


def test_weights_of_two_layers_are_not_stored_twice(net):
    x = net.value((1, 2, 2, 3))
    y = net.conv(x, 8, (1, 1), 1, "RELU")
    z = net.conv(x, 8, (3, 3), 1, "RELU")
    for layer in (y, z):
        alive(net, layer)
    dead(net, y, slice(0, 4))
    one = net.conv(y, 5, (1, 1), 1, "NONE")
    shared = net.ops[-1].inputs[1:]
    two = net.add("CONV_2D", (z, *shared), **net.ops[-1].attrs)
    before = net.graph(x).replace(outputs=(one, two))
    assert weights_of(run_passes(before, PASSES).graph) == weights_of(before)
