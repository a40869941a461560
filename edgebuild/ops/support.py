"""Whether edgebuild can run a graph, and running it in NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgebuild.errors import ModelError, UnsupportedOperatorError
from edgebuild.graph import KERNEL_DTYPES, Graph, Node
from edgebuild.graph.contradictions import contradictions
from edgebuild.graph.formats import is_quantized
from edgebuild.ops import OPS
from edgebuild.ops.refusal import FOREIGN, NEEDS, NO_KERNEL, FormGroups, Unsupported
from edgebuild.units import shortened

_SHOWN = 40
_MAX_EFFECTIVE_SCALE = 2.0**30
"""TFLite's multipliers shift to the left by at most 30 bits."""


def unsupported(graph: Graph) -> Unsupported:
    """Return all that keeps ``graph`` from the kernels of generated C.

    ``graph`` is a model after ``edgebuild.passes.READ_PASSES``: what they fold is no reason.
    """
    # What only moves numbers has kernels for floats, too.
    is_float = not is_quantized(graph) and any(node_reason(node) for node in graph.nodes())
    odd_tensors, groups = contradictions(graph), FormGroups()
    wrong = [problem for problems in odd_tensors.values() for problem in problems]
    for node in graph.nodes():
        is_odd = not odd_tensors.keys().isdisjoint((*node.op.inputs, *node.op.outputs))
        reason = _kind_reason(node) if is_float or is_odd else node_reason(node)
        if reason:
            groups.add(node, reason)
        elif not is_float and not is_odd:
            wrong += (f"{node.where}: {sentence}" for sentence in _node_contradictions(node))
    return Unsupported(
        operators=len(graph.ops),
        forms=groups.forms(),
        problems=tuple(_model_problems(graph)),
        contradictions=tuple(wrong),
        is_float=is_float,
    )


def check_supported(graph: Graph, *, where: str = "model") -> None:
    """Check every operator against its constraints and its shapes against the recorded ones.

    Raises:
        UnsupportedOperatorError: lists all that has no kernel, with its places and reasons;
            ``facts`` hold the whole of it.
        ModelError: nothing is unsupported, but the file contradicts itself.
    """
    found = unsupported(graph)
    if not found:
        return
    kind = ModelError if found.only_contradicts else UnsupportedOperatorError
    raise kind(
        f"{where}: {found.summary()}",
        details=shortened(found.lines(), _SHOWN, " lines; --json lists all"),
        hint=found.hint(),
        facts={"unsupported": found.to_json()},
    )


def node_reason(node: Node) -> str:
    """Return why ``node`` has no kernel; empty when it has one."""
    operator = OPS.get(node.kind)
    if operator is None:
        return _kind_reason(node)
    if len(node.inputs) > operator.most_operands:
        return f"it lists {len(node.inputs)} inputs, and takes at most {operator.most_operands}"
    tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
    foreign = dict.fromkeys(str(t.dtype) for t in tensors if t.dtype not in KERNEL_DTYPES)
    if foreign:
        return f"{FOREIGN}{', '.join(foreign)}"
    if any(t.sparse for t in tensors):
        return "its weights are stored sparse: export them dense"
    if any(t.is_variable for t in tensors):
        return "it keeps state from one inference to the next"
    if not node.outputs:
        return "it has no output"
    for constraint in operator.constraints:
        # Later constraints may rely on earlier ones, so the first that fails is the reason.
        if not constraint.check(node):
            return f"{NEEDS}{constraint.sentence}"
    return ""


def _kind_reason(node: Node) -> str:
    if node.kind in OPS:
        return ""
    if node.kind == "CUSTOM ethos-u":
        return "it is compiled for an Arm Ethos-U: pass the model that Vela compiled"
    if node.kind == "CUSTOM edgetpu-custom-op":
        return "it is compiled for the Edge TPU: pass the model from before the compiler"
    return NO_KERNEL


def _model_problems(graph: Graph) -> Iterator[str]:
    if not graph.inputs:
        yield "the model has no inputs"
    if not graph.outputs:
        yield "the model has no outputs"
    if len(set(graph.inputs)) != len(graph.inputs):
        yield "an input is listed twice: one of its values would be lost"
    for role, tensors in (("input", graph.input_tensors), ("output", graph.output_tensors)):
        for tensor in tensors:
            if tensor.dtype not in KERNEL_DTYPES:
                yield f"{role} '{tensor.name}' is {tensor.dtype}, which no kernel supports"
    if graph.others:
        operators = sum(len(other.ops) for other in graph.others)
        yield (
            f"the model has {len(graph.others) + 1} subgraphs (control flow: WHILE, IF or "
            f"CALL_ONCE), edgebuild runs only the first; {operators} operators are in the others"
        )


def _node_contradictions(node: Node) -> Iterator[str]:
    """Yield what the file says of an operator with a kernel that cannot be true."""
    operator = OPS[node.kind]
    wrong = list(operator.contradictions(node))
    yield from wrong
    if wrong:
        return
    shapes = tuple(operator.output_shapes(node))
    recorded = tuple(t.shape for t in node.outputs)
    if shapes != recorded:
        yield (
            f"it computes shapes {[list(s) for s in shapes]}, "
            f"the file says {[list(s) for s in recorded]}"
        )
    scale = max(operator.effective_scales(node), key=_magnitude, default=0.0)
    if _magnitude(scale) >= _MAX_EFFECTIVE_SCALE:
        yield f"its scales multiply integers by {scale:.3g}, which no multiplier holds"


def _magnitude(scale: float) -> float:
    return abs(scale) if math.isfinite(scale) else math.inf


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
