"""Read samples from files and Python functions; see ``edgebuild.models.data``."""

from __future__ import annotations

import importlib
import lzma
import re
import struct
import sys
import tokenize
import traceback
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from edgebuild.errors import InputError, nearest
from edgebuild.limits import (
    DATA_BYTES,
    DATA_RATIO,
    check_archive,
    open_file,
)
from edgebuild.models.data_content import Arrays, Content, Names, Shape
from edgebuild.models.slices import check_names, is_annotation
from edgebuild.models.streams import collect, is_stream
from edgebuild.units import listed, quoted

SCALES = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
_NAMED = 4
_AGAIN = "save or copy the file again"
_DAMAGE = (
    *(ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError),
    *(zlib.error, lzma.LZMAError, struct.error, KeyError),
    *(SyntaxError, TypeError, tokenize.TokenError),  # a header is parsed as a Python literal
)
"""What reading a damaged archive or header raises; anything else is a bug."""


def load_arrays(path: Path, names: Names) -> Content:
    """Read ``.npz`` or ``.npy`` (the content decides); never runs pickled code."""
    try:
        # Its header is beside the samples, and a few bytes more do no harm.
        with open_file(path, most=DATA_BYTES + (1 << 20)) as file:
            head = file.read(6)
            file.seek(0)
            if head.startswith(b"PK"):
                return _load_npz(path, file, names)
            if head == b"\x93NUMPY":
                return Content((_read_array(file, path.stat().st_size, str(path)),))
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: does not fit in memory") from error
    except _DAMAGE as error:
        raise InputError(
            f"{path}: damaged or unreadable: {str(error)[:200]}", hint="save the data again"
        ) from error
    raise InputError(
        f"{path}: neither .npz nor .npy",
        hint="np.savez('set.npz', x=x, y=y) writes what edgebuild reads",
    )


def _load_npz(path: Path, opened: IO[bytes], names: Names) -> Content:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(opened) as archive:
        entries = {e.filename.removesuffix(".npy"): e for e in archive.infolist()}
        chosen = _choose(str(path), list(entries), names)
        wanted = chosen.all
        check_archive(
            path,
            [entries[name] for name in wanted],
            most=DATA_BYTES,
            ratio=DATA_RATIO,
            hint="pass fewer samples, or store them with np.savez, which does not compress",
        )
        for name in wanted:
            with archive.open(entries[name]) as file:
                arrays[name] = _read_array(file, entries[name].file_size, f"{path}: {name}")
    return chosen.content(arrays)


@dataclass(frozen=True)
class _Choice:
    """The names of the arrays that are used; those of labels by the position of their output."""

    x: list[str]
    y: dict[int, str]
    annotations: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.x, *self.y.values(), *self.annotations]

    def content(self, arrays: Mapping[str, np.ndarray]) -> Content:
        return Content(
            tuple(arrays[name] for name in self.x),
            {output: arrays[name] for output, name in self.y.items()},
            {name: arrays[name] for name in self.annotations},
        )


_OTHER_SPLITS = {f"{stem}_{part}" for stem in "xy" for part in ("train", "val", "test")}
"""Arrays beside ``x`` and ``y``, or ``x_test`` and ``y_test``, that data sets are known to have."""


def _choose(source: str, found: list[str], names: Names) -> _Choice:
    """Return which arrays are the inputs, the labels and the annotations; InputError for one that
    is none of these."""
    others = [name for name in found if name not in (*names.inputs, *names.outputs)]
    check_names(source, others)
    annotations = [name for name in others if is_annotation(name)]
    rest = [name for name in found if name not in annotations]
    x = _choose_samples(source, rest, names)
    rest = [name for name in rest if name not in x]
    y = _choose_labels(source, rest, x, names)
    unused = [n for n in rest if n not in y.values() and n not in _OTHER_SPLITS]
    if unused:
        _refuse_unused(source, unused, names)
    return _Choice(x, y, annotations)


