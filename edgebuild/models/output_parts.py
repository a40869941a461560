"""The parts of an output that were computed apart and then joined, as boxes and scores are."""

from __future__ import annotations

import itertools

import numpy as np

from edgebuild.graph import Graph, Node

_SAME_CHANNELS = {"QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_DEEPEST = 16

_BOUNDED = {"LOGISTIC": 1.0, "SOFTMAX": 1.0, "TANH": 2.0}
"""The width of what an operator gives, whatever it reads."""

_STEPS = 256


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


def bounded_steps(graph: Graph, output: int) -> np.ndarray:
    """Return for each channel of an output's last axis, float64 (channels,), the 256th part of the
    width of a part that a sigmoid, softmax or tanh bounds; 0 for all others."""
    shape = graph.tensors[graph.outputs[output]].shape or (1,)
    makers = {tensor.index: node for node in graph.nodes() for tensor in node.outputs}
    found = np.zeros(shape[-1])
    ends = [0, *output_cuts(graph, output), shape[-1]]
    for start, stop in itertools.pairwise(ends):
        maker = makers.get(part_tensors(graph, makers, graph.outputs[output], start)[-1])
        if maker is not None:
            found[start:stop] = _BOUNDED.get(maker.kind, 0.0) / _STEPS
    return found


def part_tensors(graph: Graph, makers: dict[int, Node], index: int, channel: int) -> list[int]:
    """Return the tensors that hold a ``channel`` of a tensor's last axis before it was joined with
    others, from the join up; the last is the one that was computed."""
    path = [index]
    for _ in range(_DEEPEST):
        maker, tensor = makers.get(index), graph.tensors[index]
        if maker is None or not tensor.shape:
            break
        rank = len(tensor.shape)
        along = int(maker.attrs.get("axis", 0)) % rank == rank - 1
        if maker.kind in _SAME_CHANNELS:
            before = maker.input(0)
            if not before.shape or before.shape[-1] != tensor.shape[-1]:
                break
            index = before.index
            path.append(index)
        elif maker.kind in ("CONCATENATION", "PACK") and along:
            for part in (t for t in maker.inputs if t is not None):
                index = part.index
                size = part.shape[-1] if maker.kind == "CONCATENATION" else 1
                if channel < size:
                    break
                channel -= size
            path = [index]
            if maker.kind == "PACK":
                break
        else:
            break
    return path
