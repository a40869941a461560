"""Files of other tools that hold a network, and the way from each to a model that is read."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgebuild.errors import ModelError
from edgebuild.units import listed

_DATA = "set.npz contains an array x of typical inputs and, to measure accuracy, y of their labels"
_KERAS_STEPS = (
    "recreate the model in Python",
    "model.load_weights(...), then model.save('model.keras')",
    "edgebuild build model.keras --data set.npz ..., with the same options",
    _DATA,
)


_NUMPY = b"\x93NUMPY"


@dataclass(frozen=True)
class _Foreign:
    """What is said of a file, the steps that lead on, and the sum of them as a hint.

    ``{name}`` in a step stands for the file's name.
    """

    what: str
    steps: tuple[str, ...]
    hint: str


_ONNX = _Foreign(
    "ONNX models are not supported",
    (
        "pip install onnx2tf",
        "onnx2tf -i {name} -o saved_model",
        "edgebuild build saved_model --data set.npz ..., with the same options",
        _DATA,
    ),
    "convert it to a SavedModel with onnx2tf; the converted model is NHWC, so x must be (samples, "
    "height, width, channels)",
)
_TORCH = _Foreign(
    "PyTorch files are not supported: they contain no portable graph of the model",
    (
        "pip install litert-torch",
        "in Python, with the class of the model: litert_torch.convert(model.eval(), "
        "(sample_input,)).export('model.tflite')",
        "edgebuild build model.tflite --data set.npz ..., with the same options",
        _DATA,
    ),
    "export it from PyTorch to a float .tflite",
)
_FROZEN = _Foreign(
    "frozen TensorFlow graphs and other protobuf files are not supported",
    (
        "in Python: tf.compat.v1.lite.TFLiteConverter.from_frozen_graph('{name}', ['input'], "
        "['output']).convert(), written to model.tflite",
        "edgebuild build model.tflite --data set.npz ..., with the same options",
        _DATA,
    ),
    "for a SavedModel pass its folder; for a frozen graph, convert it to a float .tflite",
)
_CORE_ML = _Foreign(
    "Core ML models are not supported, and cannot be converted back",
    ("export the model that it was made from: Keras to .keras, PyTorch with litert-torch",),
    "pass the model that it was made from",
)
_SAFETENSORS = _Foreign(
    "safetensors files are not supported: they contain weights, but no model",
    (
        "of PyTorch: load the weights into the model, then litert_torch.convert(model.eval(), "
        "(sample_input,)).export('model.tflite')",
        "of Keras: load the weights into the model, then model.save('model.keras')",
    ),
    "put the weights into their model and save that",
)
_CHECKPOINT = _Foreign(
    "TensorFlow checkpoints are not supported: they contain weights, but no model",
    _KERAS_STEPS,
    "put the weights into their model and save that",
)
_PICKLE = _Foreign(
    "Python pickles are not supported: loading one runs the code in it",
    ("in Python, where you trust it: load it and save the model as .keras or .tflite",),
    "pass the model as .keras, SavedModel or .tflite",
)
_TFJS = _Foreign(
    "TensorFlow.js models are not supported",
    (
        "pip install tensorflowjs",
        "tensorflowjs_converter --input_format tfjs_layers_model --output_format keras "
        "{name} model.h5",
        "edgebuild build model.h5 --data set.npz ..., with the same options",
        _DATA,
    ),
    "convert it to a Keras .h5 file",
)

_BY_SUFFIX = {
    ".onnx": _ONNX,
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _CHECKPOINT,
    ".index": _CHECKPOINT,
    ".pb": _FROZEN,
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
    ".safetensors": _SAFETENSORS,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".json": _TFJS,
}

WEIGHTS_HINT = (
    "recreate the model in Python, call model.load_weights(...), then model.save('model.keras'), "
    "and build that file"
)
"""What to do with an ``.h5`` file that ``model.save_weights`` wrote."""


def foreign_file(path: Path, head: bytes) -> ModelError | None:
    """Return the error that leads on from a file of another tool, None for one that is not known.

    ``head`` is how it begins. To be asked of what is no model that edgebuild reads.
    """
    found = _BY_SUFFIX.get(path.suffix.lower())
    if found is _FROZEN and path.name == "saved_model.pb":
        return ModelError(f"{path}: is one file of a SavedModel", hint=f"pass {path.parent}")
    if head.startswith(_NUMPY):
        return _arrays(path)
    if found is None and head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        found = _PICKLE
    return None if found is None else _error(path, found)


def compressed_file(path: Path, head: bytes) -> ModelError | None:
    """Return the error that leads on from a compressed file or a tar archive, None for others."""
    for start, what, command in _COMPRESSED:
        if head.startswith(start):
            return ModelError(f"{path}: {what}, not the model itself", hint=_unpack(path, command))
    if head[_TAR_OFFSET:].startswith(b"ustar"):
        return ModelError(f"{path}: a tar archive, not the model itself", hint=_unpack(path, "tar"))
    return None


def _unpack(path: Path, command: str) -> str:
    return f"unpack it and pass the model in it, e.g. {_UNPACK[command].format(name=path.name)}"


_TAR_OFFSET = 257
_COMPRESSED = (
    (b"\x1f\x8b", "a file compressed with gzip", "gzip"),
    (b"BZh", "a file compressed with bzip2", "bzip2"),
    (b"\xfd7zXZ", "a file compressed with xz", "xz"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z"),
)
_UNPACK = {
    "gzip": "gzip -dc {name} > unpacked (of a .tar.gz: tar xzf {name})",
    "bzip2": "bzip2 -dc {name} > unpacked",
    "xz": "xz -dc {name} > unpacked",
    "zstd": "zstd -dc {name} > unpacked",
    "7z": "7z x {name}",
    "tar": "tar xf {name}",
    "zip": "unzip {name}",
}


def foreign_archive(path: Path, archive: zipfile.ZipFile) -> ModelError | None:
    """Return the error that leads on from a zip archive of another tool, None for one that is not
    known."""
    names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return _error(path, _TORCH)
    if names and all(name.endswith(".npy") for name in names):
        return _arrays(path)
    models = [name for name in names if name.endswith(_MODELS)]
    if models:
        return ModelError(
            f"{path}: a zip archive with {listed(models, _SHOWN)} in it, not the model itself",
            hint=_unpack(path, "zip"),
        )
    return None


_MODELS = (".tflite", ".keras", ".h5", "saved_model.pb", ".onnx")
_SHOWN = 3


def foreign_folder(path: Path) -> ModelError | None:
    """Return the error that leads on from a folder of another tool, None for one that is not
    known."""
    if path.suffix.lower() == ".mlpackage":
        return _error(path, _CORE_ML)
    if (path / "checkpoint").is_file():
        return _error(path, _CHECKPOINT)
    if (path / "model.json").is_file():
        return _error(path / "model.json", _TFJS)
    return None


def _error(path: Path, found: _Foreign) -> ModelError:
    steps = [step.replace("{name}", path.name) for step in found.steps]
    return ModelError(f"{path}: {found.what}", details=steps, hint=found.hint)


def _arrays(path: Path) -> ModelError:
    return ModelError(
        f"{path}: contains NumPy arrays, not a model",
        hint=f"edgebuild build MODEL --data {path} ...",
    )
