"""Parts of a data set that the user names, and the names of its classes.

A slice says of each sample to which part it belongs, for example ``light``: day or night. In
``.npz`` and in a Python entry's dictionary it is an array ``slice_light`` (samples,) of strings or
integers; beside images, ``slices.csv`` has a column for each slice, and ``file`` first.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgebuild.errors import InputError, nearest
from edgebuild.limits import CLASSES as MOST_CLASSES
from edgebuild.limits import TEXT_BYTES, read_file
from edgebuild.units import quoted

PREFIX = "slice_"
CLASSES = "classes"
CSV_NAME = "slices.csv"
MOST_VALUES = 1_000

Slices = Mapping[str, np.ndarray]
"""For each slice by its name (samples,) of strings."""


def is_annotation(name: str) -> bool:
    """Return whether an array of that name says something about samples and is no input."""
    return name.startswith(PREFIX) or name == CLASSES


def check_names(source: str, names: Iterable[str]) -> None:
    """Refuse a name that was meant to be a slice's."""
    for name in names:
        if name == PREFIX or (name.startswith("slice") and not name.startswith(PREFIX)):
            raise InputError(
                f"{source}: the array {quoted(name)} names no slice",
                hint=f"call it {PREFIX}light, for a slice 'light'",
            )


def read_slices(
    source: str, arrays: Mapping[str, np.ndarray], samples: int
) -> dict[str, np.ndarray]:
    """Return the slices among ``arrays`` as strings (samples,), bytes read as UTF-8.

    InputError for one that is not a string or an integer for each sample, or has more than
    ``MOST_VALUES`` different ones.
    """
    return {
        name.removeprefix(PREFIX): _slice(f"{source}: {name}", array, samples)
        for name, array in arrays.items()
        if name.startswith(PREFIX)
    }


def _slice(label: str, array: np.ndarray, samples: int) -> np.ndarray:
    if array.ndim == 0 or array.size != samples or len(array) != samples:
        raise InputError(
            f"{label} has shape {list(array.shape)}, expected a value for each of the {samples:,} "
            "samples"
        )
    words = _words(label, array, "SUiub", "strings or integers")
    count = len(np.unique(words))
    if count > MOST_VALUES:
        raise InputError(
            f"{label} has {count:,} different values, at most {MOST_VALUES:,} are compared",
            hint="put values that belong together under one name",
        )
    return words


def class_names(source: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return the names in the array ``classes``, by class number; empty without it."""
    if CLASSES not in arrays:
        return ()
    label = f"{source}: {CLASSES}"
    given = np.atleast_1d(arrays[CLASSES])
    if given.size > MOST_CLASSES:
        raise InputError(f"{label} has {given.size:,} names, at most {MOST_CLASSES:,} are read")
    names = _words(label, given, "SUiu", "names").tolist()
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{label} has {quoted(twice)} twice", hint="a name for each class")
    return tuple(names)


def _words(label: str, array: np.ndarray, kinds: str, expected: str) -> np.ndarray:
    if array.dtype.kind not in kinds:
        raise InputError(f"{label} has dtype {array.dtype}, expected {expected}")
    flat = array.reshape(-1)
    try:
        return np.char.decode(flat, "utf-8") if flat.dtype.kind == "S" else flat.astype(np.str_)
    except UnicodeDecodeError as error:
        raise InputError(f"{label} is not UTF-8: {error.reason}") from error


def read_slices_csv(path: Path, files: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the columns of a ``slices.csv`` as arrays (files,), {} where there is no such file.

    ``files`` are the images, relative to its folder; each has one line, and no other file has.
    """
    if not path.is_file():
        return {}
    rows = _rows(path)
    header, body = [cell.strip() for cell in rows[0]] if rows else [], rows[1:]
    if header[:1] != ["file"] or len(header) < 2 or len(set(header)) < len(header) or "" in header:
        raise InputError(
            f"{path}: begins with {quoted(','.join(header))}, expected file and names of slices",
            hint="file,light,season; then a line for each image: cat/001.png,day,winter",
        )
    found: dict[str, list[str]] = {}
    for number, row in enumerate(body, start=2):
        name = row[0].strip().replace("\\", "/")
        if len(row) != len(header):
            raise InputError(f"{path}, line {number}: {len(row)} values for {len(header)} columns")
        if name in found:
            raise InputError(f"{path}, line {number}: {quoted(name)} is there twice")
        found[name] = [cell.strip() for cell in row[1:]]
    _check_files(path, found, files)
    columns = zip(*(found[file] for file in files), strict=True)
    return {f"{PREFIX}{n}": np.array(c) for n, c in zip(header[1:], columns, strict=True)}


def _rows(path: Path) -> list[list[str]]:
    content = read_file(path, most=TEXT_BYTES)
    try:
        lines = io.StringIO(content.decode("utf-8-sig"), newline="")
        return [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}", hint="save it as UTF-8") from error


def _check_files(path: Path, found: Mapping[str, object], files: Sequence[str]) -> None:
    known = set(files)
    unknown = next((name for name in found if name not in known), None)
    if unknown is not None:
        raise InputError(
            f"{path}: no image {quoted(unknown)}{nearest(unknown, files)}",
            hint="write the images' paths from the folder, e.g. cats/1.png",
        )
    missing = [name for name in files if name not in found]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(files):,} images have no line, "
            f"the first is {quoted(missing[0])}",
            hint="add a line for each image",
        )
