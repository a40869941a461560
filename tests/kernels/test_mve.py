"""The Helium kernels: packed layouts, exact arithmetic, which kernel runs, and random layers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgebuild.ops import OPS, mve
from edgebuild.ops import convolution as conv
from edgebuild.ops.conv2d import _case as conv_case
from edgebuild.ops.depthwise_conv2d import _case as depthwise_case
from edgebuild.ops.fixed_point import (
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from edgebuild.ops.fully_connected import _case as dense_case
from edgebuild.ops.support import interpret
from tests.kernels import harness, m55
from tests.kernels.test_matrix_ops import all_pairs
from tests.kernels.test_neon import random_layer

LAYERS = 60


def call_of(kind, name):
    case = next(c for c in OPS[kind].cases() if c.name == name)
    return OPS[kind].kernel(case.graph.node(0), m55.MVE)


def test_packed_weights_are_sixteen_bytes_of_each_channel_of_a_pair_in_turn():
    rng = np.random.default_rng(3)
    weights = rng.integers(-128, 128, (5, 37)).astype(np.int8)
    packed = mve.pack_pairs(weights, 2)
    assert packed.shape == (3, 3, 2, 16) and mve.pack_pairs(weights, 4).shape == (4, 3, 2, 16)
    whole = np.zeros((6, 48), np.int8)
    whole[:5, :37] = weights
    for pair, part, channel in np.ndindex(3, 3, 2):
        expected = whole[2 * pair + channel, 16 * part : 16 * part + 16]
        np.testing.assert_array_equal(packed[pair, part, channel], expected)


def test_channels_come_by_eight_even_ones_first():
    c = conv.Channels(*(np.arange(10, dtype=np.int32) + 100 * i for i in range(3)))
    table = mve.scales(c)
    assert table.shape == (2, 2, 8) and table.dtype == np.int32
    assert table[0, 0].tolist() == [100, 102, 104, 106, 101, 103, 105, 107]
    assert table[1, 1].tolist() == [208, 0, 0, 0, 209, 0, 0, 0]


def rounded(acc, multiplier, right):
    """``eb_scale_mve``, instruction by instruction, in int64."""
    high = (2 * acc * multiplier + 2**31) >> 32  # VQRDMULH
    less = (high & -right) >> 31  # VAND, VSHR
    return (high + less + (1 << right >> 1)) >> right  # VADD, VRSHL


def test_requantization_is_that_of_tflite():
    rng = np.random.default_rng(5)
    for right in range(32):
        # Around multiples of half of 2**right, of both signs, as well as anywhere.
        near = (rng.integers(-(2**9), 2**9, 4000) << right >> 1) + rng.integers(-2, 3, 4000)
        acc = np.concatenate([near, rng.integers(-(2**31), 2**31, 4000), [-(2**31), 2**31 - 1]])
        acc = np.clip(acc, -(2**31), 2**31 - 1)
        for multiplier in (0, 2**30, 2**31 - 1, int(rng.integers(2**30, 2**31))):
            high = saturating_rounding_doubling_high_mul(acc.astype(np.int32), multiplier)
            expected = rounding_divide_by_pot(high, right)
            np.testing.assert_array_equal(rounded(acc, multiplier, right), expected)


def test_means_are_divided_exactly():
    """What average_pool2d_s8_mve.c says of its multiplication."""
    for count in range(1, 257):
        n = np.arange(128 * count + count // 2 + 1, dtype=np.uint64)
        product = n * ((1 << 24) // count + 1)
        assert int(product[-1]) < 2**32
        np.testing.assert_array_equal(product >> 24, n // count)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("CONV_2D", "pointwise", "conv2d_s8_mve"),
        ("CONV_2D", "lowest_weights", "conv2d_s8_mve"),
        ("CONV_2D", "wide_sums", "conv2d_s8_mve"),
        ("CONV_2D", "dilated", "conv2d_s8_mve"),
        ("CONV_2D", "no_shift", "conv2d_s8_mve"),
        ("CONV_2D", "groups_2", "conv2d_s8_dsp"),
        ("CONV_2D", "above_one", "conv2d_s8"),
        ("DEPTHWISE_CONV_2D", "odd_channels", "depthwise_conv2d_s8_mve"),
        ("DEPTHWISE_CONV_2D", "dilated", "depthwise_conv2d_s8_mve"),
        ("DEPTHWISE_CONV_2D", "multiplier_2", "depthwise_conv2d_s8"),
        ("DEPTHWISE_CONV_2D", "left_shift", "depthwise_conv2d_s8"),
        ("FULLY_CONNECTED", "odd_units", "fully_connected_s8_mve"),
        ("FULLY_CONNECTED", "left_shift", "fully_connected_s8"),
        ("ADD", "four", "add_s8_mve"),
        ("SUB", "scales_apart", "add_s8_mve"),
        ("MUL", "same", "mul_s8_mve"),
        ("MAXIMUM", "same", "maximum_s8"),
        ("AVERAGE_POOL_2D", "window_256", "average_pool2d_s8_mve"),
        ("AVERAGE_POOL_2D", "window_272", "average_pool2d_s8"),
        ("MAX_POOL_2D", "window_272", "max_pool2d_s8_mve"),
    ],
)
def test_which_kernel_runs(kind, name, expected):
    assert call_of(kind, name).function == f"eb_{expected}"


def strip(kind, case):
    call = OPS[kind].kernel(case.graph.node(0), m55.MVE)
    return call.params["strip"], call.scratch_bytes


def test_scratch_is_sums_and_a_strip():
    assert call_of("CONV_2D", "pointwise").scratch_bytes == mve.SUMS_BYTES
    assert call_of("FULLY_CONNECTED", "even").scratch_bytes == mve.SUMS_BYTES
    # Seven columns of three pixels of four channels.
    assert call_of("CONV_2D", "same_3x3").scratch_bytes == mve.SUMS_BYTES + 7 * 3 * 4
    # Three channels take as much as eight.
    assert call_of("DEPTHWISE_CONV_2D", "odd_channels").scratch_bytes == 7 * 3 * 8


def test_strips_of_wide_images_are_short():
    case = conv_case("x", (1, 4, 96, 32), (4, 3, 3, 32), padding="SAME")
    fields, scratch = strip("CONV_2D", case)
    assert fields["pixels"] == 40 and scratch == mve.SUMS_BYTES + 42 * 3 * 32
    case = conv_case("x", (1, 9, 9, 600), (4, 5, 5, 600))
    assert strip("CONV_2D", case)[0]["pixels"] == 3


@pytest.mark.parametrize(
    ("channels", "stride", "together"), [(1, 1, 16), (3, 1, 5), (8, 1, 2), (9, 1, 1), (3, 3, 1)]
)
def test_pixels_of_few_channels_are_copied_together(channels, stride, together):
    case = conv_case("x", (1, 9, 9, channels), (4, 3, 3, channels), stride=(1, stride))
    fields, _ = strip("CONV_2D", case)
    assert fields["together"] == together and fields["shared"] == (stride < 3)


def test_offsets_of_pixels_copied_together_have_eight_bits():
    case = conv_case("x", (1, 20, 20, 1), (4, 20, 2, 1))
    fields, _ = strip("CONV_2D", case)
    assert fields["together"] == 13 and fields["spread"].max() == 12 * 20


def random_matrix_layer(rng):
    """A convolution, depthwise convolution or fully connected layer of random shape."""

    def pick(*values):
        return values[int(rng.integers(len(values)))]

    shared = {
        "act": pick("NONE", "RELU", "RELU6"),
        "in_zp": int(rng.integers(-128, 128)),
        "out_zp": pick(-128, -128, 3),
        "out_scale": float(pick(0.05, 0.3, 2.0)),
    }
    name = f"c{rng.integers(1000)}"
    kind = pick("conv", "conv", "pointwise", "depthwise", "depthwise", "dense")
    image = (pick(1, 1, 2), *rng.integers(1, 12, 2).tolist())
    if kind == "dense":
        x = (pick(1, 1, 2, 5, 7), int(rng.integers(1, 90)))
        return dense_case(
            name, x, int(rng.integers(1, 150)), per_channel=bool(pick(0, 1)), **shared
        )
    if kind == "pointwise":
        channels = int(rng.integers(1, 50))
        return conv_case(name, (*image, channels), (pick(1, 7, 16, 70), 1, 1, channels), **shared)
    window = {
        "padding": "SAME",
        "stride": (pick(1, 1, 2, 3), pick(1, 1, 2, 3)),
        "dilation": (pick(1, 1, 2), pick(1, 1, 2)),
    }
    kernel = tuple(rng.integers(1, 5, 2).tolist())
    if kind == "depthwise":
        return depthwise_case(name, (*image, int(rng.integers(1, 40))), kernel, **window, **shared)
    channels = int(rng.integers(1, 36))
    if pick(0, 0, 1):  # a row in more than one strip
        image = (1, 3, int(rng.integers(30, 60)))
    return conv_case(
        name, (*image, channels), (int(rng.integers(1, 20)), *kernel, channels), **window, **shared
    )


def random_graphs(seed, layers, count):
    """Half of them layers with weights, the others of any kind."""
    rng = np.random.default_rng(seed)
    matrix = [random_matrix_layer(rng).graph for _ in range(count // 2)]
    return matrix + [random_layer(rng, layers(seed)) for _ in range(count - count // 2)]


def check(graphs, run, seed):
    requests = [
        harness.Request(n, sample)
        for n, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, 4, seed)
    ]
    for request, (ours,) in zip(requests, run(requests), strict=True):
        graph = graphs[request.number]
        expected = interpret(graph, request.inputs)[graph.outputs[0]]
        node = graph.node(0)
        where = f"{node.kind} {[t.shape for t in node.inputs if t]} {node.attrs}"
        np.testing.assert_array_equal(expected.reshape(ours.shape), ours, err_msg=where)


SEEDS = pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 9))]
)


@SEEDS
def test_random_layers_in_plain_c(layers, seed, tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    graphs = random_graphs(seed, layers, LAYERS)
    program = harness.build_program(graphs, m55.MVE, harness.SANITIZED_GCC, tmp_path)
    check(graphs, lambda requests: harness.run_program(program, graphs, requests), seed)


@pytest.mark.qemu
@SEEDS
@m55.TOOLCHAINS
def test_random_layers_with_helium(layers, toolchain, seed, tmp_path):
    graphs = random_graphs(seed, layers, LAYERS)
    program = m55.build_program(graphs, toolchain, tmp_path)
    check(graphs, lambda requests: m55.run_program(program, graphs, requests), seed)


@pytest.mark.qemu
@SEEDS
def test_nothing_behind_inputs_and_outputs_is_touched(layers, seed, tmp_path):
    """Each of them ends where memory does."""
    graphs = random_graphs(seed + 100, layers, LAYERS)
    graphs += [
        case.graph
        for kind in ("ADD", "MUL", "AVERAGE_POOL_2D", "MAX_POOL_2D")
        for case in OPS[kind].cases()
        if case.name != "constant"
    ]
    program = m55.build_program(graphs, "zig", tmp_path, direct=True)
    check(graphs, lambda requests: m55.run_program(program, graphs, requests), seed)


@pytest.mark.qemu
@m55.TOOLCHAINS
def test_what_is_laid_out_for_helium_runs_on_a_core_without(layers, toolchain, tmp_path):
    graphs = random_graphs(1, layers, 20)
    program = m55.build_program(graphs, toolchain, tmp_path, mve=False)
    check(graphs, lambda requests: m55.run_program(program, graphs, requests), 1)


@pytest.mark.qemu
def test_every_pair_of_values_is_added_right(tmp_path):
    rng = np.random.default_rng(4)
    chosen = [
        all_pairs(kind, scales, zeros, act)
        for kind in ("ADD", "SUB", "MUL")
        for scales, zeros, act in (
            ((0.1, 0.2, 0.25), (3, -7, 11), "NONE"),
            ((0.1, 0.1, 0.2), (-128, 127, -128), "RELU"),
            ((0.001, 2.0, 1.9), (5, 0, 9), "RELU6"),
            ((1e-11, 1.0, 1.0), (3, -7, 11), "NONE"),  # a multiplier of zero
            ((1.0, 0.49999999, 1.0), (3, -7, 11), "NONE"),
            (tuple(rng.uniform(0.01, 0.1, 3)), (3, -7, 11), "NONE"),
        )
    ]
    graphs = [graph for graph, _ in chosen]
    program = m55.build_program(graphs, "zig", tmp_path)
    requests = [harness.Request(i, sample) for i, (_, sample) in enumerate(chosen)]
    found = m55.run_program(program, graphs, requests)
    for (graph, sample), (ours,) in zip(chosen, found, strict=True):
        np.testing.assert_array_equal(interpret(graph, sample)[graph.outputs[0]], ours)


@pytest.mark.qemu
def test_a_byte_behind_the_arena_is_a_fault(tmp_path, monkeypatch):
    """The guard that the other tests rely on."""
    case = next(c for c in OPS["ADD"].cases() if c.name == "same")
    requests = [harness.Request(0, sample) for sample in harness.sample_inputs(case.graph, 1)]
    monkeypatch.setattr(m55, "_START", m55._START.replace("0x21400000", "0x21400010"))
    program = m55.build_program([case.graph], "zig", tmp_path)
    with pytest.raises(AssertionError, match="status 9"):
        m55.run_program(program, [case.graph], requests)
