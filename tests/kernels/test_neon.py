"""The NEON kernels: packed weights, which kernel runs, and random layers on three CPUs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgebuild.graph import Graph
from edgebuild.ops import OPS, neon, winograd_neon
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import Window
from edgebuild.ops.support import interpret
from edgebuild.ops.winograd import FOUR
from edgebuild.targets import CpuFeatures
from tests.kernels import harness
from tests.kernels.test_cases import NEON_CPUS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from arm64 import matrix_of

NEON = CpuFeatures(neon=True)
LAYERS = 40


def call_of(kind, name):
    case = next(c for c in OPS[kind].cases() if c.name == name)
    return OPS[kind].kernel(case.graph.node(0), NEON)


def test_packed_weights_are_eight_bytes_of_each_channel_in_turn():
    rng = np.random.default_rng(3)
    weights = rng.integers(-128, 128, (2 * 11, 3 * 12)).astype(np.int8)
    packed = neon.pack_blocks(weights, runs=3, groups=2).reshape(2, 2, 3, 2, 8, 8)
    whole = np.zeros((2, 16, 3, 16), np.int8)
    whole[:, :11, :, :12] = weights.reshape(2, 11, 3, 12)
    for group, block, run, part, channel in np.ndindex(2, 2, 3, 2, 8):
        expected = whole[group, 8 * block + channel, run, 8 * part : 8 * part + 8]
        np.testing.assert_array_equal(packed[group, block, run, part, channel], expected)


def test_channels_come_by_eight():
    c = conv.Channels(
        np.arange(10, dtype=np.int32),
        np.array([5, 0, 7, 8, 9, 5, 6, 7, 8, 9], np.int32) << 27,
        np.array([-3, 0, -1, -31, -2, -3, -3, -3, -3, -3], np.int32),
    )
    table = neon.channel_blocks(c, groups=2)
    assert table.shape == (2, 4, 8) and table.dtype == np.int32
    assert table[1, 0].tolist() == [5, 6, 7, 8, 9, 0, 0, 0]
    assert table[0, 3].tolist()[:5] == [-3, -1, -1, -31, -2]
    assert neon.channel_blocks(c, multiple=16).shape == (2, 4, 8)
    assert neon.is_plain(c)  # a multiplier of zero does not count
    unshifted = conv.Channels(c.bias, c.multiplier, np.where(c.shift == -1, 0, c.shift))
    assert not neon.is_plain(unshifted)
    assert not neon.is_plain(conv.Channels(c.bias, c.multiplier, c.shift + 2))


@pytest.mark.parametrize(
    ("name", "direct", "gather", "runs"),
    [
        ("pointwise", True, False, 1),
        ("pointwise_odd", False, False, 1),
        ("row_of_13", True, False, 3),
        ("same_3x3", False, False, 3),
        ("dilated_blocks", True, False, 9),
        ("groups_of_blocks", False, False, 9),
        ("gathered", False, True, 1),
        ("rows_in_place", True, False, 3),
    ],
)
def test_how_a_convolution_reads_its_input(name, direct, gather, runs):
    params = call_of("CONV_2D", name).params
    assert (params["rows"]["direct"], params["gather"]) == (direct, gather)
    assert params["product"]["runs"] == runs


def test_scratch_memory():
    # One pointer, and nothing is copied.
    assert call_of("CONV_2D", "pointwise").scratch_bytes == 16 + 4
    # The same rows in place, or with one row of padding.
    assert call_of("CONV_2D", "rows_in_place").scratch_bytes == 32 + 3 * 4
    assert call_of("CONV_2D", "rows_in_place_padded").scratch_bytes == 32 + 3 * 4 + 9 * 8 + 16
    # Three pointers, three rows of 7 columns.
    assert call_of("CONV_2D", "same_3x3").scratch_bytes == 32 + 3 * 4 + 3 * (7 * 4 + 16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiles", True),
        ("tiles_left_over", True),
        ("row_of_13", False),  # too many tiles would be empty
        ("groups_of_blocks", False),
        ("dilated_blocks", False),
        ("rows_in_place", False),  # not 3x3, not stride 1
    ],
)
def test_where_winograd_pays(name, expected):
    assert call_of("CONV_2D", name).function.endswith("_winograd_neon") == expected


def test_points_of_the_weights_are_16_channels_of_each_input_channel_in_turn():
    rng = np.random.default_rng(4)
    weights = rng.integers(-128, 128, (17, 9, 11)).astype(np.int8)
    packed = winograd_neon.pack(weights)
    assert packed.dtype == np.int16
    wide = packed[: 36 * 16 * 16].reshape(36, 16, 16)  # [points, depth, channels]
    last = packed[36 * 16 * 16 :].reshape(36, 16, 8)
    for point in (0, 7, 29):
        expected = np.einsum("t,otc->co", FOUR.transform[point], weights.astype(int))
        np.testing.assert_array_equal(wide[point, :11], expected[:, :16])
        np.testing.assert_array_equal(last[point, :11, 0], expected[:, 16])
    assert not wide[:, 11:].any() and not last[:, 11:].any() and not last[..., 1:].any()


def layer_of_ones(in_c, out_c, side=32):
    window = Window(3, 3, 1, 1, 1, 1, side, side, 1, 1)
    c = conv.Channels(*(np.ones(out_c, np.int32) for _ in range(3)))
    weights = np.ones((out_c, 9 * in_c), np.int8)
    return neon.Matrix(weights, c, 1, (1, side, side, in_c), in_c, window)


@pytest.mark.parametrize(("out_c", "expected"), [(112, True), (128, False)])
def test_winograds_weights_are_limited(out_c, expected):
    assert winograd_neon.pays(layer_of_ones(128, out_c)) == expected


@pytest.mark.parametrize(("side", "expected"), [(2, False), (4, True), (5, False), (6, True)])
def test_few_tiles_do_not_pay(side, expected):
    assert winograd_neon.pays(layer_of_ones(32, 32, side)) == expected


def test_winograd_needs_room_for_64_times_the_sum():
    m = layer_of_ones(232, 16)
    assert winograd_neon.takes(m)
    m.weights[3] = -126
    assert not winograd_neon.takes(m)
    m.weights[3] = 125
    assert winograd_neon.takes(m)


@pytest.mark.parametrize("points_bytes", [1, winograd_neon.POINTS_BYTES])
def test_every_layer_that_winograd_takes(layers, points_bytes, tmp_path, monkeypatch):
    """Whether it pays or not; the weights read for each four tiles, or for many."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 on this machine (Debian: qemu-user)")
    monkeypatch.setattr(winograd_neon, "POINTS_BYTES", points_bytes)
    rng, make = np.random.default_rng(8), layers(8)
    graphs = [tiled_layer(rng, make) for _ in range(LAYERS)]
    graphs += [make.conv((1, 24, 20, 64), 16), make.conv((2, 17, 5, 40), 20)]  # blocks of tiles
    calls = [winograd_neon.winograd_call(g.node(0), matrix_of(g)) for g in graphs]
    assert all(winograd_neon.takes(matrix_of(g)) for g in graphs)
    program = harness.build_program(
        graphs, NEON, harness.ARM64_ZIG, tmp_path, lambda g, _: [calls[graphs.index(g)]]
    )
    compare(graphs, program, NEON_CPUS[0], 5, 8)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("CONV_2D", "lowest_weights", True),
        ("CONV_2D", "wide_sums", True),
        ("CONV_2D", "left_shift", True),
        ("FULLY_CONNECTED", "left_shift", True),
        ("DEPTHWISE_CONV_2D", "left_shift", True),
        ("DEPTHWISE_CONV_2D", "multiplier_2", False),
        ("AVERAGE_POOL_2D", "window_256", True),
        ("AVERAGE_POOL_2D", "window_272", False),
        ("MAX_POOL_2D", "window_272", True),
        ("SUB", "four", True),
    ],
)
def test_which_kernel_runs(kind, name, expected):
    assert call_of(kind, name).function.endswith("_neon") == expected


