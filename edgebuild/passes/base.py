"""What a graph pass is, and running several with a check between every two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgebuild.graph import Graph
from edgebuild.graph.verify import verify


@dataclass(frozen=True)
class PassResult:
    """A pass's outcome; ``changed`` is False exactly when ``graph`` is the one that went in."""

    graph: Graph
    changed: bool
    notes: tuple[str, ...] = ()


class GraphPass(Protocol):
    """A frozen dataclass whose fields are the pass's options; results stay bit-exact."""

    name: str

    def apply(self, graph: Graph) -> PassResult:
        """Return the rewritten graph."""
        ...


def run_passes(graph: Graph, passes: Sequence[GraphPass]) -> PassResult:
    """Run ``passes`` in order; a ModelError from the verifier names the pass that broke a rule."""
    notes: list[str] = []
    changed = False
    for step in passes:
        result = step.apply(graph)
        verify(result.graph, where=f"after '{step.name}'")
        graph, changed = result.graph, changed or result.changed
        notes += [f"{step.name}: {note}" for note in result.notes]
    return PassResult(graph, changed, tuple(notes))
