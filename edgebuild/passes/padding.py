"""Padding in front of a convolution becomes the convolution's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebuild.graph import DType, Graph, Node
from edgebuild.ops.convolution import EXPLICIT, PADS
from edgebuild.ops.pad import frame
from edgebuild.passes.base import PassResult

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True)
class FoldPadding:
    """Give the paddings of a PAD to the convolutions that alone read it.

    The frame is the zero point, which convolutions pad with; images, not batches or channels, are
    framed; and every window reads a part of the image.
    """

    name = "fold_padding"

    def apply(self, graph: Graph) -> PassResult:
        """Let such convolutions read the image without its frame."""
        folded = {node.op.outputs[0]: node for node in graph.nodes() if _folds(graph, node)}
        if not folded:
            return PassResult(graph, changed=False)
        ops = [_padding_itself(node, folded).op for node in graph.nodes()]
        return PassResult(graph.replace(ops=tuple(ops)), changed=True)


def _folds(graph: Graph, node: Node) -> bool:
    if node.kind not in ("PAD", "PADV2") or node.output.dtype != DType.INT8:
        return False
    source, output = node.input(0), node.output
    pairs, value = frame(node)
    readers = [graph.node(at) for at in graph.readers.get(output.index, ())]
    return (
        len(pairs) == 4
        and pairs[0] == pairs[3] == (0, 0)
        and (source.scale, source.zero_point) == (output.scale, output.zero_point)
        and int(value) == output.zero_point
        and output.index not in graph.outputs
        and bool(readers)
        and all(_may_pad(reader, output.index, pairs) for reader in readers)
    )


def _may_pad(node: Node, index: int, pairs: Sequence[tuple[int, int]]) -> bool:
    """Return whether ``node`` is a convolution of tensor ``index`` that may pad it itself."""
    if node.kind not in _CONVOLUTIONS or node.op.inputs.count(index) != 1:
        return False
    if node.op.inputs[0] != index or node.attrs["padding"] != "VALID":
        return False
    for axis, side in enumerate("hw", 1):
        stride, dilation = node.attrs[f"stride_{side}"], node.attrs[f"dilation_{side}_factor"]
        covered = (node.input(1).shape[axis] - 1) * dilation + 1
        read = (node.output.shape[axis] - 1) * stride + covered
        before, after = pairs[axis]
        after -= node.input(0).shape[axis] - read
        if max(before, after) >= covered:
            return False
    return True


def _padding_itself(node: Node, folded: Mapping[int, Node]) -> Node:
    pad = folded.get(node.op.inputs[0]) if node.kind in _CONVOLUTIONS else None
    if pad is None:
        return node
    (_, *pads, _), _ = frame(pad)
    attrs = {**node.attrs, "padding": EXPLICIT, PADS: tuple(pads)}
    inputs = (pad.op.inputs[0], *node.op.inputs[1:])
    return dataclasses.replace(node, op=dataclasses.replace(node.op, inputs=inputs, attrs=attrs))
