"""Which operators LiteRT's GPU delegate takes.

Two tables say so: the compatibility check, which an analyzer of TensorFlow has too, and what the
delegate's own parsers add to it: versions, element types and ranks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from edgebuild.delegates.base import Compatibility, compatibility
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
    return compatibility(
        graph,
        "GPU",
        reasons(graph),
        max_partitions=MAX_PARTITIONS,
        sources=[compatible.source, parsers.source],
        notes=parsers.notes,
    )


def reasons(graph: Graph) -> list[str]:
    """Return each operator's reason to be refused, empty where the delegate takes it.

    A DEQUANTIZE of float16 weights is none of the operators that run: the delegate takes its
    constant in its place, where every reader is taken (``FP16GraphPartitionHelper`` in TFLite's
    delegates/utils.cc).
    """
    unpackers = {n.output.index: n.position for n in graph.nodes() if _unpacks_float16(n)}
    seen = {i: dataclasses.replace(graph.tensors[i], stored=True) for i in unpackers}
    found = list(_reasons(graph.replace(tensors={**graph.tensors, **seen})))
    for position in unpackers.values():
        found[position] = ""
    for node, reason in zip(graph.nodes(), list(found), strict=True):
        for index in node.op.inputs:
            if reason and index in unpackers:
                kept = f"its constant is read by {node.kind}, which stays on the CPU"
                found[unpackers[index]] = kept
    return found


def _unpacks_float16(node: Node) -> bool:
    if node.kind != "DEQUANTIZE" or len(node.op.inputs) != 1:
        return False
    source = node.optional_input(0)
    return source is not None and source.is_constant and source.dtype == "float16"


def _reasons(graph: Graph) -> Iterator[str]:
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
