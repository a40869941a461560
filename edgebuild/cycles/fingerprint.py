"""The hash of the C that cycle weights are fitted to."""

from __future__ import annotations

import hashlib

from edgebuild.resources import resource_dir


def firmware_sha256() -> str:
    """Return a hash over the kernels of cores with a model, and over the C library they call."""
    firmware = resource_dir("firmware")
    files = (firmware / "runtime").rglob("*.[ch]")
    # The cores with NEON and Helium have no cycle model; no kernel includes eb.h.
    others = ("neon", "mve")
    paths = sorted(p for p in files if p.name != "eb.h" and not any(o in p.stem for o in others))
    digest = hashlib.sha256()
    for path in (*paths, firmware / "startup" / "libc.c"):
        digest.update(f"{path.relative_to(firmware).as_posix()}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
