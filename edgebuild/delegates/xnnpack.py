"""Which operators XNNPACK takes, LiteRT's delegate for the CPU, as LiteRT applies it by default."""

from __future__ import annotations

from edgebuild.delegates.base import Compatibility, compatibility
from edgebuild.delegates.table import Table, load_table
from edgebuild.delegates.vocabulary import Setting
from edgebuild.graph import Graph, Node
from edgebuild.profile import Delegate

_UNPACKED_BY_DEQUANTIZE = ("float16", "int8")
_UNPACKED_BY_DENSIFY = ("float16", "int8", "float32")


def check(graph: Graph, delegate: Delegate) -> Compatibility:
    """Return what XNNPACK makes of ``graph``."""
    table = load_table("xnnpack")
    return compatibility(
        graph, "XNNPACK", reasons(graph, table), sources=[table.source], notes=table.notes
    )


def reasons(graph: Graph, table: Table) -> list[str]:
    """Return each operator's reason to be refused, empty where XNNPACK takes it.

    A DEQUANTIZE or DENSIFY of a constant is done once, before the first inference, when every
    operator that reads it is taken.
    """
    unpackers = _unpackers(graph)
    made = {graph.ops[i].outputs[0]: i for i in unpackers}
    setting = Setting(unpacked=frozenset(made))
    found = ["" if n.position in unpackers else table.reason(n, setting) for n in graph.nodes()]
    for node, reason in zip(graph.nodes(), list(found), strict=True):
        if not reason:
            continue
        for index in node.op.inputs:
            if index in made:
                found[made[index]] = f"its constant is read by {node.kind}, which stays on the CPU"
    return found


def _unpackers(graph: Graph) -> set[int]:
    """Return the positions of operators that only unpack constants."""
    static: set[int] = {i for i, t in graph.tensors.items() if t.is_constant}
    found: set[int] = set()
    for node in graph.nodes():
        if _unpacks(node, static):
            found.add(node.position)
            static.add(node.output.index)
    return found


def _unpacks(node: Node, static: set[int]) -> bool:
    if node.kind not in ("DEQUANTIZE", "DENSIFY") or len(node.op.inputs) != 1:
        return False
    source = node.optional_input(0)
    if source is None or source.index not in static:
        return False
    if node.kind == "DENSIFY":
        return (
            source.stored
            and source.dtype in _UNPACKED_BY_DENSIFY
            and node.output.dtype == source.dtype
        )
    quantized = source.dtype != "int8" or source.quantization is not None
    dense = not source.stored
    return (
        dense
        and quantized
        and source.dtype in _UNPACKED_BY_DEQUANTIZE
        and node.output.dtype == "float32"
    )
