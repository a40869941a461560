"""Read samples from folders of images or WAV files; see ``edgebuild.models.data``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.errors import InputError
from edgebuild.limits import DATA_BYTES, IMAGE_BYTES, IMAGE_PIXELS, entries, files_in, open_file
from edgebuild.models.audio import read_waveforms, sounds_in, waveform_length
from edgebuild.models.data_content import Content, Shape
from edgebuild.models.slices import CLASSES, CSV_NAME, read_slices_csv

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def load_folder(path: Path, shape: Sequence[int], image: Callable[[], Shape]) -> Content:
    """Read a folder of images or of WAV files.

    Classes are the sub-folders in sorted order; a folder that holds files directly has no labels.
    ``slices.csv`` beside them names their slices.

    Args:
        path: the folder.
        shape: what one sample of the model's first input takes.
        image: returns (height, width, channels) of an image; raises where the model takes none.
    """
    found = _files_by_class(path, images_in)
    sounds = _Files((), ()) if found.files else _files_by_class(path, sounds_in)
    if sounds.files:
        x = read_waveforms(sounds.files, waveform_length(path, shape))
        return _with_labels(path, x, sounds)
    wanted = image()
    if not found.files:
        raise InputError(
            f"{path}: has no images and no WAV files",
            hint=f"put them in one folder for each class ({', '.join(sorted(IMAGE_SUFFIXES))})",
        )
    return _with_labels(path, _read_images(path, found.files, wanted), found)


@dataclass(frozen=True)
class _Files:
    """Files of samples, and for each the number of its class; no numbers where there are none."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...] = ()


def _files_by_class(path: Path, files_in: Callable[[Path], list[Path]]) -> _Files:
    found = entries(path)
    classes = sorted(Path(e.path) for e in found if e.is_dir() and not e.name.startswith("."))
    groups = [(number, files_in(folder)) for number, folder in enumerate(classes)]
    if not any(files for _, files in groups):
        return _Files(tuple(files_in(path)), ())
    pairs = [(file, number) for number, files in groups for file in files]
    files, labels = zip(*pairs, strict=True)
    return _Files(files, labels, tuple(folder.name for folder in classes))


def _with_labels(path: Path, x: np.ndarray, found: _Files) -> Content:
    names = [file.relative_to(path).as_posix() for file in found.files]
    annotations = read_slices_csv(path / CSV_NAME, names)
    if not found.labels:
        return Content((x,), {}, annotations)
    annotations[CLASSES] = np.array(found.classes)
    return Content((x,), {0: np.array(found.labels)}, annotations)


def _read_images(path: Path, files: Sequence[Path], shape: Shape) -> np.ndarray:
    """Return uint8 (samples, height, width, channels), resized (bilinear) to ``shape``."""
    height, width, channels = shape
    if len(files) * height * width * channels > DATA_BYTES:
        raise InputError(f"{path}: {len(files):,} images of {list(shape)} do not fit in memory")
    x = np.empty((len(files), *shape), np.uint8)
    for position, file in enumerate(files):
        x[position] = _read_image(file, shape)
    return x


def images_in(folder: Path) -> list[Path]:
    """Return the image files in ``folder``, sorted by name."""
    return files_in(folder, IMAGE_SUFFIXES)


_IMAGE_DAMAGE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(OverflowError, NotImplementedError, RuntimeError, AttributeError, struct.error, zlib.error),
)
"""What Pillow's plug-ins raise on damaged files."""


_SMALLER = "scale the images down to the size of the model's input"


def _read_image(file: Path, shape: Shape) -> np.ndarray:
    from PIL import Image

    height, width, channels = shape
    try:
        with open_file(file, most=IMAGE_BYTES) as opened, Image.open(opened) as image:
            if image.width * image.height > IMAGE_PIXELS:
                raise InputError(
                    f"{file}: {image.width}x{image.height} pixels are too many", hint=_SMALLER
                )
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
    except Image.DecompressionBombError as error:
        raise InputError(f"{file}: has more than {IMAGE_PIXELS:,} pixels", hint=_SMALLER) from error
    except _IMAGE_DAMAGE as error:
        raise InputError(
            f"{file}: not a readable image: {str(error)[:200]}",
            hint="copy the image again, or take it out of the folder",
        ) from error
