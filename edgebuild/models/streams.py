"""Data that come one after the other: ``tf.data`` data sets, generators, ``PyDataset``, loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.errors import InputError
from edgebuild.limits import DATA_BYTES

_MOST = 10_000_000
_FINITE = "data.take(1000), or itertools.islice(data, 1000), makes it finite"


def is_stream(data: Any) -> bool:
    """Return whether ``data`` is to be read piece by piece, rather than an array or several."""
    if isinstance(data, (str, bytes, Mapping, list, tuple)) or hasattr(data, "__array__"):
        return False
    return hasattr(data, "__iter__") or _is_indexed(data)


def collect(
    data: Any, shapes: Sequence[Sequence[int]], names: Sequence[str], outputs: int = 1
) -> dict[str, Any]:
    """Return the arrays of a stream by name: ``x`` or one for each input, and ``y`` for labels or
    ``y0``, ``y1``, ... for those of several ``outputs``.

    A piece is ``(x, y)``, ``x``, or a dictionary named as in ``.npz``; ``x`` is an array, or one
    for each input (a list, or a dictionary by name). Whether a piece is a sample or a batch tells
    the first one, by the shapes that the inputs take.

    Raises:
        InputError: it has no end, is too large, empty, or its pieces differ.
    """
    _check_length(data)
    parts: dict[str, list[np.ndarray]] = {}
    batched: bool | None = None
    size = 0
    for number, piece in enumerate(_pieces(data)):
        arrays = _named(piece, names, outputs)
        if not parts:
            parts = {name: [] for name in arrays}
            batched = _is_batch(arrays, shapes, names)
        if arrays.keys() != parts.keys():
            raise InputError(
                f"piece {number} has {', '.join(arrays)}, the first has {', '.join(parts)}"
            )
        for name, array in arrays.items():
            parts[name].append(array)
            size += array.nbytes
        if size > DATA_BYTES or number >= _MOST:
            raise InputError(f"gives more than {DATA_BYTES >> 30} GiB or has no end", hint=_FINITE)
    if not parts:
        raise InputError("gives nothing", hint="a generator can be read once: make it in the entry")
    join = np.concatenate if batched else np.stack
    return {name: _joined(name, found, join) for name, found in parts.items()}


def _check_length(data: Any) -> None:
    """Refuse what says of itself that it has no end."""
    cardinality = getattr(data, "cardinality", None)
    if callable(cardinality) and int(cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise InputError("the data set repeats without an end", hint=_FINITE)


def _is_indexed(data: Any) -> bool:
    """Return whether ``data`` has a length and batches by number, as a ``PyDataset`` of Keras."""
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _pieces(data: Any) -> Iterator[Any]:
    if hasattr(data, "as_numpy_iterator"):
        yield from data.as_numpy_iterator()
    elif isinstance(data, Iterable):
        yield from data
    else:
        for number in range(len(data)):
            yield data[number]


def _named(piece: Any, names: Sequence[str], outputs: int) -> dict[str, np.ndarray]:
    """Return the arrays of a piece by name."""
    if isinstance(piece, Mapping):
        return {str(name): np.asarray(value) for name, value in piece.items()}
    if not isinstance(piece, tuple):
        return _by_name("x", piece, len(names))
    if len(piece) > 2:
        raise InputError(
            f"gives pieces of {len(piece)} parts, expected (x, y)",
            hint="weights of samples are not used: leave them out",
        )
    labels = _by_name("y", piece[1], outputs) if len(piece) == 2 else {}
    return {**_by_name("x", piece[0], len(names)), **labels}


def _by_name(stem: str, given: Any, count: int) -> dict[str, np.ndarray]:
    """Return one array, or one for each of ``count`` ends, by name."""
    if isinstance(given, Mapping):
        return {str(name): np.asarray(value) for name, value in given.items()}
    if isinstance(given, (tuple, list)) and len(given) == count > 1:
        return {f"{stem}{i}": np.asarray(part) for i, part in enumerate(given)}
    return {stem: np.asarray(given)}


def _is_batch(
    arrays: Mapping[str, np.ndarray], shapes: Sequence[Sequence[int]], names: Sequence[str]
) -> bool:
    """Return whether the first dimension of a piece counts samples."""
    place = next((i for i, name in enumerate(names) if name in arrays), 0)
    name = next((n for n in (*names, "x", "x0") if n in arrays), next(iter(arrays)))
    given, wanted = arrays[name].shape, tuple(shapes[place])
    same = [d for d in given if d != 1] == [d for d in wanted if d != 1]
    return not (same and len(given) <= len(wanted))


def _joined(name: str, parts: Sequence[np.ndarray], join: Any) -> np.ndarray:
    try:
        return np.asarray(join(parts))
    except ValueError as error:
        shapes = list(dict.fromkeys(part.shape for part in parts))[:3]
        raise InputError(
            f"the pieces of {name} have different shapes: {', '.join(map(str, shapes))}",
            hint="bring all samples to the shape that the model takes",
        ) from error
