"""Passes ahead of every question: what a model computes on shapes is known when it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import Graph, Node, Tensor
from edgebuild.passes import shape_arithmetic
from edgebuild.passes.base import PassResult


@dataclass(frozen=True)
class FoldShapes:
    """Compute what depends on constants and on the shapes of tensors alone.

    A Flatten or Reshape with an open batch becomes SHAPE, STRIDED_SLICE, PACK and RESHAPE; other
    layers make chains of other operators. The shapes are those of the file, as in TFLite Micro.
    Of quantized constants what only moves them is computed, arithmetic is not.
    """

    name = "fold_shapes"

    def apply(self, graph: Graph) -> PassResult:
        """Replace such operators by constants; those that write a model output are kept."""
        tensors = dict(graph.tensors)
        kept, notes = [], []
        outputs = set(graph.outputs)
        for node in graph.nodes():
            values = None if outputs & set(node.op.outputs) else _values(node, tensors)
            if values is None:
                kept.append(node.op)
                continue
            for tensor, value in zip(node.outputs, values, strict=True):
                data = np.array(value, tensor.dtype.numpy)
                data.setflags(write=False)
                tensors[tensor.index] = dataclasses.replace(tensor, data=data)
            notes.append(f"{node.where} computed at build time")
        if not notes:
            return PassResult(graph, changed=False)
        return PassResult(graph.replace(ops=tuple(kept), tensors=tensors), True, tuple(notes))


def _values(node: Node, tensors: Mapping[int, Tensor]) -> Sequence[np.ndarray] | None:
    """Return what ``node`` computes, None where that is not known before the model runs."""
    if not node.outputs:
        return None
    given = node.optional_input(0)
    if node.kind in ("SHAPE", "RANK") and given is not None:
        found = np.array(given.shape if node.kind == "SHAPE" else len(given.shape))
        plain = node.output.dtype in shape_arithmetic.DTYPES
        return [found] if plain and found.shape == node.output.shape else None
    operands = [tensors[t.index] for t in node.inputs if t is not None]
    arrays = [t.data for t in operands if t.data is not None]
    if not operands or len(arrays) != len(node.inputs):
        return None
    most = shape_arithmetic.MAX_ELEMENTS
    if not all(_is_plain(t) for t in (*operands, *node.outputs)):
        if not _only_moves(node, operands):
            return None
        most = shape_arithmetic.MAX_MOVED
    try:
        return shape_arithmetic.compute(node, arrays, most)
    except shape_arithmetic.NotKnownError:
        return None


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.dtype in shape_arithmetic.DTYPES
        and tensor.quantization is None
        and tensor.elements <= shape_arithmetic.MAX_ELEMENTS
    )


def _only_moves(node: Node, operands: Sequence[Tensor]) -> bool:
    """Return whether the outputs' bytes are those of operands with the same number format, and all
    other operands say which."""
    first = node.outputs[0]
    values = [t for t in operands if not _is_plain(t)]
    quantization = first.quantization
    return (
        node.kind in shape_arithmetic.MOVES
        and bool(values)
        and node.attrs.get("fused_activation_function", "NONE") == "NONE"
        and first.dtype in shape_arithmetic.MOVED_DTYPES
        and not (quantization is not None and quantization.per_channel)
        and all(t.elements <= shape_arithmetic.MAX_MOVED for t in operands)
        and all(_format(t) == _format(first) for t in (*values, *node.outputs))
    )


def _format(tensor: Tensor) -> tuple[object, ...]:
    """Return what an element's bytes mean."""
    q = tensor.quantization
    return (tensor.dtype, *((q.scales, q.zero_points) if q is not None else ()))
