"""Convolutions and fully connected layers: which kernel runs, packed weights, constraints."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from edgebuild.graph import Graph, Node
from edgebuild.ops import OPS, KernelCall
from edgebuild.ops import convolution as conv
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.conv2d import _case as conv_case
from edgebuild.ops.conv2d import _overlapped
from edgebuild.ops.depthwise_conv2d import _case as depthwise_case
from edgebuild.ops.support import interpret, node_reason
from edgebuild.targets import CpuFeatures
from tests.kernels import harness

DSP, PORTABLE = CpuFeatures(dsp=True), CpuFeatures()


def node_of(kind: str, name: str) -> Node:
    case = next(c for c in OPS[kind].cases() if c.name == name)
    return case.graph.node(0)


def changed(node: Node, graph_of: Graph, position: int, **fields: object) -> Node:
    tensor = dataclasses.replace(node.input(position), **fields)
    tensors = {**graph_of.tensors, tensor.index: tensor}
    return graph_of.replace(tensors=tensors).node(0)


@pytest.mark.parametrize(
    ("kind", "name", "dsp"),
    [
        ("CONV_2D", "same_3x3", True),
        ("CONV_2D", "groups_odd", True),
        ("CONV_2D", "relu_n1_to_1", True),
        ("CONV_2D", "dead_channels", True),
        ("CONV_2D", "no_shift_relu", True),
        ("CONV_2D", "no_shift", False),
        ("CONV_2D", "left_shift", False),
        ("CONV_2D", "large_bias", True),
        ("CONV_2D", "lowest_weights", False),
        ("CONV_2D", "highest_weights", True),
        ("CONV_2D", "wide_sums", False),
        ("DEPTHWISE_CONV_2D", "same_3x3", True),
        ("DEPTHWISE_CONV_2D", "multiplier_2", False),
        ("DEPTHWISE_CONV_2D", "odd_channels", False),
        ("DEPTHWISE_CONV_2D", "left_shift", False),
        ("FULLY_CONNECTED", "odd_units", True),
        ("FULLY_CONNECTED", "left_shift", False),
    ],
)
def test_dsp_kernel_runs_only_where_it_is_exact(kind, name, dsp):
    node = node_of(kind, name)
    assert OPS[kind].kernel(node, DSP).function.endswith("_dsp") == dsp
    assert not OPS[kind].kernel(node, PORTABLE).function.endswith("_dsp")


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "name"),
    [
        ((3, 3), (1, 1), (1, 1), "depthwise_conv2d_3x3_s8_dsp"),
        ((3, 3), (2, 2), (1, 1), "depthwise_conv2d_3x3_s8_dsp"),
        ((3, 3), (2, 1), (1, 1), "depthwise_conv2d_s8_dsp"),
        ((3, 3), (1, 1), (1, 2), "depthwise_conv2d_s8_dsp"),
        ((3, 5), (1, 1), (1, 1), "depthwise_conv2d_s8_dsp"),
        ((1, 1), (1, 1), (1, 1), "depthwise_conv2d_s8_dsp"),
    ],
)
def test_which_depthwise_kernel_runs(kernel, stride, dilation, name):
    case = depthwise_case("x", (1, 9, 9, 4), kernel, stride=stride, dilation=dilation)
    call = OPS["DEPTHWISE_CONV_2D"].kernel(case.graph.node(0), DSP)
    assert call.function == f"eb_{name}" and call.sources == (f"depthwise_conv2d/{name}.c",)


@pytest.mark.parametrize(
    ("name", "kernel", "once"),
    [
        ("pointwise", "conv2d_1x1_s8_dsp", False),
        ("pointwise_strided", "conv2d_1x1_s8_dsp", False),
        ("pointwise_odd", "conv2d_s8_dsp", False),
        ("depth_12", "conv2d_1x1_s8_dsp", True),
        ("still_channels", "conv2d_1x1_s8_dsp", True),
        ("no_shift_relu", "conv2d_1x1_s8_dsp", False),
        ("narrow_one", "conv2d_1x1_narrow_s8_dsp", True),
        ("narrow_strided", "conv2d_1x1_narrow_s8_dsp", False),
        ("relu_8", "conv2d_s8_dsp", True),
        ("relu6", "conv2d_s8_dsp", False),
    ],
)
def test_which_convolution_rounds_once(name, kernel, once):
    call = OPS["CONV_2D"].kernel(node_of("CONV_2D", name), DSP)
    assert (call.function, call.params["once"]) == (f"eb_{kernel}", once)


def test_a_column_lies_down():
    """As a row of the same bytes, which both kinds of kernels take in runs."""
    convolution = conv_case("x", (1, 9, 1, 4), (3, 3, 1, 4), stride=(2, 1), padding="SAME")
    depthwise = depthwise_case("x", (1, 9, 1, 4), (3, 1), stride=(2, 1), padding="SAME")
    for case in (convolution, depthwise):
        node = case.graph.node(0)
        for cpu in (DSP, PORTABLE):
            p = OPS[node.kind].kernel(node, cpu).params
            assert [p[f"{name}_w"] for name in ("in", "out", "kernel", "stride")] == [9, 5, 3, 2]
            assert [p[f"{name}_h"] for name in ("in", "out", "kernel", "stride")] == [1, 1, 1, 1]
            assert (p["pad_top"], p["pad_left"]) == (0, 1)


def test_a_depth_that_is_no_multiple_of_four_overlaps_itself():
    weights = np.arange(1, 8, dtype=np.int8)[np.newaxis]
    assert _overlapped(weights).tolist() == [[1, 2, 3, 4, 0, 5, 6, 7]]
    assert _overlapped(weights[:, :4]).tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("name", "chunk"),
    # 2^23 leaves room for 518 products of 126.5 * 128, less the bias.
    [("deep", 0), ("deeper", 368), ("deep_pair", 352), ("deepest_sums", 416)],
)
def test_deep_layers_pair_anew_as_seldom_as_their_weights_allow(name, chunk):
    call = OPS["FULLY_CONNECTED"].kernel(node_of("FULLY_CONNECTED", name), DSP)
    assert (call.function, call.params["chunk"]) == ("eb_fully_connected_s8_dsp", chunk)


def test_a_dense_stream_holds_starts_and_weights_of_eight_four_and_two_units():
    node = node_of("FULLY_CONNECTED", "relu_fifteen")
    params = OPS["FULLY_CONNECTED"].kernel(node, DSP).params
    weights = node.input(1).data.astype(np.int64)
    c = conv.channels(node, node.input(1).data, single_precision_product=True)
    start, multiplier = conv.once_rounded(node, node.input(1).data, c, alike=True).T
    assert params["once"] and params["scale_step"] == 0
    assert params["channels"].tolist() == [multiplier[0]] and set(multiplier) == {multiplier[0]}
    # A depth of 7 is its first four and its last four values.
    columns = np.insert(weights, [4], 0, axis=1)
    stream = params["weights"].view("<i4")
    for first, count, own in ((0, 8, True), (8, 4, False), (12, 2, False), (14, 2, False)):
        pairs = count // 2
        block, stream = np.split(stream, [pairs + 2 * count + pairs])
        rows = np.zeros((count, 8), np.int64)
        rows[: 15 - first] = columns[first : first + count]
        starts = np.zeros(count, np.int64)
        starts[: 15 - first] = start[first : first + count]
        c0 = (rows[0::2, 0::2] * rows[0::2, 1::2]).sum(axis=1) * own
        assert block[:pairs].tolist() == (starts[1::2] + c0).tolist()
        assert block[-pairs:].tolist() == (starts[0::2] - 256 * c0).tolist()
        halves = (rows[0::2] + 256 * rows[1::2]).reshape(pairs, 2, 4)[..., [0, 2, 1, 3]]
        packed = block[pairs:-pairs].astype("<i4").view("<i2").reshape(2, pairs, 4)
        assert packed.tolist() == halves.transpose(1, 0, 2).tolist()
    assert stream.size == 0


def test_a_layer_of_less_than_four_values_runs_the_portable_kernel():
    call = OPS["FULLY_CONNECTED"].kernel(node_of("FULLY_CONNECTED", "depth_1"), DSP)
    assert call.function == "eb_fully_connected_s8"


def test_a_stream_holds_starts_weights_and_multipliers_of_four_channels():
    node = node_of("CONV_2D", "depth_12")
    call = OPS["CONV_2D"].kernel(node, DSP)
    weights = node.input(1).data.reshape(24, 12)
    c = conv.channels(node, weights, single_precision_product=False)
    start, multiplier = conv.once_rounded(node, weights, c).reshape(6, 4, 2)[2].T
    block = call.params["stream"].reshape(6, 2 + 12 + 6)[2]
    assert block[:2].tolist() == start[1::2].tolist()
    assert block[14:16].tolist() == start[0::2].tolist()
    assert block[16:].tolist() == multiplier[[0, 2, 1, 3]].tolist()
    pairs = weights[8:12].astype(int).reshape(2, 2, 3, 4)[..., [0, 2, 1, 3]]
    halves = (pairs[:, 0] + 256 * pairs[:, 1]).reshape(2, 6, 2).transpose(1, 0, 2)
    np.testing.assert_array_equal(block[2:14].astype("<i4").view("<i2"), halves.reshape(-1))


@pytest.mark.parametrize(("shape", "takes"), [((5, 3, 4), 1), ((5, 3, 3), 0), ((5, 2, 4), 0)])
def test_what_the_3x3_kernel_takes(shape, takes):
    """Four channels, and a row with an output."""
    node = depthwise_case("x", (1, *shape), (3, 3)).graph.node(0)
    call = OPS["DEPTHWISE_CONV_2D"].kernel(node, DSP)
    assert call.function.endswith("3x3_s8_dsp") == takes


def random_3x3(rng):
    """A depthwise layer of 3x3 whose image may be smaller than the kernel."""
    zero = int(rng.choice([-128, -128, 3]))
    return depthwise_case(
        f"c{rng.integers(1000)}",
        (int(rng.integers(1, 3)), *rng.integers(3, 10, 2).tolist(), int(rng.integers(4, 14))),
        (3, 3),
        padding=str(rng.choice(["SAME", "VALID"])),
        stride=[(1, 1), (2, 2), (1, 2)][int(rng.choice(3, p=[0.5, 0.4, 0.1]))],
        act=str(rng.choice(["NONE", "RELU", "RELU6"])),
        in_zp=int(rng.integers(-128, 128)),
        out_zp=zero,
        out_scale=float(rng.choice([0.02, 0.1, 1.0])),
    )


def random_conv(rng):
    """A convolution of any number of channels, of 1x1 every other time: with a depth as the DSP
    kernels take it, or not."""
    pointwise, channels = rng.random() < 0.5, int(rng.integers(1, 20))
    if pointwise and rng.random() < 0.8:
        channels *= 4
    kernel = (1, 1) if pointwise else tuple(rng.integers(1, 4, 2).tolist())
    return conv_case(
        f"c{rng.integers(1000)}",
        (int(rng.integers(1, 3)), *rng.integers(3, 8, 2).tolist(), channels),
        (int(rng.integers(1, 14)), *kernel, channels),
        padding=str(rng.choice(["SAME", "VALID"])),
        stride=tuple(rng.integers(1, 3, 2).tolist()),
        act=str(rng.choice(["NONE", "RELU", "RELU6"])),
        in_zp=int(rng.integers(-128, 128)),
        out_zp=int(rng.choice([-128, -128, 3])),
        out_scale=float(rng.choice([0.05, 0.3, 2.0])),
    )


def random_few(rng):
    """A convolution over few channels, mostly as the DSP kernel for these takes it."""
    channels, kernel = int(rng.integers(1, 5)), rng.integers(1, 6, 2).tolist()
    return conv_case(
        f"c{rng.integers(1000)}",
        (int(rng.integers(1, 3)), *(int(rng.integers(k, 15)) for k in kernel), channels),
        (int(rng.integers(1, 14)), *kernel, channels),
        padding=str(rng.choice(["SAME", "VALID"])),
        stride=tuple(rng.integers(1, 4, 2).tolist()),
        act=str(rng.choice(["NONE", "RELU", "RELU6"])),
        in_zp=int(rng.integers(-128, 128)),
        out_zp=int(rng.choice([-128, -128, -128, 3])),
        out_scale=float(rng.choice([0.05, 0.3, 2.0])),
        dead=(0,) if rng.random() < 0.2 else (),
    )


@pytest.mark.parametrize("compiler", ["host", "arm"])
@pytest.mark.parametrize("make", [random_3x3, random_conv, random_few])
def test_random_layers(make, compiler, tmp_path):
    """The plain C twin under sanitizers, and the instructions themselves."""
    if shutil.which("gcc" if compiler == "host" else "qemu-arm") is None:
        pytest.skip("not installed")
    rng = np.random.default_rng(3)
    graphs = [make(rng).graph for _ in range(80)]
    command = harness.SANITIZED_GCC if compiler == "host" else harness.ARM_DSP_ZIG
    program = harness.build_program(graphs, DSP, command, tmp_path)
    rows = [(i, sample) for i, g in enumerate(graphs) for sample in harness.sample_inputs(g, 4)]
    requests = [harness.Request(i, sample) for i, sample in rows]
    prefix = [] if compiler == "host" else ["qemu-arm"]
    found = harness.run_program(program, graphs, requests, prefix)
    for (i, sample), (ours,) in zip(rows, found, strict=True):
        (index,) = graphs[i].outputs
        np.testing.assert_array_equal(interpret(graphs[i], sample)[index], ours)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "conv2d_rows_s8_dsp"),
        ({"out_zp": -127}, "conv2d_s8_dsp"),
        ({"low": -128, "high": -127}, "conv2d_s8"),
        ({"dilation": (1, 2)}, "conv2d_s8_dsp"),
    ],
)
def test_few_channels(changes, name):
    options = {"padding": "SAME", "act": "RELU", "out_zp": -128, **changes}
    node = conv_case("x", (1, 9, 9, 3), (8, 3, 3, 3), **options).graph.node(0)
    assert OPS["CONV_2D"].kernel(node, DSP).function == f"eb_{name}"


def test_few_channels_must_not_take_much_memory():
    """A kernel of one row over a long one, and of one column over a tall one."""
    shapes = (((1, 1, 9000, 1), (4, 1, 9, 1)), ((1, 9000, 1, 1), (4, 9, 1, 1)))
    calls = [
        OPS["CONV_2D"].kernel(conv_case("x", x, w, act="RELU", out_zp=-128).graph.node(0), DSP)
        for x, w in shapes
    ]
    assert [call.function for call in calls] == ["eb_conv2d_s8_dsp", "eb_conv2d_rows_s8_dsp"]
    assert calls[1].scratch_bytes < 500


def all_pairs(kind, scales, zeros, act):
    """A layer of two operands, and the one sample that holds each pair of values."""
    case = one_op(
        "all",
        kind,
        [activation((256, 1), scales[0], zeros[0]), activation((1, 256), scales[1], zeros[1])],
        [activation((256, 256), scales[2], zeros[2])],
        {"fused_activation_function": act},
    )
    values = np.arange(-128, 128).astype(np.int8)
    return case.graph, [values.reshape(256, 1), values.reshape(1, 256)]


@pytest.mark.parametrize("compiler", ["host", "arm"])
def test_every_pair_of_values_is_added_right(compiler, tmp_path):
    if shutil.which("gcc" if compiler == "host" else "qemu-arm") is None:
        pytest.skip("not installed")
    rng = np.random.default_rng(4)
    layers = [
        all_pairs(kind, scales, zeros, act)
        for kind in ("ADD", "SUB")
        for scales in (
            (0.1, 0.2, 0.25), (0.2, 0.1, 0.25), (0.1, 0.1, 0.2), (0.05, 0.0499, 0.1),
            (0.001, 2.0, 1.9), (3e-7, 1.0, 1.0), (4e-10, 1.0, 1.0), (0.9, 0.8, 0.1),
            tuple(rng.uniform(0.01, 0.1, 3)),
        )
        for zeros, act in (((3, -7, 11), "NONE"), ((-128, 127, -128), "RELU"), ((5, 0, 9), "RELU6"))
    ]  # fmt: skip
    graphs = [graph for graph, _ in layers]
    calls = [OPS[g.node(0).kind].kernel(g.node(0), DSP).function for g in graphs]
    assert sum(name.endswith("_dsp") for name in calls) > 0.8 * len(calls)
    command = harness.SANITIZED_GCC if compiler == "host" else harness.ARM_DSP_ZIG
    program = harness.build_program(graphs, DSP, command, tmp_path)
    requests = [harness.Request(i, sample) for i, (_, sample) in enumerate(layers)]
    found = harness.run_program(
        program, graphs, requests, [] if compiler == "host" else ["qemu-arm"]
    )
    for (graph, sample), (ours,) in zip(layers, found, strict=True):
        np.testing.assert_array_equal(interpret(graph, sample)[graph.outputs[0]], ours)


@pytest.mark.parametrize("compiler", ["host", "arm"])
def test_a_fully_connected_layer_may_run_as_a_convolution(compiler, tmp_path):
    if shutil.which("gcc" if compiler == "host" else "qemu-arm") is None:
        pytest.skip("not installed")
    graphs = [case.graph for case in OPS["FULLY_CONNECTED"].cases()]
    command = harness.SANITIZED_GCC if compiler == "host" else harness.ARM_DSP_ZIG
    program = harness.build_program(
        graphs, PORTABLE, command, tmp_path, lambda graph, _: [as_convolution(graph.node(0))]
    )
    requests = [
        harness.Request(i, sample)
        for i, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, 4)
    ]
    found = harness.run_program(
        program, graphs, requests, [] if compiler == "host" else ["qemu-arm"]
    )
    for request, (ours,) in zip(requests, found, strict=True):
        graph = graphs[request.number]
        np.testing.assert_array_equal(interpret(graph, request.inputs)[graph.outputs[0]], ours)


def as_convolution(node: Node) -> KernelCall:
    calls = OPS[node.kind].candidates(node, PORTABLE)
    return next(call for call in calls if call.function == "eb_conv2d_s8")


def test_one_scale_serves_all_units_that_share_it():
    node = node_of("FULLY_CONNECTED", "odd_units")
    assert OPS[node.kind].kernel(node, PORTABLE).params["channels"].size == 5 + 2
    assert OPS[node.kind].kernel(node, DSP).params["channels"].size == 3
    node = node_of("FULLY_CONNECTED", "per_channel")
    assert OPS[node.kind].kernel(node, PORTABLE).params["channels"].size == 3 * 7
    assert OPS[node.kind].kernel(node, DSP).params["channels"].size == 3 * 7


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_an_image_beyond_halfwords_is_refused(kind):
    case = next(iter(OPS[kind].cases()))
    batches, in_h, _, channels = case.graph.node(0).input(0).shape
    wide = changed(case.graph.node(0), case.graph, 0, shape=(batches, in_h, 65_536, channels))
    assert "batches and channels are at most 65,535" in node_reason(wide)


def test_packed_weights_hold_both_channels_of_a_pair():
    rng = np.random.default_rng(1)
    weights = rng.integers(-127, 128, (3, 5)).astype(np.int8)
    packed = conv.pack_pairs(weights, 8).view("<i2").reshape(2, 8)
    for pair in range(2):
        first = np.zeros(8, int)
        second = np.zeros(8, int)
        first[:5] = weights[2 * pair]
        second[:5] = weights[1] if pair == 0 else 0
        order = [0, 2, 1, 3, 4, 6, 5, 7]
        np.testing.assert_array_equal(packed[pair], (first + 256 * second)[order])


def test_a_dead_channel_always_gives_its_one_output():
    node = node_of("CONV_2D", "dead_channels")
    weights = node.input(1).data.reshape(6, -1)
    c = conv.channels(node, weights, single_precision_product=False)
    table = conv.dsp_channels(node, weights, c).table
    assert table[1].tolist() == table[4].tolist() == [0, 0, 2 * node.output.zero_point + 1, 1]
    assert all(table[i, 1] > 0 for i in (0, 2, 3, 5))


def test_scratch_is_two_widened_columns_and_two_narrow_ones():
    assert OPS["CONV_2D"].kernel(node_of("CONV_2D", "same_3x3"), DSP).scratch_bytes == 144 + 72 + 3
    assert OPS["CONV_2D"].kernel(node_of("CONV_2D", "pointwise"), DSP).scratch_bytes == 32


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_limits_are_sentences(kind):
    case = next(iter(OPS[kind].cases()))
    node = case.graph.node(0)
    assert node_reason(node) == ""

    weights = node.input(1)
    no_data = changed(node, case.graph, 1, data=None)
    assert "weights are constant, int8 and quantized" in node_reason(no_data)
    skewed = dataclasses.replace(
        weights.quantization, zero_points=tuple(3 for _ in weights.quantization.zero_points)
    )
    asymmetric = changed(node, case.graph, 1, quantization=skewed)
    assert "weights are symmetric (zero point 0)" in node_reason(asymmetric)

    bias = np.full(node.input(2).shape, 2**31 - 1, np.int32)
    overflowing = changed(node, case.graph, 2, data=bias)
    assert "no input can overflow a 32-bit accumulator" in node_reason(overflowing)

    op = dataclasses.replace(node.op, attrs={**node.attrs, "fused_activation_function": "TANH"})
    tanh = case.graph.replace(ops=(op,)).node(0)
    assert "the fused activation is one of NONE, RELU" in node_reason(tanh)


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pooling_keeps_the_quantization(kind):
    case = next(iter(OPS[kind].cases()))
    node = case.graph.node(0)
    other = dataclasses.replace(node.input(0).quantization, scales=(0.7,))
    assert "same quantization" in node_reason(changed(node, case.graph, 0, quantization=other))


def test_macs():
    assert OPS["CONV_2D"].macs(node_of("CONV_2D", "groups_2")) == 5 * 5 * 6 * 3 * 3 * 4
    assert OPS["DEPTHWISE_CONV_2D"].macs(node_of("DEPTHWISE_CONV_2D", "valid_3x3")) == 4 * 3 * 4 * 9
    assert OPS["FULLY_CONNECTED"].macs(node_of("FULLY_CONNECTED", "batch_3")) == 3 * 10 * 6
    assert OPS["MAX_POOL_2D"].macs(node_of("MAX_POOL_2D", "global")) == 0


def test_words_have_four_values_of_each_channel_in_turn():
    weights = np.array([[1, 2, 3, 4, 5], [-1, -2, -3, -4, -128], [7, 7, 7, 7, 7]], np.int8)
    packed = conv.pack_words(weights, 2).view(np.uint8).astype(int).reshape(-1, 4) - 128
    assert packed.tolist() == [
        *([3, 4, 1, 2], [-3, -4, -1, -2], [0, 0, 5, 0], [0, 0, -128, 0]),
        *([7, 7, 7, 7], [0, 0, 7, 0]),
    ]
