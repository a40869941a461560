"""Layers of given shapes with random weights, and the cycles that the simulator counts for each.

Shared by ``fit_cycles.py`` and ``cycles.py``.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.emit import emit_library
from edgebuild.cycles import CyclePrediction, predict_cycles
from edgebuild.devices.base import RunResult
from edgebuild.devices.simulator import Simulator
from edgebuild.devices.simulator.device import LayerTrace
from edgebuild.graph import ABSENT, DType, Graph, Op, Tensor
from edgebuild.ops import OPS, KernelCall
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.schedule import schedule_graph
from edgebuild.targets import TargetProfile, load_target
from edgebuild.toolchain.base import silent

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
"""The cores that the simulator gives cycles for."""

Shape = Sequence[int]
ROOMY = 64 << 20


def roomy(core: str) -> TargetProfile:
    """Return the generic profile of ``core`` with memory for any number of layers."""
    target = load_target(core)
    memories = tuple(dataclasses.replace(m, size_bytes=ROOMY) for m in target.memories)
    return dataclasses.replace(target, memories=memories)


def simulate(
    graph: Graph,
    target: TargetProfile,
    seed: int | None = 0,
    calls: Sequence[KernelCall] | None = None,
) -> RunResult:
    """Compile ``graph`` and run it once in the simulator, on random inputs (zeros without seed);
    ``calls``: with other kernels than the fastest."""
    return _simulated(graph, target, seed, calls)[0]


def _simulated(
    graph: Graph,
    target: TargetProfile,
    seed: int | None,
    calls: Sequence[KernelCall] | None = None,
) -> tuple[RunResult, tuple[LayerTrace, ...]]:
    cpu = target.cpu.features
    emitted = emit_library(graph, "layers", cpu, optimize=target.optimize, calls=calls)
    sample = [bytes(t.nbytes) for t in graph.input_tensors]
    if seed is not None:
        rng = np.random.default_rng(seed)
        sample = [_random_bytes(t, rng) for t in graph.input_tensors]
    with tempfile.TemporaryDirectory(prefix="edgebuild-cycles-") as folder:
        compiled = CortexMBackend().compile(emitted, target, "zig", Path(folder), silent)
        device = compiled.open_device("simulator")
        assert isinstance(device, Simulator)
        return device.run([sample]), device.traces


def predicted_cycles(graph: Graph, target: TargetProfile) -> CyclePrediction:
    """Return the prediction for what ``simulate`` runs."""
    schedule = schedule_graph(graph, target.cpu.features, target.optimize)
    found = predict_cycles(schedule.graph, target, schedule.calls)
    assert found is not None
    return found


def layer_cycles(graph: Graph, target: TargetProfile, seed: int = 0) -> list[int]:
    """Return the simulated cycles of each operator of ``graph``."""
    return [trace.cycles for trace in layer_traces(graph, target, seed)]


def layer_traces(
    graph: Graph,
    target: TargetProfile,
    seed: int = 0,
    calls: Sequence[KernelCall] | None = None,
) -> list[LayerTrace]:
    """Return the code that each operator of ``graph`` ran in the simulator; ``calls``: with these
    kernels, though others may be faster."""
    by_layer = {trace.layer: trace for trace in _simulated(graph, target, seed, calls)[1]}
    return [by_layer[position] for position in range(len(graph.ops))]


def _random_bytes(tensor: Tensor, rng: np.random.Generator) -> bytes:
    if tensor.dtype == DType.FLOAT32:
        return rng.normal(0, 3, tensor.elements).astype(np.float32).tobytes()
    return rng.integers(0, 256, tensor.nbytes, dtype=np.uint8).tobytes()


def side_by_side(graphs: Iterable[Graph]) -> Graph:
    """Return one graph that runs all ``graphs``, each on inputs of its own."""
    tensors: dict[int, Tensor] = {}
    ops: list[Op] = []
    inputs: list[int] = []
    outputs: list[int] = []
    for graph in graphs:
        base = max(tensors, default=-1) + 1
        for index, tensor in graph.tensors.items():
            name = f"t{base + index}"
            tensors[base + index] = dataclasses.replace(tensor, index=base + index, name=name)
        for op in graph.ops:
            moved = [
                tuple(i if i == ABSENT else base + i for i in side)
                for side in (op.inputs, op.outputs)
            ]
            ops.append(dataclasses.replace(op, inputs=moved[0], outputs=moved[1]))
        inputs += [base + i for i in graph.inputs]
        outputs += [base + i for i in graph.outputs]
    return Graph("layers", tuple(inputs), tuple(outputs), tuple(ops), tensors)


class Layers:
    """Makes graphs of one operator each; shapes are NHWC, ``kernel`` and ``stride`` (h, w)."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def _weights(
        self, shape: Shape, channels: int, axis: int, bias: bool, alike: bool = False
    ) -> list[Tensor | None]:
        """Return weights and biases that keep accumulators well within int8 outputs; ``alike``:
        with one scale for all channels."""
        scales = 0.004 * self._rng.uniform(0.5, 2.0, 1 if alike else channels)
        weights = constant(self._rng.integers(-127, 128, shape), scales.tolist(), axis=axis)
        if not bias:
            return [weights, None]
        values = self._rng.integers(-2000, 2000, channels)
        return [weights, constant(values, (scales * 0.1).tolist(), dtype=DType.INT32)]

    def conv(
        self,
        x: Shape,
        out_c: int,
        kernel: Shape = (3, 3),
        *,
        stride: Shape = (1, 1),
        dilation: Shape = (1, 1),
        padding: str = "SAME",
        groups: int = 1,
        act: str = "RELU",
        zero_point: int = -128,
        scale: float = 0.1,
    ) -> Graph:
        """CONV_2D; a ``scale`` below 0.001 leaves the DSP kernels' limits."""
        attrs = _window(stride, dilation, padding, act)
        weights = self._weights((out_c, *kernel, x[3] // groups), out_c, 0, True)
        inputs = [activation(x, 0.1, -7), *weights]
        return _graph("CONV_2D", inputs, attrs, scale, zero_point)

    def depthwise(
        self,
        x: Shape,
        kernel: Shape = (3, 3),
        *,
        multiplier: int = 1,
        stride: Shape = (1, 1),
        dilation: Shape = (1, 1),
        padding: str = "SAME",
        act: str = "RELU",
        zero_point: int = -128,
        scale: float = 0.1,
    ) -> Graph:
        """DEPTHWISE_CONV_2D."""
        attrs = _window(stride, dilation, padding, act) | {"depth_multiplier": multiplier}
        channels = x[3] * multiplier
        weights = self._weights((1, *kernel, channels), channels, 3, True)
        inputs = [activation(x, 0.1, -7), *weights]
        return _graph("DEPTHWISE_CONV_2D", inputs, attrs, scale, zero_point)

    def dense(
        self,
        x: Shape,
        units: int,
        *,
        act: str = "NONE",
        zero_point: int = 3,
        scale: float = 0.6,
        alike: bool = False,
    ) -> Graph:
        """FULLY_CONNECTED over inputs [batches, depth]; ``alike``: with one scale for all units."""
        attrs = {
            "fused_activation_function": act,
            "keep_num_dims": False,
            "weights_format": "DEFAULT",
        }
        weights = self._weights((units, x[1]), units, 0, True, alike)
        inputs = [activation(x, 0.1, -7), *weights]
        return _graph("FULLY_CONNECTED", inputs, attrs, scale, zero_point)

    def pool(
        self, kind: str, x: Shape, size: Shape, stride: Shape | None = None, padding: str = "VALID"
    ) -> Graph:
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        stride = stride or size
        attrs = _window(stride, (1, 1), padding, "NONE")
        attrs |= {"filter_height": size[0], "filter_width": size[1]}
        return _graph(kind, [activation(x, 0.1, -7)], attrs, 0.1, -7)

    def binary(
        self,
        kind: str,
        a: Shape,
        b: Shape,
        *,
        act: str = "NONE",
        scale: float = 0.25,
        scales: tuple[float, float] = (0.1, 0.2),
        zero_point: int = 4,
    ) -> Graph:
        """ADD, SUB, MUL, MAXIMUM or MINIMUM."""
        same = kind in ("MAXIMUM", "MINIMUM")
        scales = (0.1, 0.1) if same else scales
        inputs = [activation(a, scales[0], 3), activation(b, scales[1], 3 if same else -5)]
        attrs = {"fused_activation_function": act}
        return _graph(kind, inputs, attrs, *((0.1, 3) if same else (scale, zero_point)))

    def unary(self, kind: str, x: Shape, **attrs: object) -> Graph:
        """SOFTMAX, LOGISTIC, RELU, ...: one input, the output's shape is the input's."""
        fixed = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128)}
        return _graph(kind, [activation(x, 0.1, -7)], attrs, *fixed.get(kind, (0.07, 5)))

    def softmax(self, x: Shape, scale: float) -> Graph:
        """SOFTMAX with a given input scale."""
        return _graph("SOFTMAX", [activation(x, scale, -7)], {"beta": 1.0}, 1 / 256, -128)

    def cast(self, source: DType, x: Shape, target: DType) -> Graph:
        """QUANTIZE or DEQUANTIZE."""
        kind = "DEQUANTIZE" if target == DType.FLOAT32 else "QUANTIZE"
        output = activation(x, 0.05, 4, target)
        return one_op(kind, kind, [activation(x, 0.1, 3, source)], [output]).graph

    def reduce(self, kind: str, x: Shape, axes: Shape) -> Graph:
        """MEAN or SUM."""
        inputs = [activation(x, 0.1, 3), constant(axes, dtype=DType.INT32)]
        return _graph(kind, inputs, {"keep_dims": False}, 0.08 if kind == "MEAN" else 0.5, -7)

    def moved(
        self,
        kind: str,
        x: Shape,
        *operands: object,
        dtype: DType = DType.INT8,
        **attrs: object,
    ) -> Graph:
        """An operator that moves bytes: its int32 operands follow the input."""
        data = activation(x, 0.1, 3 if dtype == DType.INT8 else 0, dtype)
        others = [constant(o, dtype=DType.INT32) for o in operands]
        inputs = [*others, data] if kind == "SPLIT" else [data, *others]
        if kind == "ARG_MAX":
            return _graph(kind, inputs, attrs, 0.1, 3, dtype=DType.INT32)
        return _graph(kind, inputs, attrs, 0.1, data.zero_point, dtype=dtype)

    def reshaped(self, x: Shape, shape: Shape) -> Graph:
        """RESHAPE."""
        inputs = [activation(x, 0.1, 3), constant(shape, dtype=DType.INT32)]
        return one_op("RESHAPE", "RESHAPE", inputs, [activation(shape, 0.1, 3)]).graph

    def framed(self, x: Shape, sides: Shape, dtype: DType) -> Graph:
        """PADV2 with a value whose bytes differ, so that it is written element by element."""
        value = constant(1.7 if dtype == DType.FLOAT32 else 1000, dtype=dtype)
        inputs = [activation(x, 0.1, 0, dtype), constant(sides, dtype=DType.INT32), value]
        return _graph("PADV2", inputs, {}, 0.1, 0, dtype=dtype)

    def joined(self, shapes: Sequence[Shape], axis: int, dtype: DType = DType.INT8) -> Graph:
        """CONCATENATION."""
        zero = 3 if dtype == DType.INT8 else 0
        inputs = [activation(s, 0.1, zero, dtype) for s in shapes]
        return _graph("CONCATENATION", inputs, {"axis": axis}, 0.1, zero, dtype=dtype)


def _window(stride: Shape, dilation: Shape, padding: str, act: str) -> dict[str, object]:
    return {
        "padding": padding,
        "stride_h": stride[0],
        "stride_w": stride[1],
        "dilation_h_factor": dilation[0],
        "dilation_w_factor": dilation[1],
        "fused_activation_function": act,
    }


def _graph(
    kind: str,
    inputs: Sequence[Tensor | None],
    attrs: dict[str, object],
    scale: float,
    zero_point: int,
    *,
    dtype: DType = DType.INT8,
) -> Graph:
    """Return the one-operator graph; the operator itself says its outputs' shapes."""
    count = int(str(attrs.get("num_splits", attrs.get("num", 1))))
    draft = one_op(kind, kind, inputs, [activation((1,), scale, zero_point, dtype)] * count, attrs)
    shapes = OPS[kind].output_shapes(draft.graph.node(0))
    outputs = [activation(s, scale, zero_point, dtype) for s in shapes]
    if kind == "ARG_MAX":
        outputs = [dataclasses.replace(t, quantization=None) for t in outputs]
    return one_op(kind, kind, inputs, outputs, attrs).graph
