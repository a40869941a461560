"""Load ``.keras`` and legacy ``.h5`` files with Keras 3, in safe mode. For the child process."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild import limits
from edgebuild.errors import ModelError
from edgebuild.files import TemporaryFolder
from edgebuild.models.foreign import WEIGHTS_HINT
from edgebuild.models.hdf5 import check_hdf5
from edgebuild.models.keras_config import (
    in_float32,
    other_floats,
    own_classes,
    refuse_code,
    refuse_counts,
    refused,
    upgraded,
)

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class _Prepared:
    """A copy of a model whose configuration Keras 3 takes, the number of values that its weights
    hold, and the configuration that it had."""

    path: Path
    values: int
    config: dict[str, Any]


def load_keras_model(path: Path, kind: str, *, trust: bool) -> Any:
    """Return the Keras model at ``path``, in float32; ``kind`` is ``keras`` or ``h5``."""
    return load_keras(path, kind, trust=trust)[0]


def load_keras(path: Path, kind: str, *, trust: bool) -> tuple[Any, tuple[str, ...]]:
    """Return the Keras model at ``path`` and notes: of what it is when it is not as it was saved.

    ModelError for a file that is damaged, hostile, or holds no model of Keras 3.
    """
    prepare = _prepare_h5 if kind == "h5" else _prepare_archive
    with TemporaryFolder("keras") as name:
        prepared = prepare(path, Path(name), trust=trust)
        with _bounded_weights(path, prepared.values):
            model = _load(prepared.path, path, prepared.config, trust=trust)
    floats = ", ".join(other_floats(prepared.config))
    notes = (f"trained in {floats}, read as float32",) if floats else ()
    return model, notes


@contextmanager
def _bounded_weights(path: Path, values: int) -> Iterator[None]:
    """Refuse layers that ask for more weights than the file holds, before there is memory for them.

    A configuration of some hundred bytes can declare a layer of any size. Some weights need no
    values in the file (the states of random generators), hence the free bytes.
    """
    import keras

    plain = keras.Variable.__init__
    most = values + limits.RATIO_FREE_BYTES // _FLOAT_BYTES
    taken = 0

    def bounded(self: Any, initializer: Any, shape: Any = None, *more: Any, **options: Any) -> None:
        nonlocal taken
        lengths = (shape,) if isinstance(shape, int) else tuple(shape or ())
        taken += limits.elements(length or 1 for length in lengths)
        if taken > most:
            wanted = " x ".join(f"{length or 1:,}" for length in lengths)
            raise ModelError(
                f"{path}: a layer declares a weight '{options.get('name')}' of {wanted} values, "
                f"the file holds {values:,} in all",
                hint="save the model again, with its weights",
            )
        plain(self, initializer, shape, *more, **options)

    keras.Variable.__init__ = bounded
    try:
        yield
    finally:
        keras.Variable.__init__ = plain


def _load(prepared: Path, path: Path, config: dict[str, Any], *, trust: bool) -> Any:
    import keras

    try:
        if trust:  # copies of its layers too
            keras.config.enable_unsafe_deserialization()
        model = keras.saving.load_model(str(prepared), compile=False, safe_mode=not trust)
    except (MemoryError, ModelError):
        raise
    except Exception as error:
        message = str(error).strip()
        if not trust and ("safe_mode" in message or "unsafe" in message):
            raise refused(path, "the model contains code") from error
        if found := own_classes(config):
            raise ModelError(
                f"{path}: {found[0]}, whose code is not stored in the file",
                details=found[1:],
                hint="run model.export('saved_model') in the program that defines the class, then "
                "build the folder saved_model with the same options",
            ) from error
        raise ModelError(
            f"{path}: Keras cannot load it: {_reason(error)}",
            hint="save it again with the Keras that made it, or export it as a SavedModel there: "
            "model.export('saved_model'), then `edgebuild build saved_model`",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"{path}: contains a {type(model).__name__}, not a Keras model",
            hint="save the whole model: model.save('model.keras')",
        )
    if not getattr(model, "inputs", None):  # a Sequential model that was never built has no such
        raise ModelError(
            f"{path}: the model was saved without its input shapes",
            hint="begin it with keras.Input(shape), or call model.build(input_shape), before "
            "model.save",
        )
    _check_layers(path, model)
    return model


def _reason(error: Exception) -> str:
    """Return what first went wrong: Keras adds to the errors of layers what it was loading."""
    first: BaseException = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    text = str(first).strip() or str(error).strip() or type(first).__name__
    return text.splitlines()[0][:300]


def _check_layers(path: Path, model: Any) -> None:
    """Refuse a model with an output of a layer that this computer should not be asked to hold."""
    whole = getattr(model, "_functional", None) or model  # of keras.Sequential
    for operation in getattr(whole, "operations", ()):
        for node in operation._inbound_nodes:
            sizes = [limits.elements(d or 1 for d in t.shape[1:]) for t in node.output_tensors]
            limits.check_inference(f"{path}: layer '{operation.name}'", 4 * sum(sizes))


def _prepare_h5(path: Path, folder: Path, *, trust: bool) -> _Prepared:
    import h5py

    prepared = folder / "model.h5"
    shutil.copyfile(path, prepared)
    prepared.chmod(0o600)
    try:
        with h5py.File(prepared, "r+") as file:
            text = file.attrs.get("model_config")
            if text is None:
                raise ModelError(
                    f"{path}: contains weights but no model",
                    hint=WEIGHTS_HINT,
                )
            values = check_hdf5(path, file, path.stat().st_size)
            config = _parse(path, text)
            refuse_code(path, config, trust=trust)
            refuse_counts(path, config)
            file.attrs["model_config"] = json.dumps(in_float32(upgraded(config)))
            for name in ("training_config", "optimizer_weights"):
                if name in file.attrs:
                    del file.attrs[name]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: damaged .h5 file: {str(error)[:200]}", hint="save or copy the model again"
        ) from error
    return _Prepared(prepared, values, config)


def _prepare_archive(path: Path, folder: Path, *, trust: bool) -> _Prepared:
    try:
        with zipfile.ZipFile(path) as archive:
            config = _parse(path, archive.read("config.json"))
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(
                    f"{path}: '{damaged}' in the archive is damaged",
                    hint="save or copy the model again",
                )
            refuse_code(path, config, trust=trust)
            refuse_counts(path, config)
            changed = in_float32(upgraded(config))
            prepared = folder / "model.keras"
            with zipfile.ZipFile(prepared, "w") as copy:
                for name in archive.namelist():
                    if name == "config.json":
                        copy.writestr(name, json.dumps(changed))
                    else:
                        _copy(archive, copy, name)
            values = _check_weights(path, prepared)
    except (zipfile.BadZipFile, OSError, KeyError, EOFError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path}: damaged .keras file: {str(error)[:200]}",
            hint="save or copy the model again",
        ) from error
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        # zlib, bz2 and lzma each have an error class of their own.
        raise ModelError(
            f"{path}: damaged .keras file: {str(error)[:200]}",
            hint="save or copy the model again",
        ) from error
    return _Prepared(prepared, values, config)


def _copy(archive: zipfile.ZipFile, copy: zipfile.ZipFile, name: str) -> None:
    """Copy one entry in pieces: it may be large."""
    with archive.open(name) as source, copy.open(name, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _check_weights(path: Path, prepared: Path) -> int:
    """Check the HDF5 files in the archive before Keras opens them; return how many values they
    hold."""
    import h5py

    values = 0
    with zipfile.ZipFile(prepared) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".h5"):
                # The entry is not compressed any more, so that it can be read where it lies.
                with archive.open(entry) as content, h5py.File(content, "r") as file:
                    values += check_hdf5(path, file, entry.file_size)
    return values


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: the model's configuration is not valid JSON: {str(error)[:200]}",
            hint="save or copy the model again",
        ) from error
    if not isinstance(config, dict):
        raise ModelError(
            f"{path}: the model's configuration is not a JSON object",
            hint="save or copy the model again",
        )
    return config