def _choose_samples(source: str, found: list[str], names: Names) -> list[str]:
    numbered = [f"x{i}" for i in range(len(names.inputs))]
    for choice in (list(names.inputs), numbered, ["x"], ["x_test"]):
        if len(choice) == max(1, len(names.inputs)) and all(name in found for name in choice):
            return choice
    rest = [name for name in found if name not in _label_names(names)]
    if len(rest) == 1 and len(names.inputs) <= 1:
        return rest
    several = f"{', '.join(map(repr, names.inputs))} (or x0, x1, ...)"
    expected = "'x' (samples)" if len(names.inputs) <= 1 else several
    raise InputError(
        f"{source}: {_contents(found)}; expected {expected} and optionally 'y' (labels)",
        hint=_saved_anew(found),
    )


def _contents(found: Sequence[str]) -> str:
    """Return which arrays there are, in words."""
    shown = [quoted(name) for name in sorted(found)[:_NAMED]]
    if not shown:
        return "contains no arrays"
    more = ", ..." if len(found) > _NAMED else ""
    if more or len(shown) == 1:
        return f"contains the array{'s' if more else ''} {', '.join(shown)}{more}"
    return f"contains the arrays {', '.join(shown[:-1])} and {shown[-1]}"


def _saved_anew(found: Sequence[str]) -> str:
    """Return how to store the arrays under the names that are expected: two, of which the first
    may be the samples, under their own."""
    x, y = found if len(found) == 2 and all(map(str.isidentifier, found)) else ("x", "y")
    if re.match("y|label|target|class", x):
        x, y = y, x
    return f"np.savez('set.npz', x={x}, y={y})"


def _label_names(names: Names) -> dict[str, int]:
    """Return what labels may be called, and the position of the output that each is for."""
    given = {name: i for i, name in reversed(list(enumerate(names.outputs)))}
    numbered = {f"y{i}": i for i in range(max(1, len(names.outputs)))}
    return {**numbered, "y_test": 0, "y": 0, **given}


def _choose_labels(source: str, rest: list[str], x: list[str], names: Names) -> dict[int, str]:
    known = _label_names(names)
    if x == ["x_test"]:
        known.pop("y", None)
    chosen: dict[int, str] = {}
    for name in rest:
        output = known.get(name)
        if output is None or (name == "y_test" and "y" in rest):
            continue
        if output in chosen:
            raise InputError(
                f"{source}: {chosen[output]!r} and {name!r} are both labels of output {output}",
                hint="keep one of the two",
            )
        chosen[output] = name
    return dict(sorted(chosen.items()))


def _more(letter: str, names: Sequence[str]) -> str:
    """Return the numbered names where there is more than one."""
    return f", or {letter}0, {letter}1, ..." if len(names) != 1 else ""


def _refuse_unused(source: str, unused: list[str], names: Names) -> NoReturn:
    guess = nearest(unused[0], [*names.inputs, *names.outputs, "x", "y", "classes"])
    inputs, outputs = (
        listed(list(map(repr, known)), _NAMED) or "(not known)"
        for known in (names.inputs, names.outputs)
    )
    raise InputError(
        f"{source}: unknown array {listed(list(map(repr, unused)), _NAMED)}{guess}",
        details=[
            f"inputs: x{_more('x', names.inputs)}, or by name: {inputs}",
            f"labels: y{_more('y', names.outputs)}, or by the output's name: {outputs}",
            "names of classes: classes",
            "groups of samples whose accuracy is told apart: slice_<name>",
        ],
        hint="give the array one of these names, or leave it out",
    )


