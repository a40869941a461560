"""Graph passes: rewrites that change what is computed when, never what comes out."""

from __future__ import annotations

from edgebuild.passes.base import GraphPass, PassResult, run_passes
from edgebuild.passes.simplify import FoldConstants, RemoveUnused

DEFAULT_PASSES: tuple[GraphPass, ...] = (FoldConstants(), RemoveUnused())
"""What every build runs, in order."""

__all__ = [
    "DEFAULT_PASSES",
    "FoldConstants",
    "GraphPass",
    "PassResult",
    "RemoveUnused",
    "run_passes",
]
