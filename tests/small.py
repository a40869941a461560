"""A small int8 model of several layers, made without TensorFlow."""

from __future__ import annotations

import numpy as np

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.tflite.writer import write_tflite


def small_graph(
    name: str = "small", *, side: int = 8, channels: int = 8, classes: int = 10, seed: int = 0
) -> Graph:
    """Return conv 3x3, depthwise 3x3, reshape, fully connected, softmax on a grey image."""
    rng = np.random.default_rng(seed)
    act = Quantization((0.05,), (-10,))
    per_channel = [Quantization((0.02,) * channels, (0,) * channels, axis) for axis in (0, 3)]

    def weights(index: int, label: str, shape: tuple[int, ...], q: Quantization) -> Tensor:
        data = rng.integers(-127, 128, shape, dtype=np.int8)
        return Tensor(index, label, shape, DType.INT8, q, data)

    def bias(index: int, label: str, count: int, scale: float) -> Tensor:
        data = rng.integers(-500, 500, (count,), dtype=np.int32)
        scales, zeros = ((scale,) * count, (0,) * count) if count == channels else ((scale,), (0,))
        return Tensor(index, label, (count,), DType.INT32, Quantization(scales, zeros), data)

    shape = (1, side, side, channels)
    flat = side * side * channels
    tensors = [
        Tensor(0, "image", (1, side, side, 1), DType.INT8, Quantization((1 / 255,), (-128,))),
        weights(1, "conv/w", (channels, 3, 3, 1), per_channel[0]),
        bias(2, "conv/b", channels, 0.02 / 255),
        Tensor(3, "conv", shape, DType.INT8, act),
        weights(4, "dw/w", (1, 3, 3, channels), per_channel[1]),
        bias(5, "dw/b", channels, 0.001),
        Tensor(6, "dw", shape, DType.INT8, act),
        Tensor(7, "shape", (2,), DType.INT32, None, np.array([1, flat], np.int32)),
        Tensor(8, "flat", (1, flat), DType.INT8, act),
        weights(9, "fc/w", (classes, flat), Quantization((0.01,), (0,))),
        bias(10, "fc/b", classes, 0.0005),
        Tensor(11, "logits", (1, classes), DType.INT8, Quantization((0.1,), (0,))),
        Tensor(12, "scores", (1, classes), DType.INT8, Quantization((1 / 256,), (-128,))),
    ]
    same = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
    ops = (
        Op("CONV_2D", (0, 1, 2), (3,), {**same, "fused_activation_function": "RELU"}),
        Op("DEPTHWISE_CONV_2D", (3, 4, 5), (6,), {**same, "depth_multiplier": 1}),
        Op("RESHAPE", (6, 7), (8,)),
        Op("FULLY_CONNECTED", (8, 9, 10), (11,)),
        Op("SOFTMAX", (11,), (12,), {"beta": 1.0}),
    )
    return Graph(name, (0,), (12,), ops, {t.index: t for t in tensors})


def large_graph(side: int = 320, channels: int = 6, pool: int = 8, classes: int = 24) -> Graph:
    """Return conv 3x3, pool, reshape, fully connected: 614 KB of activations, 230 KB of weights."""
    rng = np.random.default_rng(0)
    act, image = Quantization((0.05,), (-10,)), Quantization((1 / 255,), (-128,))
    flat = (side // pool) ** 2 * channels
    per_channel = [Quantization((s,) * channels, (0,) * channels) for s in (0.02, 0.02 / 255)]

    def constant(index: int, label: str, data: np.ndarray, q: Quantization | None) -> Tensor:
        return Tensor(index, label, data.shape, DType(data.dtype.name), q, data)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape, dtype=np.int8)

    tensors = [
        Tensor(0, "image", (1, side, side, 1), DType.INT8, image),
        constant(1, "conv/w", weights(channels, 3, 3, 1), per_channel[0]),
        constant(2, "conv/b", np.zeros(channels, np.int32), per_channel[1]),
        Tensor(3, "conv", (1, side, side, channels), DType.INT8, act),
        Tensor(4, "pool", (1, side // pool, side // pool, channels), DType.INT8, act),
        constant(5, "shape", np.array([1, flat], np.int32), None),
        Tensor(6, "flat", (1, flat), DType.INT8, act),
        constant(7, "fc/w", weights(classes, flat), Quantization((0.01,), (0,))),
        constant(8, "fc/b", np.zeros(classes, np.int32), Quantization((0.0005,), (0,))),
        Tensor(9, "logits", (1, classes), DType.INT8, Quantization((0.5,), (0,))),
    ]
    window = {"padding": "VALID", "stride_h": pool, "stride_w": pool}
    window |= {"filter_height": pool, "filter_width": pool}
    same = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "fused_activation_function": "RELU"}
    ops = (
        Op("CONV_2D", (0, 1, 2), (3,), same),
        Op("MAX_POOL_2D", (3,), (4,), window),
        Op("RESHAPE", (4, 5), (6,)),
        Op("FULLY_CONNECTED", (6, 7, 8), (9,)),
    )
    return Graph("large", (0,), (9,), ops, {t.index: t for t in tensors})


def small_model(name: str = "small", **options: int) -> bytes:
    """Return ``small_graph`` as a ``.tflite``."""
    return write_tflite(small_graph(name, **options))
