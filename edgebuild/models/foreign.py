"""Files of other tools that hold a network, and the way from each to a model that is read."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgebuild.errors import ModelError

_KERAS_STEPS = (
    "build the model in Python as it was when it was trained",
    "model.load_weights(...), then model.save('model.keras')",
    "edgebuild build model.keras --data set.npz",
)


@dataclass(frozen=True)
class _Foreign:
    """What a file is, the steps that lead on, and the sum of them as a hint."""

    what: str
    steps: tuple[str, ...]
    hint: str


_ONNX = _Foreign(
    "an ONNX model",
    (
        "pip install onnx2tf",
        "onnx2tf -i model.onnx -o saved_model",
        "edgebuild build saved_model --data set.npz",
    ),
    "convert it to a SavedModel with onnx2tf; its inputs then have the channels last",
)
_TORCH = _Foreign(
    "a PyTorch file, which contains weights and Python code, but no network",
    (
        "pip install litert-torch",
        "in Python, with the class of the model: litert_torch.convert(model.eval(), "
        "(sample_input,)).export('model.tflite')",
        "edgebuild build model.tflite --data set.npz",
    ),
    "export it from PyTorch to a float .tflite",
)
_FROZEN = _Foreign(
    "a frozen TensorFlow graph or another protobuf",
    (
        "in Python: tf.compat.v1.lite.TFLiteConverter.from_frozen_graph('model.pb', ['input'], "
        "['output']).convert(), written to model.tflite",
        "edgebuild build model.tflite --data set.npz",
    ),
    "for a SavedModel give the folder; for a frozen graph, convert it to a float .tflite",
)
_CORE_ML = _Foreign(
    "a Core ML model, which cannot be converted back",
    ("export the model that it was made from: Keras to .keras, PyTorch with litert-torch",),
    "give the model that it was made from",
)
_SAFETENSORS = _Foreign(
    "a file of weights without a network (safetensors)",
    (
        "of PyTorch: load the weights into the model, then litert_torch.convert(model.eval(), "
        "(sample_input,)).export('model.tflite')",
        "of Keras: load the weights into the model, then model.save('model.keras')",
    ),
    "put the weights into their model and save that",
)
_CHECKPOINT = _Foreign(
    "a TensorFlow checkpoint, which contains weights but no network",
    _KERAS_STEPS,
    "put the weights into their model and save that",
)
_PICKLE = _Foreign(
    "a Python pickle, which is a program and is not opened",
    ("in Python, where you trust it: load it and save the network as .keras or .tflite",),
    "give the network as .keras, SavedModel or .tflite",
)
_TFJS = _Foreign(
    "a TensorFlow.js model",
    (
        "pip install tensorflowjs",
        "tensorflowjs_converter --input_format tfjs_layers_model --output_format keras "
        "model.json model.h5",
        "edgebuild build model.h5 --data set.npz",
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

WEIGHTS_HINT = "; ".join(_KERAS_STEPS[:2])
"""What to do with an ``.h5`` file that ``model.save_weights`` wrote."""


def foreign_file(path: Path, head: bytes) -> ModelError | None:
    """Return the error that leads on from a file of another tool, None for one that is not known.

    ``head`` is how it begins. To be asked of what is no model that edgebuild reads.
    """
    found = _BY_SUFFIX.get(path.suffix.lower())
    if found is _FROZEN and path.name == "saved_model.pb":
        return ModelError(f"{path}: is one file of a SavedModel", hint=f"give {path.parent}")
    if found is None and head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        found = _PICKLE
    return None if found is None else _error(path, found)


def foreign_archive(path: Path, archive: zipfile.ZipFile) -> ModelError | None:
    """Return the error that leads on from a zip archive of another tool, None for one that is not
    known."""
    names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return _error(path, _TORCH)
    return None


def foreign_folder(path: Path) -> ModelError | None:
    """Return the error that leads on from a folder of another tool, None for one that is not
    known."""
    if path.suffix.lower() == ".mlpackage":
        return _error(path, _CORE_ML)
    if (path / "checkpoint").is_file():
        return _error(path, _CHECKPOINT)
    if (path / "model.json").is_file():
        return _error(path, _TFJS)
    return None


def _error(path: Path, found: _Foreign) -> ModelError:
    return ModelError(
        f"{path}: {found.what}; edgebuild does not read it", details=found.steps, hint=found.hint
    )
