"""Collect the C files that a set of kernels needs, headers included."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from edgebuild.errors import InternalError
from edgebuild.ops import KernelCall
from edgebuild.resources import resource_dir

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def kernel_files(calls: Iterable[KernelCall]) -> dict[str, str]:
    """Return the kernels' sources and every header that they include.

    Kernels go to ``kernels/<op>/...``, the runtime header to ``eb_runtime.h``.
    """
    firmware = resource_dir("firmware")
    kernels = firmware / "kernels"
    files: dict[str, str] = {"eb_runtime.h": _read(firmware / "runtime" / "eb_runtime.h")}
    pending = sorted({path for call in calls for path in (call.header, *call.sources)})
    while pending:
        path = pending.pop()
        key = f"kernels/{path}"
        if key in files:
            continue
        files[key] = _read(kernels / path)
        for include in _INCLUDE.findall(files[key]):
            found = _resolve(include, PurePosixPath(path).parent, kernels)
            if found is not None:
                pending.append(found)
    return dict(sorted(files.items()))


def _resolve(include: str, folder: PurePosixPath, kernels: Path) -> str | None:
    """Return ``include`` relative to the kernels' folder, or None for the runtime header."""
    if include == "eb_runtime.h":
        return None
    for candidate in (folder / include, PurePosixPath(include)):
        if (kernels / candidate).is_file():
            resolved = (kernels / candidate).resolve().relative_to(kernels.resolve())
            return resolved.as_posix()
    raise InternalError(f"kernel file '{folder}' includes '{include}', which is not there")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InternalError(f"edgebuild's own file {path.name} cannot be read") from error
