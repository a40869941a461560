"""The parts of an output that were computed apart and then joined, as boxes and scores are."""

from __future__ import annotations

from edgebuild.graph import Graph, Node

_SAME_CHANNELS = {"QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_DEEPEST = 16


def output_cuts(graph: Graph, output: int) -> tuple[int, ...]:
    """Return the channels of an output's last axis at which another part begins, 0 excepted.

    A part is what a CONCATENATION or PACK along the last axis took from one operator; it may have
    been reshaped since, as long as the last axis stayed.
    """
    makers = {tensor.index: node for node in graph.nodes() for tensor in node.outputs}
    return tuple(sorted(_cuts(graph.outputs[output], makers, graph, depth=0)))


def _cuts(index: int, makers: dict[int, Node], graph: Graph, depth: int) -> set[int]:
    maker, tensor = makers.get(index), graph.tensors[index]
    axis = 0 if maker is None else int(maker.attrs.get("axis", 0))
    if maker is None or depth > _DEEPEST or not tensor.shape:
        return set()
    channels, rank = tensor.shape[-1], len(tensor.shape)
    if maker.kind in _SAME_CHANNELS:
        before = maker.input(0)
        if before.shape and before.shape[-1] == channels:
            return _cuts(before.index, makers, graph, depth + 1)
        return set()
    if maker.kind == "PACK":
        return set(range(1, channels)) if axis % rank == rank - 1 else set()
    if maker.kind != "CONCATENATION":
        return set()
    given = [t for t in maker.inputs if t is not None]
    inner = [_cuts(t.index, makers, graph, depth + 1) for t in given]
    if axis % rank != rank - 1:
        return set().union(*inner)
    found: set[int] = set()
    start = 0
    for part, within in zip(given, inner, strict=True):
        found |= {start + cut for cut in within} | ({start} if start else set())
        start += part.shape[-1]
    return found
