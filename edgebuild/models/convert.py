"""Turn any source model into a full int8 ``.tflite``; run the float model for a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from edgebuild.errors import EdgebuildError, InputError, ModelError
from edgebuild.files import TemporaryFolder
from edgebuild.graph import DType
from edgebuild.graph.formats import is_quantized
from edgebuild.models.data import DataSet, match_inputs
from edgebuild.models.recent import Recent
from edgebuild.models.source import InputSpec, Kind, SourceModel
from edgebuild.models.worker import Worker
from edgebuild.tflite.reader import read_tflite
from edgebuild.units import listed

_CONVERT_S = 3600.0
_PREDICT_S = 600.0


@dataclass(frozen=True)
class Converted:
    """A full int8 ``.tflite``, and what the user should know of how it came about."""

    model: bytes
    notes: tuple[str, ...] = ()


def to_int8_tflite(
    source: SourceModel, data: DataSet | None, *, samples: int = 200, seed: int = 0
) -> Converted:
    """Return the model as full int8 ``.tflite``, batch 1, per channel, int8 at both ends.

    A model that is int8 already is returned unchanged. The same model, data, number and seed give
    the same bytes.

    Args:
        source: the model.
        data: calibration data; a float model needs some.
        samples: how many samples to calibrate with, drawn with ``seed``.
        seed: of the draw.

    Raises:
        InputError: there is no data for a float model, or it does not fit.
        ModelError: the model cannot be converted.
    """
    if source.is_int8:
        return Converted(source.content)
    if data is None:
        raise lacks_data(source)
    arrays = match_inputs(data, source.inputs)
    chosen = calibration_draw(len(data), samples, seed)
    worker = _worker(source)
    out = worker.folder / "int8.tflite"
    path = worker.write_arrays([array[chosen] for array in arrays])
    try:
        worker.request("int8", timeout_s=_CONVERT_S, data=path, out=str(out))
    except EdgebuildError as error:
        error.message = _prefixed(str(source.path), error.message)
        raise
    model = out.read_bytes()
    graph = read_tflite(model, where=f"{source.path} (converted)")
    if not is_quantized(graph):
        raise ModelError(
            f"{source.path}: the converter left the whole model in float32",
            hint="pass an int8 .tflite, or replace the layers that have no int8 form",
        )
    notes = [f"quantized to int8, calibrated with {len(chosen)} of {len(data):,} samples"]
    if data.is_random:
        notes = [
            f"quantized to int8, calibrated with {len(chosen)} RANDOM samples: sizes and speed are "
            "valid, accuracy is not; pass real data with --data"
        ]
    floats = [n.where for n in graph.nodes() if any(t.dtype == DType.FLOAT32 for t in n.outputs)]
    if floats:
        notes.append(f"kept in float32: {listed(floats, 5)}")
    return Converted(model, tuple(notes))


def lacks_data(source: SourceModel, other_formats: bool = False) -> InputError:
    """Return the error for a float model that is to be quantized without calibration data.

    ``other_formats``: the target takes number formats that need none.
    """
    ways = {
        "--data calibration.npz": "arrays x (samples) and y (labels, optional)",
        "--data images/": "a folder of images for each class",
        "--data package.module:function": "a function that returns x or (x, y)",
        "--data synthetic.npz": f"made by `edgebuild synthesize {source.path}`",
        "--data random": "noise: builds, but says nothing of accuracy",
        "--format dynamic": "int8 weights, float activations: no data",
    }
    if source.kind == Kind.TFLITE:
        del ways["--data synthetic.npz"]
    if not other_formats:
        del ways["--format dynamic"]
    return InputError(
        f"{source.path}: quantizing it to int8 needs calibration data, and there is no --data",
        details=[f"{way:32}  {what}" for way, what in ways.items()],
        hint="save a few hundred typical inputs, preprocessed as in training, and pass them with "
        f"--data calibration.npz: {_saving(source.inputs)}",
    )


def _saving(inputs: Sequence[InputSpec]) -> str:
    """Return the call that saves a data set for ``inputs``, and the shapes that it takes."""
    names = ["x"] if len(inputs) == 1 else [f"x{i}" for i in range(len(inputs))]
    given = ", ".join(f"{name}={name}" for name in names)
    shapes = (", ".join(["samples", *map(str, spec.shape[1:])]) for spec in inputs)
    told = " and ".join(
        f"{name} has the shape ({shape})" for name, shape in zip(names, shapes, strict=True)
    )
    return f"np.savez('calibration.npz', {given}, y=labels), where {told}"


def to_tflite(
    source: SourceModel, data: DataSet | None, form: str, *, samples: int = 200, seed: int = 0
) -> Converted:
    """Return the model as ``.tflite``, batch 1, in the number format ``form``.

    ``int8`` is that of ``to_int8_tflite``. ``dynamic`` has int8 weights and float activations,
    ``float16`` float16 weights, ``float32`` is as the model was trained: these need no data. A
    ``.tflite`` whose numbers have been chosen already is returned unchanged, with a note where
    they are others.

    Raises:
        InputError: there is no data for int8.
        ModelError: the model cannot be converted.
    """
    has = "int8" if source.is_int8 else source.stored_format
    if has is not None and (has == form or form != "int8" or source.is_int8):
        notes = (
            ()
            if has == form
            else (f"{source.path.name} already has {has} numbers, which are kept",)
        )
        return Converted(source.content, notes)
    if form == "int8":
        return to_int8_tflite(source, data, samples=samples, seed=seed)
    worker = _worker(source)
    out = worker.folder / f"{form}.tflite"
    try:
        worker.request("convert", timeout_s=_CONVERT_S, form=form, out=str(out))
    except EdgebuildError as error:
        error.message = _prefixed(str(source.path), error.message)
        raise
    return Converted(out.read_bytes(), (_FORMAT_NOTES[form],))


_FORMAT_NOTES = {
    "dynamic": "dynamic range: int8 weights, float activations",
    "float16": "float16 weights; the delegate computes in float16 or float32",
    "float32": "float32 as it was trained",
}


def float_predict(source: SourceModel, x: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Return the first output of the float model as (samples, ...) for a whole data set.

    ``x`` is an array (samples, ...) or one for each input, as ``match_inputs`` returns them.
    Raises InputError for a model that is int8 already: it has no float baseline.
    """
    return float_outputs(source, x)[0]


