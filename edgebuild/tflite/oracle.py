"""The oracle: what TFLite Micro itself computes, from the ``tflite-micro`` package.

It runs in child processes: TFLite Micro trusts a model, and one that is damaged can crash it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata, util
from pathlib import Path

import numpy as np

from edgebuild import children
from edgebuild.errors import InputError, ModelError, ToolError
from edgebuild.files import TemporaryFolder
from edgebuild.graph import Graph, Tensor
from edgebuild.tflite.reader import read_tflite

Samples = Sequence[Sequence[bytes]]
"""One entry for each inference: the raw bytes of each model input, in order."""

MAX_ARENA_BYTES = 1 << 30
_SAMPLES_PER_PROCESS = 400
_MAX_PROCESSES = 4
_START_S = 60.0
_SAMPLE_S = 2.0
_LOG_LINES = 6
_ARENA_WORDS = (
    "Requested:",
    "too small",
    "Too many buffers",
    "Failed to allocate memory",
    "Failed to allocate tail",
)
_ARENA_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


@dataclass(frozen=True)
class OracleResult:
    """What TFLite Micro computed: each inference's outputs as raw bytes.

    ``tensors`` holds, for each inference, the raw bytes of every tensor that an operator wrote, by
    tensor index; it is empty unless asked for.
    """

    outputs: tuple[tuple[bytes, ...], ...]
    tensors: tuple[Mapping[int, bytes], ...]
    version: str


def run_oracle(
    model: bytes, samples: Samples, *, all_tensors: bool = False, timeout: float | None = None
) -> OracleResult:
    """Run one inference for each sample through TFLite Micro.

    Args:
        model: a ``.tflite`` flatbuffer.
        samples: for each inference the raw bytes of each input.
        all_tensors: keep what every operator wrote, too.
        timeout: seconds; by default in proportion to the number of samples.

    Raises:
        ModelError: TFLite Micro refuses the model, crashes on it or does not end.
        InputError: a sample does not fit the model's inputs.
        ToolError: tflite-micro is not installed or does not start.
    """
    graph = read_tflite(model)
    inputs = [
        _stack(samples, position, tensor) for position, tensor in enumerate(graph.input_tensors)
    ]
    job = _Job(model, graph, _written(graph) if all_tensors else (), timeout)
    raw = _run_parallel(job, inputs, len(samples))
    outputs = _by_sample([_split(raw.outputs[i], t) for i, t in enumerate(graph.output_tensors)])
    tensors = []
    if all_tensors:
        columns = {i: _split(raw.tensors[i], graph.tensors[i]) for i in job.tensors}
        tensors = [{i: c[n] for i, c in columns.items()} for n in range(len(samples))]
    if not graph.outputs:
        outputs = tuple(() for _ in samples)
    return OracleResult(outputs, tuple(tensors), oracle_version())


def run_oracle_arrays(
    model: bytes, inputs: Sequence[np.ndarray], *, timeout: float | None = None
) -> list[np.ndarray]:
    """Run a whole data set: one array (samples, \\*shape) for each input, likewise for outputs.

    Arrays have the dtypes of the model's tensors. Raises as ``run_oracle`` does.
    """
    graph = read_tflite(model)
    count = len(inputs[0]) if inputs else 0
    checked = []
    for position, tensor in enumerate(graph.input_tensors):
        array = inputs[position] if position < len(inputs) else np.zeros(0)
        if array.dtype != tensor.dtype.numpy or array.shape != (count, *tensor.shape):
            raise InputError(
                f"oracle input {position} is {array.dtype} {list(array.shape)}, "
                f"the model takes {tensor.dtype} {[count, *tensor.shape]}"
            )
        checked.append(np.ascontiguousarray(array))
    raw = _run_parallel(_Job(model, graph, (), timeout), checked, count)
    return [
        np.frombuffer(raw.outputs[i], t.dtype.numpy).reshape(count, *t.shape)
        for i, t in enumerate(graph.output_tensors)
    ]


def tflm_arena_used_host(model: bytes) -> int:
    """Return the bytes of arena that TFLite Micro uses on this host, where pointers take 8 bytes.

    A 32-bit device needs less for structures. Raises as ``run_oracle`` does.
    """
    graph = read_tflite(model)
    zero = [np.zeros((1, *t.shape), t.dtype.numpy) for t in graph.input_tensors]
    log = _run(_Job(model, graph, (), None, allocations=True), zero, 1).log
    found = _ARENA_TOTAL.search(log)
    if found is None:
        raise ToolError("tflite-micro printed no arena size", details=_tail(log))
    return int(found[1])


def oracle_version() -> str:
    """Return the oracle's name and version."""
    return f"tflite-micro {metadata.version('tflite-micro')}"