def _read_array(file: IO[bytes], size: int, label: str) -> np.ndarray:
    """Read one ``.npy`` stream whose header must agree with its size."""
    version = np.lib.format.read_magic(file)
    readers: Mapping[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InputError(
            f"{label}: .npy version {version} is not supported", hint="save it as float32"
        )
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise InputError(
            f"{label} contains Python objects, which are not supported", hint="save it as float32"
        )
    count = 1
    for dimension in shape:
        count *= int(dimension)
    if count < 0 or count * dtype.itemsize > min(size, DATA_BYTES):
        raise InputError(
            f"{label}: damaged: shape {list(shape)} of {dtype} does not fit in {size:,} B",
            hint=_AGAIN,
        )
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise InputError(
            f"{label}: damaged: it has only {len(data):,} B of data",
            hint=_AGAIN,
        )
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def call_entry(entry: str, folder: Path, names: Names, shapes: Sequence[Shape]) -> Content:
    """Return the data that ``package.module:function`` gives.

    That is (x, y), x, a dictionary of arrays with the names that a ``.npz`` has, or something to
    be read piece by piece (``edgebuild.models.streams``) for inputs of these ``shapes``.
    """

    def read(result: Any) -> Any:
        if not is_stream(result):
            return result
        try:
            return collect(result, shapes, names.inputs, len(names.outputs))
        except InputError as error:
            error.message = f"data entry {entry}: {error.message}"
            raise

    return _unpack(entry, call_python(entry, folder, "data entry", read), names)


def call_python(
    entry: str, folder: Path, role: str, read: Callable[[Any], Any] = lambda result: result
) -> Any:
    """Call ``package.module:function``, with ``folder`` on the search path; return what ``read``
    makes of its result, there.

    InputError, which begins with ``role``, for an entry that is not there or fails.
    """
    module_name, _, function_name = entry.partition(":")
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
        function = getattr(module, function_name, None)
        if not callable(function):
            known = [name for name, one in vars(module).items() if callable(one)]
            raise InputError(
                f"{role} {entry}: module '{module_name}' has no such function"
                f"{nearest(function_name, known)}",
                hint=f"define {function_name or 'a function'}() in {module_name}.py, returning x "
                "or (x, y)",
            )
        return read(function())
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{role} {entry}: no module named '{error.name}'",
            hint=f"the module is looked for in {place} and in the installed packages",
        ) from error
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{role} {entry} failed: {type(error).__name__}: {error}",
            details=[f"{frame.filename}, line {frame.lineno}: {frame.line}"],
            hint="correct the function; it is called without arguments, in this folder",
        ) from error
    finally:
        if place in sys.path:
            sys.path.remove(place)


def _unpack(entry: str, result: Any, names: Names) -> Content:
    try:
        if result is None:  # a forgotten return
            raise TypeError
        if isinstance(result, dict):
            return _from_dictionary(entry, result, names)
        x, y = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        return Content(_inputs(x), _given_labels(entry, y, names))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"data entry {entry}: returned {type(result).__name__}, expected (x, y), x or a "
            "dictionary of arrays",
            hint="return NumPy arrays: x, or (x, y), with one row for each sample",
        ) from error


def _given_labels(entry: str, y: Any, names: Names) -> dict[int, np.ndarray]:
    """Return the labels of (x, y): an array, or one for each output by place or by name."""
    if y is None:
        return {}
    if isinstance(y, dict):
        arrays = {str(name): np.asarray(array) for name, array in y.items() if array is not None}
        known = _label_names(names)
        unused = [name for name in arrays if name not in known]
        if unused:
            _refuse_unused(f"data entry {entry}", unused, names)
        return {known[name]: array for name, array in arrays.items()}
    several = isinstance(y, (list, tuple)) and 1 < len(names.outputs) >= len(y)
    if several and all(part is None or hasattr(part, "shape") for part in y):
        return {i: np.asarray(part) for i, part in enumerate(y) if part is not None}
    return {0: np.asarray(y)}


def _from_dictionary(entry: str, result: dict[Any, Any], names: Names) -> Content:
    given = {str(name): value for name, value in result.items() if value is not None}
    several = given.get("x")
    if isinstance(several, (list, tuple)) and several and hasattr(several[0], "shape"):
        given |= {f"x{i}": array for i, array in enumerate(given.pop("x"))}
        if len(names.inputs) <= 1:
            names = Names(("x0",), names.outputs)
    arrays = {name: np.asarray(value) for name, value in given.items()}
    return _choose(f"data entry {entry}", list(arrays), names).content(arrays)


def _inputs(x: Any) -> Arrays:
    """Return an array for each input; ``x`` is one, or a list of them."""
    parts = x if isinstance(x, (list, tuple)) and x and hasattr(x[0], "shape") else [x]
    return tuple(np.asarray(part) for part in parts)
