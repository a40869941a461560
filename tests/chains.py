"""Graphs of several operators, out of graphs of one each."""

from __future__ import annotations

import dataclasses

from edgebuild.graph import Graph


def wired(graphs, sources):
    """Return one graph of the operators of ``graphs``, in order. Number n reads what those in
    ``sources[n]`` write, where -1 is the input of the graph; the last one's output is its own."""
    written = {-1: graphs[0].inputs[0]}
    tensors, ops = {}, []
    for number, (graph, reads) in enumerate(zip(graphs, sources, strict=True)):
        index = {i: 10 * number + i for i in graph.tensors}
        index |= {own: written[at] for own, at in zip(graph.inputs, reads, strict=True)}
        (op,) = graph.ops
        inputs = tuple(index[i] for i in op.inputs)
        written[number] = index[op.outputs[0]]
        ops.append(dataclasses.replace(op, inputs=inputs, outputs=(written[number],)))
        for i, tensor in graph.tensors.items():
            tensors.setdefault(index[i], dataclasses.replace(tensor, index=index[i]))
    return Graph("wired", (written[-1],), (written[len(ops) - 1],), tuple(ops), tensors)


def chained(graphs, shortcut=False):
    """Return one graph whose operators read each what the one before writes; with a ``shortcut``
    the last reads the graph's input, too."""
    sources = [[number - 1] for number in range(len(graphs))]
    if shortcut:
        sources[-1].append(-1)
    return wired(graphs, sources)
