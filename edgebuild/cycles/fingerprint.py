"""The hash of the C that cycle weights are fitted to."""

from __future__ import annotations

import hashlib

from edgebuild.resources import resource_dir


def firmware_sha256() -> str:
    """Return a hash over the kernels of Cortex-M and over the C library that they call."""
    firmware = resource_dir("firmware")
    files = (firmware / "runtime").rglob("*.[ch]")
    paths = sorted(path for path in files if "neon" not in path.stem)
    digest = hashlib.sha256()
    for path in (*paths, firmware / "startup" / "libc.c"):
        digest.update(f"{path.relative_to(firmware).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
