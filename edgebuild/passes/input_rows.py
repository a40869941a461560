"""The input of a model as the caller gives it, row by row."""

from __future__ import annotations

import dataclasses

from edgebuild.errors import InputError
from edgebuild.graph import Graph, Op, Tensor
from edgebuild.ops.input_rows import INPUT_ROWS
from edgebuild.profile import TargetProfile

_SAME_BYTES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
_IMAGE_RANK = 4


def given(graph: Graph, target: TargetProfile) -> Graph:
    """Return ``graph`` with its inputs as ``target`` says that the caller gives them."""
    graph = graph.replace(keeps_inputs=target.keep_inputs)
    return input_by_rows(graph) if target.input_by == "rows" else graph


def input_by_rows(graph: Graph) -> Graph:
    """Return ``graph`` with an operator in front that takes the rows of its input from the caller.

    Rows lie along axis 1. A model that first makes an image of as many rows of its input reads that
    at once. InputError for a graph that has other than one input, or no rows.
    """
    try_instead = "leave --input-by rows out"
    if len(graph.inputs) != 1:
        raise InputError(
            f"{graph.name}: --input-by rows is for models of one input, this one has "
            f"{len(graph.inputs)}",
            hint=try_instead,
        )
    (given,) = graph.input_tensors
    if len(given.shape) < 3 or given.shape[0] != 1:
        shape = " x ".join(map(str, given.shape)) or "scalar"
        raise InputError(
            f"{graph.name}: --input-by rows: input '{given.name}' ({shape}) has no rows, which lie "
            "along the second of three or more dimensions, the first of which is 1",
            hint=try_instead,
        )
    image, ops = _image(graph, given)
    first = Op(INPUT_ROWS, (given.index,), (image.index,))
    return graph.replace(
        ops=(first, *ops),
        outputs=tuple(image.index if i == given.index else i for i in graph.outputs),
        tensors={**graph.tensors, image.index: image},
        input_by_rows=True,
    )


def _image(graph: Graph, given: Tensor) -> tuple[Tensor, list[Op]]:
    """Return what the model reads, and the operators that do."""
    readers = [op for op in graph.ops if given.index in op.inputs]
    ops = list(graph.ops)
    if len(readers) == 1 and readers[0].kind in _SAME_BYTES and given.index not in graph.outputs:
        shaped = graph.tensors[readers[0].outputs[0]]
        rows = shaped.shape[:2] == given.shape[:2]
        if len(shaped.shape) == _IMAGE_RANK and rows and shaped.index not in graph.outputs:
            ops.remove(readers[0])
            return shaped, ops
    image = dataclasses.replace(given, index=max(graph.tensors) + 1)
    return image, [
        dataclasses.replace(
            op, inputs=tuple(image.index if i == given.index else i for i in op.inputs)
        )
        for op in ops
    ]
