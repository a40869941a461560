"""The cache: what a compiler made, found again by what went in; its size, and what goes first.

Below ``cache_dir()``: ``objects`` (compiled files), ``training`` (states of training runs),
``inputs`` (models and arrays of Python programs), ``logs`` (of tools that failed), ``zig`` (the
compiler's own).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgebuild.errors import InputError
from edgebuild.files import explain_os_error
from edgebuild.kept import read_kept, write_kept
from edgebuild.limits import in_words
from edgebuild.units import parse_size

ENVIRONMENT = "EDGEBUILD_CACHE_DIR"
LIMIT_ENVIRONMENT = "EDGEBUILD_CACHE_LIMIT"
DEFAULT_LIMIT_BYTES = 4 << 30
"""Size that the cache is brought down to, unless ``EDGEBUILD_CACHE_LIMIT`` says another."""

KINDS = {
    "objects": "compiled files",
    "training": "interrupted training runs",
    "inputs": "models and arrays passed from Python",
    "logs": "output of tools that failed",
    "zig": "zig's own files",
}
"""The folders of the cache, with what they hold."""

_EVICTED = ("objects", "training", "inputs", "logs")  # zig's files refer to each other
_IN_USE_S = 3600.0


def cache_dir() -> Path:
    """Return the user's cache folder for edgebuild; ``EDGEBUILD_CACHE_DIR`` moves it."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgebuild"))


def cache_limit() -> int:
    """Return the size in bytes that the cache may have; InputError for a wrong setting."""
    text = os.environ.get(LIMIT_ENVIRONMENT, "")
    if not text:
        return DEFAULT_LIMIT_BYTES
    try:
        return parse_size(text)
    except InputError as error:
        raise InputError(f"{LIMIT_ENVIRONMENT}: {error.message}", hint=error.hint) from error


def cache_key(parts: Iterable[str | bytes]) -> str:
    """Return a SHA-256 over ``parts``; their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def read_only_note() -> str:
    """Return what to say where nothing can be written to the cache; empty where it can."""
    return _read_only_note(cache_dir())


@cache
def _read_only_note(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        explained = explain_os_error(error, folder)
        reason = explained.message if explained is not None else f"{folder}: {error}"
        return (
            f"the cache cannot be written ({reason}), so every build compiles everything; "
            f"{ENVIRONMENT} sets another folder"
        )


@dataclass(frozen=True)
class ObjectCache:
    """Files by key in ``folder``, each written whole or not at all.

    An entry begins with a SHA-256 of its key and content: what is damaged, or was stored under
    another key, is no hit and is replaced.
    """

    folder: Path

    @classmethod
    def default(cls) -> ObjectCache:
        """Return the cache below ``cache_dir()``."""
        return cls(cache_dir() / "objects")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> bytes | None:
        """Return the content stored under ``key``, or None."""
        return read_kept(self._path(key), key)

    def put(self, key: str, content: bytes) -> None:
        """Store ``content`` under ``key``, where the cache can be written."""
        if not (self.folder == cache_dir() / "objects" and read_only_note()):
            write_kept(self._path(key), key, content)


@dataclass(frozen=True)
class Entry:
    """What is removed as one: a file, or a folder with all below it. ``used`` is a time stamp."""

    kind: str
    path: Path
    size: int
    used: float

    def remove(self) -> None:
        """Remove it, as far as the system lets it."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            try:
                self.path.unlink(missing_ok=True)
            except OSError:
                return


def entries(kind: str) -> Iterator[Entry]:
    """Yield the entries of one of ``KINDS``, in no order."""
    folder = cache_dir() / kind
    if kind == "objects":
        for below in _scan(folder):
            yield from (_entry(kind, Path(entry.path)) for entry in _scan(Path(below.path)))
    elif kind == "zig":
        if folder.exists():
            yield _entry(kind, folder)
    else:
        yield from (_entry(kind, Path(entry.path)) for entry in _scan(folder))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _entry(kind: str, path: Path) -> Entry:
    size, used = 0, 0.0
    places = [path]
    while places:
        place = places.pop()
        try:
            found = place.lstat()
        except OSError:
            continue
        size, used = size + found.st_size, max(used, found.st_mtime)
        if place.is_dir() and not place.is_symlink():
            places += [Path(entry.path) for entry in _scan(place)]
    return Entry(kind, path, size, used)


def trim(limit: int | None = None) -> int:
    """Remove what was used least recently until the cache has at most ``limit`` bytes.

    What was used within the last hour stays, as another process may be using it. Returns the bytes
    that were removed.
    """
    limit = cache_limit() if limit is None else limit
    found = sorted((e for kind in _EVICTED for e in entries(kind)), key=lambda e: e.used)
    total = sum(entry.size for entry in found)
    removed = 0
    for entry in found:
        if total - removed <= limit or entry.used > time.time() - _IN_USE_S:
            break
        entry.remove()
        removed += entry.size
    return removed


def limit_in_words() -> str:
    """Return the limit and where it comes from."""
    setter = LIMIT_ENVIRONMENT if os.environ.get(LIMIT_ENVIRONMENT) else "default"
    return f"{in_words(cache_limit())} ({setter})"
