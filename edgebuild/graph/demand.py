"""What running a graph asks of this computer, checked before anything runs it."""

from __future__ import annotations

import itertools

from edgebuild.graph.ir import Graph
from edgebuild.limits import check_inference, check_results


def check_demand(graph: Graph, *, where: str, samples: int = 0) -> None:
    """Refuse a graph whose activations this computer should not be asked to hold.

    Args:
        graph: any graph.
        where: what messages call the model.
        samples: how many inferences are to be run and compared.

    Raises:
        ModelError: one inference needs too much.
        InputError: the inputs and outputs of ``samples`` inferences are too much.
    """
    ends = (*graph.input_tensors, *graph.output_tensors)
    check_inference(
        where,
        peak_activation_bytes(graph),
        samples=samples,
        io_bytes=sum(tensor.nbytes for tensor in ends),
    )


def check_outputs(graph: Graph, *, where: str, samples: int) -> None:
    """Refuse a data set whose outputs would not fit the memory; InputError."""
    check_results(where, samples, sum(tensor.elements for tensor in graph.output_tensors))


def peak_activation_bytes(graph: Graph) -> int:
    """Return the most bytes of activations that are alive at once, each with a place of its own."""
    last = {i: position for position, op in enumerate(graph.ops) for i in op.inputs}
    outputs = set(graph.outputs)
    change = [0] * (len(graph.ops) + 2)

    def alive(index: int, first: int) -> None:
        tensor = graph.tensors[index]
        if tensor.is_constant:
            return
        change[first] += tensor.nbytes
        end = len(graph.ops) if index in outputs else last.get(index, first)
        change[end + 1] -= tensor.nbytes

    for index in graph.inputs:
        alive(index, 0)
    for position, op in enumerate(graph.ops):
        for index in op.outputs:
            alive(index, position)
    return max(itertools.accumulate(change))
