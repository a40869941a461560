"""SOFTMAX over logits that do not differ."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import DType, Graph, Node, Op
from edgebuild.passes.base import PassResult

LEAST = math.ldexp(1.0, -26)
"""TFLite Micro's fixed-point softmax aborts unless ``beta`` times the input's scale is larger."""


@dataclass(frozen=True)
class SteadySoftmax:
    """Raise ``beta`` where the largest difference of two logits is below 4e-6.

    A layer whose channels died in training leaves such logits, with a scale next to 0. Their
    exponentials are equal to five digits with the least ``beta`` that works as with the model's
    own, and the int8 outputs are the same.
    """

    name = "steady_softmax"

    def apply(self, graph: Graph) -> PassResult:
        """Change the attribute of such operators, and note it."""
        notes: list[str] = []
        ops: list[Op] = []
        for node in graph.nodes():
            beta = _steady_beta(node)
            if beta is None:
                ops.append(node.op)
                continue
            ops.append(dataclasses.replace(node.op, attrs={**node.attrs, "beta": beta}))
            notes.append(
                f"{node.where}: its logits never differ (scale {node.input(0).scale:.3g}): the "
                "layer before it always gives the same values: train the model again"
            )
        if not notes:
            return PassResult(graph, changed=False)
        return PassResult(graph.replace(ops=tuple(ops)), True, tuple(notes))


def _steady_beta(node: Node) -> float | None:
    """Return the least ``beta`` that works, None where the model's own does."""
    if node.kind != "SOFTMAX" or node.optional_input(0) is None:
        return None
    given = node.input(0)
    if given.dtype != DType.INT8 or given.quantization is None:
        return None
    scale, beta = np.float32(given.scale), np.float32(node.attrs["beta"])
    if not (np.isfinite(scale) and scale > 0 and 0 <= float(beta) * float(scale) <= LEAST):
        return None
    raised = float(np.float32(LEAST * (1 + 1e-6) / float(scale)))
    return raised if math.isfinite(raised) else None
