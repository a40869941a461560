"""INPUT_ROWS: the rows of the input as the caller gives them, one at a time, in front of a model.

No model file holds it: ``edgebuild.passes.input_rows`` puts it there. Its input is the caller's and
takes no memory of the arena, its output is the image that the model reads. As it may run in bands
with the operators behind it, only the rows that these still need exist.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from edgebuild.graph import Node, Op, Tensor
from edgebuild.ops.base import Case, KernelCall, Operator, Part, Place, Round, Shape, Window
from edgebuild.ops.convolution import BAND
from edgebuild.ops.movement import view_call
from edgebuild.targets import CpuFeatures

INPUT_ROWS = "INPUT_ROWS"


class InputRows(Operator):
    """Rows lie along axis 1 of one image."""

    kind = INPUT_ROWS

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shape of the image, of as many rows as the input."""
        return (node.output.shape,)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Return the same values."""
        x = inputs[0]
        assert x is not None
        return (x.reshape(node.output.shape),)

    def window(self, node: Node) -> Window | None:
        """Return that of single pixels."""
        return Window.of_pixels(node.output.shape)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the copy of a row; by itself as often as there are rows."""
        if BAND in node.attrs:
            return row_copy(node.output)
        rows = node.output.shape[1]
        row = dataclasses.replace(node.output, shape=(1, 1, *node.output.shape[2:]))
        copy = row_copy(row)
        one = Node(node.position, Op(INPUT_ROWS, node.op.inputs, node.op.outputs), (row,), (row,))
        ends = Place("input", 0, row.nbytes), Place("output", 0, row.nbytes)
        part = Part(one, copy, (ends[0],), ends[1], operator=0)
        return KernelCall("", "", copy.sources, rounds=(Round(rows, (part,)),))

    def cases(self) -> Iterable[Case]:
        """Yield none, as no model has it."""
        return ()


def row_copy(rows: Tensor) -> KernelCall:
    """Return the kernel that copies ``rows``."""
    return dataclasses.replace(view_call(rows.nbytes), in_place=(), view=False)
