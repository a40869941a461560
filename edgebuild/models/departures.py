"""Where a quantized model's tensors depart from the float model's, tensor by tensor.

Both flatbuffers are run side by side with every tensor kept; operators are paired by their kind and
the shape of what they give, in order, so that converters may name tensors as they like.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.files import TemporaryFolder
from edgebuild.graph import DType, Graph, Node, Tensor
from edgebuild.models.worker import Worker

_TIMEOUT_S = 900.0
_KEPT = 64
"""So many values of each tensor and sample are kept for quantiles."""

_SKIPPED = {"QUANTIZE", "DEQUANTIZE"}
_TINY = 1e-20


@dataclass(frozen=True, eq=False)
class TensorStats:
    """One tensor of the shipped model beside the float model's, over some samples.

    ``similarity``, ``variance``, ``low`` and ``high`` are (channels,) of the last axis, the last
    three the float model's. ``clipped`` is the share of the float values beyond what the shipped
    tensor can hold. ``quantiles`` are the float values' 0.1, 50 and 99.9 %.
    """

    similarity: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    clipped: float
    quantiles: tuple[float, float, float]

    @property
    def live(self) -> np.ndarray:
        """Which channels vary: bool (channels,)."""
        live: np.ndarray = self.variance > 1e-9 * max(float(self.variance.max(initial=0)), _TINY)
        return live

    def mean(self, similarity: np.ndarray) -> float:
        """Return the mean over the channels that vary, each within 0 and 1; 1 without any."""
        values = np.clip(similarity, 0.0, 1.0)[self.live]
        return float(values.mean()) if len(values) else 1.0

    @property
    def fidelity(self) -> float:
        """The mean similarity of the channels that vary."""
        return self.mean(self.similarity)


def paired_tensors(
    float_graph: Graph, shipped: Graph, prepared: Collection[int] = ()
) -> dict[int, int]:
    """Return the float graph's tensor for each of the shipped one's that has a partner. Inputs at
    the positions ``prepared`` have none: the two graphs do not read the same there."""
    inputs = enumerate(zip(shipped.inputs, float_graph.inputs, strict=False))
    pairs = dict(pair for position, pair in inputs if position not in prepared)
    ours, theirs = (
        [node for node in graph.nodes() if node.kind not in _SKIPPED]
        for graph in (shipped, float_graph)
    )
    matcher = difflib.SequenceMatcher(None, _keys(ours), _keys(theirs), autojunk=False)
    for start, other, count in matcher.get_matching_blocks():
        for mine, its in zip(
            ours[start : start + count], theirs[other : other + count], strict=True
        ):
            for a, b in zip(mine.outputs, its.outputs, strict=True):
                pairs[a.index] = b.index
    for given, wanted in zip(shipped.outputs, float_graph.outputs, strict=False):
        if shipped.tensors[given].shape == float_graph.tensors[wanted].shape:
            pairs.setdefault(given, wanted)
    for node in shipped.nodes():
        if node.kind == "QUANTIZE" and node.input(0).index in pairs:
            pairs.setdefault(node.outputs[0].index, pairs[node.input(0).index])
    return {own: its for own, its in pairs.items() if _is_real(shipped.tensors[own])}


def _keys(nodes: Sequence[Node]) -> list[tuple[str, tuple[int, ...]]]:
    return [(node.kind, node.outputs[0].shape if node.outputs else ()) for node in nodes]


def _is_real(tensor: Tensor) -> bool:
    """Return whether a tensor's numbers stand for real ones."""
    return tensor.quantization is not None or tensor.dtype == DType.FLOAT32


