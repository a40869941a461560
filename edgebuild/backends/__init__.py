"""Target families: what each emits, compiles and runs."""

from __future__ import annotations

from edgebuild.backends.android import AndroidBackend
from edgebuild.backends.base import Backend, DelegateBackend
from edgebuild.backends.coral import CoralBackend
from edgebuild.backends.cortex_m import CortexMBackend
from edgebuild.backends.host import HostBackend
from edgebuild.errors import InputError

_BACKENDS: tuple[Backend, ...] = (CortexMBackend(), HostBackend())
_DELEGATES: tuple[DelegateBackend, ...] = (AndroidBackend(), CoralBackend())


def backend_for(family: str) -> Backend:
    """Return the backend of a target family; InputError when there is none."""
    for backend in _BACKENDS:
        if backend.family == family:
            return backend
    raise InputError(f"no backend for target family '{family}'")


def delegate_backend_for(family: str) -> DelegateBackend:
    """Return the backend of a family on which LiteRT runs models; InputError when it is none."""
    for backend in _DELEGATES:
        if backend.family == family:
            return backend
    raise InputError(f"LiteRT runs no models on target family '{family}'")
