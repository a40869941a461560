"""Graph passes: rewrites that change what is computed when, never what comes out."""

from __future__ import annotations

from dataclasses import dataclass

from edgebuild.graph import Graph
from edgebuild.ops.support import check_supported
from edgebuild.passes.base import GraphPass, PassResult, run_passes
from edgebuild.passes.constant_channels import FoldConstantChannels
from edgebuild.passes.order import OrderOperators
from edgebuild.passes.padding import FoldPadding
from edgebuild.passes.shapes import FoldShapes
from edgebuild.passes.simplify import FoldConstants, RemoveUnused, TrimInputs
from edgebuild.passes.softmax import SteadySoftmax

READ_PASSES: tuple[GraphPass, ...] = (
    FoldShapes(),
    SteadySoftmax(),
    TrimInputs(),
    RemoveUnused(),
)
"""What comes before the question whether a model is supported, in order."""

DEFAULT_PASSES: tuple[GraphPass, ...] = (
    FoldConstants(),
    FoldConstantChannels(),
    FoldPadding(),
    RemoveUnused(),
    OrderOperators(),
)
"""What every build of a supported model runs, in order."""


@dataclass(frozen=True)
class Supported:
    """A graph each of whose operators has a kernel.

    ``read`` is the model after ``READ_PASSES``, ``graph`` what is built, after all passes.
    """

    read: Graph
    graph: Graph
    notes: tuple[str, ...] = ()


def supported_graph(graph: Graph, *, where: str) -> Supported:
    """Return ``graph``, as it was read from a file, as it is built.

    Raises as ``check_supported`` does.
    """
    read = run_passes(graph, READ_PASSES)
    check_supported(read.graph, where=where)
    built = run_passes(read.graph, DEFAULT_PASSES)
    return Supported(read.graph, built.graph, (*read.notes, *built.notes))


__all__ = [
    "DEFAULT_PASSES",
    "READ_PASSES",
    "FoldConstantChannels",
    "FoldConstants",
    "FoldPadding",
    "FoldShapes",
    "GraphPass",
    "OrderOperators",
    "PassResult",
    "RemoveUnused",
    "SteadySoftmax",
    "Supported",
    "TrimInputs",
    "run_passes",
    "supported_graph",
]
