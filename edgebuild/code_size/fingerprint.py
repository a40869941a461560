"""The hash of the C and the templates that the sizes of code are measured of."""

from __future__ import annotations

import hashlib

from edgebuild.resources import resource_dir

_FIRMWARE = ("app", "ports", "runtime", "startup")
_TEMPLATES = ("app_model.c.j2", "model.c.j2")


def sources_sha256() -> str:
    """Return a hash over all that firmware is compiled from, but for the model's own values."""
    firmware, templates = resource_dir("firmware"), resource_dir("templates")
    found = (path for folder in _FIRMWARE for path in (firmware / folder).rglob("*.[ch]"))
    paths = [path for path in sorted(found) if "neon" not in path.stem]
    digest = hashlib.sha256()
    for path in (*paths, *(templates / name for name in _TEMPLATES)):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