def measure_departures(
    float_model: bytes,
    shipped: bytes,
    graphs: tuple[Graph, Graph],
    real: Sequence[np.ndarray],
    quantized: Sequence[np.ndarray],
    prepared: Collection[int] = (),
) -> dict[int, TensorStats]:
    """Return the stats of each tensor of ``shipped`` that has a partner, by its index.

    Args:
        float_model: the ``.tflite`` that was quantized.
        shipped: what came of it.
        graphs: of the two, in this order.
        real: for each input samples (samples, \\*shape) as the float model takes them.
        quantized: the same as the shipped one takes them.
        prepared: the positions of inputs that are not the same to both.

    Raises ModelError where one of the two cannot be run.
    """
    pairs = paired_tensors(*graphs, prepared)
    specs = []
    for mine, its in pairs.items():
        tensor = graphs[1].tensors[mine]
        q = tensor.quantization
        info = np.iinfo(tensor.dtype.numpy) if q is not None else None
        limits = [0, 0] if info is None else [int(info.min), int(info.max)]
        specs.append([mine, its, q.scale if q else 0.0, q.zero_point if q else 0, *limits])
    with TemporaryFolder("departures") as folder:
        (folder / "float").write_bytes(float_model)
        (folder / "shipped").write_bytes(shipped)
        np.savez(folder / "real.npz", *real)
        np.savez(folder / "quantized.npz", *quantized)
        model = {"path": str(folder / "shipped"), "kind": "plain", "trust": False}
        worker = Worker("the model", model)
        try:
            worker.request("departures", timeout_s=_TIMEOUT_S, folder=str(folder), pairs=specs)
        finally:
            worker.close()
        with np.load(folder / "out.npz", allow_pickle=False) as found:
            return {int(spec[0]): _stats(found, n) for n, spec in enumerate(specs)}


def _stats(found: Any, number: int) -> TensorStats:
    rows, rest = found[f"rows{number}"], found[f"rest{number}"]
    similarity, variance, low, high = rows
    clipped, *quantiles = (float(value) for value in rest)
    return TensorStats(
        similarity, variance, low, high, clipped, (quantiles[0], quantiles[1], quantiles[2])
    )


def run_side_by_side(folder: str, pairs: Sequence[Sequence[float]]) -> None:
    """Write ``out.npz`` in ``folder``; in the child process."""
    place = Path(folder)
    real, quantized = (_arrays(place / f"{name}.npz") for name in ("real", "quantized"))
    theirs, ours = (_interpreter((place / name).read_bytes()) for name in ("float", "shipped"))
    sums = [_Sums(*spec[2:]) for spec in pairs]
    for number in range(len(real[0])):
        for interpreter, arrays in ((theirs, real), (ours, quantized)):
            for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
                interpreter.set_tensor(detail["index"], array[number])
            interpreter.invoke()
        for spec, total in zip(pairs, sums, strict=True):
            total.add(ours.get_tensor(int(spec[0])), theirs.get_tensor(int(spec[1])))
    out = {}
    for number, total in enumerate(sums):
        out[f"rows{number}"], out[f"rest{number}"] = total.result()
    with (place / "out.npz").open("wb") as file:
        np.savez(file, **out)  # type: ignore[arg-type]


def _arrays(path: Any) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"arr_{i}"] for i in range(len(archive.files))]


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


class _Sums:
    """What is added up of one tensor, sample by sample."""

    def __init__(self, scale: float, zero_point: float, least: float, most: float) -> None:
        self._scale, self._zero_point = scale, zero_point
        self._range = ((least - zero_point - 0.5) * scale, (most - zero_point + 0.5) * scale)
        self._parts: list[np.ndarray] = []
        self._kept: list[np.ndarray] = []
        self._clipped = self._count = 0

    def add(self, mine: np.ndarray, wanted: np.ndarray) -> None:
        """Add one sample."""
        wanted = np.asarray(wanted, np.float64)
        channels = wanted.shape[-1] if wanted.ndim else 1
        wanted = wanted.reshape(-1, channels)
        given = np.asarray(mine, np.float64).reshape(-1, channels)
        if self._scale:
            given = (given - self._zero_point) * self._scale
            low, high = self._range
            self._clipped += int(np.count_nonzero((wanted < low) | (wanted > high)))
        self._count += wanted.size
        self._parts.append(
            np.stack(
                [
                    np.full(channels, float(len(wanted))),
                    wanted.sum(0),
                    (wanted**2).sum(0),
                    ((given - wanted) ** 2).sum(0),
                    wanted.min(0),
                    wanted.max(0),
                ]
            )
        )
        flat = wanted.reshape(-1)
        self._kept.append(flat[:: max(1, len(flat) // _KEPT)])

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return similarity, variance, low and high by channel; clipped share and quantiles."""
        parts = np.stack(self._parts)
        count, total, squares, noise = parts[:, :4].sum(0)
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
        similarity = 1.0 - (noise / count) / np.maximum(variance, _TINY)
        rows = np.stack([similarity, variance, parts[:, 4].min(0), parts[:, 5].max(0)])
        quantiles = np.quantile(np.concatenate(self._kept), (0.001, 0.5, 0.999))
        return rows, np.array([self._clipped / max(1, self._count), *quantiles])
