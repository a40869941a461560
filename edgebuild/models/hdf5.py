"""What an HDF5 file with a model's weights may hold. For the child process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgebuild import limits
from edgebuild.errors import ModelError

_MAX_DEPTH = 64
_MAX_OBJECTS = 100_000


def check_hdf5(path: Path, file: Any, size: int) -> int:
    """Refuse what would read other files, or unpack to much more than there is; return the number
    of values in all data sets.

    Args:
        path: what messages call the model.
        file: the open ``h5py.File``.
        size: its bytes.

    Raises:
        ModelError: it has links, data in another file, too many levels or objects, or data sets
            that declare more than ``limits.UNPACKED_MODEL_BYTES`` or ``limits.MODEL_RATIO`` times
            its size.
    """
    total = values = 0
    for number, dataset in enumerate(_datasets(path, file, 0)):
        if number > _MAX_OBJECTS:
            raise ModelError(f"{path}: more than {_MAX_OBJECTS:,} arrays")
        if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
            raise ModelError(f"{path}: the data of '{dataset.name}' is in another file")
        # An empty data set has no shape.
        count = limits.elements(dataset.shape or ())
        values += count
        total += count * dataset.dtype.itemsize
    if total > limits.UNPACKED_MODEL_BYTES or (
        total > limits.RATIO_FREE_BYTES and total > limits.MODEL_RATIO * size
    ):
        raise ModelError(
            f"{path}: {size:,} B of weights would unpack to {total:,} B",
            hint="use a smaller model; if you expected a small one, do not trust the file",
        )
    return values


def _datasets(path: Path, group: Any, depth: int) -> Iterator[Any]:
    import h5py

    if depth > _MAX_DEPTH:
        raise ModelError(f"{path}: groups are nested more than {_MAX_DEPTH} deep")
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ModelError(f"{path}: '{name}' is a link, which no Keras model needs")
        child = group[name]
        if isinstance(child, h5py.Group):
            yield from _datasets(path, child, depth + 1)
        elif isinstance(child, h5py.Dataset):
            yield child
