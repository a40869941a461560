"""FULLY_CONNECTED: int8 matrix product with every input of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import convolution as conv
from edgebuild.ops import mve, neon
from edgebuild.ops.base import MANY, Case, Constraint, KernelCall, Operator, Shape, Window
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.conv2d import portable_call
from edgebuild.ops.fully_connected_dsp import dsp_constants
from edgebuild.targets import CpuFeatures

_MAX_BIAS_DIFFERENCE = 0.02
"""Of the scales of bias and products, in steps of the output."""


class FullyConnected(Operator):
    """Weights are [units, depth]; the input's elements are batches of ``depth``."""

    kind = "FULLY_CONNECTED"
    most_operands = MANY
    constraints = (
        *conv.weight_constraints(rank=2, axis=0),
        Constraint(
            "the input's elements are a multiple of the weights' depth",
            lambda n: n.input(0).elements % n.input(1).shape[1] == 0,
        ),
        Constraint(
            "weights are in the default format",
            lambda n: n.attrs["weights_format"] == "DEFAULT",
        ),
        Constraint(
            "with keep_num_dims the input's last dimension is the depth",
            lambda n: not n.attrs["keep_num_dims"] or n.input(0).shape[-1:] == n.input(1).shape[1:],
        ),
        Constraint(
            "no input can overflow a 32-bit accumulator",
            lambda n: conv.accumulators_fit(n, _weights(n)),
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return [batches, units], or the input's leading dimensions with ``keep_num_dims``."""
        units = node.input(1).shape[0]
        if node.attrs["keep_num_dims"]:
            return ((*node.input(0).shape[:-1], units),)
        return ((_batches(node), units),)

    def effective_scales(self, node: Node) -> Iterable[float]:
        """Return one for each unit, or one."""
        return conv.effective_scales(node, single_precision_product=True).tolist()

    def contradictions(self, node: Node) -> Iterable[str]:
        """Yield a bias whose scale is not that of the products (GetQuantizedConvolutionMultipler
        in TFLite's kernel_util.cc); it is asked for weights with one scale only."""
        bias, weights = node.optional_input(2), node.input(1)
        if bias is None or weights.quantization is None or weights.quantization.per_channel:
            return
        product = float(np.float32(node.input(0).scale) * np.float32(weights.scale))
        own = float(np.float32(bias.scale)) if bias.quantization is not None else 0.0
        if abs(product - own) / float(np.float32(node.output.scale)) > _MAX_BIAS_DIFFERENCE:
            yield (
                f"the bias has scale {own:.6g}, but input scale times weight scale is {product:.6g}"
            )

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Compute by an integer matrix product."""
        x = inputs[0]
        assert x is not None
        weights = _weights(node)
        c = conv.channels(node, weights, single_precision_product=True)
        rows = x.reshape(_batches(node), -1).astype(np.float64)
        # float64 is exact here (|sum| < 2**53).
        acc = (rows @ weights.T.astype(np.float64)).astype(np.int64) + c.bias
        return (conv.requantize(node, acc.astype(np.int32), c).reshape(node.output.shape),)

    def macs(self, node: Node) -> int:
        """Return batches times units times depth."""
        return _batches(node) * math.prod(node.input(1).shape)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the kernel of the core's extension that takes the layer, else the portable one."""
        weights = _weights(node)
        c = conv.channels(node, weights, single_precision_product=True)
        if cpu.neon:
            return neon.conv2d_call(node, neon.pixels(weights, c, 1, _batches(node)))
        if cpu.mve and mve.fits(c):
            return mve.fully_connected_call(node, weights, c, _batches(node))
        units, depth = weights.shape
        dsp = dsp_constants(node, weights, c) if cpu.dsp else None
        name = "fully_connected_s8" if dsp is None else "fully_connected_s8_dsp"
        return KernelCall(
            f"eb_{name}",
            "fully_connected/fully_connected.h",
            (f"fully_connected/{name}.c",),
            "eb_fully_connected_params",
            {
                "batches": _batches(node),
                "depth": depth,
                "units": units,
                "clamp": conv.clamps(node),
                **(_portable_constants(weights, c) if dsp is None else dsp),
                "output": conv.output_stage(node),
            },
        )

    def candidates(self, node: Node, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
        """Return the usual kernel, the portable one, and the convolution that other layers may run
        too: of one pixel a batch."""
        found = super().candidates(node, cpu)
        weights, batches = _weights(node), _batches(node)
        if cpu.mve or cpu.neon or max(batches, *weights.shape) > conv.MAX_HALFWORD:
            return found
        c = conv.channels(node, weights, single_precision_product=True)
        pixel = Window(1, 1, 1, 1, 1, 1, out_h=1, out_w=1, pad_top=0, pad_left=0)
        image = (batches, 1, 1, weights.shape[1])
        return (*found, portable_call(node, weights, c, 1, pixel, image, None))

    def cases(self) -> Iterable[Case]:
        """Yield sizes around the kernels' blocks, batches, activations, multipliers."""
        yield _case("even", (1, 16), 8)
        yield _case("odd_units", (1, 12), 5)
        yield _case("odd_depth", (1, 13), 4)
        yield _case("depth_1", (1, 1), 3)
        yield _case("one_unit", (1, 7), 1)
        yield _case("batch_3", (3, 10), 6)
        yield _case("image_input", (1, 2, 2, 3), 4, depth=12)
        yield _case("keep_num_dims", (1, 3, 2, 6), 5, keep=True)
        yield _case("no_bias", (1, 9), 4, bias=False)
        yield _case("per_channel", (1, 20), 7, per_channel=True)
        yield _case("relu", (1, 16), 6, act="RELU", out_zp=-128)
        yield _case("relu6", (1, 16), 6, act="RELU6", out_zp=-20)
        yield _case("left_shift", (1, 16), 6, out_scale=0.0003)
        yield _case("tiny_multiplier", (1, 16), 6, out_scale=5e6)
        yield _case("zero_point_low", (1, 16), 6, in_zp=-128)
        yield _case("zero_point_high", (1, 16), 6, in_zp=127)
        yield _case("relu6_batches", (3, 17), 5, act="RELU6", out_zp=-20)
        yield _case("deep", (1, 640), 9, out_scale=4.0)
        yield _case("deeper", (1, 1100), 7, low=100, out_scale=40.0)
        yield _case("deepest_sums", (2, 2064), 4, low=-127, high=-126, in_zp=0, out_scale=99.0)
        yield _case("deep_single", (1, 1040), 1, low=125, out_zp=-128, out_scale=99.0)
        yield _case("deep_pair", (3, 1055), 2, low=125, out_scale=99.0)
        yield _case("nine_batches", (9, 24), 17, out_scale=2.0)
        yield _case("lowest_weights", (2, 33), 9, low=-128, high=-126, out_scale=3.0)
        # Groups of eight, four and two units, one scale and many, one rounding and two.
        yield _case("relu_fifteen", (1, 7), 15, act="RELU", out_zp=-128)
        yield _case("relu_each", (2, 21), 15, act="RELU", out_zp=-128, per_channel=True)
        yield _case("relu_eleven", (1, 36), 11, act="RELU", out_zp=-128, out_scale=0.5)
        yield _case("each_fifteen", (2, 18), 15, per_channel=True, out_scale=2.0)
        yield _case("fifteen", (1, 40), 15, out_scale=2.0)
        yield _case("relu_deep", (1, 2500), 9, low=-127, high=-100, out_zp=-128, out_scale=99.0)
        for seed in range(6):  # rounding of the multiplier's single-precision product
            yield _case(f"scales_{seed}", (1, 64), 6, seed=seed, out_scale=0.37 + 0.11 * seed)


def _weights(node: Node) -> np.ndarray:
    data = node.input(1).data
    assert data is not None
    return data


def _portable_constants(weights: np.ndarray, c: conv.Channels) -> dict[str, Any]:
    """Return the parameters of the constants of ``fully_connected_s8.c``."""
    table = conv.word_channels(c, weights)
    scales = table[:, 1:]
    shared = bool((scales == scales[0]).all())
    return {
        "weights": conv.pack_words(weights, 4),
        "channels": np.concatenate([table[:, 0], scales[: 1 if shared else None].ravel()]),
        "scale_step": 0 if shared else scales.shape[1],
    }


def _batches(node: Node) -> int:
    return node.input(0).elements // node.input(1).shape[1]


def _case(
    name: str,
    x: Shape,
    units: int,
    *,
    depth: int | None = None,
    keep: bool = False,
    bias: bool = True,
    per_channel: bool = False,
    act: str = "NONE",
    in_zp: int = 3,
    out_zp: int = -9,
    out_scale: float = 0.6,
    seed: int = 0,
    low: int = -127,
    high: int = 128,
) -> Case:
    rng = np.random.default_rng(seed + len(name))
    depth = depth or x[-1]
    scales = 0.003 * rng.uniform(0.5, 2.0, units if per_channel else 1)
    batches = math.prod(x) // depth
    shape = (*x[:-1], units) if keep else (batches, units)
    biases = constant(rng.integers(-3000, 3000, units), (scales * 0.2).tolist(), dtype=DType.INT32)
    return one_op(
        name,
        "FULLY_CONNECTED",
        [
            activation(x, 0.2, in_zp),
            constant(rng.integers(low, high, (units, depth)), scales.tolist()),
            biases if bias else None,
        ],
        [activation(shape, out_scale, out_zp)],
        {
            "fused_activation_function": act,
            "keep_num_dims": keep,
            "weights_format": "DEFAULT",
            "asymmetric_quantize_inputs": False,
        },
    )
