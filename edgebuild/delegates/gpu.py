"""Which operators LiteRT's GPU delegate takes.

Two tables say so: the compatibility check, which an analyzer of TensorFlow has too, and what the
delegate's own parsers add to it: versions, element types and ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgebuild.delegates.base import Compatibility, compatibility
from edgebuild.delegates.float16 import fold_float16
from edgebuild.delegates.table import load_raw, load_table
from edgebuild.delegates.vocabulary import Setting
from edgebuild.graph import Graph, Node
from edgebuild.profile import Delegate

MAX_PARTITIONS = 1
"""The delegate's default of ``max_delegated_partitions``."""

_COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
_READERS_OF_BOOL = ("CAST", "SELECT", "SELECT_V2")
_FLOATS = ("float16", "float32")


def check(graph: Graph, delegate: Delegate) -> Compatibility:
    """Return what the GPU delegate makes of ``graph``."""
    compatible, parsers = load_table("gpu"), load_table("gpu_delegate")
    folded, reasons = fold_float16(graph, operator_reasons)
    return compatibility(
        folded,
        "GPU",
        reasons,
        max_partitions=MAX_PARTITIONS,
        sources=[compatible.source, parsers.source],
        notes=parsers.notes,
    )


def operator_reasons(graph: Graph) -> Iterator[str]:
    """Yield each operator's reason to be refused, empty where the delegate takes it."""
    parsers = load_table("gpu_delegate")
    unchecked = load_raw("gpu_delegate")["without_check"]
    readers = _readers(graph)
    for node in graph.nodes():
        parts = [] if node.kind in unchecked else [compatibility_reason(node)]
        if parts == [""] and node.kind not in parsers.ops:
            parts.append(
                f"only LiteRT's newer GPU accelerator has {node.kind}, not the GPU delegate"
            )
        elif node.kind in parsers.ops:
            parts += [parsers.reason(node, Setting()), _bool_reason(node, readers)]
        yield "; ".join(filter(None, parts))


def compatibility_reason(node: Node) -> str:
    """Return why the compatibility check refuses ``node``; what TensorFlow's analyzer looks at."""
    reason = load_table("gpu").reason(node, Setting())
    return "the GPU delegate has no " + node.kind if " has no " in reason else reason


def _readers(graph: Graph) -> Mapping[int, list[Node]]:
    found: dict[int, list[Node]] = {}
    for node in graph.nodes():
        for index in node.op.inputs:
            found.setdefault(index, []).append(node)
    return found


def _bool_reason(node: Node, readers: Mapping[int, list[Node]]) -> str:
    """Booleans exist on the GPU only between a comparison and what turns it into floats."""
    following = readers.get(node.output.index, [])
    if node.kind in _COMPARISONS:
        fits = (
            len(following) == 1
            and following[0].kind in _READERS_OF_BOOL
            and following[0].output.dtype in _FLOATS
        )
        return "" if fits else "its result must go to one CAST or SELECT of floats alone"
    source = node.optional_input(0)
    if node.kind == "CAST" and source and source.dtype == "bool" and node.output.dtype in _FLOATS:
        alone = len(readers[source.index]) == 1 and len(following) == 1
        return "" if alone else "its input must have no other reader, and its output one"
    return ""
