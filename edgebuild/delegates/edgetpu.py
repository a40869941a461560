"""What the Edge TPU compiler makes of a model, said without the compiler.

The compiler maps one subgraph by default: what it can map of all that is ready before the first
operator that it cannot, and that does not depend on one. The rules are ``data/edgetpu.json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgebuild.delegates.base import Compatibility, compatibility, partition_nodes
from edgebuild.delegates.edgetpu_memory import (
    CachePlan,
    LayerParameters,
    cache_parameters,
    cache_together,
    executable_bytes,
    layer_parameters,
    layout_is_known,
)
from edgebuild.delegates.edgetpu_rules import refusal, status, table, uncertainty
from edgebuild.errors import InputError, ModelError
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph, Node
from edgebuild.profile import Delegate

_Answer = TypeVar("_Answer")
NAME = "Edge TPU"
COMPILED_OP = "CUSTOM edgetpu-custom-op"
"""The operator that the compiler leaves in place of those that it has mapped."""
_HOW = "layout of parameters by operator, read from compiled models"


@dataclass(frozen=True)
class EdgeTpuCompatibility(Compatibility):
    """Compatibility with what is known of the chip's memory.

    ``uncached`` are the positions of operators whose parameters do not fit and are sent with every
    inference; ``remaining_bytes`` what is left on the chip, as far as it is known.
    """

    cached_bytes: Figure = field(default=Figure(0, "B", How.ESTIMATED, _HOW))
    streamed_bytes: Figure = field(default=Figure(0, "B", How.ESTIMATED, _HOW))
    remaining_bytes: Figure = field(default=Figure(0, "B", How.ESTIMATED, _HOW))
    layers: tuple[LayerParameters, ...] = ()
    uncached: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values, the compiler's table included."""
        return {
            **super().to_json(),
            "compiler_table": [
                {"operator": kind, "count": count, "status": words}
                for kind, count, words in self.compiler_table()
            ],
        }

    def figures(self) -> Mapping[str, Figure]:
        """Return parameter bytes on the chip and sent with each inference, and what is left."""
        return {
            "cached on chip": self.cached_bytes,
            "streamed": self.streamed_bytes,
            "left on chip": self.remaining_bytes,
        }

    def compiler_table(self) -> list[tuple[str, int, str]]:
        """Return (operator, count, status) rows in the compiler's words alone."""
        counts: dict[tuple[str, str], int] = {}
        for verdict in self.verdicts:
            words = compiler_status(verdict.reason)
            counts[verdict.kind, words] = counts.get((verdict.kind, words), 0) + 1
        return [(kind, count, words) for (kind, words), count in counts.items()]


def compiler_status(reason: str) -> str:
    """Return the compiler's part of a reason; "Mapped to Edge TPU" for the empty one."""
    return reason.split(": ", 1)[0] or status("mapped")


def edgetpu_compatibility(
    graph: Graph, *, multiple_subgraphs: bool = False
) -> EdgeTpuCompatibility:
    """Return which operators map to the Edge TPU, why the others do not, and parameter bytes.

    Args:
        graph: a model, of any number format.
        multiple_subgraphs: as the compiler's ``--enable_multiple_subgraphs``: operators behind the
            first one that stays on the CPU are mapped too.
    """
    reasons = _refusals(graph)
    if not multiple_subgraphs:
        reasons = _one_subgraph(graph, reasons)
    found = compatibility(
        graph, NAME, reasons, sources=table()["sources"].values(), notes=_notes(graph, reasons)
    )
    layers = _mapped_layers(graph, reasons)
    plan = cache_parameters(layers, _capacity([len(layers)]))
    fields = {f.name: getattr(found, f.name) for f in dataclasses.fields(Compatibility)}
    return EdgeTpuCompatibility(
        **{**fields, "accepted": status("mapped")},
        cached_bytes=_bytes(plan.cached_bytes),
        streamed_bytes=_bytes(plan.streamed_bytes),
        remaining_bytes=Figure(
            plan.remaining_bytes, "B", How.ESTIMATED, "8 MiB less parameters and about the program"
        ),
        layers=tuple(layer for layer in layers if layer.cacheable or layer.streamed),
        uncached=plan.uncached,
    )


