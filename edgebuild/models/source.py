"""Recognise a trained model by its content, and describe its inputs.

A file is never trusted: a ``.tflite`` is read by edgebuild's own reader, everything that needs
TensorFlow is opened in a child process (see ``edgebuild.models.worker``).
"""

from __future__ import annotations

import itertools
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import util
from pathlib import Path

from edgebuild import limits
from edgebuild.errors import CHECK_PATH, ModelError, ToolError, UnsupportedOperatorError
from edgebuild.files import explain_os_error
from edgebuild.graph import KERNEL_DTYPES, DType, Graph
from edgebuild.graph.demand import check_demand
from edgebuild.graph.formats import is_quantized
from edgebuild.models.float_tflite import float16_as_float32
from edgebuild.models.foreign import compressed_file, foreign_archive, foreign_file, foreign_folder
from edgebuild.models.shapes import Declared, Shape, declared_inputs, settle
from edgebuild.models.worker import Worker
from edgebuild.tflite.reader import read_tflite

FORMATS = "a .keras, .h5 or .tflite file, or a SavedModel folder"
_SHAPE_S = 120.0
_TOO_MUCH = "use a smaller model; if you expected a small one, do not trust the file"
_MOST_ENTRIES, _SHOWN = 1000, 4
_LFS = b"version https://git-lfs"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSETS = (0, 512, 1024, 2048)


class Kind(StrEnum):
    """What a model is stored as."""

    KERAS = "keras"
    H5 = "h5"
    SAVED_MODEL = "saved_model"
    TFLITE = "tflite"


@dataclass(frozen=True)
class InputSpec:
    """One model input: the shape of one inference, with a batch dimension of 1 in front."""

    name: str
    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A model as the user gave it.

    ``is_int8`` is True for a ``.tflite`` that is quantized already, which passes unchanged.
    ``content`` holds the bytes of a ``.tflite``, ``stored_format`` is the number format of a float
    one whose weights were made smaller (``dynamic``, ``float16``), None of a plain one. ``outputs``
    are the names of the outputs, in order; ``notes`` say what is not as it was saved, and which
    open dimensions were settled.
    """

    path: Path
    kind: Kind
    inputs: tuple[InputSpec, ...]
    is_int8: bool = False
    content: bytes = b""
    stored_format: str | None = None
    worker: Worker | None = None
    outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def close(self) -> None:
        """End the child process; it also ends when the model is no longer referred to."""
        if self.worker is not None:
            self.worker.close()


def open_model(
    path: Path | str,
    *,
    trust: bool = False,
    any_format: bool = False,
    shapes: Mapping[str, Shape] | None = None,
) -> SourceModel:
    """Open the model at ``path``.

    Args:
        path: a ``.keras``, ``.h5`` or ``.tflite`` file, or a SavedModel folder; the content
            decides, not the name.
        trust: allow Lambda layers and other code that a model file can carry.
        any_format: take a ``.tflite`` with number formats and subgraphs that only LiteRT runs.
        shapes: of inputs by name, where the model leaves dimensions open.

    Raises:
        ModelError: the file is missing, damaged, hostile, or of no kind that edgebuild reads.
        InputError: a dimension beside the batch is open and not given.
        ToolError: TensorFlow is needed and not installed.
    """
    path = Path(path)
    kind = recognise(path)
    if kind == Kind.TFLITE:
        return _open_tflite(path, any_format, shapes or {})
    if kind == Kind.KERAS:
        _check_archive(path)
    if util.find_spec("tensorflow") is None:
        raise ToolError(
            f"{path}: a {LABELS[kind]} needs TensorFlow, which is not installed",
            hint="pip install 'edgebuild[keras]'",
        )
    worker = Worker(str(path), {"path": str(path.resolve()), "kind": str(kind), "trust": trust})
    try:
        reply = worker.start()
        declared = [_declared(path, i, entry) for i, entry in enumerate(reply["inputs"])]
        settled, notes = settle(str(path), declared, shapes or {})
        worker.request("shape", timeout_s=_SHAPE_S, shapes=[list(shape) for shape in settled])
        inputs = tuple(
            InputSpec(one.name, (1, *shape[1:]) if shape else (), DType(str(entry["dtype"])))
            for one, shape, entry in zip(declared, settled, reply["inputs"], strict=True)
        )
    except BaseException:
        worker.close()
        raise
    outputs, said = (tuple(str(text) for text in reply[key]) for key in ("outputs", "notes"))
    return SourceModel(path, kind, inputs, worker=worker, outputs=outputs, notes=(*said, *notes))


LABELS = {
    Kind.KERAS: ".keras file",
    Kind.H5: "Keras .h5 file",
    Kind.SAVED_MODEL: "SavedModel",
    Kind.TFLITE: ".tflite file",
}
"""What users call each kind."""


def recognise(path: Path) -> Kind:
    """Return what the model at ``path`` is stored as, by how it begins; ModelError for what
    edgebuild does not read."""
    try:
        if path.is_dir():
            return _recognise_folder(path)
        if not path.exists():
            raise ModelError(limits.missing(path), hint=f"pass {FORMATS}")
        with limits.open_file(
            path, most=limits.MODEL_BYTES, hint=f"pass {FORMATS}", error=ModelError
        ) as file:
            head = file.read(2056)
    except OSError as error:
        raise explain_os_error(error, path) or ModelError(
            f"{path}: cannot be read: {error.strerror or error}", hint=CHECK_PATH
        ) from error
    if not head:
        raise ModelError(
            f"{path}: the file is empty", hint=f"copy or download it again; or pass {FORMATS}"
        )
    if head.startswith(_LFS):
        raise ModelError(
            f"{path}: a Git LFS pointer, not the model itself",
            hint="fetch the model: git lfs pull",
        )
    if head.lstrip()[:1] == b"<":
        raise ModelError(
            f"{path}: a web page or XML file, not a model",
            hint="download the file itself, not the page that shows it (on GitHub: the Raw button)",
        )
    if head[4:8] == b"TFL3":
        return Kind.TFLITE
    if (packed := compressed_file(path, head)) is not None:
        raise packed
    if head.startswith(b"PK\x03\x04"):
        if (other := foreign_file(path, head)) is not None:  # PyTorch writes archives, too
            raise other
        if path.suffix != ".keras":  # what is called so is checked when it is opened
            _check_archive(path)
        return Kind.KERAS
    if any(head[offset : offset + 8] == _HDF5 for offset in _HDF5_OFFSETS):
        return Kind.H5
    found = foreign_file(path, head)
    if found is None and path.suffix == ".tflite":
        return Kind.TFLITE  # the reader says what is wrong with it
    raise found or ModelError(
        f"{path}: not a model that edgebuild reads (it begins with {head[:8]!r})",
        hint=f"pass {FORMATS}",
    )


def _recognise_folder(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file():
        _check_folder(path)
        return Kind.SAVED_MODEL
    raise foreign_folder(path) or ModelError(
        f"'{path}' is not a SavedModel: it has no saved_model.pb",
        hint=_models_in(path) or f"pass {FORMATS}",
    )


def _models_in(folder: Path) -> str:
    """Return a hint that names the models in ``folder``, empty where there are none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in itertools.islice(entries, _MOST_ENTRIES) if _is_model(e))
    except OSError:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"pass one of the models in it: {', '.join(names[:_SHOWN])}{more}" if names else ""


