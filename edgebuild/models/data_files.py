"""Read samples from files, image folders and Python functions; see ``edgebuild.models.data``."""

from __future__ import annotations

import importlib
import sys
import traceback
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgebuild.errors import InputError
from edgebuild.limits import (
    DATA_BYTES,
    DATA_RATIO,
    IMAGE_BYTES,
    IMAGE_PIXELS,
    check_archive,
    entries,
    is_file,
    open_file,
)
from edgebuild.models.slices import CLASSES, CSV_NAME, check_names, is_annotation, read_slices_csv

Shape = tuple[int, ...]
Arrays = tuple[np.ndarray, ...]

SCALES = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_DAMAGE = (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Content:
    """What a data set holds, not yet checked: inputs, labels, and the arrays that say more of the
    samples, by name (``slice_light``, ``classes``)."""

    x: Arrays
    y: np.ndarray | None = None
    annotations: Mapping[str, np.ndarray] = field(default_factory=dict)


def load_arrays(path: Path, names: Sequence[str]) -> Content:
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
    except Exception as error:
        # zlib's error is its own class, and a damaged header is parsed as a Python literal.
        raise InputError(f"{path}: damaged: {str(error)[:200]}", hint="save it again") from error
    raise InputError(
        f"{path}: neither .npz nor .npy",
        hint="np.savez('set.npz', x=x, y=y) writes what edgebuild reads",
    )


def _load_npz(path: Path, opened: IO[bytes], names: Sequence[str]) -> Content:
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
            hint="give fewer samples, or store them with np.savez, which does not compress",
        )
        for name in wanted:
            with archive.open(entries[name]) as file:
                arrays[name] = _read_array(file, entries[name].file_size, f"{path}: {name}")
    return chosen.content(arrays)


@dataclass(frozen=True)
class _Choice:
    """The names of the arrays that are used."""

    x: list[str]
    y: str | None
    annotations: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.x, *([self.y] if self.y else []), *self.annotations]

    def content(self, arrays: Mapping[str, np.ndarray]) -> Content:
        return Content(
            tuple(arrays[name] for name in self.x),
            arrays[self.y] if self.y else None,
            {name: arrays[name] for name in self.annotations},
        )


def _choose(source: str, found: list[str], names: Sequence[str]) -> _Choice:
    """Return which arrays are the inputs, the labels and the annotations."""
    others = [name for name in found if name not in names]
    check_names(source, others)
    annotations = [name for name in others if is_annotation(name)]
    x, y = _choose_samples(source, [n for n in found if n not in annotations], names)
    return _Choice(x, y, annotations)


def _choose_samples(
    source: str, found: list[str], names: Sequence[str]
) -> tuple[list[str], str | None]:
    label = next((name for name in ("y", "y_test") if name in found), None)
    numbered = [f"x{i}" for i in range(len(names))]
    for choice in (list(names), numbered, ["x"], ["x_test"]):
        if len(choice) == max(1, len(names)) and all(name in found for name in choice):
            if choice == ["x_test"]:
                label = "y_test" if "y_test" in found else None
            return choice, None if label in choice else label
    rest = [name for name in found if name != label]
    if len(rest) == 1 and len(names) <= 1:
        return rest, label
    expected = "'x'" if len(names) <= 1 else f"{', '.join(map(repr, names))} (or x0, x1, ...)"
    raise InputError(
        f"{source}: has the arrays {', '.join(sorted(found)[:10]) or '(none)'}; "
        f"expected {expected}, and 'y' for labels",
        hint="np.savez('set.npz', x=x, y=y)",
    )