def tiled_layer(rng, layers) -> Graph:
    """Return a layer of random shape that Winograd's kernel takes."""
    batches, eights, out_c = (int(rng.integers(*ends)) for ends in ((1, 3), (1, 5), (1, 40)))
    channels = 8 * eights - int(rng.choice([0, 0, rng.integers(8)]))
    sides = map(int, rng.integers(3, 20, 2))
    act, zero_point = [("RELU", -128), ("NONE", 7), ("RELU6", -100)][rng.integers(3)]
    return layers.conv(
        (batches, *sides, channels),
        out_c,
        padding=str(rng.choice(["SAME", "VALID"])),
        act=act,
        zero_point=zero_point,
        scale=float(rng.choice([0.02, 0.1, 0.5, 0.0008])),
    )


def random_layer(rng, layers) -> Graph:
    """Return a layer of random shape, about half of them convolutions."""

    def pick(*values):
        return values[int(rng.integers(len(values)))]

    act, zero_point = pick(("RELU", -128), ("NONE", 7), ("RELU6", -100))
    scale = pick(0.02, 0.1, 0.5, 0.0008)
    image = (pick(1, 1, 2), int(rng.integers(1, 9)), int(rng.integers(1, 20)))
    window = {
        "kernel": (int(rng.integers(1, 5)), int(rng.integers(1, 5))),
        "stride": (pick(1, 1, 2, 3), pick(1, 1, 2, 3)),
        "dilation": (pick(1, 1, 2), pick(1, 1, 2)),
        "padding": "SAME",
    }
    shared = {"act": act, "zero_point": zero_point, "scale": scale}
    channels = int(rng.integers(1, 41))
    kind = pick("conv", "conv", "conv", "depthwise", "depthwise", "dense", "pool", "binary")
    if kind == "conv" and pick(0, 0, 1):
        return tiled_layer(rng, layers)
    if kind == "conv":
        groups = pick(1, 1, 1, 2)
        out_c = int(rng.integers(1, 30)) * groups
        return layers.conv((*image, channels * groups), out_c, groups=groups, **window, **shared)
    if kind == "depthwise":
        return layers.depthwise((*image, channels), **window, **shared)
    if kind == "dense":
        return layers.dense((image[2], channels), int(rng.integers(1, 30)), **shared)
    if kind == "pool":
        size = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        return layers.pool(
            pick("MAX_POOL_2D", "AVERAGE_POOL_2D"), (*image, channels), size, padding="SAME"
        )
    shape = (*image, channels)
    other = pick(shape, (channels,), (image[0], 1, image[2], 1), (1,))
    return layers.binary(pick("ADD", "SUB", "MUL", "MAXIMUM"), shape, other)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_random_layers(layers, seed, tmp_path):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 on this machine (Debian: qemu-user)")
    rng = np.random.default_rng(seed)
    graphs = [random_layer(rng, layers(seed)) for _ in range(LAYERS)]
    program = harness.build_program(graphs, NEON, harness.ARM64_ZIG, tmp_path)
    for cpu in NEON_CPUS:
        compare(graphs, program, cpu, 4, seed)


def compare(graphs, program, cpu, samples, seed):
    """Run the program on ``cpu`` and compare all outputs with the reference."""
    requests = [
        harness.Request(n, sample)
        for n, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, samples, seed)
    ]
    answers = harness.run_program(program, graphs, requests, ["qemu-aarch64", "-cpu", cpu])
    for request, have in zip(requests, answers, strict=True):
        graph = graphs[request.number]
        want = interpret(graph, request.inputs)[graph.outputs[0]]
        node = graph.node(0)
        where = f"{node.kind} {[t.shape for t in node.inputs if t]} {node.attrs} on {cpu}"
        np.testing.assert_array_equal(want.reshape(have[0].shape), have[0], err_msg=where)
