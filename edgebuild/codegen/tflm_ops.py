"""What a TFLite Micro application registers for a model."""

from __future__ import annotations

from edgebuild.errors import UnsupportedOperatorError
from edgebuild.graph import Graph
from edgebuild.ops.tflite_micro import RESOLVER_METHODS


def resolver_methods(graph: Graph) -> tuple[str, ...]:
    """Return the resolver's method for every operator kind that ``graph`` uses, sorted.

    Raises:
        UnsupportedOperatorError: names every kind that TFLite Micro does not have.
    """
    kinds = sorted({op.kind for op in graph.ops})
    unknown = [kind for kind in kinds if kind not in RESOLVER_METHODS]
    if unknown:
        raise UnsupportedOperatorError(
            f"TFLite Micro has no operator {', '.join(unknown)}",
            details=[_place(graph, kind) for kind in unknown],
            hint="replace the operator in the model, or leave the TFLite Micro form out",
        )
    return tuple(sorted(RESOLVER_METHODS[kind] for kind in kinds))


def _place(graph: Graph, kind: str) -> str:
    places = [str(op.source_index) for op in graph.ops if op.kind == kind]
    return f"{kind} at operator {', '.join(places)}"
