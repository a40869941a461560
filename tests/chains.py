"""Graphs of operators in a row, out of graphs of one each."""

from __future__ import annotations

import dataclasses

from edgebuild.graph import Graph


def chained(graphs, shortcut=False):
    """Return one graph whose operators read each what the one before writes; with a ``shortcut``
    the last reads the graph's input, too."""
    tensors, ops, start, before = {}, [], graphs[0].inputs[0], graphs[0].inputs[0]
    for number, graph in enumerate(graphs):
        index = {i: 10 * number + i for i in graph.tensors}
        if number:
            index[graph.inputs[0]] = before
        if shortcut and graph is graphs[-1]:
            index[graph.inputs[1]] = start
        (op,) = graph.ops
        before = index[op.outputs[0]]
        inputs = tuple(index[i] for i in op.inputs)
        ops.append(dataclasses.replace(op, inputs=inputs, outputs=(before,)))
        for i, tensor in graph.tensors.items():
            tensors.setdefault(index[i], dataclasses.replace(tensor, index=index[i]))
    return Graph("chain", (start,), (before,), tuple(ops), tensors)
