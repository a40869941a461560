"""Fit the weights of the cycle prediction to the simulator; writes edgebuild/cycles/data/*.json.

For each core and kernel 60 to 240 layers of random shapes are compiled and simulated; non-negative
least squares of the relative error gives the cycles of each part. Deterministic. Needs SciPy.

    python benchmarks/fit_cycles.py [--cores cortex-m4,...] [--kernels conv2d_s8,...] [--verbose]
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cycle_layers import CORES, Layers, Shape, layer_traces, roomy, side_by_side
from scipy.optimize import nnls

from edgebuild.codegen.sources import kernel_sha256, paths_of
from edgebuild.cycles.code import MOVED, PARAMETERS, CodePiece, Stretch
from edgebuild.cycles.kernels import VIEW, WORK, kernel_name
from edgebuild.cycles.weights import DATA, SCHEMA
from edgebuild.cycles.work import loop_rounds
from edgebuild.devices.simulator.cycles import TIMINGS
from edgebuild.devices.simulator.device import LayerTrace
from edgebuild.graph import DType, Graph
from edgebuild.ops import OPS, KernelCall
from edgebuild.ops.band_rows import sums_rows
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import find_toolchain

LAYERS = 60
"""Layers for each kernel; those with more kinds of borders get two to six times as many."""

SMALL_CYCLES = 2000
"""Below this, a layer is its call."""


APART = 2048
"""Bytes between two pieces of code that are taken to lie apart."""


class Random:
    """Shapes at random, and the layers that have them."""

    def __init__(self, seed: int, reach: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.make = Layers(seed)
        self.reach = reach

    def up_to(self, most: int, least: int = 1) -> int:
        """Return a length, up to ``reach`` times ``most``; small ones, where remainders weigh
        most, are likelier."""
        return int(np.exp(self.rng.uniform(np.log(least), np.log(self.reach * most + 1))))

    def one(self, *choices: object) -> object:
        """Return one of the choices."""
        return choices[self.rng.integers(len(choices))]

    def image(self, side: int, channels: int) -> tuple[int, int, int, int]:
        """Return an NHWC shape."""
        batches = 2 if self.rng.random() < 0.1 else 1
        return batches, self.up_to(side), self.up_to(side), self.up_to(channels)

    def act(self) -> dict[str, object]:
        """Return a fused activation: mostly one that saturation does for free, and none, so that a
        clamp is not all that tells zero points apart."""
        draw = self.rng.random()
        if draw < 0.3:
            return {"act": "RELU6", "zero_point": -20}
        if draw < 0.5:
            return {"act": "NONE", "zero_point": 5}
        return {"act": "RELU", "zero_point": -128}

    def conv(self, scale: float = 0.1) -> Graph:
        """A convolution of any kind; every third is of 1x1."""
        if self.rng.random() < 0.35:
            x = self.image(8, 60)
            return self.make.conv(x, self.up_to(40), (1, 1), scale=scale, **self.act())
        channels = self.up_to(40)
        groups = int(self.one(channels, 2)) if self.rng.random() < 0.15 else 1
        channels += channels % groups
        x, kernel, window = self.window(channels)
        count = groups * self.up_to(3) if groups > 1 else self.up_to(20)
        return self.make.conv(x, count, kernel, scale=scale, groups=groups, **window, **self.act())

    def pointwise(self, narrow: bool = False) -> Graph:
        """A convolution as the DSP kernel of 1x1 takes it; ``narrow``: to one or two channels."""
        stride = (1, 1) if self.rng.random() < 0.7 else (self.up_to(2), self.up_to(3))
        x = (*self.image(8, 1)[:3], self.up_to(100, 4) if narrow else 4 * self.up_to(24))
        return self.make.conv(
            x, self.up_to(2 if narrow else 40), (1, 1), stride=stride, **self.act()
        )

    def few(self) -> Graph:
        """A convolution over few channels, as a model's first layer."""
        channels = self.up_to(4)
        x, kernel, window = self.window(channels)
        batches = 2 if self.rng.random() < 0.1 else 1
        x = (batches, x[1] + self.up_to(80), x[2] + self.up_to(20), channels)
        act = {"act": str(self.one("RELU", "RELU", "RELU6")), "zero_point": -128}
        return self.make.conv(x, self.up_to(40), kernel, **window, **act)

    def window(self, channels: int) -> tuple[Shape, Shape, dict[str, object]]:
        """Return image, kernel, and stride, dilation and padding; all sides are drawn alone."""
        usual = self.rng.random() < 0.4
        kernel = (3, 3) if usual else self.sides(20)
        stride = (1, 1) if self.rng.random() < 0.5 else (self.up_to(3), self.up_to(3))
        dilation = (self.up_to(3), self.up_to(3)) if self.rng.random() < 0.15 else (1, 1)
        padding = self.one("SAME", "SAME", "VALID")
        x = (1, self.up_to(12, 2), self.up_to(12, 2), channels)
        if padding == "VALID":
            extent = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
            x = (1, x[1] + extent[0], x[2] + extent[1], channels)
        return x, kernel, {"stride": stride, "dilation": dilation, "padding": padding}

    def sides(self, most: int) -> tuple[int, int]:
        """Return height and width of a kernel; one in three is a row or a column."""
        line = self.rng.random()
        height = 1 if line < 1 / 6 else self.up_to(most)
        return height, 1 if line > 5 / 6 else self.up_to(most)

    def conv_3x3(self, stride: Shape) -> Graph:
        """A convolution of 3x3, as Winograd's kernels take it."""
        batches = 2 if self.rng.random() < 0.15 else 1
        channels = 4 * self.up_to(16) if self.rng.random() < 0.7 else self.up_to(40)
        x = (batches, self.up_to(20, 3), self.up_to(24, 3), channels)
        count = 4 * self.up_to(6) if self.rng.random() < 0.6 else self.up_to(16)
        padding = self.one("SAME", "SAME", "VALID")
        return self.make.conv(x, count, (3, 3), stride=stride, padding=padding, **self.act())

    def depthwise_3x3(self) -> Graph:
        """A depthwise convolution as the DSP kernel of 3x3 takes it."""
        batches = 2 if self.rng.random() < 0.15 else 1
        x = (batches, self.up_to(14, 3), self.up_to(14, 3), self.up_to(32, 4))
        stride = self.one((1, 1), (1, 1), (2, 2))
        padding = self.one("SAME", "SAME", "VALID")
        return self.make.depthwise(x, (3, 3), stride=stride, padding=padding, **self.act())

    def depthwise(self, scale: float = 0.1, fours: bool = False) -> Graph:
        """A depthwise convolution; ``fours``: as DSP kernels take it, four channels or more."""
        channels = self.up_to(80, 4) if fours else self.up_to(30)
        multiplier = 1 if fours or self.rng.random() < 0.5 else self.up_to(12, 2)
        x, kernel, window = self.window(channels if multiplier == 1 else -(-channels // 3))
        return self.make.depthwise(
            x, kernel, multiplier=multiplier, scale=scale, **window, **self.act()
        )

    def dense(self, scale: float = 0.6) -> Graph:
        """A fully connected layer, every other one with one scale for all units."""
        alike = bool(self.rng.random() < 0.5)
        batches = 1 if self.rng.random() < 0.8 else self.up_to(4)
        depth = 16 * self.up_to(40) if self.rng.random() < 0.4 else self.up_to(600)
        if self.rng.random() < 0.1:
            depth = self.up_to(3000, 1000)
        return self.make.dense(
            (batches, depth), self.up_to(60), scale=scale, alike=alike, **self.act()
        )

    def pool(self, kind: str, fours: bool = False) -> Graph:
        """Pooling, global every third time; ``fours``: as the DSP kernels take it."""
        whole = self.rng.random() < 0.3
        x = self.image(15 if whole and fours else 30 if whole else 14, 8 if whole else 16)
        x = (*x[:3], self.up_to(64, 4) if fours else x[3])
        if whole:
            return self.make.pool(kind, x, x[1:3])
        size = (2, 2) if self.rng.random() < 0.25 else self.sides(16)
        size = (min(size[0], x[1]), min(size[1], x[2]))
        stride = self.one(size, (1, 1), (2, 2), (self.up_to(3), self.up_to(3)))
        return self.make.pool(kind, x, size, stride, self.one("SAME", "VALID"))

    def whole(self, kind: str) -> Graph:
        """The mean of an image."""
        x = (1, *self.image(8, 200)[1:])
        if kind == "MEAN":
            return self.make.reduce(kind, x, (1, 2))
        return self.make.pool(kind, x, x[1:3])

    def difference(self) -> Graph:
        """SUB, with the larger scale on either side, clamped now and then."""
        scales = self.one((0.1, 0.2), (0.2, 0.1))
        return self.binary("SUB", scales=scales, act=str(self.one("NONE", "NONE", "RELU6")))

    def beyond(self, limit: float, usual: float = 0.1) -> float:
        """Return an output scale on either side of the DSP kernels' limits: portable kernels take
        other paths there."""
        return self.one(limit, usual)

    def binary(self, kind: str, **options: Any) -> Graph:
        """Two operands, one of which may be broadcast."""
        a = (self.up_to(3), self.up_to(8), self.up_to(8), self.up_to(20))
        b = tuple(1 if self.rng.random() < 0.25 else n for n in a)
        return self.make.binary(kind, a, a if self.rng.random() < 0.5 else b, **options)

    def softmax(self) -> Graph:
        """Rows of one to some hundred values."""
        rows = 1 if self.rng.random() < 0.5 else self.up_to(10)
        return self.make.softmax((rows, self.up_to(200, 2)), float(self.one(0.05, 0.1, 0.2, 0.4)))

    def dtype(self) -> DType:
        """Bytes every other time."""
        return self.one(DType.INT8, DType.INT8, DType.INT8, DType.FLOAT32, DType.INT16)

    def pad(self) -> Graph:
        """A frame; mostly of an image's height and width."""
        x = self.image(10, 20)
        sides = [(0, 0), self.frame(), self.frame(), (0, 0)]
        if self.rng.random() < 0.3:
            sides[3] = self.frame(9)
        dtype = self.dtype()
        if dtype != DType.INT8 and self.rng.random() < 0.4:
            return self.make.framed(x, sides, dtype)
        return self.make.moved("PAD", x, sides, dtype=dtype)

    def frame(self, most: int = 3) -> tuple[int, int]:
        """Return what lies before and behind."""
        return int(self.rng.integers(most + 1)), int(self.rng.integers(1, most + 1))

    def joined(self) -> Graph:
        """A concatenation along the last or another axis."""
        shape = list(self.image(8, 30))
        axis = int(self.one(3, 3, 3, 1))
        shapes = []
        for _ in range(int(self.rng.integers(2, 5))):
            shape[axis] = self.up_to(30 if axis == 3 else 5)
            shapes.append(tuple(shape))
        return self.make.joined(shapes, axis, self.dtype())

    def split(self) -> Graph:
        """A split along the last or another axis."""
        parts, axis = int(self.rng.integers(2, 5)), int(self.one(3, 3, 3, 1))
        shape = list(self.image(8, 16))
        shape[axis] *= parts
        return self.make.moved("SPLIT", shape, axis, num_splits=parts, dtype=self.dtype())

    def walked(self) -> Graph:
        """A transposition or a slice."""
        x = tuple(self.up_to(n) for n in (3, 10, 10, 20))
        dtype = self.dtype()
        if self.rng.random() < 0.5:
            return self.make.moved("TRANSPOSE", x, self.rng.permutation(4).tolist(), dtype=dtype)
        begin = [int(self.rng.integers(n)) for n in x]
        size = [int(self.rng.integers(1, n - b + 1)) for n, b in zip(x, begin, strict=True)]
        return self.make.moved("SLICE", x, begin, size, dtype=dtype)

    def reduced(self) -> Graph:
        """Mostly a global mean."""
        if self.rng.random() < 0.5:
            return self.make.reduce("MEAN", self.image(20, 30), (1, 2))
        x = tuple(self.up_to(n) for n in (3, 4, 8, 8, 12))
        axes = self.one((4,), (3,), (1,), (0, 2, 4), (1, 3), (0, 3), (2, 4), (1, 2), (0, 1, 2, 3))
        return self.make.reduce("MEAN", x, axes)

    def resized(self, kind: str) -> Graph:
        """An image of another size."""
        attrs = {"align_corners": False, "half_pixel_centers": bool(self.rng.integers(2))}
        size = [self.up_to(16), self.up_to(16)]
        dtype = DType.INT8 if kind == "RESIZE_BILINEAR" else self.dtype()
        return self.make.moved(kind, self.image(8, 64), size, dtype=dtype, **attrs)

    def largest(self) -> Graph:
        """ARG_MAX."""
        x = (self.up_to(4), self.up_to(20), self.up_to(20))
        return self.make.moved("ARG_MAX", x, int(self.one(1, 2)), dtype=DType.INT8)

    def shape(self) -> tuple[int, ...]:
        """Return the shape of a vector."""
        return (1, self.up_to(500))


BEYOND_DSP = 0.0002
"""An output scale so small that the portable kernel is taken on every core."""

BEYOND_DSP_SUM = 5e-7
"""The same for a sum of scales 0.1 and 0.2, which it saturates."""

BEYOND_DSP_PRODUCT = 1e-3
"""The same for a product of scales 0.1 and 0.2."""

SWEEPS: Mapping[str, tuple[int, Callable[[Random], Graph]]] = {
    "add_s8": (1, lambda r: r.binary("ADD", scale=r.beyond(BEYOND_DSP_SUM))),
    "add_s8_dsp": (1, lambda r: r.binary("ADD", act=str(r.one("NONE", "NONE", "RELU6")))),
    "sub_s8_dsp": (2, lambda r: r.difference()),
    "arg_max_s8": (1, lambda r: r.largest()),
    "average_pool2d_rows_s8": (4, lambda r: r.whole("AVERAGE_POOL_2D")),
    "average_pool2d_s8": (4, lambda r: r.pool("AVERAGE_POOL_2D")),
    "average_pool2d_s8_dsp": (4, lambda r: r.pool("AVERAGE_POOL_2D", fours=True)),
    "concatenation": (2, lambda r: r.joined()),
    "conv2d_1x1_narrow_s8_dsp": (1, lambda r: r.pointwise(narrow=True)),
    "conv2d_1x1_s8_dsp": (2, lambda r: r.pointwise()),
    "conv2d_rows_s8_dsp": (4, lambda r: r.few()),
    "conv2d_s8": (4, lambda r: r.conv(r.beyond(BEYOND_DSP))),
    "conv2d_s8_dsp": (4, lambda r: r.conv()),
    "conv2d_s8_winograd_dsp": (4, lambda r: r.conv_3x3((1, 1))),
    "conv2d_s8_winograd_narrow_dsp": (4, lambda r: r.conv_3x3((1, 1))),
    "conv2d_s8_winograd_stride2_dsp": (4, lambda r: r.conv_3x3((2, 2))),
    "copy": (1, lambda r: r.make.reshaped((n := r.up_to(600), 1), (1, n))),
    "depthwise_conv2d_3x3_s8_dsp": (4, lambda r: r.depthwise_3x3()),
    "depthwise_conv2d_s8": (6, lambda r: r.depthwise(r.beyond(BEYOND_DSP))),
    "depthwise_conv2d_s8_dsp": (4, lambda r: r.depthwise(fours=True)),
    "dequantize_s8_f32": (1, lambda r: r.make.cast(DType.INT8, r.shape(), DType.FLOAT32)),
    "dequantize_u8_f32": (1, lambda r: r.make.cast(DType.UINT8, r.shape(), DType.FLOAT32)),
    "fully_connected_s8": (1, lambda r: r.dense(r.beyond(BEYOND_DSP, 0.6))),
    "fully_connected_s8_dsp": (2, lambda r: r.dense()),
    "lookup_8": (1, lambda r: r.make.unary("LOGISTIC", r.shape())),
    "max_pool2d_s8": (4, lambda r: r.pool("MAX_POOL_2D")),
    "max_pool2d_s8_dsp": (4, lambda r: r.pool("MAX_POOL_2D", fours=True)),
    "maximum_s8": (1, lambda r: r.binary("MAXIMUM")),
    "minimum_s8": (1, lambda r: r.binary("MINIMUM")),
    "mul_s8": (1, lambda r: r.binary("MUL", scale=r.beyond(BEYOND_DSP_PRODUCT))),
    "mul_s8_dsp": (1, lambda r: r.binary("MUL", act=str(r.one("NONE", "NONE", "RELU6")))),
    "pad": (2, lambda r: r.pad()),
    "quantize_f32_s8": (1, lambda r: r.make.cast(DType.FLOAT32, r.shape(), DType.INT8)),
    "reduce_rows_s8": (4, lambda r: r.whole("MEAN")),
    "reduce_sum_s8": (2, lambda r: r.reduced()),
    "reduce_sum_s8_dsp": (2, lambda r: r.reduced()),
    "resize_bilinear_s8": (1, lambda r: r.resized("RESIZE_BILINEAR")),
    "resize_nearest": (2, lambda r: r.resized("RESIZE_NEAREST_NEIGHBOR")),
    "softmax_s8": (1, lambda r: r.softmax()),
    "split": (2, lambda r: r.split()),
    "strided_copy": (2, lambda r: r.walked()),
}


@dataclass(frozen=True)
class Fit:
    """What is known of a kernel, and the relative errors over the layers it was fitted to; the
    worst is that of layers that take ``SMALL_CYCLES`` or more.

    ``cycles`` of each part; ``share``: the largest share of a layer's cycles that the part took;
    ``loops``: the most rounds of four that an entry of each loop ran, on average over a layer;
    ``pieces``: its code; ``moved``: for each of ``MOVED``, and for ``PARAMETERS``, how much of it
    each part moves; ``sources``: the kernel's files.
    """

    cycles: Mapping[str, float]
    share: Mapping[str, float]
    loops: Mapping[str, float]
    pieces: Sequence[CodePiece]
    moved: Mapping[str, Mapping[str, float]]
    layers: int
    mean_error: float
    worst_error: float
    sources: Sequence[str]

    def to_json(self) -> dict[str, object]:
        """Return the fit as plain JSON values."""
        return {
            "layers": self.layers,
            "sources": list(self.sources),
            "sha256": kernel_sha256(self.sources),
            "mean_error": round(self.mean_error, 5),
            "worst_error": round(self.worst_error, 5),
            "cycles": {name: round(value, 4) for name, value in sorted(self.cycles.items())},
            "share": {name: round(value, 3) for name, value in sorted(self.share.items())},
            "loops": {name: round(value, 3) for name, value in sorted(self.loops.items())},
            "pieces": [
                [[*map(_rounded, place), part] for *place, part in piece] for piece in self.pieces
            ],
            "moved": {
                what: {name: round(value, 4) for name, value in sorted(weights.items())}
                for what, weights in self.moved.items()
            },
        }


def _rounded(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def sweep(name: str, target: TargetProfile) -> list[Graph]:
    """Return the layers to simulate for one kernel; none where the core has no such kernel."""
    layers = SWEEPS[name][0] * LAYERS
    return layers_of(name, target, Random(sum(name.encode())), layers)


def layers_of(name: str, target: TargetProfile, shapes: Random, count: int) -> list[Graph]:
    """Return up to ``count`` layers that ``target`` runs with one kernel."""
    found: list[Graph] = []
    for _ in range(4 * count):
        graph = SWEEPS[name][1](shapes)
        if kernel_call(graph, target, name) is not None and len(found) < count:
            found.append(graph)
    return found


def kernel_call(graph: Graph, target: TargetProfile, name: str) -> KernelCall | None:
    """Return how ``target`` runs a graph of one operator with one kernel; None where it cannot. Of
    the ways that a kernel may have, as with blocks of other sizes, it is any one."""
    node = graph.node(0)
    calls = [*OPS[node.kind].candidates(node, target.cpu.features)]
    if sums_rows(node):  # of images that are all rows of one, the first, or some in between
        _, height, width, _ = node.input(0).shape
        last = width % 2 == 1
        call = OPS[node.kind].row_sums(node, height, last or height % 2 == 1, last)
        calls += [call] if call is not None else []
    ways = [call for call in calls if kernel_name(call) == name]
    return ways[node.output.elements // 7 % len(ways)] if ways else None


def calls_of(graphs: Sequence[Graph], target: TargetProfile, name: str) -> list[KernelCall]:
    """Return the calls of those that can run so."""
    calls = [kernel_call(graph, target, name) for graph in graphs]
    return [call for call in calls if call is not None]


def traces_of(name: str, graphs: list[Graph], target: TargetProfile) -> list[LayerTrace]:
    """Simulate layers that run the kernel ``name``."""
    # The first layer's cycles have the entry of the model's function in them.
    first = Layers().unary("LOGISTIC", (1, 1))
    calls = [*calls_of([first], target, "lookup_8"), *calls_of(graphs, target, name)]
    merged = side_by_side([first, *graphs])
    if name == "copy":
        # As graph outputs these inputs live on, so that the views must copy.
        merged = merged.replace(outputs=(*merged.outputs, *merged.inputs))
    return layer_traces(merged, target, calls=calls)[1:]


def fit(name: str, graphs: list[Graph], target: TargetProfile, verbose: bool = False) -> Fit:
    """Simulate ``graphs`` and fit the cycles of the kernel's parts."""
    traces = traces_of(name, graphs, target)
    cycles = np.array([trace.cycles for trace in traces], float)
    calls = calls_of(graphs, target, name)
    works = [WORK[name](call.params) for call in calls]
    counts = [work.counts for work in works]
    parts, matrix = _counted(counts)
    solution = weights_of(matrix, cycles)
    ratios = matrix @ solution / cycles
    errors = np.abs(ratios - 1)
    if verbose:
        for i in np.argsort(-errors)[:8]:
            params = {k: v for k, v in calls[i].params.items() if np.size(v) < 2}
            print(f"   {ratios[i]:.3f} of {cycles[i]:,.0f} {params}")
    shares = (matrix * solution / cycles[:, None]).max(axis=0)
    moved = {}
    for what in MOVED:
        amounts = np.array([getattr(trace.code, what) for trace in traces])
        moved[what] = _named(parts, weights_of(matrix, amounts))
    loads = np.array([trace.parameters for trace in traces], float)
    moved[PARAMETERS] = _named(parts, weights_of(matrix, loads))
    return Fit(
        _named(parts, solution),
        dict(zip(parts, shares.tolist(), strict=True)),
        _longest(counts),
        code_pieces(traces, *_counted([work.runs for work in works])),
        moved,
        len(graphs),
        float(errors.mean()),
        float(errors[cycles >= SMALL_CYCLES].max(initial=0.0)),
        sorted({path for call in calls for path in paths_of(call)}),
    )


def _counted(counts: Sequence[Mapping[str, float]]) -> tuple[list[str], np.ndarray]:
    """Return the parts, and how often they run, [layers, parts]."""
    parts = sorted({part for row in counts for part in row})
    return parts, np.array([[row.get(part, 0.0) for part in parts] for row in counts])


def _longest(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return ``Fit.loops``."""
    found: dict[str, float] = {}
    for row in counts:
        for loop, rounds in loop_rounds(row).items():
            found[loop] = max(found.get(loop, 0.0), rounds)
    return found


def weights_of(matrix: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Return what one execution of each part adds to ``amounts``, by least squares of the relative
    error; ``matrix`` are counts, [layers, parts]."""
    there = amounts > 0
    if not there.any():
        return np.zeros(matrix.shape[1])
    relative = matrix[there] / amounts[there, None]
    scale = np.maximum(relative.max(axis=0), 1e-12)
    solution, _ = nnls(relative / scale, np.ones(len(relative)), maxiter=100 * matrix.shape[1])
    return np.asarray(solution / scale)


def _named(parts: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    found = zip(parts, weights.tolist(), strict=True)
    return {part: weight for part, weight in found if weight > 0}


SELDOM = 1e-3
"""Code that runs less often in an execution of its part is not worth a figure."""

ALIKE = 0.02
"""By what share two stretches of a part may run more or less often and be taken for one."""


def code_pieces(
    traces: Sequence[LayerTrace], parts: Sequence[str], counts: np.ndarray
) -> list[CodePiece]:
    """Return ``Fit.pieces``: code belongs to the part whose counts follow its own best.

    ``counts`` are [layers, parts]. What ran in one layer alone is the call of that layer; all of
    these are a piece of the length of one.
    """
    stretches, ran = _stretches(traces)
    alone = (ran > 0).sum(axis=1) == 1
    calls = float(np.diff(stretches[alone]).sum()) / len(traces)
    cycles = np.array([trace.cycles for trace in traces], float)
    relative = counts / cycles[:, None]
    sums = relative.sum(axis=0)
    pieces: list[list[Stretch]] = []
    base = end = -math.inf
    for (start, behind), times in zip(stretches[~alone].tolist(), ran[~alone], strict=True):
        own = times / cycles
        factors = own.sum() / np.maximum(sums, 1e-300)
        off = np.abs(own[:, None] - relative * factors).sum(axis=0)
        best = int(np.argmin(np.where(sums > 0, off, np.inf)))
        if start > end + APART:
            pieces.append([])
            base = start
        if factors[best] > SELDOM:
            _append(pieces[-1], start - base, behind - base, float(factors[best]), parts[best])
        end = behind
    return [*filter(None, pieces), [Stretch(0.0, calls, 1.0, "call")]]


def _append(piece: list[Stretch], start: float, end: float, times: float, part: str) -> None:
    """Append code, to the last stretch where it runs on and is alike."""
    last = piece[-1] if piece else Stretch(0.0, 0.0, 0.0, "")
    known = last.part == part and last.start + last.size == start
    if known and abs(times - last.times) < ALIKE * times:
        start = piece.pop().start
    piece.append(Stretch(start, end - start, times, part))


def _stretches(traces: Sequence[LayerTrace]) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last address [stretches, 2] of code that no block begins or ends within, and
    how often it ran [stretches, layers], as one block may run on into another."""
    blocks = [
        [(one.block.address, one.block.size, one.count) for one in t.code.ran] for t in traces
    ]
    edges = np.unique([edge for ran in blocks for a, size, _ in ran for edge in (a, a + size)])
    change = np.zeros((len(edges), len(traces)))
    for layer, ran in enumerate(blocks):
        for address, size, count in ran:
            change[np.searchsorted(edges, address), layer] += count
            change[np.searchsorted(edges, address + size), layer] -= count
    ran_often = change.cumsum(axis=0)[:-1]
    there = ran_often.any(axis=1)
    return np.stack([edges[:-1], edges[1:]], axis=1)[there], ran_often[there]


def view_cycles(target: TargetProfile) -> Fit:
    """Return what a layer without a kernel takes."""
    graphs = [Layers().unary("LOGISTIC", (1, 1)), Layers().reshaped((4, 8), (8, 4))]
    trace = layer_traces(side_by_side(graphs), target)[1]
    moved = {what: {"call": getattr(trace.code, what)} for what in MOVED}
    moved[PARAMETERS] = {"call": float(trace.parameters)}
    code = [Stretch(0.0, trace.code.size, 1.0, "call")]
    cycles = {"call": float(trace.cycles)}
    return Fit(cycles, {"call": 1.0}, {}, [code], moved, 1, 0.0, 0.0, ())


def _written(value: object) -> str:
    """Return JSON with each stretch of code on a line of its own."""
    text = json.dumps(value, indent=1, sort_keys=True)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def main() -> None:
    """Fit every kernel on every core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default=",".join(CORES))
    parser.add_argument("--kernels", default=",".join(SWEEPS))
    parser.add_argument("--verbose", action="store_true", help="show the layers that fit worst")
    options = parser.parse_args()
    assert set(SWEEPS) == set(WORK)
    for core in options.cores.split(","):
        target = roomy(core)
        path = DATA / f"{core}.json"
        old = json.loads(path.read_text())["kernels"] if path.is_file() else {}
        fits: dict[str, object] = {VIEW: view_cycles(target).to_json()}
        for name in SWEEPS:
            if name not in options.kernels.split(","):
                fits |= {name: old[name]} if name in old else {}
                continue
            graphs = sweep(name, target)
            if not graphs:
                continue
            found = fit(name, graphs, target, options.verbose)
            fits[name] = found.to_json()
            print(
                f"{core:13} {name:24} {len(graphs):4} layers, {len(found.cycles):3} parts, error: "
                f"mean {found.mean_error:6.2%}, worst {found.worst_error:7.2%}",
                flush=True,
            )
        value = {
            "schema": SCHEMA,
            "timing": TIMINGS[core].name,
            "toolchain": find_toolchain("zig").version(),
            "kernels": fits,
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(_written(value))


if __name__ == "__main__":
    main()