def around_mapped(graph: Graph, mapped: Sequence[bool]) -> list[tuple[bool, tuple[int, ...]]]:
    """Return (mapped, positions) of what the mapped operators depend on, of these, and of the rest,
    without those that are empty.

    ``mapped`` are the operators of one subgraph, as ``edgetpu_compatibility`` finds them by
    default. What nothing mapped depends on belongs to the rest.
    """
    needed: set[int] = set()
    before: set[int] = set()
    for position in reversed(range(len(graph.ops))):
        op = graph.ops[position]
        if mapped[position] or needed.intersection(op.outputs):
            needed.update(op.inputs)
            if not mapped[position]:
                before.add(position)
    inside = {position for position, taken in enumerate(mapped) if taken}
    rest = set(range(len(graph.ops))) - inside - before
    groups = ((False, before), (True, inside), (False, rest))
    return [(taken, tuple(sorted(group))) for taken, group in groups if group]


def is_compiled(graph: Graph) -> bool:
    """Return whether the model was compiled for the Edge TPU."""
    return any(op.kind == COMPILED_OP for op in graph.ops)


def refuse_compiled(graph: Graph) -> None:
    """Raise InputError for a model that the compiler has made: no table says anything of it."""
    if is_compiled(graph):
        raise InputError(
            f"{graph.name} is already compiled for the Edge TPU",
            hint="use the model that it was made from; `edgebuild inspect` shows what was compiled",
        )


def check(graph: Graph, _delegate: Delegate) -> EdgeTpuCompatibility:
    """Return what the compiler makes of ``graph`` by default."""
    return edgetpu_compatibility(graph)


def cocompile(graphs: Sequence[Graph]) -> tuple[CachePlan, ...]:
    """Return each model's cached and streamed bytes when they are compiled together in this order.

    The first model's parameters are cached as far as they fit, the next model's in what is left.
    InputError for a model that is compiled already.
    """
    models = []
    for graph in graphs:
        refuse_compiled(graph)
        reasons = _one_subgraph(graph, _refusals(graph))
        models.append(_mapped_layers(graph, reasons))
    return cache_together(models, _capacity([len(layers) for layers in models]))


def _one_subgraph(graph: Graph, reasons: Sequence[str]) -> list[str]:
    """Refuse what could be mapped but lies behind an operator that cannot be."""
    parts = partition_nodes(graph, [not reason for reason in reasons])
    first = next((positions for delegated, positions in parts if delegated), ())
    inside = set(first)
    return [
        reason or ("" if position in inside else status("subgraph"))
        for position, reason in enumerate(reasons)
    ]


def _mapped_layers(graph: Graph, reasons: Sequence[str]) -> list[LayerParameters]:
    nodes = [n for n, reason in zip(graph.nodes(), reasons, strict=True) if not reason]
    return [_asked(layer_parameters, node) for node in nodes]


def _refusals(graph: Graph) -> list[str]:
    return [_asked(refusal, node) for node in graph.nodes()]


def _asked(question: Callable[[Node], _Answer], node: Node) -> _Answer:
    """Return ``question(node)``; ModelError where the operator lacks what such operators have."""
    try:
        return question(node)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{node.where}: its inputs, shapes or options are not those of {node.kind}: {error}",
            hint="export the model again",
        ) from error


def _capacity(operators: Sequence[int]) -> int:
    """Return the chip's memory without the largest of the programs."""
    total = int(table()["memory"]["chip_bytes"])
    return max(0, total - max(map(executable_bytes, operators), default=0))


def _bytes(value: int) -> Figure:
    return Figure(value, "B", How.ESTIMATED, _HOW)


def _notes(graph: Graph, reasons: Sequence[str]) -> list[str]:
    kinds = dict.fromkeys(
        op.kind for op, reason in zip(graph.ops, reasons, strict=True) if not reason
    )
    notes = [f"{kind}: {what}" for kind in kinds if (what := uncertainty(kind))]
    unseen = [kind for kind in kinds if not layout_is_known(kind)]
    if unseen:
        kinds_unseen = ", ".join(unseen)
        notes.append(
            f"no compiled model has shown the parameters of {kinds_unseen}: their bytes are a guess"
        )
    if any(not reason for reason in reasons):
        notes.append(
            "the compiler may refuse more with 'due to some unspecified limitation', or the whole "
            "model for large activations; only a compilation tells"
        )
    return notes
