"""How much an untrusted input may ask for, and the one way to open such a file.

A small file must not be able to ask for much memory, disk or time. Every reader opens its file
with ``open_file`` or ``read_file``, which take regular files of a bounded size only, and checks
what the file declares (shapes, counts, sizes after unpacking) before anything is allocated.
"""

from __future__ import annotations

import difflib
import errno
import itertools
import json
import math
import os
import stat
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgebuild.errors import CHECK_PATH, EdgebuildError, InputError, ModelError, nearest

MODEL_BYTES = 1 << 30
"""Size of a model file; of all files of a SavedModel together."""

UNPACKED_MODEL_BYTES = 2 << 30
"""Size of a ``.keras`` archive after unpacking, and of the weights that an HDF5 file declares."""

CONFIG_BYTES = 64 << 20
"""Size of the JSON that describes a Keras model."""

MODEL_RATIO = 20
"""How many times its own size a model archive may unpack to. Weights hardly compress: trained ones
by a tenth, heavily pruned ones to an eighth."""

DATA_BYTES = 2 << 30
"""Size of the samples of one data set, as they are stored."""

DATA_RATIO = 200
"""How many times its own size an archive of samples may unpack to."""

IMAGE_BYTES = 256 << 20
"""Size of one image file."""

IMAGE_PIXELS = 64_000_000
"""Pixels of one image, checked before it is decoded."""

RATIO_FREE_BYTES = 64 << 20
"""What unpacks to less than this is taken whatever its ratio: it does no harm."""

ARTIFACT_BYTES = 4 << 30
"""Size of one file of a finished build."""

TEXT_BYTES = 64 << 20
"""Size of a text that edgebuild parses: reports, lock files, recipes, ``slices.csv``."""

SETTINGS_BYTES = 256 << 10
"""Size of a TOML file: a project or a profile."""

FOLDER_ENTRIES = 1_000_000
"""Files and folders below a folder that is read as a whole."""

FOLDER_DEPTH = 64
"""Levels of folders below a folder that is read as a whole."""

ACTIVATION_BYTES = 512 << 20
"""Memory for the activations of one inference, which the host runs too, in several engines."""

WORK_S = 24 * 3600
"""Time that running a model on this computer may be expected to take."""

SAMPLES_BYTES = 1 << 30
"""Inputs and outputs of all inferences that are run and compared."""

RESULT_BYTES = 2 << 30
"""Outputs of a model for all samples of a data set, as float32."""

CLASSES = 100_000
"""Names of classes that a data set may bring, and entries of a table that a Keras layer has."""

_MOST_NAMES, _NAME_LENGTH = 1000, 100
"""Of what is compared with a missing file's name."""

BATCH = 65_536
"""Samples of a batch that a Keras model is fixed to."""


def open_file(
    path: Path,
    *,
    most: int,
    hint: str = "",
    error: type[EdgebuildError] = InputError,
) -> BinaryIO:
    """Open the regular file ``path`` for reading; it holds at most ``most`` bytes.

    Raises:
        error: (a kind of EdgebuildError, with ``hint``) there is no such file, it cannot be read,
            it is a folder, a pipe or a device, or it is larger than ``most``.
    """
    try:
        _check_kind(path, path.stat(), most, hint, error)
        # What is not regular has been refused already; this is for what takes its place since.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError as failure:
        raise _unreadable(path, failure, hint, error) from failure
    except ValueError as failure:
        raise error(f"{str(path)!r} is not a path: {failure}", hint=hint) from failure
    try:
        _check_kind(path, os.fstat(handle), most, hint, error)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(
    path: Path,
    *,
    most: int,
    hint: str = "",
    error: type[EdgebuildError] = InputError,
) -> bytes:
    """Return the content of the regular file ``path``; raises as ``open_file`` does."""
    with open_file(path, most=most, hint=hint, error=error) as file:
        try:
            content = file.read(most + 1)  # it may have grown since it was opened
        except OSError as failure:
            raise _unreadable(path, failure, hint, error) from failure
    if len(content) > most:
        raise error(_too_large(path, most), hint=hint)
    return content


