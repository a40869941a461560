"""Load ``.keras`` and legacy ``.h5`` files with Keras 3, in safe mode. For the child process.

Keras 2 wrote settings that Keras 3 does not take any more, although they have no effect at their
usual values: ``DepthwiseConv2D(groups=1)`` and the like. They are removed before loading.
"""

from __future__ import annotations

import inspect
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgebuild import limits
from edgebuild.errors import ModelError
from edgebuild.models.hdf5 import check_hdf5

_TRUST = "if you trust where the model comes from, add --trust-model"
_CODE_LAYERS = {"Lambda"}
_CODE_CLASSES = {"__lambda__", "function"}
_KERAS2_ONLY = {
    "TFOpLambda",
    "SlicingOpLambda",
    "ClassMethod",
    "InstanceMethod",
    "InstanceProperty",
}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,),
    "time_major": (False,),
    "unit_forget_bias": (True, False),
    "implementation": (0, 1, 2),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "renorm_momentum": (0.99,),
    "fused": (None, True, False),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "ragged": (False,),
    "sparse": (False,),
    "stateful": (False,),
    "expects_training_arg": (True, False),
    "must_restore_from_config": (True, False),
    "experimental_autocast": (True, False),
}
"""Settings of Keras 2 with the values at which they change nothing at inference."""

_SETTINGS_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")
_BASE = {"name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape"}
_ACTIVATIONS = {"softmax_v2": "softmax", "swish": "silu", "hard_swish": "hard_silu"}
_MAX_DEPTH = 64


def load_keras_model(path: Path, kind: str, *, trust: bool) -> Any:
    """Return the Keras model at ``path``; ``kind`` is ``keras`` or ``h5``."""
    with tempfile.TemporaryDirectory(prefix="edgebuild-keras-") as name:
        if kind == "h5":
            prepared = _prepare_h5(path, Path(name), trust=trust)
        else:
            prepared = _prepare_archive(path, Path(name), trust=trust)
        return _load(prepared, path, trust=trust)


