"""Models and arrays that a Python program has in memory, as files that a build takes.

They are kept in the cache under the hash of their content: equal objects are one file, and a build
with nothing changed is answered from the last report.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from edgebuild.arguments import say
from edgebuild.errors import InputError, ModelError
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.limits import read_model
from edgebuild.toolchain.cache import cache_dir, read_only_note

FOLDER = "inputs"
"""Below the cache's folder."""

_ZIP_START = (1980, 1, 1, 0, 0, 0)


@runtime_checkable
class KerasModel(Protocol):
    """A Keras 3 model in memory."""

    name: str

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Write the model to a file."""
        ...

    def count_params(self) -> int:
        """Return the number of weights."""
        ...


@runtime_checkable
class Array(Protocol):
    """An array of NumPy's, or what NumPy makes one of."""

    @property
    def shape(self) -> Any:
        """Its dimensions."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of its elements."""
        ...


say(KerasModel, "a Keras model")
say(Array, "an array")

Arrays = Array | tuple[Array, Array] | Mapping[str, Array]
"""``x``, ``(x, y)``, or arrays named as in an ``.npz``."""


def model_file(model: KerasModel) -> Path:
    """Return the ``.keras`` file of a model in memory, called as the model is.

    Raises:
        ModelError: it is not a Keras 3 model, or Keras cannot save it.
    """
    kinds = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "keras" not in kinds:
        raise ModelError(
            f"a {type(model).__module__}.{type(model).__name__} is not a Keras 3 model",
            hint="save it as .keras, .h5 or a SavedModel, and pass the file",
        )
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(model.name))[:60] or "model"
    with TemporaryFolder("work") as folder:
        path = Path(folder) / f"{name}.keras"
        try:
            model.save(path)
        except Exception as error:  # whatever a layer's get_config raises
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"Keras cannot save the model '{name}': {lines[0][:300]}",
                hint="call it once, so that it has weights; custom layers need get_config",
            ) from error
        return _kept(_without_clock(read_model(path)), path.name)


def data_file(data: Arrays, name: str) -> Path:
    """Return the ``.npz`` of arrays in memory; InputError for what has objects or no samples."""
    named: Mapping[str, Any]
    if isinstance(data, Mapping):
        named = data
    elif isinstance(data, tuple):
        named = {"x": data[0], "y": data[1]}
    else:
        named = {"x": data}
    arrays = {}
    for key, value in named.items():
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise InputError(f"'{name}': the array '{key[:60]}' contains Python objects")
        arrays[key.replace("/", "_")] = array
    if not arrays:
        raise InputError(f"'{name}' has no arrays", hint="x, (x, y), or a dictionary of arrays")
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return _kept(content.getvalue(), f"{name}.npz")


def _kept(content: bytes, name: str) -> Path:
    folder = _own_folder() if read_only_note() else cache_dir() / FOLDER
    path = folder / hashlib.sha256(content).hexdigest()[:32] / name
    atomic_write(path, content)
    return path


_OWN: dict[str, TemporaryFolder] = {}


def _own_folder() -> Path:
    """Return a folder that lives as long as this process."""
    return _OWN.setdefault("inputs", TemporaryFolder("inputs")).path


def _without_clock(content: bytes) -> bytes:
    """Return a ``.keras`` archive without the time at which it was saved."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in sorted(old.namelist()):
            data = old.read(name)
            if name == "metadata.json":
                facts = json.loads(data)
                facts.pop("date_saved", None)
                data = json.dumps(facts, sort_keys=True).encode()
            new.writestr(zipfile.ZipInfo(name, _ZIP_START), data)
    return result.getvalue()