def _read_array(file: IO[bytes], size: int, label: str) -> np.ndarray:
    """Read one ``.npy`` stream whose header must agree with its size."""
    version = np.lib.format.read_magic(file)
    readers: Mapping[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InputError(f"{label}: .npy version {version} is not read", hint="save it as float32")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise InputError(
            f"{label} holds Python objects, which are not read", hint="save it as float32"
        )
    count = 1
    for dimension in shape:
        count *= int(dimension)
    if count < 0 or count * dtype.itemsize > min(size, DATA_BYTES):
        raise InputError(
            f"{label}: damaged: shape {list(shape)} of {dtype} does not fit in {size:,} B"
        )
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise InputError(f"{label}: damaged: it ends after {len(data):,} B of data")
    flat = np.frombuffer(data, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def load_image_folder(path: Path, shape: tuple[int, int, int]) -> Content:
    """Read images as uint8 (samples, height, width, channels), resized (bilinear) to ``shape``.

    Classes are the sub-folders in sorted order; a folder that holds images directly has no labels.
    ``slices.csv`` beside them names their slices.
    """
    found = entries(path)
    classes = sorted(Path(e.path) for e in found if e.is_dir() and not e.name.startswith("."))
    groups = [(number, images_in(folder)) for number, folder in enumerate(classes)]
    if not any(images for _, images in groups):
        groups = [(-1, images_in(path))]
    files = [(number, image) for number, images in groups for image in images]
    if not files:
        raise InputError(
            f"{path}: has no images",
            hint=f"put them in one folder for each class ({', '.join(sorted(IMAGE_SUFFIXES))})",
        )
    height, width, channels = shape
    if len(files) * height * width * channels > DATA_BYTES:
        raise InputError(f"{path}: {len(files):,} images of {list(shape)} do not fit in memory")
    x = np.empty((len(files), *shape), np.uint8)
    for position, (_, file) in enumerate(files):
        x[position] = _read_image(file, shape)
    names = [file.relative_to(path).as_posix() for _, file in files]
    annotations = read_slices_csv(path / CSV_NAME, names)
    labels = np.array([number for number, _ in files])
    if labels[0] < 0:
        return Content((x,), None, annotations)
    annotations[CLASSES] = np.array([folder.name for folder in classes])
    return Content((x,), labels, annotations)


def images_in(folder: Path) -> list[Path]:
    """Return the image files in ``folder``, sorted by name."""
    names = (entry.name for entry in entries(folder) if is_file(entry))
    return sorted(folder / n for n in names if Path(n).suffix.lower() in IMAGE_SUFFIXES)


def _read_image(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    height, width, channels = shape
    try:
        with open_file(file, most=IMAGE_BYTES) as opened, Image.open(opened) as image:
            if image.width * image.height > IMAGE_PIXELS:
                raise InputError(f"{file}: {image.width}x{image.height} pixels are too many")
            # Pillow clips 16-bit grey values instead of scaling them.
            if image.mode in ("I", "I;16", "F"):
                raise InputError(
                    f"{file}: has more than 8 bits a channel", hint="store 8-bit images, or .npz"
                )
            converted = image.convert(_MODES[channels])
            if converted.size != (width, height):
                converted = converted.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(converted, np.uint8).reshape(shape)
    except InputError:
        raise
    except Exception as error:
        # Pillow's plug-ins raise all kinds of errors on damaged files.
        raise InputError(f"{file}: not a readable image: {str(error)[:200]}") from error


def call_entry(entry: str, folder: Path, names: Sequence[str]) -> Content:
    """Return the data that ``package.module:function`` gives: (x, y), x, or a dictionary of arrays
    with the names that a ``.npz`` has."""
    return _unpack(entry, call_python(entry, folder, "data entry"), names)


def call_python(entry: str, folder: Path, role: str) -> Any:
    """Call ``package.module:function``, with ``folder`` on the search path; return its result.

    InputError, which begins with ``role``, for an entry that is not there or fails.
    """
    module_name, _, function_name = entry.partition(":")
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        importlib.invalidate_caches()
        function = getattr(importlib.import_module(module_name), function_name, None)
        if not callable(function):
            raise InputError(f"{role} {entry}: module '{module_name}' has no such function")
        return function()
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
        ) from error
    finally:
        if place in sys.path:
            sys.path.remove(place)


def _unpack(entry: str, result: Any, names: Sequence[str]) -> Content:
    try:
        if isinstance(result, dict):
            return _from_dictionary(entry, result, names)
        x, y = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
        return Content(_inputs(x), None if y is None else np.asarray(y))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"data entry {entry}: returned {type(result).__name__}, expected (x, y), x or a "
            "dictionary of arrays"
        ) from error


def _from_dictionary(entry: str, result: dict[Any, Any], names: Sequence[str]) -> Content:
    given = {str(name): value for name, value in result.items() if value is not None}
    several = given.get("x")
    if isinstance(several, (list, tuple)) and several and hasattr(several[0], "shape"):
        given |= {f"x{i}": array for i, array in enumerate(given.pop("x"))}
        names = names if len(names) > 1 else ("x0",)
    arrays = {name: np.asarray(value) for name, value in given.items()}
    return _choose(f"data entry {entry}", list(arrays), names).content(arrays)


def _inputs(x: Any) -> Arrays:
    """Return an array for each input; ``x`` is one, or a list of them."""
    parts = x if isinstance(x, (list, tuple)) and x and hasattr(x[0], "shape") else [x]
    return tuple(np.asarray(part) for part in parts)