def read_json(path: Path, *, most: int = TEXT_BYTES) -> Any:
    """Return what the JSON text in the file ``path`` holds.

    Raises:
        InputError: as ``open_file`` says.
        ValueError: it is no JSON, or is nested too deeply.
    """
    try:
        return json.loads(read_file(path, most=most))
    except RecursionError as failure:
        raise ValueError("nested too deeply") from failure


def read_model(path: Path, *, hint: str = "") -> bytes:
    """Return the content of a model's file; ModelError as ``open_file`` says."""
    return read_file(path, most=MODEL_BYTES, hint=hint, error=ModelError)


def _check_kind(
    path: Path, found: os.stat_result, most: int, hint: str, error: type[EdgebuildError]
) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise error(f"{path}: is a folder, not a file", hint=hint)
    if not stat.S_ISREG(found.st_mode):
        raise error(
            f"{path}: not a regular file", hint=hint or "write its content to a file, and pass that"
        )
    if found.st_size > most:
        raise error(_too_large(path, most), hint=hint)


def _unreadable(
    path: Path, failure: OSError, hint: str, error: type[EdgebuildError]
) -> EdgebuildError:
    if failure.errno == errno.ENOENT:
        return error(missing(path), hint=hint or CHECK_PATH)
    if failure.errno in (errno.EACCES, errno.EPERM):
        return error(
            f"{path}: no permission to read it", hint=f"make it readable: chmod u+r {path}"
        )
    reason = (failure.strerror or str(failure)).lower()
    return error(f"{path}: cannot be read: {reason}", hint=hint or CHECK_PATH)


def missing(path: Path, what: str = "file", note: str = "") -> str:
    """Return what to say of a path at which nothing is: that there is no such ``what``, with
    ``note`` and the nearest name, or where a link leads."""
    try:
        path.stat()
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            return f"{path}: {os.strerror(errno.ELOOP).lower()}"
        if path.is_symlink():
            return f"{path}: a symbolic link to '{path.readlink()}', where there is nothing"
    except ValueError:
        return f"{str(path)!r} is not a path"
    return f"{path}: no such {what}{note}{_beside(path)}"


def _beside(path: Path) -> str:
    """Return ``"; did you mean 'x'?"`` for the name in the same folder that is nearest to a missing
    path's, or an empty string. Equal suffixes alone do not make names alike."""
    try:
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), _MOST_NAMES)]
    except (OSError, ValueError):
        return ""
    stem = path.stem[:_NAME_LENGTH]
    close = set(difflib.get_close_matches(stem, {Path(name).stem for name in names}))
    return nearest(path.name, (name for name in names if Path(name).stem in close))


def _too_large(path: Path, most: int) -> str:
    return f"{path}: larger than {in_words(most)}"


def in_words(size: int) -> str:
    """Return a limit in bytes as people write it: ``1 GiB``, ``64 MiB``, ``1,000 B``."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit:,} {name}"
    return f"{size:,} B"


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (path below ``folder`` with ``/``, path) of each regular file, in the paths' order.

    Links to files are followed, links to folders are not: they may lead in a circle. InputError
    when there are more than ``FOLDER_ENTRIES`` entries or ``FOLDER_DEPTH`` levels.
    """
    found = sorted(path.relative_to(folder).as_posix() for path in _walk(folder, 0, [0]))
    yield from ((name, folder / name) for name in found)


def _walk(folder: Path, depth: int, count: list[int]) -> Iterator[Path]:
    if depth > FOLDER_DEPTH:
        raise InputError(f"{folder}: more than {FOLDER_DEPTH} folders deep")
    for entry in entries(folder, count):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), depth + 1, count)
        elif is_file(entry):
            yield Path(entry.path)


