"""The generated C on the machine that edgebuild runs on, loaded as a shared library.

It runs in this process: the code is edgebuild's own, generated from a verified graph with every
address inside an arena of known size, and the same kernels run under sanitizers in the test suite.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgebuild.devices.base import RunResult, Samples
from edgebuild.errors import InputError, ToolError
from edgebuild.figures import Figure, How

_ALIGN = 16
_MIN_CHUNK = 64
PAINT = 0xE5


class _TensorInfo(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_int32)),
        ("bytes", ctypes.c_uint32),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
        ("rank", ctypes.c_uint8),
        ("dtype", ctypes.c_uint8),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("arena_bytes", ctypes.c_uint32),
        ("layer_count", ctypes.c_uint32),
        ("input_count", ctypes.c_uint32),
        ("output_count", ctypes.c_uint32),
        ("inputs", ctypes.POINTER(_TensorInfo)),
        ("outputs", ctypes.POINTER(_TensorInfo)),
        ("init", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)),
        ("run", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)),
        ("input", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)),
        ("output", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)),
    )


_Hook = ctypes.CFUNCTYPE(None, ctypes.c_uint32)


class HostDevice:
    """Runs ``<name>_model`` of a shared library that was built with ``firmware/host``.

    ToolError when the library cannot be loaded or the model refuses to run.
    """

    def __init__(self, library: Path, name: str) -> None:
        try:
            self._library = ctypes.CDLL(str(library.resolve()))
            self._model = _Model.in_dll(self._library, f"{name}_model")
        except (OSError, ValueError) as error:
            raise ToolError(f"{library}: the host library cannot be loaded: {error}") from error
        model = self._model
        self._input_bytes = [model.inputs[i].bytes for i in range(model.input_count)]
        self._output_bytes = [model.outputs[i].bytes for i in range(model.output_count)]

    def run(self, samples: Samples) -> RunResult:
        """Run every sample; the host tells no instructions and no latency."""
        columns = [
            np.frombuffer(b"".join(sample[i] for sample in samples), np.uint8).reshape(
                len(samples), -1
            )
            for i in range(len(self._input_bytes))
        ]
        outputs = self.run_batch(columns)
        arena = Figure(self._arena_used(samples[0]), "B", How.MEASURED, "host (painted arena)")
        return RunResult(
            device="host",
            outputs=tuple(
                tuple(column[n].tobytes() for column in outputs) for n in range(len(samples))
            ),
            arena_bytes=arena,
        )

    def run_batch(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run many samples on all cores.

        ``inputs`` holds for each model input the raw bytes, uint8 [samples, bytes]; the result
        holds the same for each output.
        """
        count = len(inputs[0])
        for array, size in zip(inputs, self._input_bytes, strict=True):
            if array.shape != (count, size) or array.dtype != np.uint8:
                raise InputError(f"an input has shape {array.shape}, the model takes {size} bytes")
        arrays = [np.ascontiguousarray(array) for array in inputs]
        outputs = [np.empty((count, size), np.uint8) for size in self._output_bytes]
        workers = os.cpu_count() or 1
        step = max(_MIN_CHUNK, -(-count // workers))
        with ThreadPoolExecutor(workers) as pool:
            tasks = [
                pool.submit(self._run_part, arrays, outputs, start, min(start + step, count))
                for start in range(0, count, step)
            ]
            for task in tasks:
                task.result()
        return outputs

    def trace(
        self, sample: Sequence[bytes], places: Sequence[Sequence[tuple[int, int]]]
    ) -> list[tuple[bytes, ...]]:
        """Run one sample; return each layer's outputs, read right after the layer.

        ``places`` gives for each layer the (offset in the arena, bytes) of its outputs. The library
        must have been compiled with ``EB_PROFILE``.
        """
        arena = _Arena(self._model)
        seen: dict[int, tuple[bytes, ...]] = {}

        def on_layer(layer: int) -> None:
            seen[layer] = tuple(arena.read(*place) for place in places[layer])

        hook = _Hook(on_layer)
        self._library.eb_host_set_hook(hook)
        try:
            self._write(arena, sample)
            _check(self._model.run(arena.address))
        finally:
            self._library.eb_host_set_hook(_Hook())
        return [seen[layer] for layer in range(len(places))]

    def _arena_used(self, sample: Sequence[bytes]) -> int:
        arena = _Arena(self._model)
        self._write(arena, sample)
        _check(self._model.run(arena.address))
        return len(arena.read(0, self._model.arena_bytes).rstrip(bytes([PAINT])))

    def _write(self, arena: _Arena, sample: Sequence[bytes]) -> None:
        for i, content in enumerate(sample):
            ctypes.memmove(self._model.input(arena.address, i), content, len(content))

    def _run_part(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], start: int, stop: int
    ) -> None:
        arena = _Arena(self._model)
        pointers = [
            (ctypes.c_void_p * len(arrays))(*(a[start:stop].ctypes.data for a in arrays))
            for arrays in (inputs, outputs)
        ]
        _check(
            self._library.eb_host_run_batch(
                ctypes.byref(self._model),
                ctypes.c_void_p(arena.address),
                *pointers,
                ctypes.c_uint32(stop - start),
            )
        )


class _Arena:
    """Aligned memory for one instance of the model, painted and initialised."""

    def __init__(self, model: _Model) -> None:
        self._memory = ctypes.create_string_buffer(model.arena_bytes + _ALIGN)
        self.address = -(-ctypes.addressof(self._memory) // _ALIGN) * _ALIGN
        ctypes.memset(self.address, PAINT, model.arena_bytes)
        _check(model.init(self.address, model.arena_bytes))

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the arena."""
        return ctypes.string_at(self.address + offset, size)


def _check(status: int) -> None:
    if status != 0:
        raise ToolError(f"the generated model returned {status} on the host")