@dataclass(frozen=True)
class _Job:
    """What a child process is to do."""

    model: bytes
    graph: Graph
    tensors: tuple[int, ...]
    timeout: float | None
    allocations: bool = False
    arena_bytes: int = 0


@dataclass(frozen=True)
class _Raw:
    """Each output and tensor of all samples, one after the other, and what the child logged."""

    outputs: tuple[bytes, ...]
    tensors: Mapping[int, bytes]
    log: str


class _ArenaError(Exception):
    """The arena may have been too small."""


def _stack(samples: Samples, position: int, tensor: Tensor) -> np.ndarray:
    for number, sample in enumerate(samples):
        size = len(sample[position]) if position < len(sample) else 0
        if size != tensor.nbytes:
            raise InputError(
                f"sample {number} has {size:,} bytes for input {position}, "
                f"the model takes {tensor.nbytes:,}"
            )
    raw = b"".join(sample[position] for sample in samples)
    return np.frombuffer(raw, tensor.dtype.numpy).reshape(len(samples), *tensor.shape)


def _split(raw: bytes, tensor: Tensor) -> list[bytes]:
    size = max(tensor.nbytes, 1)
    return [raw[start : start + size] for start in range(0, len(raw), size)]


def _by_sample(columns: Sequence[Sequence[bytes]]) -> tuple[tuple[bytes, ...], ...]:
    return tuple(zip(*columns, strict=True))


def _written(graph: Graph) -> tuple[int, ...]:
    return tuple(
        dict.fromkeys(
            i for op in graph.ops for i in op.outputs if i >= 0 and graph.tensors[i].nbytes
        )
    )


