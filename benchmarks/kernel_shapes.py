"""120 layer shapes of public networks, and one-operator graphs of them.

Each row names the network that has the layer. Channels, kernels and strides are the network's;
where its images would take too long to simulate, height and width are smaller, and the row says
``of HxW`` after the network's name. Batches are 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from cycle_layers import Layers, Shape

from edgebuild.graph import DType, Graph, Tensor
from edgebuild.ops.cases import constant

RELU_SCALE, PLAIN_SCALE = 6 / 255, 12 / 255
"""Scales of outputs in 0 to 6, and of outputs around zero."""

WEIGHT_DEVIATION, INPUT_DEVIATION, INPUT_SCALE = 42.0, 74.0, 0.1
"""Standard deviations of the integers, and the scale that ``Layers`` gives all inputs."""


class TrainedLayers(Layers):
    """Layers whose weights are distributed as training leaves them, so that outputs fill int8.

    Fully connected layers have one scale for all weights, as the published models do.
    """

    def _weights(
        self, shape: Shape, channels: int, axis: int, bias: bool, alike: bool = False
    ) -> list[Tensor | None]:
        depth = math.prod(shape) // channels
        product = INPUT_SCALE * WEIGHT_DEVIATION * INPUT_DEVIATION * depth**0.5
        count = 1 if alike or len(shape) == 2 else channels
        scales = self._rng.uniform(0.7, 1.4, count) * 3 / product
        data = self._rng.normal(0, WEIGHT_DEVIATION, shape).round().clip(-127, 127)
        values = self._rng.integers(-2000, 2000, channels)
        return [
            constant(data, scales.tolist(), axis=axis),
            constant(values, (scales * INPUT_SCALE).tolist(), dtype=DType.INT32),
        ]


@dataclass(frozen=True)
class LayerShape:
    """A layer; ``inputs`` are height, width and channels, or those and the second operand's.

    ``outputs`` are the output channels of a convolution, the units of a dense layer, the multiplier
    of a depthwise convolution; 0 elsewhere.
    """

    network: str
    kind: str
    inputs: tuple[tuple[int, ...], ...]
    kernel: tuple[int, int] = (1, 1)
    outputs: int = 0
    stride: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    act: str = "RELU6"
    dilation: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        """The shape in one line, the same for no two of them."""
        parts = [self.kind, " * ".join("x".join(map(str, sides)) for sides in self.inputs)]
        if self.kind.endswith("2D"):
            parts.append(f"{self.kernel[0]}x{self.kernel[1]}")
            parts += [f"/{self.stride[0]}x{self.stride[1]}"] if self.stride != (1, 1) else []
            parts += [f"dilated {self.dilation[0]}"] if self.dilation != (1, 1) else []
            parts += ["valid"] if self.padding == "VALID" and self.kernel != (1, 1) else []
        if self.outputs:
            parts.append(f"{'times' if self.kind.startswith('DEPTH') else '->'} {self.outputs}")
        return " ".join([*parts, *([self.act] if self.act != "NONE" else [])])

    def graph(self, seed: int = 0) -> Graph:
        """Return the layer as a graph, with random weights."""
        make = TrainedLayers(seed)
        shapes = [(1, *sides) for sides in self.inputs]
        act: dict[str, Any] = {"act": self.act}
        if self.kind in ("ADD", "MUL"):
            stage: dict[str, Any] = {"scale": 0.25 if self.kind == "ADD" else 2.0}
            stage["zero_point"] = 4 if self.act == "NONE" else -128
            return make.binary(self.kind, shapes[0], shapes[1], **act, **stage)
        if self.kind.endswith("POOL_2D"):
            return make.pool(self.kind, shapes[0], self.kernel, self.stride, self.padding)
        plain = self.act == "NONE"
        stage = {**act, "scale": PLAIN_SCALE if plain else RELU_SCALE}
        stage["zero_point"] = 5 if plain else -128
        if self.kind == "FULLY_CONNECTED":
            return make.dense(shapes[0], self.outputs, **stage)
        window: dict[str, Any] = {
            "stride": self.stride,
            "dilation": self.dilation,
            "padding": self.padding,
        }
        if self.kind == "CONV_2D":
            return make.conv(shapes[0], self.outputs, self.kernel, **window, **stage)
        return make.depthwise(shapes[0], self.kernel, multiplier=self.outputs, **window, **stage)


Pair = tuple[int, int]
Image = tuple[int, int, int]


def conv(
    network: str, x: Image, kernel: Pair, channels: int, stride: Pair = (1, 1), **other: Any
) -> LayerShape:
    """Return a convolution."""
    return LayerShape(network, "CONV_2D", (x,), kernel, channels, stride, **other)


def pointwise(network: str, x: Image, channels: int, **other: Any) -> LayerShape:
    """Return a 1x1 convolution."""
    return conv(network, x, (1, 1), channels, **other)


def depthwise(
    network: str,
    x: Image,
    kernel: Pair = (3, 3),
    stride: Pair = (1, 1),
    multiplier: int = 1,
    **other: Any,
) -> LayerShape:
    """Return a depthwise convolution."""
    return LayerShape(network, "DEPTHWISE_CONV_2D", (x,), kernel, multiplier, stride, **other)


def dense(network: str, depth: int, units: int, act: str = "NONE") -> LayerShape:
    """Return a fully connected layer."""
    return LayerShape(network, "FULLY_CONNECTED", ((depth,),), outputs=units, act=act)


def pool(
    network: str,
    kind: str,
    x: Image,
    size: Pair,
    stride: Pair | None = None,
    padding: str = "VALID",
) -> LayerShape:
    """Return a pooling layer; ``kind`` is AVERAGE or MAX."""
    window: dict[str, Any] = {"kernel": size, "stride": stride or size, "padding": padding}
    return LayerShape(network, f"{kind}_POOL_2D", (x,), act="NONE", **window)


def binary(
    network: str, kind: str, a: Image, b: Image | None = None, act: str = "NONE"
) -> LayerShape:
    """Return ADD or MUL; without ``b`` of two operands of one shape."""
    return LayerShape(network, kind, (a, b or a), act=act)


PLAIN: dict[str, Any] = {"act": "NONE"}
RELU: dict[str, Any] = {"act": "RELU"}
VALID: dict[str, Any] = {"act": "RELU", "padding": "VALID"}

FIRST = (
    conv("visual wake words, MLPerf Tiny", (96, 96, 3), (3, 3), 8, (2, 2), **RELU),
    depthwise("person detection", (96, 96, 1), (3, 3), (2, 2), 8),
    conv("ResNet8", (32, 32, 3), (3, 3), 16, **RELU),
    conv("DS-CNN S", (49, 10, 1), (10, 4), 64, (2, 2), **RELU),
    conv("DS-CNN L of 25x10", (25, 10, 1), (10, 4), 276, (2, 1), **RELU),
    conv("YAMNet", (96, 64, 1), (3, 3), 32, (2, 2)),
    conv("MobileNetV2 0.35 of 96x96", (96, 96, 3), (3, 3), 16, (2, 2)),
    conv("EfficientNet-Lite0 of 64x64", (64, 64, 3), (3, 3), 32, (2, 2)),
    conv("BlazeFace of 64x64", (64, 64, 3), (5, 5), 24, (2, 2), **RELU),
    conv("MobileNetV3 small of 48x48", (48, 48, 3), (3, 3), 16, (2, 2), **PLAIN),
    conv("ResNet18 of 32x32", (32, 32, 3), (7, 7), 64, (2, 2), **RELU),
    conv("LeNet-5", (28, 28, 1), (5, 5), 6, **VALID),
    conv("MNIST of Keras' examples", (28, 28, 1), (3, 3), 32, **VALID),
    conv("MTCNN P-Net", (12, 12, 3), (3, 3), 10, **VALID),
    conv("magic wand", (128, 3, 1), (4, 3), 8, **RELU),
    conv("TC-ResNet8", (98, 1, 40), (3, 1), 16, **RELU),
    conv("microWakeWord, streaming", (5, 1, 40), (5, 1), 32, **VALID),
    conv("ECG heartbeats, 1-D", (1, 187, 1), (1, 5), 32, **VALID),
    conv("UCI HAR, 1-D", (1, 128, 9), (1, 3), 64, **VALID),
)

INNER = (
    conv("ResNet8 of 16x16", (16, 16, 16), (3, 3), 16, **RELU),
    conv("ResNet8", (32, 32, 16), (3, 3), 32, (2, 2), **RELU),
    conv("ResNet8 of 8x8", (8, 8, 32), (3, 3), 32, **PLAIN),
    conv("ResNet8", (16, 16, 32), (3, 3), 64, (2, 2), **RELU),
    conv("ResNet8", (8, 8, 64), (3, 3), 64, **PLAIN),
    conv("MobileNet-EdgeTPU of 9x9", (9, 9, 24), (3, 3), 96, **RELU),
    conv("MobileNet-EdgeTPU of 17x17", (17, 17, 16), (3, 3), 128, (2, 2), **RELU),
    conv("MobileNet-EdgeTPU of 5x5", (5, 5, 40), (3, 3), 160, **RELU),
    conv("Tiny YOLOv2 of 8x8", (8, 8, 32), (3, 3), 64, **RELU),
    conv("SqueezeNet", (13, 13, 16), (3, 3), 64, **RELU),
    conv("CMSIS-NN's CIFAR-10 of 8x8", (8, 8, 32), (5, 5), 16, **RELU),
    conv("CMSIS-NN's CIFAR-10", (8, 8, 16), (5, 5), 32, **RELU),
    conv("LeNet-5", (12, 12, 6), (5, 5), 16, **VALID),
    conv("MTCNN P-Net", (5, 5, 10), (3, 3), 16, **VALID),
    conv("MTCNN R-Net", (4, 4, 48), (2, 2), 64, **VALID),
    conv("magic wand", (42, 1, 8), (4, 1), 16, **RELU),
    conv("TC-ResNet8", (98, 1, 16), (9, 1), 24, (2, 1), **RELU),
    conv("TC-ResNet8", (49, 1, 24), (9, 1), 24, **PLAIN),
    conv("TC-ResNet8", (25, 1, 32), (9, 1), 48, (2, 1), **RELU),
    conv("ECG heartbeats, 1-D", (1, 91, 32), (1, 5), 32, **RELU),
    conv("UCI HAR, 1-D", (1, 126, 64), (1, 3), 64, **VALID),
)

POINTWISE = (
    pointwise("visual wake words, MLPerf Tiny", (48, 48, 8), 16, **RELU),
    pointwise("visual wake words, MLPerf Tiny", (24, 24, 16), 32, **RELU),
    pointwise("visual wake words, MLPerf Tiny", (12, 12, 64), 64, **RELU),
    pointwise("visual wake words, MLPerf Tiny", (6, 6, 128), 128, **RELU),
    pointwise("visual wake words, MLPerf Tiny", (3, 3, 128), 256, **RELU),
    pointwise("DS-CNN S", (25, 5, 64), 64, **RELU),
    pointwise("MobileNetV1 0.25", (1, 1, 256), 1001, **PLAIN),
    pointwise("MobileNetV2 of 96x96", (3, 3, 960), 160, **PLAIN),
    pointwise("MobileNetV2 0.35 of 96x96", (3, 3, 112), 1280),
    pointwise("MobileNetV2 of 6x6", (6, 6, 24), 144),
    pointwise("MobileNetV3 small", (14, 14, 40), 120, **PLAIN),
    pointwise("MobileNetV3 small", (1, 1, 240), 64, **RELU),
    pointwise("MobileNetV3 small", (1, 1, 24), 96, **PLAIN),
    pointwise("EfficientNet-Lite0 of 7x7", (7, 7, 112), 192, **PLAIN),
    pointwise("BlazeFace", (16, 16, 42), 48, **PLAIN),
    pointwise("BlazeFace", (32, 32, 28), 32, **PLAIN),
    pointwise("SqueezeNet", (13, 13, 128), 16, **RELU),
    pointwise("MoveNet", (24, 24, 96), 17, **PLAIN),
    pointwise("MoveNet", (24, 24, 96), 1, **PLAIN),
    pointwise("PoseNet", (6, 8, 384), 34, **PLAIN),
    pointwise("Tiny YOLOv2 of 4x4", (4, 4, 512), 125, **PLAIN),
    pointwise("FOMO", (12, 12, 96), 32, **RELU),
    pointwise("MTCNN P-Net", (10, 10, 32), 2, **PLAIN),
    pointwise("microWakeWord, streaming", (1, 1, 64), 64, **RELU),
    conv("ResNet8", (16, 16, 32), (1, 1), 64, (2, 2), **PLAIN),
)

DEPTHWISE = (
    depthwise("visual wake words, MLPerf Tiny", (48, 48, 8), **RELU),
    depthwise("visual wake words, MLPerf Tiny", (48, 48, 16), (3, 3), (2, 2), **RELU),
    depthwise("visual wake words, MLPerf Tiny", (12, 12, 64), **RELU),
    depthwise("visual wake words, MLPerf Tiny", (6, 6, 128), (3, 3), (2, 2), **RELU),
    depthwise("visual wake words, MLPerf Tiny", (3, 3, 256), **RELU),
    depthwise("DS-CNN S", (25, 5, 64), **RELU),
    depthwise("DS-CNN L", (25, 5, 276), **RELU),
    depthwise("YAMNet", (3, 2, 1024)),
    depthwise("MobileNetV2 of 12x12", (12, 12, 144)),
    depthwise("DeepLab V3 of 9x9", (9, 9, 480), (5, 5), dilation=(2, 2)),
    depthwise("DeepLab V3 of 9x9", (9, 9, 960), dilation=(2, 2)),
    depthwise("MobileNetV3 small", (28, 28, 88), **RELU),
    depthwise("MobileNetV3 small of 14x14", (14, 14, 96), (5, 5), (2, 2), **PLAIN),
    depthwise("MobileNetV3 small", (14, 14, 120), (5, 5), **PLAIN),
    depthwise("MobileNetV3 small", (7, 7, 576), (5, 5), **PLAIN),
    depthwise("EfficientNet-Lite0 of 14x14", (14, 14, 240), (5, 5)),
    depthwise("EfficientNet-Lite0", (7, 7, 1152)),
    depthwise("BlazeFace", (32, 32, 28), **PLAIN),
    depthwise("BlazeFace", (16, 16, 42), **PLAIN),
    depthwise("BlazeFace of 16x16", (16, 16, 36), (3, 3), (2, 2), **PLAIN),
    depthwise("MCUNet's search space of 10x10", (10, 10, 96), (7, 7)),
    depthwise("MCUNet's search space of 20x20", (20, 20, 48), (7, 7), (2, 2)),
    depthwise("MCUNet's search space of 10x10", (10, 10, 80), (5, 5)),
    depthwise("MixNet of 14x14", (14, 14, 40), (9, 9), (2, 2), **PLAIN),
    depthwise("Gabor filters of 32x32", (32, 32, 1), (7, 7), multiplier=8, **RELU),
    depthwise("micro speech", (49, 40, 1), (10, 8), (2, 2), 8, **RELU),
    depthwise("microWakeWord, streaming", (5, 1, 32), (5, 1), **VALID),
    depthwise("microWakeWord, streaming", (11, 1, 32), (11, 1), **VALID),
    depthwise("microWakeWord, streaming", (23, 1, 64), (23, 1), **VALID),
    depthwise("microWakeWord", (64, 1, 32), (9, 1), **VALID),
)

DENSE = (
    dense("anomaly detection, MLPerf Tiny", 640, 128, "RELU"),
    dense("anomaly detection, MLPerf Tiny", 128, 8, "RELU"),
    dense("anomaly detection, MLPerf Tiny", 8, 128, "RELU"),
    dense("anomaly detection, MLPerf Tiny", 128, 640),
    dense("DS-CNN S", 64, 12),
    dense("micro speech", 4000, 4),
    dense("LeNet-5", 256, 120, "RELU"),
    dense("LeNet-5", 84, 10),
    dense("magic wand", 224, 16, "RELU"),
    dense("hello world", 16, 16, "RELU"),
)

POOLS = (
    pool("DS-CNN S", "AVERAGE", (25, 5, 64), (25, 5)),
    pool("ResNet8", "AVERAGE", (8, 8, 64), (8, 8)),
    pool("Gabor filters of 32x32", "AVERAGE", (32, 32, 8), (16, 16), (4, 4)),
    pool("LeNet-5", "MAX", (24, 24, 6), (2, 2)),
    pool("CMSIS-NN's CIFAR-10", "MAX", (32, 32, 32), (3, 3), (2, 2), "SAME"),
    pool("magic wand", "MAX", (128, 3, 8), (3, 3)),
    pool("ECG heartbeats, 1-D", "MAX", (1, 183, 32), (1, 5), (1, 2)),
)

BINARY = (
    binary("ResNet8", "ADD", (32, 32, 16), act="RELU"),
    binary("MoveNet", "ADD", (12, 12, 64)),
    binary("TC-ResNet8", "ADD", (49, 1, 24), act="RELU"),
    binary("BlazeFace", "ADD", (16, 16, 42), act="RELU"),
    binary("MobileNetV3 small: squeeze and excite", "MUL", (14, 14, 240), (1, 1, 240)),
    binary("MobileNetV3 small: squeeze and excite", "MUL", (7, 7, 576), (1, 1, 576)),
    binary("MobileNetV3 small: hard swish", "MUL", (14, 14, 120)),
    binary("looming", "MUL", (64, 64, 1)),
)

SHAPES: tuple[LayerShape, ...] = (
    *FIRST,
    *INNER,
    *POINTWISE,
    *DEPTHWISE,
    *DENSE,
    *POOLS,
    *BINARY,
)


def sample(graph: Graph, seed: int) -> list[bytes]:
    """Return random int8 inputs of ``graph``."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(0, 256, tensor.nbytes, dtype=np.uint8).tobytes()
        for tensor in graph.input_tensors
    ]
