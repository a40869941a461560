"""The object cache: what a compiler made, found again by what went in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgebuild.files import atomic_write, explained

ENVIRONMENT = "EDGEBUILD_CACHE_DIR"


def cache_dir() -> Path:
    """Return the user's cache folder for edgebuild; ``EDGEBUILD_CACHE_DIR`` moves it."""
    override = os.environ.get(ENVIRONMENT)
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgebuild"))


def cache_key(parts: Iterable[str | bytes]) -> str:
    """Return a SHA-256 over ``parts``; their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True)
class ObjectCache:
    """Files by key in ``folder``, each written whole or not at all.

    The first 32 bytes of an entry are the SHA-256 of the rest, so that a damaged one is no hit.
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
        with explained(self._path(key)):
            try:
                entry = self._path(key).read_bytes()
            except FileNotFoundError:
                return None
        digest, content = entry[:32], entry[32:]
        return content if hashlib.sha256(content).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Store ``content`` under ``key``."""
        atomic_write(self._path(key), hashlib.sha256(content).digest() + content)
