"""Float16 weights, which a model unpacks with a DEQUANTIZE before each operator that reads them.

The GPU delegate and NNAPI's read the constants themselves (``FP16GraphPartitionHelper`` in TFLite's
delegates/utils.cc).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping

from edgebuild.graph import Graph, Node

LEFT = "float16 constants are unpacked on the CPU unless every other operator is delegated"
"""Why a DEQUANTIZE is left to the CPU."""


def fold_float16(
    graph: Graph, judge: Callable[[Graph], Iterable[str]]
) -> tuple[Graph, tuple[str, ...]]:
    """Return the graph as the delegate partitions it, and each operator's reason to be refused.

    ``judge`` gives the reasons, "" where the delegate takes an operator, of a graph whose operators
    read float16 constants without a DEQUANTIZE. Where all of them are taken, the DEQUANTIZEs are
    too, else none of them, and what is taken still reads the constants.
    """
    unpackers = {n.position: n for n in graph.nodes() if unpacks_float16(n)}
    if not unpackers:
        return graph, tuple(judge(graph))
    packed = {node.output.index: node.op.inputs[0] for node in unpackers.values()}
    others = [i for i in range(len(graph.ops)) if i not in unpackers]
    found = list(judge(_without_unpacking(graph, packed, others)))
    taken = [i for i in others if not found[i]]
    whole = len(taken) == len(others)
    for position in unpackers:
        found[position] = "" if whole else LEFT
    return graph if whole else _without_unpacking(graph, packed, taken), tuple(found)


def unpacks_float16(node: Node) -> bool:
    """Return whether ``node`` is a DEQUANTIZE of a float16 constant."""
    if node.kind != "DEQUANTIZE" or len(node.op.inputs) != 1:
        return False
    source = node.optional_input(0)
    return source is not None and source.is_constant and source.dtype == "float16"


def _without_unpacking(graph: Graph, packed: Mapping[int, int], which: Collection[int]) -> Graph:
    """Return the graph in which the operators at ``which`` read constants in their packed form."""
    chosen = set(which)
    ops = tuple(
        dataclasses.replace(op, inputs=tuple(packed.get(i, i) for i in op.inputs))
        if position in chosen
        else op
        for position, op in enumerate(graph.ops)
    )
    return graph.replace(ops=ops)
