"""Whether edgebuild can run a graph, and running it in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgebuild.errors import ModelError, UnsupportedOperatorError, nearest
from edgebuild.graph import Graph, Node
from edgebuild.ops import OPS

_SHOWN = 12


def check_supported(graph: Graph, *, where: str = "model") -> None:
    """Check every operator against its constraints and its shapes against the recorded ones.

    Raises:
        UnsupportedOperatorError: lists each operator without a kernel, with its place and reason.
        ModelError: a recorded output shape is not what the operator computes.
    """
    problems = [problem for node in graph.nodes() for problem in node_problems(node)]
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        unknown = any(node.kind not in OPS for node in graph.nodes())
        listed = [f"supported: {', '.join(sorted(OPS))}"] if unknown else []
        raise UnsupportedOperatorError(
            f"{where}: {len(problems)} of the model's operator forms cannot run on this target",
            details=[*problems[:_SHOWN], *more, *listed],
            hint="`edgebuild ops list` shows every operator with its limits",
        )
    for node in graph.nodes():
        _check_shapes(node, where)


def node_problems(node: Node) -> list[str]:
    """Return why ``node`` has no kernel; empty when it has one."""
    operator = OPS.get(node.kind)
    if operator is None:
        return [f"{node.where} is not supported{nearest(node.kind, OPS)}"]
    for constraint in operator.constraints:
        # Later constraints may rely on earlier ones, so the first that fails is the reason.
        if not constraint.check(node):
            return [f"{node.where} '{node.output.name}': needs: {constraint.sentence}"]
    return []


def _check_shapes(node: Node, where: str) -> None:
    shapes = OPS[node.kind].output_shapes(node)
    recorded = tuple(t.shape for t in node.outputs)
    if tuple(shapes) != recorded:
        raise ModelError(
            f"{where}: {node.where} computes shapes {[list(s) for s in shapes]}, "
            f"the model says {[list(s) for s in recorded]}",
            hint="the model file is inconsistent: export it again with fixed shapes",
        )


def interpret(graph: Graph, inputs: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """Run ``graph`` with the NumPy reference; return every tensor's value by index.

    ``inputs`` follow ``graph.inputs`` and have exactly their shapes and dtypes.
    """
    values: dict[int, np.ndarray] = {
        i: t.data for i, t in graph.tensors.items() if t.data is not None
    }
    values.update(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes():
        outputs = evaluate(node, values)
        values.update(zip(node.op.outputs, outputs, strict=True))
    return values


def evaluate(node: Node, values: Mapping[int, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the outputs of one node, given the values of its inputs by tensor index."""
    operands = [None if t is None else values[t.index] for t in node.inputs]
    return OPS[node.kind].reference(node, operands)