def entries(folder: Path, count: list[int] | None = None) -> Iterator[os.DirEntry[str]]:
    """Yield what ``folder`` holds, in no order; InputError for more than ``FOLDER_ENTRIES``.

    ``count`` is one number that several folders share.
    """
    count = [0] if count is None else count
    try:
        with os.scandir(folder) as found:
            for entry in found:
                count[0] += 1
                if count[0] > FOLDER_ENTRIES:
                    raise InputError(
                        f"{folder}: more than {FOLDER_ENTRIES:,} files and folders",
                        hint="pass fewer, or put the samples into one .npz",
                    )
                yield entry
    except OSError as failure:
        raise _unreadable(folder, failure, "", InputError) from failure


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files in ``folder`` that end in one of ``suffixes``, sorted by name. InputError
    for one that is neither a regular file nor a folder, such as a pipe or a link to nothing."""
    found = []
    for entry in entries(folder):
        path = folder / entry.name
        if path.suffix.lower() in suffixes and not path.is_dir():
            if not is_file(entry):
                said = f"{path}: not a regular file" if path.exists() else missing(path)
                raise InputError(said, hint="remove it, or put a file in its place")
            found.append(path)
    return sorted(found)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether ``entry`` is a regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link that leads in a circle
        return False


def check_archive(
    path: Path,
    archive: Sequence[zipfile.ZipInfo],
    *,
    most: int,
    ratio: int,
    hint: str,
    error: type[EdgebuildError] = InputError,
) -> None:
    """Check that ``archive``, entries of the ZIP file ``path``, unpacks to a bounded size.

    Raises:
        error: it unpacks to more than ``most`` bytes, or to more than ``RATIO_FREE_BYTES`` and
            ``ratio`` times the file's size.
    """
    total = sum(entry.file_size for entry in archive)
    if total > most:
        raise error(f"{path}: would unpack to {total:,} B, more than {in_words(most)}", hint=hint)
    size = path.stat().st_size
    if total > RATIO_FREE_BYTES and total > ratio * size:
        raise error(
            f"{path}: {size:,} B would unpack to {total:,} B, more than {ratio} times as much",
            hint=hint,
        )


def check_inference(
    where: str,
    activation_bytes: int,
    *,
    samples: int = 0,
    io_bytes: int = 0,
    error: type[EdgebuildError] = ModelError,
) -> None:
    """Check that one inference fits this computer, and ``samples`` of them.

    ``activation_bytes`` are alive at once; ``io_bytes`` are the inputs and outputs of one.
    """
    if activation_bytes > ACTIVATION_BYTES:
        raise error(
            f"{where}: one inference needs {activation_bytes:,} B for its activations, more than "
            f"{in_words(ACTIVATION_BYTES)}",
            hint="use a model with a smaller input",
        )
    if samples * io_bytes > SAMPLES_BYTES:
        fewer = SAMPLES_BYTES // io_bytes
        raise InputError(
            f"{where}: inputs and outputs of {samples:,} inferences are {samples * io_bytes:,} B, "
            f"more than {in_words(SAMPLES_BYTES)}",
            hint=f"--samples {fewer}" if fewer else "use a model with a smaller input",
        )


def check_results(where: str, samples: int, elements: int) -> None:
    """Check that the outputs of ``samples`` inferences, ``elements`` values each, can be kept."""
    size = 4 * samples * elements
    if size > RESULT_BYTES:
        fewer = RESULT_BYTES // max(4 * elements, 1)
        raise InputError(
            f"{where}: the outputs of {samples:,} samples are {size:,} B, more than "
            f"{in_words(RESULT_BYTES)}",
            hint=f"pass at most {fewer:,} samples with --data" if fewer else "",
        )


def expected_s(where: str, work: int, samples: int, per_s: float, *, hint: str) -> float:
    """Return how long ``samples`` inferences of ``work`` steps each will take, in seconds.

    Args:
        where: what messages call the model or the data.
        work: steps of one inference (multiply-accumulates, or values that are moved).
        samples: number of inferences.
        per_s: how many steps a second whatever runs them does, roughly.
        hint: what to try with fewer samples; ``{}`` stands for their number.

    Raises:
        InputError: that is more than ``WORK_S``.
    """
    duration_s = samples * work / per_s
    if duration_s > WORK_S:
        fewer = int(WORK_S * per_s / work)
        raise InputError(
            f"{where}: {samples:,} inferences of {work:,} steps each would take about "
            f"{duration_s / 3600:,.0f} hours, more than {WORK_S // 3600}",
            hint=hint.format(fewer) if fewer else "a smaller model",
        )
    return duration_s


def elements(shape: Iterable[int]) -> int:
    """Return the number of elements of ``shape``, which no float could hold exactly."""
    return math.prod(int(dimension) for dimension in shape)
