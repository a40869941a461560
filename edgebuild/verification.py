"""Prove a build: compare its outputs with the oracle's, and find the layer that differs first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgebuild.devices.base import RunResult, Samples
from edgebuild.devices.host import HostDevice
from edgebuild.errors import InputError
from edgebuild.figures import Figure, How
from edgebuild.graph import DType, Graph
from edgebuild.models.accuracy import Predict, evaluate
from edgebuild.models.convert import float_predict, int8_predict, litert_version
from edgebuild.models.data import DataSet, match_inputs, quantize_input
from edgebuild.models.source import SourceModel
from edgebuild.report.model import AccuracyReport, Comparison
from edgebuild.tflite.oracle import run_oracle

_LABELS = "y holds a class number for each sample, from 0 on, or one-hot rows"

LayerTrace = Callable[[Sequence[bytes]], Sequence[tuple[bytes, ...]]]
"""Runs one sample; returns the output tensors' bytes of each layer, in order."""


def make_samples(
    graph: Graph, count: int, seed: int, real: Sequence[Sequence[np.ndarray]] = ()
) -> list[tuple[bytes, ...]]:
    """Return ``count`` inferences' input bytes: all zero, all highest, all lowest, then real
    samples (already quantized, one array for each input) and, where they run out, random ones."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        sample = []
        for position, tensor in enumerate(graph.input_tensors):
            if number < 3:
                array = np.full(tensor.shape, _extreme(tensor.dtype, number), tensor.dtype.numpy)
            elif number - 3 < len(real):
                array = np.ascontiguousarray(real[number - 3][position], tensor.dtype.numpy)
            else:
                array = _random(rng, tensor.shape, tensor.dtype)
            sample.append(array.tobytes())
        samples.append(tuple(sample))
    return samples


def _extreme(dtype: DType, number: int) -> float:
    if dtype == DType.FLOAT32:
        return (0.0, 1.0, -1.0)[number]
    if dtype == DType.BOOL:
        return (0, 1, 0)[number]
    info = np.iinfo(dtype.numpy)
    return (0, int(info.max), int(info.min))[number]


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    if dtype == DType.FLOAT32:
        return rng.normal(size=shape).astype(np.float32)
    if dtype == DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype.numpy)
    draw = rng.integers(info.min, info.max, shape, endpoint=True, dtype=np.int64)
    return draw.astype(dtype.numpy)


def compare(
    graph: Graph,
    model: bytes,
    samples: Samples,
    result: RunResult,
    trace: LayerTrace | None = None,
) -> Comparison:
    """Compare ``result`` with TFLite Micro on ``samples``.

    ``trace`` runs the same C layer by layer; with it a difference is traced to the first layer
    whose output is not the oracle's. ``graph`` is the graph that was generated from, its tensor
    indices are those of ``model``.
    """
    oracle = run_oracle(model, samples)
    different = [
        _different_bytes(ours, theirs)
        for ours, theirs in zip(result.outputs, oracle.outputs, strict=True)
    ]
    total = sum(len(output) for sample in oracle.outputs for output in sample)
    where = ""
    if any(different) and trace is not None:
        first = next(i for i, count in enumerate(different) if count)
        where = _first_divergence(graph, model, samples[first], trace)
    return Comparison(
        oracle=oracle.version,
        device=result.device,
        samples=len(samples),
        compared_bytes=total,
        different_bytes=sum(different),
        first_divergence=where,
    )


def _different_bytes(ours: Sequence[bytes], theirs: Sequence[bytes]) -> int:
    count = 0
    for a, b in zip(ours, theirs, strict=True):
        if len(a) != len(b):
            count += max(len(a), len(b))
        else:
            count += int(np.count_nonzero(np.frombuffer(a, "u1") != np.frombuffer(b, "u1")))
    return count


def _first_divergence(
    graph: Graph, model: bytes, sample: Sequence[bytes], trace: LayerTrace
) -> str:
    truth = run_oracle(model, [sample], all_tensors=True).tensors[0]
    layers = trace(sample)
    for node, outputs in zip(graph.nodes(), layers, strict=True):
        for tensor, ours in zip(node.outputs, outputs, strict=True):
            theirs = truth.get(tensor.index)
            if theirs is None or ours == theirs:
                continue
            wrong = _different_bytes([ours], [theirs])
            return (
                f"layer {node.position}, {node.where}, output '{tensor.name}' "
                f"{list(tensor.shape)}: {wrong:,} of {len(theirs):,} bytes differ"
            )
    return (
        "no layer differs when the same C runs on the host: another build is on the device, or its "
        "compiler or CPU is at fault"
    )


def measure_accuracy(
    source: SourceModel, model: bytes, graph: Graph, data: DataSet, host: HostDevice
) -> AccuracyReport | None:
    """Return top-1 accuracy on all of ``data``; None when its labels are no classes.

    Three figures: the float model, LiteRT on the int8 model, and the generated C on the host, whose
    outputs a run compares with TFLite Micro's byte for byte.
    """
    inputs = graph.input_tensors
    arrays = match_inputs(data, inputs)
    output = graph.output_tensors[0]
    half = output.zero_point + 0.5 / output.scale

    def quantized(x: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [quantize_input(a, t) for a, t in zip(x, inputs, strict=True)]

    def reference(x: Sequence[np.ndarray]) -> np.ndarray:
        return int8_predict(model, quantized(x))

    def generated(x: Sequence[np.ndarray]) -> np.ndarray:
        raw = [a.reshape(len(a), -1).view(np.uint8) for a in quantized(x)]
        return host.run_batch(raw)[0].view(output.dtype.numpy)

    ours = _accuracy(generated, arrays, data, half, "generated C on the host")
    if ours is None:
        return None
    baseline = None
    if not source.is_int8:
        version = f"float model, {source.kind}"
        baseline = _accuracy(lambda x: float_predict(source, x), data.x, data, 0.5, version)
    int8 = _accuracy(reference, arrays, data, half, litert_version())
    return AccuracyReport(len(data), baseline, int8, ours)


def _accuracy(
    predict: Predict, x: Sequence[np.ndarray], data: DataSet, threshold: float, source: str
) -> Figure | None:
    try:
        result = evaluate(predict, x, data.y, threshold=threshold)
    except InputError as error:  # the labels do not fit the model
        raise InputError(f"{data.source}: {error.message}", hint=_LABELS) from error
    return None if result is None else Figure(result.value, "ratio", How.MEASURED, source)
