"""Collect the files of edgebuild's C runtime that a set of kernels needs, headers included."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from edgebuild.errors import InternalError
from edgebuild.ops import KernelCall
from edgebuild.resources import resource_dir

RUNTIME = "edgebuild"
"""The folder of the runtime beside a model's own files."""

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def runtime_files(calls: Iterable[KernelCall]) -> dict[str, str]:
    """Return what the kernels of ``calls`` are compiled from, and what generated code includes.

    Paths begin with ``edgebuild/``. Files of one name are the same for every model that the same
    edgebuild builds: libraries may share the folder. ``eb_version.h`` says which runtime it is.
    """
    version = {"eb_version.h": _VERSION_HEADER.format(version=runtime_version())}
    kernels = (one for call in calls for one in call.kernels)
    files = version | _with_included(["eb.h", *(p for one in kernels for p in paths_of(one))])
    return {f"{RUNTIME}/{path}": text for path, text in sorted(files.items())}


def paths_of(call: KernelCall) -> tuple[str, ...]:
    """Return the files that a kernel's call names, below the runtime."""
    return (call.header, *call.sources)


def kernel_sha256(paths: Iterable[str]) -> str:
    """Return a hash over what a kernel of these files, below the runtime, is compiled from, and
    the C library that it calls: what its cycle weights are fitted to."""
    libc = resource_dir("firmware") / "startup" / "libc.c"
    digest = hashlib.sha256(libc.read_bytes())
    for path, text in sorted(_with_included(paths).items()):
        digest.update(f"{path}\0{text}\0".encode())
    return digest.hexdigest()


def _with_included(paths: Iterable[str]) -> dict[str, str]:
    """Return the texts of files and of all that they include, by their paths."""
    folder = runtime_dir()
    files: dict[str, str] = {}
    pending = [folder / path for path in paths]
    while pending:
        path = pending.pop().resolve()
        key = path.relative_to(folder).as_posix()
        if key not in files:
            files[key] = _read(path)
            pending += [path.parent / include for include in _INCLUDE.findall(files[key])]
    return files


def runtime_dir() -> Path:
    """Return the folder of the runtime's sources: ``eb.h``, ``common/`` and one for each kernel."""
    return (resource_dir("firmware") / "runtime" / RUNTIME).resolve()


@cache
def runtime_version() -> str:
    """Return the number that stands for the sources of the runtime, as C writes it.

    It is another one as soon as a byte of them is: parameter structures and kernels of different
    versions do not belong together.
    """
    folder, digest = runtime_dir(), hashlib.sha256()
    for path in sorted(folder.rglob("*.[ch]")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return f"0x{digest.hexdigest()[:8]}U"


_VERSION_HEADER = """\
/* Which edgebuild runtime this folder holds: models check that it is theirs. */
#ifndef EB_VERSION_H
#define EB_VERSION_H

#define EB_RUNTIME_VERSION {version}

#endif /* EB_VERSION_H */
"""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InternalError(f"edgebuild's own file {path.name} cannot be read") from error