def float_outputs(
    source: SourceModel, x: np.ndarray | Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Return all outputs of the float model, each (samples, \\*shape) with its batch of 1."""
    if source.is_int8:
        raise InputError(f"{source.path}: an int8 model has no float baseline")
    given = (x,) if isinstance(x, np.ndarray) else tuple(x)
    arrays = match_inputs(DataSet(given, None, "x"), source.inputs)
    worker = _worker(source)
    return worker.recent.get(b"", arrays, lambda: _predict(worker, arrays))


def litert_outputs(
    model: bytes, arrays: Sequence[np.ndarray], *, xnnpack: bool = True
) -> tuple[np.ndarray, ...]:
    """Return LiteRT's outputs of a ``.tflite`` for a whole data set, each (samples, \\*shape).

    ``arrays`` hold for each input (samples, \\*shape) in the tensor's dtype. LiteRT rounds
    FULLY_CONNECTED once where TFLite Micro rounds twice, so single outputs of an int8 model may be
    2 apart: it serves for accuracy, and TFLite Micro, which is slower, for exactness. Without
    ``xnnpack`` an operator computes the same in whatever model it stands.
    """
    name = b"xnnpack" if xnnpack else b"plain"
    return _RECENT.get(name + model, arrays, lambda: _litert_outputs(model, arrays, xnnpack))


_RECENT = Recent()


def _litert_outputs(
    model: bytes, arrays: Sequence[np.ndarray], xnnpack: bool
) -> tuple[np.ndarray, ...]:
    with TemporaryFolder("litert") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        kind = "finished" if xnnpack else "plain"
        worker = Worker("the model", {"path": str(path), "kind": kind, "trust": False})
        try:
            return _predict(worker, arrays)
        except EdgebuildError as error:
            error.message = error.message.replace(str(path), "the model")
            raise
        finally:
            worker.close()


def litert_version() -> str:
    """Return LiteRT's name and version."""
    return f"LiteRT {metadata.version('ai-edge-litert')}"


def _predict(worker: Worker, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    out = worker.folder / "outputs.npz"
    path = worker.write_arrays(arrays)
    timeout_s = _PREDICT_S + len(arrays[0])
    worker.request("predict", timeout_s=timeout_s, data=path, out=str(out))
    with np.load(out, allow_pickle=False) as archive:
        return tuple(archive[f"arr_{i}"] for i in range(len(archive.files)))


def _worker(source: SourceModel) -> Worker:
    if source.worker is None:
        raise ModelError(f"{source.path}: the model has been closed")
    return source.worker


def calibration_draw(count: int, samples: int, seed: int) -> np.ndarray:
    """Return the sorted positions of ``samples`` of ``count`` samples."""
    if samples < 1:
        raise InputError("the number of calibration samples must be at least 1")
    if count <= samples:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


def _prefixed(path: str, message: str) -> str:
    return message if message.startswith(path) else f"{path}: {message}"
