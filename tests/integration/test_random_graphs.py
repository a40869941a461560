"""Random graphs of many operators: the memory plan and in-place work, held to TFLite Micro.

A buffer that is given away too early, or overwritten by a kernel that works in place, shows as
a different output byte; single operators cannot show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import edgebuild
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.tflite.writer import write_tflite

IMAGE, MATRIX, WIDE = (1, 4, 4, 4), (4, 16), (1, 4, 4, 8)
FUSED = {"fused_activation_function": "NONE"}
FIXED = {"LOGISTIC": Quantization((1 / 256,), (-128,)), "TANH": Quantization((1 / 128,), (0,))}
STEPS = 60


class RandomGraph:
    """Grows a graph whose values are all images of one shape; later ones are used more often."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.pool = [self.value() for _ in range(3)]

    def constant(self, values: Any) -> int:
        """Add an int32 constant."""
        array = np.array(values, np.int32)
        index = len(self.tensors)
        self.tensors.append(Tensor(index, f"t{index}", array.shape, DType.INT32, None, array))
        return index

    def value(self, like: int | None = None, shape: Sequence[int] = IMAGE) -> int:
        """Add a tensor, quantized as ``like`` or at random."""
        scale, zero = float(self.rng.uniform(0.02, 0.1)), int(self.rng.integers(-20, 20))
        q = Quantization((scale,), (zero,)) if like is None else self.tensors[like].quantization
        index = len(self.tensors)
        self.tensors.append(Tensor(index, f"t{index}", tuple(shape), DType.INT8, q))
        return index

    def apply(self, kind: str, inputs: Sequence[int], output: int, **attrs: Any) -> int:
        """Add an operator; return ``output``."""
        self.ops.append(Op(kind, tuple(inputs), (output,), attrs))
        return output

    def pick(self) -> int:
        """Return one of the values so far."""
        return self.pool[-1 - min(len(self.pool) - 1, int(self.rng.geometric(0.25)) - 1)]

    def grow(self) -> None:
        """Add one random step."""
        steps = (self.binary, self.unary, self.moved, self.reshaped, self.padded, self.joined)
        self.pool.append(steps[self.rng.integers(len(steps))]())

    def binary(self) -> int:
        """Arithmetic of two values; a maximum needs both in one quantization."""
        x, y = self.pick(), self.pick()
        kind = str(self.rng.choice(["ADD", "SUB", "MUL", "MAXIMUM"]))
        if kind == "MAXIMUM":
            x = self.apply("QUANTIZE", (x,), self.value(y))
            return self.apply(kind, (x, y), self.value(y))
        fused = str(self.rng.choice(["NONE", "RELU"]))
        return self.apply(kind, (x, y), self.value(), fused_activation_function=fused)

    def unary(self) -> int:
        """An activation."""
        x = self.pick()
        kind = str(self.rng.choice(["RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH"]))
        output = self.value(x if kind == "RELU6" else None)
        if kind in FIXED:
            self.tensors[output] = Tensor(output, f"t{output}", IMAGE, DType.INT8, FIXED[kind])
        attrs = {"alpha": 0.1} if kind == "LEAKY_RELU" else {}
        return self.apply(kind, (x,), output, **attrs)

    def moved(self) -> int:
        """A transposition or pooling."""
        x = self.pick()
        if self.rng.random() < 0.5:
            return self.apply("TRANSPOSE", (x, self.constant([0, 2, 1, 3])), self.value(x))
        window = {"filter_height": 2, "filter_width": 2, "stride_h": 1, "stride_w": 1}
        return self.apply("MAX_POOL_2D", (x,), self.value(x), padding="SAME", **window, **FUSED)

    def reshaped(self) -> int:
        """There and back, with or without something between."""
        x = self.pick()
        y = self.apply("RESHAPE", (x, self.constant(MATRIX)), self.value(x, MATRIX))
        if self.rng.random() < 0.5:
            y = self.apply("RELU", (y,), self.value(None, MATRIX))
        return self.apply("RESHAPE", (y, self.constant(IMAGE)), self.value(y))

    def padded(self) -> int:
        """A pad and a slice of it."""
        x = self.pick()
        pads = self.constant([[0, 0], [1, 1], [0, 0], [0, 0]])
        y = self.apply("PAD", (x, pads), self.value(x, (1, 6, 4, 4)))
        begin = self.constant([0, 1, 0, 0])
        return self.apply("SLICE", (y, begin, self.constant(IMAGE)), self.value(x))

    def joined(self) -> int:
        """A concatenation and its two halves."""
        x, y = self.pick(), self.pick()
        y = self.apply("QUANTIZE", (y,), self.value(x))
        both = self.apply("CONCATENATION", (x, y), self.value(x, WIDE), axis=3, **FUSED)
        halves = (self.value(x), self.value(x))
        self.ops.append(Op("SPLIT", (self.constant(3), both), halves, {"num_splits": 2}))
        self.pool.append(halves[0])
        return halves[1]

    def graph(self) -> Graph:
        """Return the graph; outputs are what nothing uses, and some others."""
        used = {i for op in self.ops for i in op.inputs}
        outputs = [i for i in self.pool[3:] if i not in used or self.rng.random() < 0.03]
        tensors = dict(enumerate(self.tensors))
        return Graph("random", tuple(self.pool[:3]), tuple(outputs), tuple(self.ops), tensors)


def random_graph(seed: int) -> Graph:
    """Return the graph of a seed."""
    growing = RandomGraph(seed)
    for _ in range(STEPS):
        growing.grow()
    return growing.graph()


@pytest.mark.parametrize(
    ("seed", "target"),
    [
        *((seed, "host") for seed in range(5)),
        *((seed, "cortex-m4") for seed in range(5, 8)),
        (8, "cortex-m0plus"),
        *(pytest.param(seed, "host", marks=pytest.mark.slow) for seed in range(100, 140)),
    ],
)
def test_a_random_graph(tmp_path, seed, target):
    graph = random_graph(seed)
    (tmp_path / "random.tflite").write_bytes(write_tflite(graph))
    report = edgebuild.build(tmp_path / "random.tflite", target=target, out=tmp_path)
    assert report.comparison.first_divergence == ""
    assert report.passed
    # In-place work and short lives keep the arena far below the sum of all values.
    every = sum(t.nbytes for t in graph.tensors.values() if not t.is_constant)
    memory = report.memory
    assert memory["arena lower bound"].value <= memory["arena"].value < every / 2
