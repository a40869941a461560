"""Where edgebuild's own data folders are: ``targets``, ``templates`` and ``firmware``.

In a checkout they lie beside the package, in a wheel inside it, under ``_data``.
"""

from __future__ import annotations

from pathlib import Path

from edgebuild.errors import InternalError

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder ``targets``, ``templates`` or ``firmware`` that ships with edgebuild."""
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        candidate = base / name
        if candidate.is_dir():
            return candidate
    raise InternalError(
        f"edgebuild's own folder '{name}' is missing", hint="reinstall edgebuild with pip"
    )
