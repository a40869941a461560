"""Random int8 networks as a search or pruning makes them: odd channel counts, all usual layers.

``random_net`` is an image classifier or a dense net; ``odd_net`` has the shapes that are rarer:
depthwise multipliers, N x 1 kernels, odd strides and dilations, every kind of pooling and resizing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops import OPS

VALUES = Quantization((0.05,), (-10,))
Pair = tuple[int, int]
CHANNELS = (3, 5, 8, 11, 13, 16, 18, 24, 27, 31, 32, 40, 45)


class RandomNet:
    """Grows a network layer by layer; every value has the same quantization."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []

    def value(self, shape: tuple[int, ...], quantization: Quantization = VALUES) -> int:
        """Add an activation."""
        index = len(self.tensors)
        self.tensors.append(Tensor(index, f"t{index}", shape, DType.INT8, quantization))
        return index

    def constant(self, data: np.ndarray, quantization: Quantization | None = None) -> int:
        """Add a constant."""
        index = len(self.tensors)
        dtype = DType(data.dtype.name)
        self.tensors.append(Tensor(index, f"t{index}", data.shape, dtype, quantization, data))
        return index

    def shape(self, value: int) -> tuple[int, ...]:
        """Return a value's shape."""
        return self.tensors[value].shape

    def add(self, kind: str, inputs: tuple[int, ...], **attrs: object) -> int:
        """Add an operator; its output's shape follows."""
        output = self.value(())
        self.ops.append(Op(kind, inputs, (output,), attrs))
        tensors = dict(enumerate(self.tensors))
        node = Graph("", (), (), (self.ops[-1],), tensors).node(0)
        self.tensors[output] = Tensor(
            output, f"t{output}", OPS[kind].output_shapes(node)[0], DType.INT8, VALUES
        )
        return output

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[int, int]:
        """Return random weights that keep the values' spread, and biases."""
        count = shape[axis]
        depth = int(np.prod(shape)) // count
        scales = self.rng.uniform(0.7, 1.4, count) / (74 * depth**0.5)
        data = np.clip(self.rng.normal(0, 50, shape).round(), -127, 127).astype(np.int8)
        zeros = (0,) * count
        biases = self.rng.integers(-500, 500, count).astype(np.int32)
        return (
            self.constant(data, Quantization(tuple(scales.tolist()), zeros, axis)),
            self.constant(biases, Quantization(tuple((scales * 0.05).tolist()), zeros)),
        )

    def conv(
        self, x: int, out_c: int, kernel: Pair, stride: int | Pair, act: str, **window: Any
    ) -> int:
        """Add CONV_2D."""
        w = self.weights((out_c, *kernel, self.shape(x)[3]), 0)
        return self.add("CONV_2D", (x, *w), **_window(stride, act, **window))

    def depthwise(
        self,
        x: int,
        kernel: Pair,
        stride: int | Pair,
        act: str,
        multiplier: int = 1,
        **window: Any,
    ) -> int:
        """Add DEPTHWISE_CONV_2D."""
        w = self.weights((1, *kernel, self.shape(x)[3] * multiplier), 3)
        window = _window(stride, act, **window) | {"depth_multiplier": multiplier}
        return self.add("DEPTHWISE_CONV_2D", (x, *w), **window)

    def pool(self, x: int, size: Pair, stride: int | Pair, padding: str = "SAME") -> int:
        """Add one of the two poolings."""
        kind = str(self.pick("MAX_POOL_2D", "AVERAGE_POOL_2D"))
        filters = {"filter_height": size[0], "filter_width": size[1]}
        return self.add(kind, (x,), **_window(stride, "NONE", padding), **filters)

    def dense(self, x: int, units: int, act: str = "NONE") -> int:
        """Add FULLY_CONNECTED."""
        w = self.weights((units, int(np.prod(self.shape(x)))), 0)
        options = {"keep_num_dims": False, "weights_format": "DEFAULT"}
        return self.add("FULLY_CONNECTED", (x, *w), fused_activation_function=act, **options)

    def pick(self, *choices: object) -> object:
        """Return one of the choices."""
        return choices[self.rng.integers(len(choices))]

    def block(self, x: int) -> int:
        """Add a plain, separable, residual, inverted, pooled or branched block."""
        side = min(self.shape(x)[1:3])
        stride = 2 if side > 6 and self.rng.random() < 0.4 else 1
        out_c = int(self.pick(*CHANNELS))
        act = str(self.pick("RELU", "RELU6", "NONE"))
        kernel = self.pick((3, 3), (3, 3), (5, 5), (1, 3))
        kind = self.rng.integers(6)
        if kind == 0:
            return self.conv(x, out_c, kernel, stride, act)
        if kind == 1:
            return self.conv(self.depthwise(x, kernel, stride, act), out_c, (1, 1), 1, act)
        if kind == 2:
            y = self.conv(self.conv(x, out_c, (3, 3), 1, act), self.shape(x)[3], (3, 3), 1, "NONE")
            return self.add("ADD", (x, y), fused_activation_function="RELU")
        if kind == 3:
            y = self.conv(x, 2 * self.shape(x)[3], (1, 1), 1, act)
            y = self.depthwise(y, (3, 3), 1, act)
            y = self.conv(y, self.shape(x)[3], (1, 1), 1, "NONE")
            return self.add("ADD", (x, y), fused_activation_function="NONE")
        if kind == 4 and side > 3:
            return self.pool(x, (2, 2), 2)
        branches = (self.conv(x, out_c, (1, 1), 1, act), self.conv(x, 5, (3, 3), 1, act))
        return self.add("CONCATENATION", branches, axis=3, fused_activation_function="NONE")

    def odd_block(self, x: int) -> int:
        """Add a layer of a rarer shape."""
        height, width, channels = self.shape(x)[1:]
        kernel = self.pick((5, 1), (1, 5), (7, 1), (2, 1), (3, 2), (9, 1), (1, 11), (4, 4), (6, 3))
        kernel = (min(kernel[0], height), min(kernel[1], width))
        stride = self.pick((1, 1), (1, 1), (2, 1), (1, 2), (3, 2), (3, 3))
        act = str(self.pick("RELU", "RELU6", "NONE"))
        dilation = self.pick((1, 1), (1, 1), (2, 1), (1, 3), (3, 3)) if stride == (1, 1) else (1, 1)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = "SAME"
        if reach[0] <= height and reach[1] <= width:
            padding = str(self.pick("SAME", "SAME", "VALID"))
        window = {"dilation": dilation, "padding": padding}
        kind = self.rng.integers(7)
        if kind in (0, 1):
            multiplier = int(self.pick(1, 2, 3, 4, 8))
            if channels * multiplier > 96:
                multiplier = 1
            return self.depthwise(x, kernel, stride, act, multiplier, **window)
        if kind in (2, 3):
            return self.conv(x, int(self.pick(*CHANNELS)), kernel, stride, act, **window)
        if kind == 4:
            return self.pool(x, kernel, self.pick(kernel, (1, 1), (2, 2), stride), padding)
        if kind == 5:
            return self.add(str(self.pick("RELU", "LEAKY_RELU", "TANH")), (x,), alpha=0.1)
        factor = self.constant(
            self.rng.integers(-90, 90, (1, 1, 1, channels)).astype(np.int8), VALUES
        )
        return self.add("MUL", (x, factor), fused_activation_function="NONE")

    def classified(self, x: int, inputs: int) -> Graph:
        """Return the graph, ended by a dense layer and a softmax."""
        x = self.dense(x, int(self.rng.integers(2, 20)))
        y = self.value(self.shape(x), Quantization((1 / 256,), (-128,)))
        self.ops.append(Op("SOFTMAX", (x,), (y,), {"beta": 1.0}))
        return self.graph(inputs)

    def graph(self, inputs: int) -> Graph:
        """Return the graph; the last value is its output."""
        tensors = dict(enumerate(self.tensors))
        return Graph("net", (inputs,), (self.ops[-1].outputs[0],), tuple(self.ops), tensors)