def _load(prepared: Path, path: Path, *, trust: bool) -> Any:
    import keras

    try:
        if trust:  # copies of its layers too
            keras.config.enable_unsafe_deserialization()
        model = keras.saving.load_model(str(prepared), compile=False, safe_mode=not trust)
    except Exception as error:
        message = str(error).strip()
        if not trust and ("safe_mode" in message or "unsafe" in message):
            raise _refused(path, "arbitrary code") from error
        if "Could not locate" in message or "Unknown layer" in message:
            raise ModelError(
                f"{path}: uses a class that is not part of Keras: {message.splitlines()[0][:200]}",
                hint="export the model as a SavedModel (model.export(...)) and give that",
            ) from error
        first = (message.splitlines() or [""])[0][:300]
        raise ModelError(
            f"{path}: Keras cannot load it: {first}",
            hint="the file may be damaged; or export the model as a SavedModel and give that",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{path}: holds a {type(model).__name__}, not a Keras model")
    if not getattr(model, "inputs", None):  # a Sequential model that was never built has no such
        raise ModelError(
            f"{path}: the model was saved without its input shapes",
            hint="begin it with keras.Input(shape), or call model.build(input_shape), before "
            "model.save",
        )
    _check_layers(path, model)
    return model


def _check_layers(path: Path, model: Any) -> None:
    """Refuse a model with an output of a layer that this computer should not be asked to hold."""
    whole = getattr(model, "_functional", None) or model  # of keras.Sequential
    for operation in getattr(whole, "operations", ()):
        for node in operation._inbound_nodes:
            sizes = [limits.elements(d or 1 for d in t.shape[1:]) for t in node.output_tensors]
            limits.check_inference(f"{path}: layer '{operation.name}'", 4 * sum(sizes))


def _refused(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: the model carries {what}, which is not run", hint=_TRUST)


def _prepare_h5(path: Path, folder: Path, *, trust: bool) -> Path:
    """Return a copy of the file whose configuration Keras 3 takes."""
    import h5py

    prepared = folder / "model.h5"
    shutil.copyfile(path, prepared)
    prepared.chmod(0o600)
    try:
        with h5py.File(prepared, "r+") as file:
            text = file.attrs.get("model_config")
            if text is None:
                raise ModelError(
                    f"{path}: holds weights without a model",
                    hint="save the whole model with model.save(...), not model.save_weights",
                )
            check_hdf5(path, file, path.stat().st_size)
            config = _parse(path, text)
            _refuse_code(path, config, trust=trust)
            file.attrs["model_config"] = json.dumps(upgraded(config))
            for name in ("training_config", "optimizer_weights"):
                if name in file.attrs:
                    del file.attrs[name]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: damaged .h5 file: {str(error)[:200]}", hint="save or copy the model again"
        ) from error
    return prepared


def _prepare_archive(path: Path, folder: Path, *, trust: bool) -> Path:
    """Check the archive; return it, or a copy with a configuration that Keras 3 takes."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = _parse(path, archive.read("config.json"))
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(f"{path}: '{damaged}' in the archive is damaged")
            _refuse_code(path, config, trust=trust)
            changed = upgraded(config)
            prepared = folder / "model.keras"
            with zipfile.ZipFile(prepared, "w") as copy:
                for name in archive.namelist():
                    if name == "config.json":
                        copy.writestr(name, json.dumps(changed))
                    else:
                        _copy(archive, copy, name)
            _check_weights(path, prepared)
    except (zipfile.BadZipFile, OSError, KeyError, EOFError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged .keras archive: {str(error)[:200]}",
            hint="save or copy the model again",
        ) from error
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        # zlib, bz2 and lzma each have an error class of their own.
        raise ModelError(f"{path}: damaged .keras archive: {str(error)[:200]}") from error
    return prepared


def _copy(archive: zipfile.ZipFile, copy: zipfile.ZipFile, name: str) -> None:
    """Copy one entry in pieces: it may be large."""
    with archive.open(name) as source, copy.open(name, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _check_weights(path: Path, prepared: Path) -> None:
    """Check the HDF5 files in the archive before Keras opens them."""
    import h5py

    with zipfile.ZipFile(prepared) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".h5"):
                # The entry is not compressed any more, so that it can be read where it lies.
                with archive.open(entry) as content, h5py.File(content, "r") as file:
                    check_hdf5(path, file, entry.file_size)


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: the model's configuration is no JSON: {str(error)[:200]}",
            hint="save or copy the model again",
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: the model's configuration is no JSON object")
    return config


def _refuse_code(path: Path, config: Mapping[str, Any], *, trust: bool) -> None:
    for entry in _objects(config):
        kind = entry.get("class_name")
        if kind in _KERAS2_ONLY:
            raise ModelError(
                f"{path}: layer '{entry.get('name', '?')}' is a {kind}, which Keras 3 cannot load",
                hint="export the model as a SavedModel with the Keras that made it, and give that",
            )
        settings = entry.get("config")
        name = settings.get("name", "?") if isinstance(settings, dict) else "?"
        if not trust and kind in _CODE_LAYERS:
            raise _refused(path, f"code in the {kind} layer '{str(name)[:100]}'")
        if not trust and kind in _CODE_CLASSES:
            raise _refused(path, f"a Python {str(kind).strip('_')}")


def _objects(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield every JSON object below ``value`` that describes a Python object."""
    if depth > _MAX_DEPTH:
        raise ModelError(f"the model's configuration is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for child in value.values():
            yield from _objects(child, depth + 1)
    elif isinstance(value, list):
        for child in value:
            yield from _objects(child, depth + 1)


def upgraded(value: Any) -> Any:
    """Return a model configuration without the settings that Keras 3 does not take any more."""
    if isinstance(value, list):
        return [upgraded(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: upgraded(child) for key, child in value.items()}
    kind, settings = result.get("class_name"), result.get("config")
    if isinstance(kind, str) and isinstance(settings, dict):
        result["config"] = _upgrade_settings(kind, settings)
    return result


def _upgrade_settings(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    accepted = _accepted(kind)
    if accepted is None:
        return settings
    result = {}
    for key, value in settings.items():
        if key not in accepted and key not in _BASE and _has_no_effect(key, value):
            continue
        if key.endswith("activation") and isinstance(value, str):
            value = _ACTIVATIONS.get(value, value)
        if key == "dtype":
            value = _dtype(value)
        result[key] = value
    return result


def _has_no_effect(key: str, value: Any) -> bool:
    if value is None or key.endswith(_SETTINGS_OF_TRAINING):
        return True
    return any(
        value == neutral and type(value) is type(neutral) for neutral in _NEUTRAL.get(key, ())
    )


def _dtype(value: Any) -> Any:
    """Return a Keras 2 dtype policy as its name."""
    if isinstance(value, dict) and value.get("class_name") in ("Policy", "PolicyV1"):
        return value.get("config", {}).get("name", "float32")
    return value


def _accepted(kind: str) -> set[str] | None:
    """Return the names that a Keras layer's constructor takes; None when it is no layer."""
    import keras

    cls = getattr(keras.layers, kind, None)
    if not inspect.isclass(cls) or not issubclass(cls, keras.layers.Layer):
        return None
    names: set[str] = set()
    for base in cls.__mro__:
        # The base constructors are called with names that the layer chooses, so only its own and
        # those that it passes on in **kwargs count.
        parameters = inspect.signature(base).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters) or base is keras.layers.Layer:
            break
    return names