def _is_model(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith((".keras", ".h5", ".tflite")):
        return entry.is_file()
    return entry.is_dir() and Path(entry.path, "saved_model.pb").is_file()


def _check_folder(path: Path) -> None:
    """Refuse a SavedModel whose files together are larger than a model may be."""
    if sum(file.stat().st_size for _, file in limits.files_below(path)) > limits.MODEL_BYTES:
        raise ModelError(
            f"{path}: larger than {limits.in_words(limits.MODEL_BYTES)}", hint=_TOO_MUCH
        )


def _check_archive(path: Path) -> None:
    """Refuse what is no ``.keras`` archive, and one that would unpack to fill the memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries, foreign = archive.infolist(), foreign_archive(path, archive)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        reason = "not a valid zip archive" if isinstance(error, zipfile.BadZipFile) else str(error)
        raise ModelError(
            f"{path}: damaged .keras file: {reason}", hint="save or copy the model again"
        ) from error
    sizes = {entry.filename: entry.file_size for entry in entries}
    if "config.json" not in sizes:
        raise foreign or ModelError(
            f"{path}: not a .keras model (a zip archive without config.json)",
            hint=f"pass {FORMATS}",
        )
    limits.check_archive(
        path,
        entries,
        most=limits.UNPACKED_MODEL_BYTES,
        ratio=limits.MODEL_RATIO,
        hint=_TOO_MUCH,
        error=ModelError,
    )
    if sizes["config.json"] > limits.CONFIG_BYTES:
        raise ModelError(
            f"{path}: its config.json is larger than {limits.in_words(limits.CONFIG_BYTES)}",
            hint=_TOO_MUCH,
        )


def _declared(path: Path, position: int, entry: dict[str, object]) -> Declared:
    name, dtype, shape = str(entry["name"]), str(entry["dtype"]), entry["shape"]
    if dtype not in KERNEL_DTYPES:
        raise ModelError(
            f"{path}: input {position} '{name}' has type {dtype}, which edgebuild does not support",
            hint="save the model with float32 inputs",
        )
    return Declared(name, tuple(shape) if isinstance(shape, list) else None)


def _open_tflite(path: Path, any_format: bool, given: Mapping[str, Shape]) -> SourceModel:
    content = limits.read_model(path)
    graph = read_tflite(content, name=path.stem, where=str(path))
    halves: tuple[str, ...] = ()
    if not (any_format or is_quantized(graph)):
        if any(tensor.dtype == DType.FLOAT16 for tensor in graph.tensors.values()):
            halves = ("has float16 numbers, read as float32",)
        graph = _checked_float(path, content)
    shaped, notes = _shaped(path, content, graph, given, any_format)
    is_shaped = shaped is not content
    if is_shaped:
        graph = _checked_float(path, shaped) if halves else read_tflite(shaped, where=str(path))
    check_demand(graph, where=str(path))
    inputs = tuple(InputSpec(t.name, t.shape, t.dtype) for t in graph.input_tensors)
    outputs = tuple(t.name for t in graph.output_tensors)
    if is_quantized(graph):
        return SourceModel(path, Kind.TFLITE, inputs, True, shaped, outputs=outputs, notes=notes)
    model: dict[str, object] = {"path": str(path.resolve()), "kind": "tflite", "trust": False}
    worker = Worker(str(path), model)
    stored = "float16" if halves else _stored_format(graph)
    if is_shaped:
        model["path"] = str(worker.folder / "shaped.tflite")
        (worker.folder / "shaped.tflite").write_bytes(shaped)
    notes = (*halves, *notes)
    return SourceModel(path, Kind.TFLITE, inputs, False, shaped, stored, worker, outputs, notes)


def _checked_float(path: Path, content: bytes) -> Graph:
    """Return a float model as it is quantized, its float16 numbers as float32."""
    graph = read_tflite(content, name=path.stem, where=str(path))
    if any(tensor.dtype == DType.FLOAT16 for tensor in graph.tensors.values()):
        graph = read_tflite(float16_as_float32(content), name=path.stem, where=str(path))
    _refuse_foreign(graph, str(path))
    return graph


def _shaped(
    path: Path, content: bytes, graph: Graph, given: Mapping[str, Shape], any_format: bool
) -> tuple[bytes, tuple[str, ...]]:
    """Return the model with every shape known, and notes; LiteRT computes what follows from the
    inputs' shapes. What LiteRT runs may leave dimensions open, unless they are given."""
    declared = declared_inputs(graph)
    if any_format and not given:
        names = ", ".join(one.name for one in declared if None in (one.shape or ())[1:])
        note = f"dimensions of {names} are dynamic, and are measured as 1"
        return content, ((note,) if names else ())
    settled, notes = settle(str(path), declared, given)
    inside = {i for op in graph.ops for i in op.outputs}
    is_open = any(-1 in graph.tensors[i].signature[1:] for i in inside)
    if settled == tuple(t.shape for t in graph.input_tensors) and not is_open:
        return content, notes
    worker = Worker(str(path), {"path": str(path.resolve()), "kind": "tflite", "trust": False})
    try:
        out = worker.folder / "shaped.tflite"
        worker.request(
            "resize", timeout_s=_SHAPE_S, shapes=[list(shape) for shape in settled], out=str(out)
        )
        return limits.read_model(out), notes
    finally:
        worker.close()


def _refuse_foreign(graph: Graph, where: str) -> None:
    """Raise UnsupportedOperatorError where a float model has more than can be quantized: further
    subgraphs, and tensors of types that edgebuild does not compute with."""
    problems = [f"the model has {len(graph.others) + 1} subgraphs"] if graph.others else []
    foreign: dict[str, list[str]] = {}
    for tensor in graph.tensors.values():
        if tensor.dtype not in KERNEL_DTYPES:
            foreign.setdefault(f"of type {tensor.dtype}", []).append(tensor.name)
        elif tensor.sparse:
            foreign.setdefault("stored sparse", []).append(tensor.name)
    for what, names in foreign.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        problems.append(f"{len(names)} tensors {what}: {', '.join(names[:3])}{more}")
    if problems:
        raise UnsupportedOperatorError(
            f"{where}: this float model cannot be quantized: {problems[0]}",
            details=problems[1:],
            hint="export it with dense float32 weights and without control flow",
        )


def _stored_format(graph: Graph) -> str | None:
    """Return the number format of a float graph's weights; None where they are float32."""
    kinds = {t.dtype for t in graph.tensors.values() if t.is_constant}
    if DType.FLOAT16 in kinds:
        return "float16"
    quantized = [t for t in graph.tensors.values() if t.is_constant and t.quantization is not None]
    return "dynamic" if any(t.dtype.bits <= 8 for t in quantized) else None
