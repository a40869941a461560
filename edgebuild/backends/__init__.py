"""Target families: what each emits, compiles and runs."""

from __future__ import annotations

from edgebuild.backends.base import Backend
from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.host import HostBackend
from edgebuild.errors import InputError

_BACKENDS: tuple[Backend, ...] = (CortexMBackend(), HostBackend())


def backend_for(family: str) -> Backend:
    """Return the backend of a target family; InputError when there is none."""
    for backend in _BACKENDS:
        if backend.family == family:
            return backend
    raise InputError(f"no backend for target family '{family}'")
