"""Files that are kept to save work, under the hash of all that decides them.

What is read back is trusted only when it is whole and was stored under the same key: everything
else, a folder in its place too, is as if it were not there, and is replaced.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from edgebuild.errors import EdgebuildError, InputError
from edgebuild.files import atomic_write
from edgebuild.limits import ARTIFACT_BYTES, read_file

_DIGEST_BYTES = 32
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def read_kept(path: Path, key: str) -> bytes | None:
    """Return what was stored in ``path`` under ``key``, None when there is no such thing.

    A hit becomes the file that was used last.
    """
    try:
        entry = read_file(path, most=ARTIFACT_BYTES)
    except InputError:
        return None
    digest, content = entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]
    if _digest(key, content) != digest:
        return None
    with suppress(OSError):
        os.utime(path)
    return content


def write_kept(path: Path, key: str, content: bytes) -> bool:
    """Store ``content`` in ``path`` under ``key``; False where nothing may be written.

    What is in its way and is no regular file is removed. Raises ToolError when the disk is full.
    """
    try:
        atomic_write(path, _digest(key, content) + content)
    except EdgebuildError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _READ_ONLY:
            return False
        if not _clear_the_way(path):
            raise
        atomic_write(path, _digest(key, content) + content)
    return True


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{len(key)} {key} ".encode() + content).digest()


def _clear_the_way(path: Path) -> bool:
    """Remove a folder at ``path``, or a file where the two folders above it belong; return whether
    there was one."""
    above = [(place, not place.is_dir()) for place in path.parents[:2]]
    for place, wrong in [*reversed(above), (path, path.is_dir())]:
        if not wrong or not os.path.lexists(place):
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
        return True
    return False
