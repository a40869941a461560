"""Prove a build: compare its outputs with the oracle's, and find the layer that differs first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgebuild.devices.base import RunResult, Samples
from edgebuild.devices.host import HostDevice
from edgebuild.graph import DType, Graph
from edgebuild.models.convert import litert_outputs, litert_version
from edgebuild.report.model import Comparison
from edgebuild.tflite.oracle import run_oracle

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


def stack_samples(graph: Graph, samples: Samples) -> list[np.ndarray]:
    """Return for each input an array (samples, \\*shape) of the samples' bytes."""
    return [
        np.stack([np.frombuffer(s[i], t.dtype.numpy).reshape(t.shape) for s in samples])
        for i, t in enumerate(graph.input_tensors)
    ]


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


def compare_with_litert(
    graph: Graph, model: bytes, samples: Samples, result: RunResult, *, tolerance: int = 0
) -> Comparison:
    """Compare ``result`` with LiteRT on ``samples``; 8-bit integers may be ``tolerance`` apart.

    ``graph`` is what ``model`` says, in any number format.
    """
    truth = litert_outputs(model, stack_samples(graph, samples))
    total = different = close = 0
    for number, outputs in enumerate(result.outputs):
        for tensor, ours, theirs in zip(graph.output_tensors, outputs, truth, strict=True):
            expected = np.ascontiguousarray(theirs[number]).tobytes()
            total += len(expected)
            wrong = _different_bytes([ours], [expected])
            if wrong and len(ours) == len(expected) and tensor.dtype in (DType.INT8, DType.UINT8):
                a, b = (
                    np.frombuffer(raw, tensor.dtype.numpy).astype(int) for raw in (ours, expected)
                )
                beyond = int(np.count_nonzero(np.abs(a - b) > tolerance))
                close += wrong - beyond
                wrong = beyond
            different += wrong
    return Comparison(
        oracle=litert_version(),
        device=result.device,
        samples=len(samples),
        compared_bytes=total,
        different_bytes=different,
        tolerance=tolerance,
        close_bytes=close,
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


class Engine(Protocol):
    """What runs a shipped model on a data set, on the machine that edgebuild runs on."""

    @property
    def label(self) -> str:
        """What reports call it."""
        ...

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return an array (samples, values) for each output, in its own dtype.

        ``arrays`` hold for each input (samples, \\*shape) in the tensor's dtype.
        """
        ...


@dataclass(frozen=True, eq=False)
class GeneratedC:
    """The generated C, compiled natively when it is first run; runs on devices compare its bytes
    with TFLite Micro's."""

    graph: Graph
    open_host: Callable[[], HostDevice]
    label: str = "generated C on the host"

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run every sample on all cores."""
        raw = [np.ascontiguousarray(a).reshape(len(a), -1).view(np.uint8) for a in arrays]
        found = self.open_host().run_batch(raw)
        return [
            a.view(t.dtype.numpy) for a, t in zip(found, self.graph.output_tensors, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class LiteRt:
    """LiteRT on the ``.tflite`` file ``model``, with its default delegate (XNNPACK) or without."""

    model: bytes
    xnnpack: bool = True

    @property
    def label(self) -> str:
        """LiteRT's name and version."""
        return f"{litert_version()} on the host"

    def outputs(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run every sample."""
        found = litert_outputs(self.model, arrays, xnnpack=self.xnnpack)
        return [a.reshape(len(a), -1) for a in found]
