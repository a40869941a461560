"""The NEON kernels: packed weights, which kernel runs, and random layers on three CPUs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from edgebuild.graph import Graph
from edgebuild.ops import OPS, neon, winograd
from edgebuild.ops import convolution as conv
from edgebuild.ops.base import Window
from edgebuild.ops.support import interpret
from edgebuild.targets import CpuFeatures
from tests.kernels import harness
from tests.kernels.test_cases import NEON_CPUS

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


def test_transformed_weights_give_the_convolution():
    """One tile in NumPy, with the transforms of Lavin and Gray's F(2x2, 3x3)."""
    rng = np.random.default_rng(4)
    weights = rng.integers(-128, 128, (17, 3, 3, 8)).astype(np.int8)
    image = rng.integers(-128, 128, (4, 4, 8)).astype(np.int8)
    blocks = winograd.transform(weights)
    assert blocks.shape == (2, 16, 8, 16) and blocks.dtype == np.int16
    points = blocks.transpose(0, 3, 1, 2).reshape(32, 4, 4, 8).astype(int)
    assert not points[17:].any()
    b = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    a = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    products = points * np.einsum("iy,yxc,jx->ijc", b, image.astype(int), b)
    sums = np.einsum("yi,oijc,xj->oyx", a, products, a)
    for y, x in np.ndindex(2, 2):
        direct = (weights.astype(int) * image[y : y + 3, x : x + 3]).sum(axis=(1, 2, 3))
        np.testing.assert_array_equal(sums[:17, y, x], 4 * direct)


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


def test_winograd_needs_its_weights_in_the_cache():
    window = Window(3, 3, 1, 1, 1, 1, 32, 32, 1, 1)
    for out_c, expected in ((64, True), (80, False)):
        c = conv.Channels(*(np.ones(out_c, np.int32) for _ in range(3)))
        weights = np.ones((out_c, 9 * 128), np.int8)
        matrix = neon.Matrix(weights, c, 1, (1, 32, 32, 128), 128, window)
        assert winograd.pays(matrix) == expected


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
        channels, out_c = 8 * int(rng.integers(1, 5)), int(rng.integers(8, 33))
        image = (pick(1, 1, 2), int(rng.integers(3, 10)), int(rng.integers(6, 26)))
        tiled = {"kernel": (3, 3), "stride": (1, 1), "padding": pick("SAME", "VALID")}
        return layers.conv((*image, channels), out_c, **tiled, **shared)
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
    requests = [
        harness.Request(n, sample)
        for n, graph in enumerate(graphs)
        for sample in harness.sample_inputs(graph, 4, seed)
    ]
    expected = []
    for request in requests:
        graph = graphs[request.number]
        values = interpret(graph, request.inputs)
        expected.append([values[i] for i in graph.outputs])
    for cpu in NEON_CPUS:
        answers = harness.run_program(program, graphs, requests, ["qemu-aarch64", "-cpu", cpu])
        for request, want, have in zip(requests, expected, answers, strict=True):
            node = graphs[request.number].node(0)
            where = f"{node.kind} {[t.shape for t in node.inputs if t]} {node.attrs} on {cpu}"
            np.testing.assert_array_equal(want[0].reshape(have[0].shape), have[0], err_msg=where)
