"""Passes that leave out work: operators on constants, and operators that nothing reads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import ABSENT, Graph, Node
from edgebuild.ops.support import evaluate
from edgebuild.passes.base import PassResult


@dataclass(frozen=True)
class FoldConstants:
    """Compute operators whose inputs are all constant, once, at build time."""

    name = "fold_constants"

    def apply(self, graph: Graph) -> PassResult:
        """Replace such operators by constant tensors; model outputs are left as they are."""
        tensors = dict(graph.tensors)
        kept, notes = [], []
        for node in graph.replace(tensors=tensors).nodes():
            operands = [None if t is None else tensors[t.index] for t in node.inputs]
            constant = all(t is None or t.is_constant for t in operands)
            if not constant or not operands or set(node.op.outputs) & set(graph.outputs):
                kept.append(node.op)
                continue
            values = {t.index: t.data for t in operands if t is not None and t.data is not None}
            bound = dataclasses.replace(node, inputs=tuple(operands))
            for tensor, value in zip(node.outputs, evaluate(bound, values), strict=True):
                data = np.array(value, tensor.dtype.numpy).reshape(tensor.shape)
                data.setflags(write=False)
                tensors[tensor.index] = dataclasses.replace(tensor, data=data)
            notes.append(f"{node.where} computed at build time")
        if len(kept) == len(graph.ops):
            return PassResult(graph, changed=False)
        return PassResult(
            graph.replace(ops=tuple(kept), tensors=tensors), changed=True, notes=tuple(notes)
        )


@dataclass(frozen=True)
class TrimInputs:
    """Take a convolution's bias off its inputs where it is listed and absent.

    LiteRT reads such an operator; TFLite Micro refuses it or crashes.
    """

    name = "trim_inputs"

    def apply(self, graph: Graph) -> PassResult:
        """Shorten the inputs of such operators."""
        ops = [
            dataclasses.replace(op, inputs=op.inputs[:2])
            if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and op.inputs[2:] == (ABSENT,)
            else op
            for op in graph.ops
        ]
        changed = sum(old is not new for old, new in zip(graph.ops, ops, strict=True))
        if not changed:
            return PassResult(graph, changed=False)
        note = f"{changed} convolutions without bias listed one as absent"
        return PassResult(graph.replace(ops=tuple(ops)), changed=True, notes=(note,))


@dataclass(frozen=True)
class RemoveUnused:
    """Drop operators whose outputs nothing reads, and tensors that no operator uses."""

    name = "remove_unused"

    def apply(self, graph: Graph) -> PassResult:
        """Keep what the model outputs depend on, and the model's own inputs."""
        needed = set(graph.outputs)
        kept, notes = [], []
        for node in reversed(list(graph.nodes())):
            if needed & set(node.op.outputs) or _has_effects(node):
                kept.append(node.op)
                needed |= set(node.op.inputs)
            else:
                notes.append(f"{node.where} has no effect on the outputs")
        needed |= set(graph.inputs)
        for op in kept:
            needed |= {*op.outputs, *op.intermediates}
        tensors = {i: t for i, t in graph.tensors.items() if i in needed}
        if len(kept) == len(graph.ops) and len(tensors) == len(graph.tensors):
            return PassResult(graph, changed=False)
        return PassResult(
            graph.replace(ops=tuple(reversed(kept)), tensors=tensors),
            changed=True,
            notes=tuple(reversed(notes)),
        )


def _has_effects(node: Node) -> bool:
    """Return whether an operator may do more than write its outputs."""
    return not node.outputs or node.kind in ("IF", "WHILE") or node.kind.startswith("CUSTOM")