def random_net(seed: int) -> Graph:
    """Return the network of a seed: an image classifier, every fifth time a dense net."""
    net = RandomNet(seed)
    if seed % 5 == 4:
        x = inputs = net.value((1, int(net.rng.integers(20, 700))))
        for _ in range(int(net.rng.integers(2, 5))):
            x = net.dense(x, int(net.rng.integers(9, 200)), "RELU")
    else:
        side, channels = int(net.rng.integers(12, 33)), int(net.pick(1, 3))
        x = inputs = net.value((1, side, side + int(net.rng.integers(5)), channels))
        x = net.conv(x, int(net.pick(*CHANNELS)), (3, 3), int(net.pick(1, 2)), "RELU")
        for _ in range(int(net.rng.integers(2, 6))):
            x = net.block(x)
        axes = net.constant(np.array([1, 2], np.int32))
        x = net.add("MEAN", (x, axes), keep_dims=False)
    return net.classified(x, inputs)


def odd_net(seed: int) -> Graph:
    """Return the network of a seed: layers of rarer shapes, pooled and classified."""
    net = RandomNet(seed)
    side, channels = int(net.rng.integers(10, 29)), int(net.pick(1, 2, 3, 6))
    x = inputs = net.value((1, side, int(net.rng.integers(3, 29)), channels))
    x = net.conv(x, int(net.pick(4, 6, 8, 12)), (3, 3), int(net.pick(1, 2)), "RELU")
    for _ in range(int(net.rng.integers(3, 8))):
        x = net.odd_block(x)
    return net.classified(net.pool(x, net.shape(x)[1:3], 1, "VALID"), inputs)


def _window(
    stride: int | Pair, act: str, padding: str = "SAME", dilation: Pair = (1, 1)
) -> dict[str, object]:
    height, width = (stride, stride) if isinstance(stride, int) else stride
    return {
        "padding": padding,
        "stride_h": height,
        "stride_w": width,
        "dilation_h_factor": dilation[0],
        "dilation_w_factor": dilation[1],
        "fused_activation_function": act,
    }
