"""The operators that edgebuild runs. ``OPS`` maps a kind (``CONV_2D``) to its ``Operator``."""

from __future__ import annotations

from edgebuild.ops.base import Case, Constraint, KernelCall, Operator

OPS: dict[str, Operator] = {
    operator.kind: operator
    for operator in ()
}

__all__ = ["OPS", "Case", "Constraint", "KernelCall", "Operator"]
