"""Random int8 networks as a search or pruning makes them: odd channel counts, all usual layers."""

from __future__ import annotations

import numpy as np

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops import OPS

VALUES = Quantization((0.05,), (-10,))
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

    def conv(self, x: int, out_c: int, kernel: tuple[int, int], stride: int, act: str) -> int:
        """Add CONV_2D."""
        w = self.weights((out_c, *kernel, self.shape(x)[3]), 0)
        return self.add("CONV_2D", (x, *w), **_window(stride, act))

    def depthwise(self, x: int, kernel: tuple[int, int], stride: int, act: str) -> int:
        """Add DEPTHWISE_CONV_2D."""
        w = self.weights((1, *kernel, self.shape(x)[3]), 3)
        return self.add("DEPTHWISE_CONV_2D", (x, *w), **_window(stride, act), depth_multiplier=1)

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
            pool = str(self.pick("MAX_POOL_2D", "AVERAGE_POOL_2D"))
            size = {"filter_height": 2, "filter_width": 2}
            return self.add(pool, (x,), **_window(2, "NONE"), **size)
        branches = (self.conv(x, out_c, (1, 1), 1, act), self.conv(x, 5, (3, 3), 1, act))
        return self.add("CONCATENATION", branches, axis=3, fused_activation_function="NONE")

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
    x = net.dense(x, int(net.rng.integers(2, 20)))
    y = net.value(net.shape(x), Quantization((1 / 256,), (-128,)))
    net.ops.append(Op("SOFTMAX", (x,), (y,), {"beta": 1.0}))
    return net.graph(inputs)


def _window(stride: int, act: str) -> dict[str, object]:
    return {
        "padding": "SAME",
        "stride_h": stride,
        "stride_w": stride,
        "dilation_h_factor": 1,
        "dilation_w_factor": 1,
        "fused_activation_function": act,
    }
