"""Cut a graph into graphs that run one after the other and compute the same."""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild.errors import InternalError
from edgebuild.graph.ir import ABSENT, Graph, Op


def split_graph(graph: Graph, groups: Sequence[Sequence[int]]) -> tuple[Graph, ...]:
    """Return one graph for each group of operators, with the tensor indices of ``graph``.

    A part's inputs are what it reads of others: the model's inputs in the model's order, then what
    earlier parts write. Its outputs are what later parts or the caller read. Written tensors stand
    in the order in which ``graph`` writes them. Constants and variables go to each part that reads
    them; a model input that nothing reads goes to none.

    Args:
        graph: a verified graph.
        groups: positions of operators, each in one group, groups and positions in execution order.

    Raises:
        InternalError: the groups are not the graph's operators in an order in which they can run.
    """
    if sorted(p for group in groups for p in group) != list(range(len(graph.ops))):
        raise InternalError(f"{graph.name}: the parts do not hold each operator once")
    written = [i for op in graph.ops for i in op.outputs]
    ready = set(graph.inputs)
    parts = []
    for number, group in enumerate(groups):
        ops = [graph.ops[p] for p in group]
        later = [graph.ops[p] for other in groups[number + 1 :] for p in other]
        wanted = {*graph.outputs, *_read(later)}
        own = {i for op in ops for i in op.outputs}
        foreign = _read(ops) - own
        inputs = [i for i in (*graph.inputs, *written) if i in foreign]
        _check_order(graph, ops, set(written) - ready, number)
        ready |= own
        used = {*own, *(i for op in ops for i in (*op.inputs, *op.intermediates))}
        parts.append(
            graph.replace(
                inputs=tuple(inputs),
                outputs=tuple(i for i in written if i in own & wanted),
                ops=tuple(ops),
                tensors={i: tensor for i, tensor in graph.tensors.items() if i in used},
            )
        )
    return tuple(parts)


def _read(ops: Sequence[Op]) -> set[int]:
    return {i for op in ops for i in op.inputs if i != ABSENT}


def _check_order(graph: Graph, ops: Sequence[Op], missing: set[int], number: int) -> None:
    """Raise InternalError for an operator that reads one of the ``missing`` tensors too early;
    what the operators write is taken out of them."""
    for op in ops:
        if early := missing.intersection(op.inputs):
            names = ", ".join(f"'{graph.tensors[i].name}'" for i in sorted(early))
            raise InternalError(
                f"{graph.name}: {op.kind} (operator {op.source_index}) of part {number + 1} reads "
                f"{names} before anything writes it"
            )
        missing.difference_update(op.outputs)