def _run_parallel(job: _Job, inputs: Sequence[np.ndarray], count: int) -> _Raw:
    """Share many samples out to several processes; each inference is independent."""
    processes = min(os.cpu_count() or 1, _MAX_PROCESSES, max(1, count // _SAMPLES_PER_PROCESS))
    if processes == 1:
        return _run(job, inputs, count)
    bounds = [count * i // processes for i in range(processes + 1)]
    with ThreadPoolExecutor(processes) as pool:
        parts = list(
            pool.map(
                lambda b: _run(job, [x[b[0] : b[1]] for x in inputs], b[1] - b[0]),
                itertools.pairwise(bounds),
            )
        )
    return _Raw(
        tuple(b"".join(part.outputs[i] for part in parts) for i in range(len(parts[0].outputs))),
        {i: b"".join(part.tensors[i] for part in parts) for i in job.tensors},
        parts[0].log,
    )


def _run(job: _Job, inputs: Sequence[np.ndarray], count: int) -> _Raw:
    """Run with an arena that doubles until it is enough."""
    if util.find_spec("tflite_micro") is None:
        raise ToolError("tflite-micro is not installed", hint="pip install tflite-micro")
    arena = 1 << _first_arena(job.graph).bit_length()
    while True:
        try:
            return _start(replace(job, arena_bytes=arena), inputs, count)
        except _ArenaError as error:
            # TFLite Micro may also crash when the arena is too small, but never by far.
            if arena >= MAX_ARENA_BYTES or arena > 64 * _first_arena(job.graph):
                raise ModelError(
                    f"TFLite Micro needs an arena of more than {arena:,} B for this model",
                    details=_tail(str(error)),
                ) from error
            arena *= 2


def _first_arena(graph: Graph) -> int:
    """Return an arena that is enough for most models: every tensor has a place of its own."""
    activations = sum(t.nbytes for t in graph.tensors.values() if not t.is_constant)
    channels = sum(t.shape[0] if t.shape else 1 for t in graph.tensors.values() if t.is_constant)
    structures = 1024 * (len(graph.ops) + len(graph.tensors)) + 32 * channels
    return min(MAX_ARENA_BYTES // 2, activations * 2 + structures + (1 << 17))


def _start(job: _Job, inputs: Sequence[np.ndarray], count: int) -> _Raw:
    with TemporaryFolder("oracle") as folder:
        _write_job(folder, job, inputs, count)
        child = Path(__file__).with_name("oracle_child.py")
        timeout = job.timeout or _START_S + _SAMPLE_S * count
        try:
            # -P: the child's own folder must not come before the installed packages.
            done = children.run([sys.executable, "-P", str(child), str(folder)], timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ModelError(
                f"TFLite Micro did not end in {timeout:.0f} s on this model ({count} inferences)",
                hint="fewer --samples, or a smaller model",
            ) from error
        except OSError as error:
            raise ToolError(f"the oracle process cannot be started: {error.strerror}") from error
        log = done.stderr.decode(errors="replace")
        if done.returncode != 0 or b"done" not in done.stdout:
            raise _failure(done.returncode, b"ready" in done.stdout, log)
        return _Raw(
            tuple((folder / f"out{i}").read_bytes() for i in range(len(job.graph.outputs))),
            {i: (folder / f"tensor{i}").read_bytes() for i in job.tensors},
            log,
        )


def _write_job(folder: Path, job: _Job, inputs: Sequence[np.ndarray], count: int) -> None:
    graph = job.graph
    (folder / "model.tflite").write_bytes(job.model)
    for position, array in enumerate(inputs):
        (folder / f"in{position}").write_bytes(np.ascontiguousarray(array).tobytes())
    description = {
        "model": str(folder / "model.tflite"),
        "arena_bytes": job.arena_bytes,
        "samples": count,
        "inputs": [{"dtype": str(t.dtype), "shape": t.shape} for t in graph.input_tensors],
        "outputs": len(graph.outputs),
        "tensors": job.tensors,
        "reset": any(t.is_variable for t in graph.tensors.values()),
        "allocations": job.allocations,
    }
    (folder / "job.json").write_text(json.dumps(description))


def _failure(returncode: int, ready: bool, log: str) -> Exception:
    """Return what a failed child process means; nothing after ``ready`` concerns the arena."""
    # Windows reports an access violation as a large positive code.
    crashed = returncode < 0 or returncode > 255
    if "MemoryError" in log or "bad_alloc" in log:
        return ToolError("not enough memory to run TFLite Micro", details=_tail(log))
    if "ModuleNotFoundError" in log or "ImportError" in log:
        return ToolError(
            "tflite-micro cannot be imported",
            details=_tail(log),
            hint="pip install --force-reinstall tflite-micro",
        )
    if not ready and (crashed or any(words in log for words in _ARENA_WORDS)):
        return _ArenaError(_signal_name(returncode) + log if crashed else log)
    if crashed:
        return ModelError(
            f"TFLite Micro crashed on this model ({_signal_name(returncode).strip()})",
            details=_tail(log),
            hint="export the model again, or with another version of its converter",
        )
    return ModelError("TFLite Micro cannot run this model", details=_tail(log))


def _signal_name(returncode: int) -> str:
    try:
        return f"{signal.Signals(-returncode).name}\n"
    except ValueError:
        return f"exit code {returncode}\n"


def _tail(log: str) -> list[str]:
    lines = [line.strip()[:200] for line in log.splitlines() if line.strip()]
    return lines[-_LOG_LINES:]
